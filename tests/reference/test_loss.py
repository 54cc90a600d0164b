"""Losses and penalties: parity with torch, the lectures' penalty, scores far from zero."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from convlens.errors import DataError, ShapeError
from convlens.reference import (
    absolute_error,
    binary_cross_entropy,
    cross_entropy,
    l1_penalty,
    l2_penalty,
    squared_error,
)
from parity import assert_parity, assert_traced

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.standard_normal((5, 4)) * 3
TARGET = np.array([0, 3, 1, 1, 2])


def test_cross_entropy_with_indices() -> None:
    target = torch.tensor(TARGET)
    assert_parity(lambda x: cross_entropy(x, TARGET), lambda x: F.cross_entropy(x, target), {"logits": LOGITS})


def test_cross_entropy_with_probabilities() -> None:
    share = RANDOM.dirichlet(np.ones(4), 5)
    soft = torch.tensor(share)
    assert_parity(lambda x: cross_entropy(x, share), lambda x: F.cross_entropy(x, soft), {"logits": LOGITS})


def test_cross_entropy_of_one_sample() -> None:
    one = cross_entropy(LOGITS[0], 2)
    assert one.value == pytest.approx(F.cross_entropy(torch.tensor(LOGITS[0]), torch.tensor(2)).item(), abs=1e-12)
    assert_traced(one)


def test_its_gradient_is_what_was_said_minus_what_was_meant() -> None:
    softmax = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    expected = (softmax - np.eye(4)[TARGET]) / 5
    np.testing.assert_allclose(cross_entropy(LOGITS, TARGET).backward()["logits"], expected, atol=1e-15)


def test_the_others() -> None:
    other, binary = RANDOM.standard_normal((5, 4)), RANDOM.integers(0, 2, (5, 4)).astype(float)
    o, b = torch.tensor(other), torch.tensor(binary)
    assert_parity(lambda x: squared_error(x, other), lambda x: F.mse_loss(x, o), {"prediction": LOGITS})
    assert_parity(lambda x: absolute_error(x, other), lambda x: F.l1_loss(x, o), {"prediction": LOGITS})
    assert_parity(
        lambda x: binary_cross_entropy(x, binary),
        lambda x: F.binary_cross_entropy_with_logits(x, b),
        {"logits": LOGITS},
    )
    assert_parity(lambda w: l1_penalty(w, 0.3), lambda w: 0.3 * w.abs().sum(), {"weight": LOGITS})
    assert_parity(lambda w: l2_penalty(w, 0.3), lambda w: 0.3 * (w * w).sum(), {"weight": LOGITS})


def test_the_lectures_penalty() -> None:
    penalty = l2_penalty([1.0, -2.0, 3.0], 0.01)
    assert penalty.value == pytest.approx(0.14)
    assert penalty.backward()["weight"] == pytest.approx([0.02, -0.04, 0.06])


def test_nothing_overflows_far_from_zero() -> None:
    with np.errstate(all="raise", under="ignore"):
        assert cross_entropy([[1000.0, -1000.0]], [1]).value == 2000
        assert binary_cross_entropy([1000.0, -1000.0], [0, 1]).value == 1000


def test_errors() -> None:
    with pytest.raises(DataError, match=r"whole numbers from 0 to 3; got \[0, 4, 1, 1, 2\]"):
        cross_entropy(LOGITS, [0, 4, 1, 1, 2])
    with pytest.raises(ShapeError, match=r"got logits \(5, 4\) and targets \(4,\)"):
        cross_entropy(LOGITS, [0, 1, 2, 3])
    with pytest.raises(ShapeError, match=r"must have the same shape; got \(3,\) and \(1,\)\. They are never stretched"):
        squared_error([1, 2, 3], [1])
    with pytest.raises(ShapeError, match=r"must have the shape of the value, \(\); got \(2,\)"):
        squared_error([1, 2], [1, 1]).backward([1, 1])
