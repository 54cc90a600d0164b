"""The arrangement is chosen by measuring, changes nothing in the network, and what is asked is not measured."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import rig
from convlens.errors import ConfigError
from convlens.options import TrainConfig
from convlens.training import hardware
from convlens.training.hardware import Hardware, choose, keep_depthwise_float32, pick_device


def loss(outputs: Tensor) -> Tensor:
    return outputs.square().mean()


def timed(monkeypatch: pytest.MonkeyPatch, milliseconds: dict[tuple[str, str], float]) -> list[tuple[str, str]]:
    asked = []

    def fake(network: nn.Module, loss: object, x: Tensor, candidate: Hardware, give_up: float) -> float:
        asked.append((candidate.layout, candidate.precision))
        return milliseconds[asked[-1]] / 1000

    monkeypatch.setattr(hardware, "time_steps", fake)
    return asked


def test_the_fastest_wins_and_the_figures_are_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {
        ("channels_last", "float32"): 20.0,
        ("contiguous", "float32"): 19.0,
        ("channels_last", "bfloat16"): 9.0,
        ("contiguous", "bfloat16"): 10.0,
    }
    asked = timed(monkeypatch, figures)
    found = choose(rig.network(), loss, torch.zeros(4, 1, 10, 10), TrainConfig(device="cpu", threads=1))
    assert (found.layout, found.precision) == ("channels_last", "bfloat16")
    assert asked == list(figures), "the better layout in float32 is not the better one in bfloat16"
    assert "channels last bfloat16 1 thread 9 ms" in found.reason
    assert "4 images" in found.reason


def test_a_lower_precision_must_be_clearly_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    timed(
        monkeypatch,
        {
            ("channels_last", "float32"): 20.0,
            ("contiguous", "float32"): 30.0,
            ("channels_last", "bfloat16"): 18.0,
            ("contiguous", "bfloat16"): 17.0,
        },
    )
    found = choose(rig.network(), loss, torch.zeros(4, 1, 10, 10), TrainConfig(device="cpu", threads=1))
    assert found.precision == "float32"


def test_one_thread_wins_on_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(network: nn.Module, loss: object, x: Tensor, candidate: Hardware, give_up: float) -> float:
        return 0.010 if candidate.threads == 1 else 0.100

    monkeypatch.setattr(hardware, "time_steps", fake)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    found = choose(rig.network(), loss, torch.zeros(4, 1, 10, 10), TrainConfig(device="cpu"))
    assert found.threads == 1


def test_what_is_asked_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = timed(monkeypatch, {})
    settings = TrainConfig(device="cpu", threads=1, layout="channels_last", precision="float32")
    assert choose(rig.network(), loss, torch.zeros(4, 1, 10, 10), settings).layout == "channels_last"
    assert asked == []


def test_measuring_changes_nothing() -> None:
    network = rig.network()
    before = {name: t.clone() for name, t in network.state_dict().items()}
    x, state = torch.rand(4, 1, 10, 10), torch.get_rng_state()
    choose(network, loss, x, TrainConfig(device="cpu", threads=1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_a_hopeless_candidate_is_given_up_early(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Counting(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(1)
            return super().forward(x)

    hardware.time_steps(Counting(4, 2), loss, torch.zeros(2, 4)[:, :, None, None].squeeze(), Hardware(), give_up=0.0)
    assert len(calls) == 2


def test_depthwise_stays_in_float32_inside_bfloat16() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 1))
    half = Hardware(precision="bfloat16")
    seen = []
    for layer in network:
        layer.register_forward_hook(lambda module, _, out: seen.append(out.dtype))
    with keep_depthwise_float32(network, half), half.autocast():
        network(torch.zeros(1, 4, 5, 5))
    assert seen == [torch.float32, torch.bfloat16]
    seen.clear()
    with half.autocast():
        network(torch.zeros(1, 4, 5, 5))
    assert seen == [torch.bfloat16, torch.bfloat16], "nothing is left behind"


def test_a_device_that_is_not_there() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    for name in ("warp", "cuda:77"):
        with pytest.raises(ConfigError, match=f"'{name}' cannot be used here"):
            pick_device(name)
