"""Compiled steps are chosen by measuring, and go on after an interruption as if there had been none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

import rig
from convlens.data.batch import Batch
from convlens.errors import ConfigError
from convlens.options import TrainConfig
from convlens.training import compiling, hardware, plan
from convlens.training.hardware import Hardware, choose
from convlens.training.interrupt import Interrupted

ASKED = {"device": "cpu", "threads": 1, "layout": "contiguous", "precision": "float32"}
compiles = pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="there is no C++ compiler")


def loss(outputs: Tensor) -> Tensor:
    return outputs.square().mean()


def timed(monkeypatch: pytest.MonkeyPatch, plain: float, compiled: float | ConfigError) -> None:
    def fake(network: nn.Module, loss: object, x: Tensor, candidate: Hardware, give_up: float) -> float:
        assert len(x) == 40, "a whole batch: each size is compiled anew"
        if candidate.compile and isinstance(compiled, ConfigError):
            raise compiled
        return compiled if candidate.compile else plain

    monkeypatch.setattr(hardware, "time_steps", fake)


def chosen(asked: bool | str) -> Hardware:
    return choose(rig.network(), loss, torch.zeros(40, 1, 10, 10), TrainConfig(**ASKED, compile=asked))


def test_it_is_not_tried_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, 0.020, 0.001)
    assert not chosen(False).compile
    assert not TrainConfig().compile


def test_the_faster_is_kept_and_the_figures_are_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, 0.020, 0.010)
    assert chosen("auto").compile
    assert chosen("auto").reason.endswith("compiled 10 ms instead of 20 ms on 40 images")
    assert chosen("auto").words == "contiguous float32 1 thread compiled"
    timed(monkeypatch, 0.020, 0.0195)
    assert not chosen("auto").compile
    assert chosen(True).compile, "what is asked for is done"


def test_where_it_cannot_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, 0.020, ConfigError("torch cannot compile this"))
    assert not chosen("auto").compile
    assert chosen("auto").reason.endswith("not compiled: torch cannot compile this")
    with pytest.raises(ConfigError, match="torch cannot compile this"):
        chosen(True)


def test_what_the_compiler_says_is_told_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(network: nn.Module, **options: object) -> nn.Module:
        class Refusing(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                raise TorchDynamoException("InvalidCxxCompiler: none of clang++ works\nmore lines")

        return Refusing()

    monkeypatch.setattr(torch, "compile", refusing)
    forward = compiling.compiled(rig.network())
    with pytest.raises(
        ConfigError, match=r"here \(InvalidCxxCompiler: none of clang\+\+ works\). Set train.compile=false"
    ):
        forward(torch.zeros(2, 1, 10, 10))


def test_the_trial_has_the_size_of_a_real_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def counting(network: nn.Module) -> compiling.Forward:
        def forward(x: Tensor) -> Tensor:
            sizes.append(len(x))
            return network(x)

        return forward

    monkeypatch.setattr(hardware, "compiled", counting)
    running = rig.engine(tmp_path, epochs=2, batch_size=19, compile=True)
    tried = set(sizes)
    del sizes[:]
    running.fit()
    assert tried == {16}, "78 samples in batches of at most 19 are five, of 15 and 16"
    assert set(sizes) == {15, 16}
    assert len(sizes) == 10


def test_waiting_for_the_compiler_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed_batches: list[tuple[int, int]] = []
    monkeypatch.setattr(hardware, "compiled", lambda network: network)
    config, data = rig.prepared(tmp_path)
    for asked, told in ((False, []), (True, [(0, 16), (16, 16)])):
        del timed_batches[:]
        asking = config.choose("train.compile", asked, "test")
        full, arrangement = plan.make_plan(
            rig.network(), asking, data, from_scratch=True, progress=lambda *done: timed_batches.append(done)
        )
        assert timed_batches == told
        running = plan.make_engine(rig.network(), full, data, arrangement)
        assert ["compiling"] * asked == [event["kind"] for event in running.events]


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"finetune": "gradual"}, "every stage would be compiled anew"), ({"cache_features": True}, "the head alone")],
)
def test_what_makes_it_pointless(tmp_path: Path, options: dict[str, object], reason: str) -> None:
    config, _ = rig.prepared(tmp_path, **options)
    config = config.choose("train.compile", True, "test")
    with pytest.raises(ConfigError, match=f"compile=true is not possible: .*{reason}"):
        plan._settle_compiling(config)
    config = plan._settle_compiling(config.choose("train.compile", "auto", "test"))
    assert config.train.compile is False
    assert reason in config.origins["train.compile"]


@pytest.mark.slow
@compiles
def test_a_compiled_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = rig.engine(tmp_path, compile=True)
    whole.fit()
    assert whole.hardware.compile
    broken = rig.engine(tmp_path, compile=True, callbacks=[rig.StopAt(7)])
    with pytest.raises(Interrupted):
        broken.fit()
    second = rig.engine(tmp_path, compile=True, callbacks=[rig.StopAt(10**9)])
    second.restore(broken.snapshot())
    second.fit()
    assert rig.same_weights(second.network, whole.network)


@pytest.mark.slow
@compiles
def test_compiled_and_plain_steps_learn_the_same(tmp_path: Path) -> None:
    """Without dropout, whose draws differ, a step differs by rounding alone."""
    plain, fast = (rig.engine(tmp_path, rig.network(dropout=0.0), compile=asked) for asked in (False, True))
    batch: Batch = next(iter(plain.train.epoch(0)))
    assert float(fast.learn(batch)) == pytest.approx(float(plain.learn(batch)), rel=1e-5)
    for ours, theirs in zip(fast.network.parameters(), plain.network.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    plain.fit()
    fast.fit()
    assert fast.history.rows[-1]["val_accuracy"] == pytest.approx(plain.history.rows[-1]["val_accuracy"], abs=0.1)
