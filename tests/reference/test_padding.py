"""Padding: the lectures' bordered matrices, NumPy's own modes, and the gradient."""

from __future__ import annotations

import numpy as np
import pytest

from convlens.errors import ShapeError
from convlens.reference.padding import MODES, pad, sources, unpad
from lectures import X4

NUMPY = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
AROUND = {
    "zeros": ([0, 0, 0, 0, 0, 0], [0, 5, 2, 3, 4, 0]),
    "reflect": ([7, 6, 7, 8, 5, 8], [2, 5, 2, 3, 4, 3]),
    "replicate": ([5, 5, 2, 3, 4, 4], [5, 5, 2, 3, 4, 4]),
    "circular": ([3, 1, 0, 2, 3, 1], [4, 5, 2, 3, 4, 5]),
}


@pytest.mark.parametrize("mode", MODES)
def test_the_lectures_first_rows(mode: str) -> None:
    assert pad(X4, [(1, 1), (1, 1)], mode)[:2].tolist() == list(AROUND[mode])


def test_two_rings() -> None:
    ringed = pad(X4, [(2, 2), (2, 2)])
    assert ringed.shape == (8, 8)
    assert ringed[2:6, 2:6].tolist() == X4
    assert ringed.sum() == np.sum(X4)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("pads", [[(0, 0), (1, 2)], [(3, 0), (2, 3)], [(1, 1), (0, 0)]])
def test_it_is_numpys_padding(mode: str, pads: list[tuple[int, int]]) -> None:
    assert np.array_equal(pad(X4, pads, mode), np.pad(np.array(X4), pads, mode=NUMPY[mode]))  # type: ignore[call-overload]


@pytest.mark.parametrize("mode", MODES)
def test_unpad_is_the_adjoint(mode: str) -> None:
    random, pads = np.random.default_rng(0), [(2, 1), (0, 3)]
    x = random.standard_normal((2, 4, 5))
    gradient = random.standard_normal((2, 7, 8))
    there, back = (pad(x, pads, mode) * gradient).sum(), (x * unpad(gradient, pads, mode)).sum()
    assert there == pytest.approx(back, abs=1e-12)


def test_a_single_cell_cannot_be_reflected() -> None:
    assert sources(1, 0, 0, "reflect").tolist() == [0]
    assert sources(1, 2, 2, "replicate").tolist() == [0] * 5
    with pytest.raises(ShapeError, match=r"'reflect' can add at most 0 cells on a side of 1; got 1\. Pad less"):
        sources(1, 1, 0, "reflect")
