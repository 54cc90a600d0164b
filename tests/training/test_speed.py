"""Images a second, one at a time: what is timed, what is compared, and a network left as it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rig
from convlens.data.policy import ImagePolicy
from convlens.data.preprocess import Preprocess
from convlens.data.present import make_present
from convlens.nn.detection import cell_scores
from convlens.tasks.detect import Detect
from convlens.training import speed
from convlens.training.speed import Runner, Walk, one_at_a_time, torch_runners, walk_of

IMAGES = np.zeros((3, 2, 2, 1), np.uint8)


def plain(after: Callable[[Tensor], object] = lambda outputs: None) -> Walk:
    return Walk(before=lambda image: image.float(), after=after, scores=lambda outputs: outputs)


def runner(run: Callable[[Tensor], Tensor], name: str = "some") -> Runner:
    @contextmanager
    def opened() -> Iterator[Callable[[Tensor], Tensor]]:
        yield run

    return Runner(name, opened)


def time_one(run: Callable[[Tensor], Tensor], walk: Walk | None = None, device: str = "cpu") -> dict[str, Any]:
    [found] = one_at_a_time([runner(run)], IMAGES, walk or plain(), device)["engines"]
    return found


# the clock ------------------------------------------------------------------------------------------------------------


def test_median_and_slowest_tenth_of_single_images_after_the_first_two(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, asked = [0.0], list[float]()
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def run(x: Tensor) -> Tensor:
        assert x.shape == (1, 2, 2, 1)
        asked.append(float(x.max()))
        clock[0] += 0.100 if len(asked) <= 2 else 0.050 if len(asked) > 28 else 0.004
        return x

    images = np.arange(3, dtype=np.uint8)[:, None, None, None].repeat(2, 1).repeat(2, 2)
    report = one_at_a_time([runner(run, "it")], images, plain(), "cpu")
    assert report["engines"] == [
        {"name": "it", "images_per_s": 250.0, "median_ms": 4.0, "slow_ms": 50.0, "n": 30, "score_off": 0.0}
    ]
    assert asked[:5] == [0, 1, 2, 0, 1]
    assert report["image_px"] == [2, 2]
    assert "thread" in report["where"]
    assert one_at_a_time([runner(run)], IMAGES, plain(), "cuda:0")["where"] == "cuda:0"


def test_preparing_network_and_decoding_are_timed_and_comparing_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def takes(seconds: float) -> Callable[[Tensor], Tensor]:
        def step(x: Tensor) -> Tensor:
            clock[0] += seconds
            return x.float()

        return step

    walk = Walk(before=takes(0.001), after=takes(0.020), scores=takes(0.5))
    assert time_one(takes(0.300), walk)["median_ms"] == 321.0


def test_a_slow_engine_is_not_asked_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def asked(seconds: float) -> int:
        calls = list[int]()

        def run(x: Tensor) -> Tensor:
            clock[0] += seconds
            calls.append(1)
            return x

        assert time_one(run)["n"] > 0
        return len(calls)

    assert asked(0.4) == 6  # two seconds and the one that was begun
    assert asked(5.0) == 2
    assert asked(1e-6) == speed.MOST_IMAGES + speed.UNCOUNTED


# what is compared -----------------------------------------------------------------------------------------------------


def test_every_engine_is_compared_with_the_first() -> None:
    engines = [runner(lambda x: x), runner(lambda x: x + 0.25), runner(lambda x: x - 0.5), runner(lambda x: x * np.nan)]
    found = one_at_a_time(engines, IMAGES, plain(), "cpu")["engines"]
    assert [one["score_off"] for one in found] == [0.0, 0.25, 0.5, None]


def test_images_that_only_one_engine_came_to_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def slow(x: Tensor) -> Tensor:
        clock[0] += 3.0
        return x

    def quick(x: Tensor) -> Tensor:
        clock[0] += 0.001
        return x.clamp(max=1)

    images = np.zeros((9, 2, 2, 1), np.uint8)
    images[2:] = 7
    found = one_at_a_time([runner(slow), runner(quick)], images, plain(), "cpu")["engines"]
    assert found[1]["score_off"] == 0.0


def test_without_the_first_there_is_nothing_to_compare_with() -> None:
    def broken(x: Tensor) -> Tensor:
        raise ValueError("gone")

    found = one_at_a_time([runner(broken), *[runner(lambda x: x)] * 2], IMAGES, plain(), "cpu")["engines"]
    assert found[0] == {"name": "some", "error": "ValueError: gone"}
    assert [one["score_off"] for one in found[1:]] == [None, None]


def test_objects_are_compared_by_the_score_of_every_class_in_every_cell() -> None:
    preprocess = Preprocess(ImagePolicy(channels=1), (32, 32), (32, 32), "pad", (0.5,), (0.25,))
    walk = walk_of(Detect(("cat", "dog")), make_present("boxes", preprocess), "cpu")
    x = walk.before(torch.full((1, 32, 32, 1), 255, dtype=torch.uint8))
    assert x.shape == (1, 1, 32, 32)
    assert x.unique().tolist() == [2.0]
    outputs = torch.randn(1, 5, 10)
    assert torch.equal(walk.scores(outputs), cell_scores(outputs))
    assert walk.after(outputs).shape == (1, 100, 6)  # type: ignore[attr-defined]


# torch ----------------------------------------------------------------------------------------------------------------


class Watched(nn.Module):
    """A plain and a depthwise convolution that tell how they are run."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.depthwise = nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3, groups=8)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        first = self.plain(x)
        second = self.depthwise(first)
        layout = self.plain.weight.is_contiguous(memory_format=torch.channels_last), x.is_contiguous()
        SEEN.append((layout, first.dtype, second.dtype, self.training, torch.is_grad_enabled()))
        if torch.is_autocast_enabled("cpu") and BROKEN:
            raise TypeError("no such thing in bfloat16\nat all")
        return self.norm(second.float())


