from __future__ import annotations

import itertools
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotated_folder import boxes, kinds, paint, put, splits, voc
from convlens.data.annotated import AnnotatedImage, AnnotatedSet
from convlens.data.annotations import FORMATS, open_annotations
from convlens.data.boxes import Box, boxes_text
from convlens.errors import ConfigError, DataError

TABLE = "image,xmin,ymin,xmax,ymax,class\n"
COCO = '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [], "categories": []}'

# Round trips ----------------------------------------------------------------------------------------------------------

SIZES = [(20, 10), (33, 47), (1, 640)]
NAMES = ["cat", 'Süß, "wild"', "no", "<a & b>", "7", "猫's"]


@st.composite
def some_boxes(draw: st.DrawFn, size: tuple[int, int], flags: bool) -> tuple[Box, ...]:
    found = []
    for _ in range(draw(st.integers(0, 3))):
        edges = []
        for side in size:
            low = draw(st.integers(0, side - 1) | st.floats(0, side - 0.5))
            edges.append((low, draw(st.integers(math.floor(low) + 1, side) | st.floats(low + 0.25, side))))
        (x1, x2), (y1, y2) = edges
        said = draw(st.tuples(st.booleans(), st.booleans())) if flags else ()
        box = Box(draw(st.sampled_from(NAMES)), x1, y1, x2, y2, *said)
        pixel = (box.x1 + 1, box.y1 + 1) == (box.x2, box.y2)  # VOC refuses it
        if not pixel and not any(known.name == box.name and near(known, box) for known in found):
            found.append(box)
    return tuple(found)


def near(one: Box, other: Box) -> bool:
    return max(abs(a - b) for a, b in zip(one.corners, other.corners, strict=True)) < 1e-6


@st.composite
def some_records(draw: st.DrawFn, flags: bool) -> list[AnnotatedImage]:
    with_splits = draw(st.booleans())
    records = []
    for name in draw(st.lists(st.sampled_from(["1", "1.b", "two words", "ü"]), min_size=1, unique=True)):
        size = draw(st.sampled_from(SIZES))
        found = draw(some_boxes(size, flags))
        split = draw(st.sampled_from(["train", "valid", "test"])) if with_splits else None
        records.append(AnnotatedImage(f"{name}.png", Path(f"{name}.png"), size, found, split))
    return records


def same(found: AnnotatedSet, records: list[AnnotatedImage]) -> None:
    by_name = {record.path.name: record for record in found.records}
    assert by_name.keys() == {record.id for record in records}
    for record in records:
        other = by_name[record.id]
        assert (other.size, other.split, len(other.boxes)) == (record.size, record.split, len(record.boxes))
        for one, two in zip(record.boxes, other.boxes, strict=True):
            assert (one.name, one.difficult, one.crowd) == (two.name, two.difficult, two.crowd)
            assert near(one, two)


@pytest.mark.parametrize(("first", "second"), list(itertools.product(FORMATS, FORMATS)))
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_nothing_is_lost_from_any_format_to_any_other(first, second, data):
    records = data.draw(some_records(flags="yolo" not in (first, second)))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for record in records:
            paint(root, record.id, size=record.size or (0, 0))
        FORMATS[first].write([replace(r, path=root / r.id) for r in records], root / "1")
        once = open_annotations(root / "1", first)
        same(once, records)
        FORMATS[second].write(once.records, root / "2")
        twice = open_annotations(root / "2", second)
        same(twice, records)
        harmless = {"box-format", "box-units", "first-pixel", "columns", "empty-class", "no-class-names", "not-read"}
        assert {finding.kind for finding in twice.findings} <= harmless


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_writer_made_is_found_by_looking(tmp_path, name):
    paint(tmp_path, "x/1.png", "y/1.png", "y/2.png")
    box = Box("cat", 1, 1, 9, 9)
    records = [AnnotatedImage(i, tmp_path / i, None, (box,)) for i in ("x/1.png", "y/1.png", "y/2.png")]
    FORMATS[name].write(records, tmp_path / "out")
    found = open_annotations(tmp_path / "out")
    assert {r.path.name: r.boxes for r in found.records} == dict.fromkeys(("x_1.png", "y_1.png", "2.png"), (box,))
    assert kinds(found)["box-format"].startswith(f"Boxes are read as {name}: there are ")
    assert kinds(found).keys() <= {"box-format", "first-pixel", "columns"}


