"""The figures of an epoch are those of its samples, however they were batched."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.tasks import classify
from convlens.tasks.classify import Classify


def measured(logits: torch.Tensor, targets: torch.Tensor, size: int) -> dict[str, float]:
    meter = Classify(tuple(map(str, range(logits.shape[1])))).meter()
    for start in range(0, len(logits), size):
        meter.update(logits[start : start + size], targets[start : start + size])
    return meter.compute()


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 60), k=st.integers(2, 5), size=st.integers(1, 60), seed=st.integers(0, 999))
def test_figures_do_not_depend_on_the_batch_size(n: int, k: int, size: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, k, generator=generator)
    targets = torch.randint(0, k, (n,), generator=generator)
    whole, parts = measured(logits, targets, n), measured(logits, targets, size)
    assert parts["accuracy"] == whole["accuracy"] == int((logits.argmax(1) == targets).sum()) / n
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-5)


def test_uniform_logits_lose_the_logarithm_of_the_number_of_classes() -> None:
    found = measured(torch.zeros(8, 4), torch.arange(8) % 4, 3)
    assert found["loss"] == pytest.approx(math.log(4))
    assert found["accuracy"] == 0.25


def test_the_reported_loss_has_no_smoothing_but_the_trained_one_has() -> None:
    logits, targets = torch.tensor([[4.0, 0.0]]), torch.tensor([0])
    task = Classify(("a", "b"), label_smoothing=0.2)
    plain = math.log(1 + math.exp(-4))
    assert task.loss(logits, targets).item() == pytest.approx(plain + 0.1 * 4, rel=1e-5)
    assert measured(logits, targets, 1)["loss"] == pytest.approx(plain, rel=1e-5)


def test_class_weights_weigh() -> None:
    logits, targets = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])
    right, wrong = math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))
    weighted = Classify(("a", "b"), class_weights=torch.tensor([1.0, 3.0])).loss(logits, targets).item()
    assert weighted == pytest.approx((right + 3 * wrong) / 4)


def test_soft_targets_count_by_their_largest_share() -> None:
    meter = Classify(("a", "b")).meter()
    meter.update(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.7, 0.3], [0.1, 0.9]]))
    assert meter.compute()["accuracy"] == 0.5


def test_sums_continue_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classify, "FLUSH_SAMPLES", 4)
    logits, targets = torch.randn(30, 3, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3
    whole = Classify(("a", "b", "c")).meter()
    first, second = Classify(("a", "b", "c")).meter(), Classify(("a", "b", "c")).meter()
    for start in range(0, 30, 3):
        batch = logits[start : start + 3], targets[start : start + 3]
        whole.update(*batch)
        if start == 12:
            second.restore(first.state())
        (first if start < 12 else second).update(*batch)
    assert second.compute() == whole.compute()
