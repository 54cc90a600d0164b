"""What the tables draw: cells, pairs, strips and orders."""

from __future__ import annotations

import numpy as np
import pytest

from convlens.metrics.classification import classification_report
from convlens.report import views


def report(matrix: list[list[int]]) -> dict:
    """The report of exactly these counts."""
    cells = [(i, j) for i, row in enumerate(matrix) for j, n in enumerate(row) for _ in range(n)]
    targets = np.array([i for i, _ in cells])
    shares = np.eye(len(matrix))[[j for _, j in cells]]
    return classification_report(shares, targets, [f"c{i}" for i in range(len(matrix))])


MATRIX = [[8, 2, 0], [1, 9, 0], [0, 4, 1]]


def test_the_matrix_has_a_ramp_for_right_and_one_for_wrong() -> None:
    drawn = views.matrix(report(MATRIX))
    assert drawn is not None
    assert drawn.worst == 0.8
    cells = {(i, j): cell for i, (_, row) in enumerate(drawn.rows) for j, cell in enumerate(row)}
    assert cells[0, 0].css == "right deep deep-dark"
    assert (cells[2, 1].css, cells[2, 1].depth) == ("wrong deep deep-dark", 100)
    assert (cells[0, 1].css, cells[0, 1].depth) == ("wrong", 25)
    assert cells[0, 2].css == "zero"
    assert cells[2, 1].words.replace("\u00a0", " ") == "4 of 5 c2 (80.0 %) were called c1"


def test_more_classes_than_can_be_printed_give_pairs_only() -> None:
    many = np.eye(views.MATRIX_CLASSES + 1, dtype=int).tolist()
    assert views.matrix(report(many)) is None
    assert views.matrix(report(np.eye(views.MATRIX_CLASSES, dtype=int).tolist())) is not None


def test_pairs_come_largest_first() -> None:
    found = views.pairs(report(MATRIX))
    assert [(p.true, p.predicted, p.count) for p in found] == [("c2", "c1", 4), ("c0", "c1", 2), ("c1", "c0", 1)]
    assert found[0].share == 0.8


def test_weakest_only_where_there_are_many_classes() -> None:
    assert views.weakest(report(MATRIX)) == []
    n = views.LISTED_CLASSES + 1
    matrix = np.eye(n, dtype=int) * 9
    matrix[7, 8] = 30
    rows = views.weakest(report(matrix.tolist()))
    assert len(rows) == views.WEAKEST
    assert rows[0]["name"] == "c7"


def test_events_told_by_the_options_are_not_repeated() -> None:
    found = [{"kind": "choice", "message": "train.rate = 0.1: so"}, {"kind": "resume", "message": "train.rate is kept"}]
    assert views.events(found, [("train.rate", 0.1, "chosen: so")]) == found[1:]
    assert views.events(found, []) == found


def test_short_names_stand_upright() -> None:
    assert views.Matrix([str(i) for i in range(10)], [], 0).upright
    assert views.Matrix(["a long name"] * 4, [], 0).upright
    assert not views.Matrix(["a long name"] * 5, [], 0).upright


@pytest.mark.parametrize(
    ("value", "start", "place"), [(1.0, 0.5, "100%"), (0.5, 0.5, "0%"), (0.2, 0.5, "0%"), (0.95, 0.8, "75%")]
)
def test_strips_begin_at_their_floor(value: float, start: float, place: str) -> None:
    assert views.along(value, start) == place


def test_the_floor_lies_below_every_interval() -> None:
    found = report(MATRIX)
    lows = [row[name]["low"] for row in found["per_class"] for name in ("recall", "precision")]
    assert views.floor(found) <= min(low for low in lows if low is not None)


def test_points_of_the_threshold_in_use() -> None:
    row = {"true_positive": 3, "false_positive": 2, "true_negative": 6, "support": 4}
    row |= {"recall": {"value": 0.75}, "precision": {"value": 0.6}}
    assert views.rate_point(row) == (0.25, 0.75)
    assert views.precision_point(row) == (0.75, 0.6)


def test_gradient_norms_become_one_length() -> None:
    rows = views.gradient_norms([{"epoch": 1, "gradient_norms": {"a": 3.0, "b": 4.0}}, {"epoch": 2}])
    assert [row["gradient_norm"] for row in rows] == [5.0, None]


def test_extremes_show_both_ends() -> None:
    rows = [(f"c{i}", [i]) for i in range(20)]
    (_, most), (_, fewest) = views.extremes(rows)
    assert [name for name, _ in most[:2]] == ["c19", "c18"]
    assert [name for name, _ in fewest[:2]] == ["c0", "c1"]


@pytest.mark.parametrize(
    ("found", "written"),
    [(True, "true"), (0.1, "0.1"), ([1, 2], "1, 2"), ({"a": 1}, "a = 1"), ("x", "x"), (None, "\u2013")],
)
def test_values_are_written_as_in_a_config(found: object, written: str) -> None:
    assert views.value(found) == written