@pytest.mark.parametrize("name", ["coco", "yolo"])
def test_classes_are_written_in_the_order_asked_for(tmp_path, name):
    paint(tmp_path, "a.png")
    records = [AnnotatedImage("a.png", tmp_path / "a.png", None, tuple(Box(n, 1, 1, 9, 9) for n in ("b", "a", "c")))]
    FORMATS[name].write(records, tmp_path / "out", classes=("unseen", "c"))
    assert open_annotations(tmp_path / "out").classes == ("unseen", "c", "a", "b")


@pytest.mark.parametrize("name", FORMATS)
def test_what_would_not_be_read_back_is_not_written(tmp_path, name):
    paint(tmp_path, "a.png", "b.png", "full/c.png")
    fine = AnnotatedImage("a.png", tmp_path / "a.png", (20, 10), (Box("cat", 1, 1, 9, 9),))
    refused = {
        "leaves its image of 20 x 10 pixels": [replace(fine, boxes=(Box("cat", 1, 1, 9, 10.5),))],
        "would not be read back": [replace(fine, boxes=(Box(" cat", 1, 1, 9, 9),))],
        "one of the splits": [replace(fine, split="train"), replace(fine, id="b.png", path=tmp_path / "b.png")],
        "Expected one image or more": [],
    }
    for message, records in refused.items():
        with pytest.raises(DataError, match=message):
            FORMATS[name].write(records, tmp_path / "out")
    with pytest.raises(DataError, match="is not empty"):
        FORMATS[name].write([fine], tmp_path / "full")
    assert not (tmp_path / "out").exists()


# Finding the format ---------------------------------------------------------------------------------------------------


def test_several_formats_are_named_and_one_is_asked_for(tmp_path):
    paint(tmp_path, "a.jpg")
    put(tmp_path, "a.xml", voc(("cat", 2, 2, 5, 5)))
    table = put(tmp_path, "boxes.csv", f"{TABLE}a.jpg,0,0,1,1,dog\n")
    with pytest.raises(
        DataError, match=r"voc \(1 XML files such as a.xml\); csv \(1 tables .* Say which to read: voc, csv"
    ):
        open_annotations(tmp_path)
    assert open_annotations(tmp_path, "voc").classes == ("cat",)
    assert open_annotations(tmp_path, "csv").classes == ("dog",)
    assert open_annotations(table).classes == ("dog",)


@pytest.mark.parametrize(
    ("name", "text", "format"),
    [
        ("boxes.json", COCO, "coco"),
        ("boxes.csv", f"{TABLE}a.jpg,0,0,1,1,x", "csv"),
        ("data.yaml", "names: [x]", "yolo"),
    ],
)
def test_a_file_that_is_named_is_read_with_its_folder(tmp_path, name, text, format):
    paint(tmp_path, "a.jpg")
    put(tmp_path, "a.txt", "0 0.5 0.5 1 1")
    put(tmp_path, "a.xml", voc(("cat", 2, 2, 5, 5)))
    found = open_annotations(put(tmp_path, name, text))
    assert kinds(found)["box-format"].startswith(f"Boxes are read as {format}")
    assert list(boxes(found)) == ["a.jpg"]


def test_nothing_to_read_is_an_error_that_says_what_there_could_be(tmp_path):
    paint(tmp_path, "a.jpg")
    put(tmp_path, "notes.txt", "1 2 3 4 5")
    put(tmp_path, "other.json", "{}")
    put(tmp_path, "other.xml", "<project/>")
    put(tmp_path, "other.csv", "image,label\na.jpg,1\n")
    with pytest.raises(DataError, match=r"holds no boxes that can be read. Expected VOC .* COCO .* YOLO .* table"):
        open_annotations(tmp_path)
    with pytest.raises(DataError, match="There is no file or folder"):
        open_annotations(tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"no format of boxes 'vco'. Did you mean 'voc'\?"):
        open_annotations(tmp_path, "vco")
    with pytest.raises(DataError, match=r"holds no image with annotations. .*a.jpg"):
        open_annotations(tmp_path, "voc")


# What all formats share -----------------------------------------------------------------------------------------------


