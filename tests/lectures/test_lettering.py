"""Small letters: every sign of the kernels' names has one, and no two look alike."""

from __future__ import annotations

import numpy as np

from convlens.lectures.lettering import TALL, WIDE, lettered
from convlens.reference import KERNELS


def test_every_name_can_be_written() -> None:
    signs = {sign for name in KERNELS for sign in name} | set("sum 0: grey is 1 -.0123456789")
    for sign in signs - {" "}:
        assert lettered(sign).any(), sign
    shapes = {lettered(sign).tobytes() for sign in signs}
    assert len(shapes) == len(signs)


def test_letters_stand_side_by_side() -> None:
    word = lettered("on", scale=3)
    assert word.shape == (3 * TALL, 3 * WIDE * 2)
    assert np.array_equal(word[:, : 3 * WIDE], lettered("o", scale=3))
    assert np.array_equal(word[::3, ::3], lettered("on"))
    assert not lettered("n")[:, -1].any()


def test_unknown_signs_are_spaces() -> None:
    assert not lettered("Ü").any()
