from __future__ import annotations

import sys

import pytest

from annotated_folder import boxes, kinds, paint, put, splits
from convlens.data.annotated import AnnotatedImage
from convlens.data.annotations import open_annotations, write_yolo
from convlens.data.boxes import Box
from convlens.errors import ConfigError, DataError

CENTRE = "0.5 0.5 0.5 0.4"  # of 20 x 10 pixels
CORNERS = (5, 3, 15, 7)


def test_shares_become_pixels_and_images_without_a_label_are_background(tmp_path):
    paint(tmp_path, "images/a.jpg", "images/b.jpg", "images/c.jpg", "curves.png")
    put(tmp_path, "labels/a.txt", f"1 {CENTRE}\n\n0.0 0.05 0.05 0.1 0.1\n")
    put(tmp_path, "labels/b.txt", "")
    put(tmp_path, "data.yaml", "nc: 2\nnames: [no, 2]\n")
    found = open_annotations(tmp_path)
    assert boxes(found) == {
        "images/a.jpg": [("2", CORNERS), ("no", (0, 0, 2, 1))],
        "images/b.jpg": [],
        "images/c.jpg": [],
    }
    assert found.classes == ("no", "2")
    assert kinds(found)["no-label-file"].endswith("count as background: images/c.jpg.")
    assert kinds(found)["missing-label"].endswith("left out: curves.png.")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("data.yaml", "names:\n  1: dog\n  0: cat\n"),
        ("set.yaml", "path: x\nnames: ['cat', 'dog']\n"),
        ("classes.txt", "cat\ndog\n\n"),
        ("data/obj.names", "cat\ndog\n"),
    ],
)
@pytest.mark.parametrize(
    "layout", ["images/a.jpg labels/a.txt", "a.jpg a.txt", "train/images/a.jpg train/labels/a.txt"]
)
def test_names_and_labels_are_found_in_the_usual_places(tmp_path, file, text, layout):
    image, label = layout.split()
    paint(tmp_path, image)
    put(tmp_path, label, f"1 {CENTRE}\n")
    put(tmp_path, file, text)
    found = open_annotations(tmp_path)
    assert boxes(found) == {image: [("dog", CORNERS)]}
    assert found.classes == ("cat", "dog")
    assert kinds(found).keys() == {"box-format", "empty-class"}


def test_without_names_classes_are_numbers(tmp_path):
    paint(tmp_path, "a.jpg")
    put(tmp_path, "a.txt", f"10 {CENTRE}\n2 {CENTRE}\n")
    found = open_annotations(tmp_path)
    assert found.classes == ("2", "10")
    assert "classes are called by number" in kinds(found)["no-class-names"]


def test_outlines_become_the_boxes_around_them(tmp_path):
    paint(tmp_path, "a.jpg")
    put(tmp_path, "a.txt", f"0 {CENTRE}\n0 0.1 0.2 0.5 0.1 0.3 0.9\n")
    found = open_annotations(tmp_path)
    assert boxes(found)["a.jpg"][1] == ("0", pytest.approx((2, 1, 10, 9)))
    assert kinds(found)["polygon"].startswith("1 outlines")


def test_what_cannot_be_read_is_found_line_by_line(tmp_path):
    paint(tmp_path, "images/a.jpg")
    (tmp_path / "images/bad.jpg").write_bytes(b"no picture")
    lines = [f"0 {CENTRE}", f"2 {CENTRE}", "0 0.5 0.5 0.5", f"-1 {CENTRE}", f"0 {CENTRE} 0.9", f"cat {CENTRE}"]
    lines[3] += "\n0 0.1 0.2 nan 0.1 0.3 0.9"
    put(tmp_path, "labels/a.txt", "\n".join([*lines, "0 0.5 0.5 0 0.1", f"0 {CENTRE}", "0 0.95 0.5 0.3 0.1"]))
    put(tmp_path, "labels/bad.txt", f"0 {CENTRE}\n")
    put(tmp_path, "labels/gone.txt", f"0 {CENTRE}\n")
    put(tmp_path, "classes.txt", "cat\ndog\n")
    found = open_annotations(tmp_path)
    (rows,) = boxes(found).values()
    assert rows == [("cat", CORNERS), ("cat", pytest.approx((16, 4.5, 20, 5.5)))]
    said = kinds(found)
    assert said["bad-annotation"].startswith("5 annotations cannot be read")
    assert "images/a.jpg (labels/a.txt, line 3: '0 0.5 0.5 0.5')" in said["bad-annotation"]
    assert "labels/a.txt, line 2: class 2 of 2" in said["unknown-class"]
    assert "line 8" in said["degenerate-box"]
    assert "line 9" in said["duplicate-box"]
    assert "line 10" in said["clipped-box"]
    assert "images/bad.jpg (labels/bad.txt)" in said["unknown-size"]
    assert said["missing-image"].endswith("left out: labels/gone.txt.")


