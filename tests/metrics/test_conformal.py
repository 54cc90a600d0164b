"""Error bars of single predictions: by hand, what they need, and how often they hold."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from convlens.errors import DataError, ShapeError
from convlens.metrics.conformal import ErrorBar, conformal_rank, fit_error_bar


def test_an_error_bar_by_hand() -> None:
    # 9 residuals at level 0.8: the 8th smallest
    residuals = np.array([5, -1, 9, 2, -3, 4, 8, -7, 6], dtype=float)
    bar = fit_error_bar(np.full(9, 10.0), 10.0 + residuals, level=0.8)
    assert (bar.half_width, bar.level, bar.n) == (8.0, 0.8, 9)
    assert ErrorBar.from_json(json.loads(json.dumps(bar.to_json()))) == bar


def test_a_promise_needs_enough_samples() -> None:
    assert [conformal_rank(n, 0.9) for n in (9, 10, 19, 99)] == [9, 10, 18, 90]
    with pytest.raises(DataError, match=r"for 0\.9 of new samples takes at least 9 validation samples; got 8"):
        conformal_rank(8, 0.9)
    with pytest.raises(DataError, match="at least 19 validation samples; got 0"):
        fit_error_bar(np.zeros(0), np.zeros(0), level=0.95)
    with pytest.raises(ShapeError, match=r"one target, \(N,\); got \(9, 1\)"):
        fit_error_bar(np.zeros((9, 1)), np.zeros((9, 1)))


@pytest.mark.parametrize(("n", "level"), [(19, 0.9), (30, 0.8), (9, 0.9)])
def test_error_bars_hold_on_average_and_no_more_than_needed(n: int, level: float) -> None:
    generator = np.random.default_rng(n)
    inside = 0.0
    for _ in range(1500):
        bar = fit_error_bar(np.zeros(n), generator.standard_t(3, size=n), level)
        inside += 1 - 2 * stats.t.sf(bar.half_width, 3)
    exact = conformal_rank(n, level) / (n + 1)
    assert exact >= level
    assert inside / 1500 == pytest.approx(exact, abs=0.01)