SEEN, BROKEN = list[Any](), list[int]()


@pytest.fixture
def watched() -> Iterator[Watched]:
    SEEN.clear()
    BROKEN.clear()
    torch.manual_seed(0)
    network = Watched().train()
    before = {name: (value.clone(), value.stride()) for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    yield network
    for name, value in network.state_dict().items():
        assert value.dtype == before[name][0].dtype
        assert value.stride() == before[name][1], f"the layout of {name}"
        assert torch.equal(value, before[name][0])
    assert network.training
    assert "forward" not in network.depthwise.__dict__
    assert not torch.is_autocast_enabled("cpu")
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)


def run_torch(network: nn.Module) -> list[dict[str, Any]]:
    walk = Walk(lambda image: image.float().permute(0, 3, 1, 2), lambda outputs: None, lambda outputs: outputs)
    images = np.random.default_rng(0).integers(0, 255, (2, 9, 9, 4), np.uint8)
    return one_at_a_time(torch_runners(network), images, walk, "cpu")["engines"]


def test_torch_runs_in_three_arrangements_and_leaves_the_network_as_it_was(watched: Watched) -> None:
    found = run_torch(watched)
    names = ["torch, float32, contiguous", "torch, float32, channels last", "torch, bfloat16, channels last"]
    assert [one["name"] for one in found] == names
    assert found[1]["score_off"] < 1e-3 < found[2]["score_off"]
    single, half = torch.float32, torch.bfloat16
    asked = list(dict.fromkeys(SEEN))
    assert asked == [
        ((False, True), single, single, False, False),
        ((True, False), single, single, False, False),
        ((True, False), half, single, False, False),  # depthwise stays in float32
    ]


def test_what_fails_here_is_told_and_leaves_the_network_as_it_was(watched: Watched) -> None:
    BROKEN.append(1)
    plain, last, half = run_torch(watched)
    assert half == {"name": "torch, bfloat16, channels last", "error": "TypeError: no such thing in bfloat16"}
    assert plain["n"] == last["n"] == speed.MOST_IMAGES


def test_another_engine_stands_beside_torch() -> None:
    network = rig.network().eval()
    walk = Walk(lambda image: image.float().permute(0, 3, 1, 2), lambda outputs: None, lambda outputs: outputs)
    other = runner(lambda x: network(x) + 1, "a file")
    report = one_at_a_time([*torch_runners(network), other], np.zeros((2, 10, 10, 1), np.uint8), walk, "cpu")
    assert report["engines"][-1]["name"] == "a file"
    assert report["engines"][-1]["score_off"] == pytest.approx(1.0)