def test_six_decimals_reach_no_further_than_the_edge(tmp_path):
    paint(tmp_path, "a.jpg", size=(333, 777))
    put(tmp_path, "a.txt", "0 0.333333 0.5 0.666667 1.000001\n")  # a third and two thirds, rounded
    found = open_annotations(tmp_path)
    (box,) = found.records[0].boxes
    assert box.corners == pytest.approx((0, 0, 222, 777), abs=1e-3)
    assert (box.x1, box.y1, box.y2) == (0, 0, 777)
    assert "clipped-box" not in kinds(found)


def test_small_objects_alone_are_no_shares_read_as_pixels(tmp_path):
    paint(tmp_path, "a.jpg")
    put(tmp_path, "a.txt", "0 0.025 0.025 0.05 0.05\n")
    found = open_annotations(tmp_path)
    assert boxes(found) == {"a.jpg": [("0", (0, 0, 1, 0.5))]}
    assert "box-units" not in kinds(found)


def test_a_description_makes_no_objects(tmp_path):
    paint(tmp_path, "a.jpg")
    put(tmp_path, "a.txt", f"0 {CENTRE}")
    put(tmp_path, "data.yaml", f"names: !!python/object/apply:os.mkdir ['{tmp_path}/made']")
    assert open_annotations(tmp_path).classes == (f"{tmp_path}/made",)
    assert not (tmp_path / "made").exists()


def test_splits_are_folders_or_lists_of_the_description(tmp_path):
    paint(tmp_path, *(f"pictures/{name}.jpg" for name in "abc"), "more/d.jpg", "more/e.jpg")
    for folder, names in (("pictures", "abc"), ("more", "de")):
        for name in names:
            put(tmp_path, f"{folder}/{name}.txt", f"0 {CENTRE}")
    put(tmp_path, "lists/learn.txt", "./pictures/a.jpg\n/content/set/pictures/b.jpg\npictures/none.jpg\n")
    description = "path: ../set\ntrain: lists/learn.txt\nval: [../more, /content/pictures/]\ntest: nowhere\nnames: [x]"
    put(tmp_path, "data.yaml", description)
    found = open_annotations(tmp_path)
    assert splits(found) == {
        "more/d.jpg": "valid",
        "more/e.jpg": "valid",
        "pictures/a.jpg": "train",
        "pictures/b.jpg": "train",
        "pictures/c.jpg": "valid",
    }
    said = kinds(found)
    assert said["repeated-split"].startswith("2 images are listed in several splits")
    assert "data.yaml (test: nowhere)" in said["missing-split"]
    assert "lists/learn.txt (pictures/none.jpg)" in said["missing-image"]


def test_a_label_is_not_given_to_the_image_of_another_split(tmp_path):
    paint(tmp_path, "images/val/a.jpg", "images/train/b.jpg")
    put(tmp_path, "labels/train/a.txt", f"0 {CENTRE}")
    put(tmp_path, "labels/train/b.txt", f"0 {CENTRE}")
    found = open_annotations(tmp_path)
    assert boxes(found) == {"images/train/b.jpg": [("0", CORNERS)], "images/val/a.jpg": []}
    assert splits(found) == {"images/train/b.jpg": "train", "images/val/a.jpg": "valid"}
    assert "labels/train/a.txt" in kinds(found)["missing-image"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a, b", "is not YAML that can be read"),
        ("- a\n- b", "expected a map with names"),
        ("names: [a, a]", "expected a name for each class"),
        ("names: {0: a, 2: b}", "expected a name for each class"),
        ("names: [a, [b]]", "expected a name for each class"),
        ("nc: 3\nnames: [a, b]", "nc says 3 classes, but names has 2"),
    ],
)
def test_descriptions_that_cannot_be_understood_are_refused(tmp_path, text, message):
    paint(tmp_path, "a.jpg")
    put(tmp_path, "a.txt", f"0 {CENTRE}")
    put(tmp_path, "data.yaml", text)
    with pytest.raises(DataError, match=message):
        open_annotations(tmp_path, "yolo")


def test_without_pyyaml_the_error_says_what_to_do(tmp_path, monkeypatch):
    paint(tmp_path, "a.jpg")
    put(tmp_path, "a.txt", f"0 {CENTRE}")
    put(tmp_path, "data.yaml", "names: [a]")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ConfigError, match=r"Reading data.yaml needs PyYAML: pip install .convlens\[detect\]"):
        open_annotations(tmp_path)


def test_flags_that_yolo_cannot_say_are_refused(tmp_path):
    paint(tmp_path, "a.jpg")
    record = AnnotatedImage("a.jpg", tmp_path / "a.jpg", None, (Box("x", 1, 1, 4, 4, crowd=True),))
    with pytest.raises(DataError, match=r"a.jpg: a YOLO label cannot say difficult or crowd"):
        write_yolo([record], tmp_path / "out")
