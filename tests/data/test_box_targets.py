"""Boxes as an array beside the store: fitted as their images are, marked where they do not count, counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlens.config import Config
from convlens.data import beside
from convlens.data.box_targets import (
    box_strata,
    clip,
    fit_boxes,
    learn_boxes,
    read_box_targets,
    true_boxes,
    unfit_boxes,
)
from convlens.data.boxes import Box, boxes_text
from convlens.data.classes import Classes
from convlens.data.input import Wanted, choose_input, make_preprocess
from convlens.data.opening import open_all
from convlens.data.pixels import encode_png
from convlens.data.policy import ImagePolicy
from convlens.data.prepare import prepare
from convlens.data.preprocess import Preprocess
from convlens.data.record import Record, Source
from convlens.data.shapes_set import make_shapes
from convlens.data.sources import open_source
from convlens.data.store import scan
from convlens.data.targets import make_targets
from convlens.errors import ClassMismatch, ConfigError, DataError
from convlens.options import DataConfig


def preprocess(store: tuple[int, int], fit: Any, size: tuple[int, int] | None = None) -> Preprocess:
    return Preprocess(ImagePolicy(channels=1, background=(0, 0, 0)), size or store, store, fit, (0.5,), (0.5,))


def source_of(*boxes: list[Box], side: tuple[int, int] = (40, 60)) -> Source:
    images = np.zeros((len(boxes), *side), np.uint8)
    records = tuple(Record(f"arrays#{i}", i, boxes_text(listed)) for i, listed in enumerate(boxes))
    return Source("arrays", records, images, kind="boxes")


def targets_of(source: Source, prepared: Preprocess, *names: str) -> tuple[np.ndarray, tuple[Any, ...]]:
    facts = scan(source, prepared.policy, threads=1)
    return read_box_targets(source, source.records, facts, prepared, Classes(names))


# geometry -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("size", [(40, 60), (60, 40), (33, 90), (32, 32)])
def test_a_painted_box_is_where_its_box_is(fit: str, size: tuple[int, int]) -> None:
    top, left = size[0] // 2 - 8, size[1] // 2 - 9
    image, box = np.zeros((*size, 1), np.uint8), np.array([[left, top, left + 14, top + 13]])
    image[top : top + 13, left : left + 14] = 255
    prepared = preprocess((48, 48), fit)
    stored = prepared.pixels(prepared.decode(image))[..., 0]
    fitted, share = fit_boxes(box, size, prepared)
    rows, columns = (np.flatnonzero((stored > 127).any(axis)) for axis in (1, 0))
    seen = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert np.abs(fitted[0] - seen).max() <= 1.0
    assert share[0] == 1.0


@given(
    height=st.integers(5, 90),
    width=st.integers(5, 90),
    store=st.tuples(st.integers(8, 64), st.integers(8, 64)),
    fit=st.sampled_from(["crop", "pad", "squash"]),
    corners=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_there_and_back(height: int, width: int, store: tuple[int, int], fit: str, corners: tuple[float, ...]) -> None:
    x1, x2 = sorted((corners[0] * width, corners[1] * width))
    y1, y2 = sorted((corners[2] * height, corners[3] * height))
    box, prepared = np.array([[x1, y1, x2, y2]]), preprocess(store, fit)
    fitted, share = fit_boxes(box, (height, width), prepared)
    assert (fitted >= 0).all()
    assert (fitted <= [store[1], store[0], store[1], store[0]]).all()
    back = unfit_boxes(fitted, (height, width), prepared)
    if fit != "crop":
        np.testing.assert_allclose(back, box, atol=1e-9)
        assert share[0] == pytest.approx(1.0) or share[0] == 0.0 == (x2 - x1) * (y2 - y1)
    assert (np.abs(back - clip(box, (*back[0, :2], *back[0, 2:]))) < 1e-9).all()  # what is left is a part of the box


def test_answers_beyond_the_image_are_cut_off() -> None:
    prepared = preprocess((32, 32), "pad")  # 16 x 32 px lie in rows 8 to 24
    found = unfit_boxes(np.array([[-3.0, 0, 40, 16], [0, 0, 9, 5]]), (16, 32), prepared)
    assert found.tolist() == [[0, 0, 32, 8], [0, 0, 9, 0]]


# reading --------------------------------------------------------------------------------------------------------------


def test_rows_are_classes_and_edges_filled_up() -> None:
    source = source_of([Box("b", 0, 0, 30, 20), Box("a", 6, 4, 12, 10)], [], [Box("b", 1, 2, 3, 40)])
    values, findings = targets_of(source, preprocess((40, 60), "squash"), "a", "b")
    assert values.dtype == np.float32
    assert values.tolist() == [
        [[1, 0, 0, 30, 20], [0, 6, 4, 12, 10]],
        [[-1, 0, 0, 0, 0], [-1, 0, 0, 0, 0]],
        [[1, 1, 2, 3, 40], [-1, 0, 0, 0, 0]],
    ]
    assert [finding.kind for finding in findings] == ["tiny-box"]


def test_boxes_that_do_not_count_are_known_again() -> None:
    listed = [Box("a", 0, 0, 9, 9), Box("b", 0, 0, 9, 8, difficult=True), Box("a", 0, 0, 9, 7, crowd=True)]
    listed.append(Box("c", 0, 0, 9, 6, difficult=True, crowd=True))
    values, _ = targets_of(source_of(listed), preprocess((40, 60), "squash"), "a", "b", "c")
    assert (values[0, 1:, 0] < -1).all()
    found = true_boxes(values[0], 3)
    assert found.labels.tolist() == [0, 1, 0, 2]
    assert found.ignore.tolist() == [False, True, True, True]
    assert found.crowd.tolist() == [False, False, True, True]
    assert learn_boxes(values, 3)["box_counts"] == [1, 0, 0]


def test_what_is_cut_off_is_left_out_with_a_finding() -> None:
    source = source_of([Box("a", 0, 0, 11, 10), Box("a", 30, 0, 40, 10), Box("a", 8, 0, 18, 10)])  # crop keeps 10 to 50
    values, findings = targets_of(source, preprocess((40, 40), "crop"), "a")
    assert values[0, :, 0].tolist() == [0, 0, -1]
    assert values[0, 1].tolist() == [0, 0, 0, 8, 10]
    assert [(finding.kind, finding.records) for finding in findings] == [("cut-box", ("arrays#0",))]
    assert "1 of 3 boxes" in findings[0].message
    assert "data.fit=pad" in findings[0].message


def test_boxes_of_other_classes_are_refused() -> None:
    with pytest.raises(ClassMismatch, match="Unknown: dog"):
        targets_of(source_of([Box("dog", 0, 0, 9, 9)]), preprocess((40, 60), "pad"), "cat")


# what is learned from them --------------------------------------------------------------------------------------------


def test_what_the_card_keeps() -> None:
    values = np.array([[[1, 0, 0, 4, 2], [1, 0, 0, 8, 4]], [[0, 0, 0, 1, 1], [-1, 0, 0, 0, 0]]], np.float32)
    assert learn_boxes(values, 2) == {
        "box_counts": [1, 2],
        "box_images": 2,
        "mean_count": 1.5,
        "centre_box": {"label": 1, "width_px": 6.0, "height_px": 3.0},
    }
    assert learn_boxes(values[:0], 2)["centre_box"] is None


def test_strata_are_the_rarest_class_of_each_image() -> None:
    values = np.full((5, 2, 5), -1.0, np.float32)
    values[0, :, 0], values[1, 0, 0], values[2, 0, 0], values[3, 0, 0] = (0, 2), 0, 0, 2
    assert box_strata(values, 3).tolist() == [2, 0, 0, 2, 3]


def test_the_split_keeps_a_rare_class_on_every_side(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    boxes = [[("often", 0, 0, 9, 9)] + [("seldom", 9, 9, 16, 16)] * (i % 10 == 0) for i in range(60)]
    images = rng.integers(0, 256, (60, 16, 16), dtype=np.uint8)
    config = Config.build({"task": "detect", "run.directory": str(tmp_path), "data.test_fraction": 0.2})
    source = open_all(config, (images, boxes))
    config = choose_input(config, source, Wanted())
    prepared = prepare(config, source, make_preprocess(config, Wanted()))
    assert prepared.classes.names == ("often", "seldom")
    for rows in (prepared.split.train, prepared.split.valid, prepared.split.test):
        assert (prepared.targets[rows][..., 0] == 1).any()
    assert prepared.learned["overlap"] == 0.5
    assert sum(prepared.learned["box_counts"]) == (prepared.targets[prepared.split.train][..., 0] >= 0).sum()
    assert sum(prepared.counts("test").values()) == len(prepared.split.test)


# sources --------------------------------------------------------------------------------------------------------------


def test_boxes_in_memory_become_a_source() -> None:
    images, data = np.zeros((2, 8, 9), np.uint8), DataConfig()
    source = open_source((images, [[("a", 0, 1, 9, 8)], [Box("b", 0, 0, 1, 1)]]), data, kind="boxes")
    assert [record.label for record in source.records] == ['[["a",0,1,9,8]]', '[["b",0,0,1,1]]']
    assert open_source(source, data, kind="boxes") is source


def test_the_built_in_shapes_are_for_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert beside.DRAWN["shapes"] is make_shapes
    monkeypatch.setitem(beside.DRAWN, "shapes", lambda: make_shapes(4, 32))
    source = open_source("shapes", DataConfig(), kind="boxes")
    assert [record.label for record in source.records] == [boxes_text(boxes) for boxes in make_shapes(4, 32)[1]]
    assert source.kind == "boxes"
    with pytest.raises(DataError, match="shapes is for --task detect"):
        open_source("shapes", DataConfig())


def test_a_folder_of_annotations_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(np.zeros((8, 8, 1), np.uint8)))
    (tmp_path / "boxes.csv").write_text("filename,class,xmin,ymin,xmax,ymax\na.png,cat,1,2,5,6\n")
    source = open_source(tmp_path, DataConfig(format="csv"), kind="boxes")
    assert [(record.id, record.label) for record in source.records] == [("a.png", '[["cat",1,2,5,6]]')]
    assert source.root == tmp_path


@pytest.mark.parametrize(
    ("spec", "data", "error", "message"),
    [
        ("shapes", {"format": "voc"}, ConfigError, "data.format=voc is for files"),
        ("shapes", {"label_column": "x"}, ConfigError, "data.label_column: a table of boxes has columns of its own"),
        ((np.zeros((1, 8, 8), np.uint8), []), {}, DataError, "a list of boxes for each of 1 images; got 0"),
        ((np.zeros((1, 8, 8), np.uint8), [[("a", 0, 0, 9, 8)]]), {}, DataError, "leaves its image of 8 x 8"),
        ((np.zeros((8, 8), np.uint8), [[]]), {}, DataError, r"\(N, H, W\)"),
        (Source("s", ()), {}, DataError, "Source s has no boxes"),
        (source_of([]), {"format": "coco"}, ConfigError, "these boxes are in memory"),
    ],
)
def test_errors(spec: Any, data: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        open_source(spec, DataConfig(**data), kind="boxes")


def test_targets_of_a_source_without_boxes_are_rows_that_fill_up() -> None:
    source, prepared = source_of([], []), preprocess((40, 60), "pad")
    facts = scan(source, prepared.policy, threads=1)
    found = make_targets(source, source.records, facts, DataConfig(), prepared, Classes(("a",)))
    assert found.values.shape == (2, 1, 5)
    assert (found.values[..., 0] == -1).all()
    assert found.strata.tolist() == [1, 1]
