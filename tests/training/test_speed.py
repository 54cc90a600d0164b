"""Images a second, one at a time."""

from __future__ import annotations

import time

import numpy as np
import pytest

from convlens.training import speed
from convlens.training.speed import one_at_a_time


def test_the_median_of_single_images_counts() -> None:
    asked: list[list[int]] = []

    def answer(images: np.ndarray, rows: np.ndarray) -> None:
        asked.append(rows.tolist())
        time.sleep(0.05 if len(asked) in (1, 5) else 0.004)  # the first warms up, the fifth is disturbed

    found = one_at_a_time(answer, np.zeros((3, 2, 2, 1), np.uint8), "cpu")
    assert 60 < found["images_per_s"] <= 250
    assert found["n"] == speed.MOST_IMAGES
    assert asked[:4] == [[0], [1], [2], [0]]
    assert len(asked) == speed.MOST_IMAGES + speed.UNCOUNTED
    assert "thread" in found["where"]


def test_a_slow_network_is_not_asked_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "MOST_SECONDS", 0.02)
    found = one_at_a_time(lambda images, rows: time.sleep(0.015), np.zeros((1, 2, 2, 1), np.uint8), "cuda:0")
    assert found["n"] == 1
    assert found["where"] == "cuda:0"