def test_the_size_of_the_file_counts_and_another_one_is_said(tmp_path):
    paint(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    for name, width, height in (("a", 10, 20), ("b", 20, 10), ("c", 0, 0)):
        size = f"<size><width>{width}</width><height>{height}</height></size>"
        put(tmp_path, f"{name}.xml", voc(("cat", 2, 2, 5, 5), size=size))
    found = open_annotations(tmp_path)
    assert {record.size for record in found.records} == {(20, 10)}
    message = kinds(found)["size-differs"]
    assert message.startswith("1 images")
    assert "a.jpg (10 x 20 stated, 20 x 10 found)" in message


def test_boxes_are_clipped_at_the_edge_where_a_size_is_known(tmp_path):
    paint(tmp_path, "a.jpg")
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    rows = [f"{name},{corners},cat\n" for name in ("a.jpg", "b.jpg") for corners in ("-3,2,30,10.01", "25,1,30,2")]
    put(tmp_path, "boxes.csv", TABLE + "".join(rows))
    found = open_annotations(tmp_path)
    assert boxes(found) == {
        "a.jpg": [("cat", (0, 2, 20, 10))],
        "b.jpg": [("cat", (-3, 2, 30, 10.01)), ("cat", (25, 1, 30, 2))],
    }
    said = kinds(found)
    assert said["clipped-box"].startswith("1 boxes reached beyond")
    assert said["box-outside"].startswith("1 boxes lie outside")


def test_a_hundredth_of_a_pixel_is_rounding_and_a_tenth_is_not(tmp_path):
    paint(tmp_path, "a.jpg")
    put(tmp_path, "boxes.csv", f"{TABLE}a.jpg,-0.01,0,5,5,cat\na.jpg,0,0,5,10.1,cat\n")
    found = open_annotations(tmp_path)
    assert boxes(found)["a.jpg"] == [("cat", (0, 0, 5, 5)), ("cat", (0, 0, 5, 10))]
    assert kinds(found)["clipped-box"].startswith("1 boxes")


def test_shares_that_were_taken_for_pixels_are_pointed_out(tmp_path):
    paint(tmp_path, "a.jpg")
    put(tmp_path, "boxes.csv", f"{TABLE}a.jpg,0.1,0.1,0.5,1,cat\n")
    assert "are these shares of the image?" in kinds(open_annotations(tmp_path))["box-units"]


def test_folders_are_splits_only_where_all_images_lie_in_one(tmp_path):
    paint(tmp_path, "train/a.jpg", "val/b.jpg")
    put(tmp_path, "boxes.csv", f"{TABLE}train/a.jpg,,,,,\nval/b.jpg,,,,,\n")
    assert splits(open_annotations(tmp_path)) == {"train/a.jpg": "train", "val/b.jpg": "valid"}
    paint(tmp_path, "else/c.jpg")
    put(tmp_path, "boxes.csv", f"{TABLE}train/a.jpg,,,,,\nval/b.jpg,,,,,\nelse/c.jpg,,,,,\n")
    found = open_annotations(tmp_path)
    assert set(splits(found).values()) == {None}
    assert "1 images lie in none" in kinds(found)["split-name"]


def test_classes_that_look_alike_and_hidden_files_are_said(tmp_path):
    paint(tmp_path, "a.jpg", ".trash/b.jpg")
    put(tmp_path, "boxes.csv", f"{TABLE}a.jpg,1,1,5,5,cat\na.jpg,2,1,5,5,Cat\n")
    found = open_annotations(tmp_path)
    assert {"similar-classes", "hidden"} <= kinds(found).keys()
    assert [finding.records for finding in found.findings if finding.kind == "hidden"] == [(".trash",)]


def test_a_set_becomes_a_source_with_boxes_as_labels(tmp_path):
    paint(tmp_path, "train/a.jpg", "test/b.jpg")
    put(tmp_path, "boxes.csv", f"{TABLE}a.jpg,1,1,5,5,cat\nb.jpg,,,,,\n")
    found = open_annotations(tmp_path)
    source = found.to_source(tmp_path)
    assert [(r.id, r.label, r.split) for r in source.records] == [
        ("test/b.jpg", "[]", "test"),
        ("train/a.jpg", boxes_text([Box("cat", 1, 1, 5, 5)]), "train"),
    ]
    assert source.image(source.records[0]) == tmp_path / "test/b.jpg"
    assert (source.kind, source.classes, source.root) == ("boxes", ("cat",), tmp_path)
    assert source.findings == found.findings
