from __future__ import annotations

import pytest

from annotated_folder import boxes, kinds, paint, put, splits, voc
from convlens.data.annotated import AnnotatedImage
from convlens.data.annotations import open_annotations, write_voc
from convlens.data.annotations_voc import parse_xml
from convlens.data.boxes import Box
from convlens.errors import DataError

BILLION = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;">]>'
    "<annotation><filename>&b;</filename></annotation>"
)
OUTSIDE = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotation><filename>&e;</filename></annotation>'


def test_edges_count_from_one_and_the_last_pixel_is_inside(tmp_path):
    paint(tmp_path, "JPEGImages/1.jpg", "JPEGImages/2.jpg")
    put(tmp_path, "Annotations/1.xml", voc(("cat", 1, 1, 20, 10), ("dog", 3, 4, 5, 6)))
    put(tmp_path, "Annotations/2.xml", voc())
    found = open_annotations(tmp_path)
    assert boxes(found) == {
        "JPEGImages/1.jpg": [("cat", (0, 0, 20, 10)), ("dog", (2, 3, 5, 6))],
        "JPEGImages/2.jpg": [],
    }
    assert found.classes == ("cat", "dog")
    assert found.records[0].path == tmp_path / "JPEGImages/1.jpg"
    assert found.records[0].size == (20, 10)
    assert kinds(found)["first-pixel"].startswith("Pixels are counted from 1 (0 edges at 0, 2 at 1)")


def test_edges_that_count_from_zero_stay_as_they_are(tmp_path):
    paint(tmp_path, "images/1.jpg")
    put(tmp_path, "annotations/1.xml", voc(("cat", 0, 0, 20, 10), ("cat", 1, 2, 5.5, 6)))
    found = open_annotations(tmp_path)
    assert boxes(found)["images/1.jpg"] == [("cat", (0, 0, 20, 10)), ("cat", (1, 2, 5.5, 6))]
    assert kinds(found)["first-pixel"].startswith("Pixels are counted from 0 (2 edges at 0, 1 at 1)")


def test_one_slip_to_zero_does_not_move_a_set_that_counts_from_one(tmp_path):
    paint(tmp_path, "1.jpg")
    put(tmp_path, "1.xml", voc(("cat", 1, 1, 8, 8), ("cat", 0, 5, 9, 9)))
    found = open_annotations(tmp_path)
    assert boxes(found)["1.jpg"] == [("cat", (0, 0, 8, 8)), ("cat", (0, 4, 9, 9))]
    assert "1.jpg (1.xml, object 2: -1, 4, 9, 9)" in kinds(found)["clipped-box"]


def test_flags_sizes_and_fractions_are_read(tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"no picture")
    size = "<size><width>9</width><height>7</height></size>"
    flags = "<difficult>1</difficult><crowd>1</crowd>"
    put(tmp_path, "1.xml", voc((" cat ", 1.5, 1.25, 9, 7), flags=flags, size=size))
    (record,) = open_annotations(tmp_path).records
    assert record.size == (9, 7)
    assert record.boxes == (Box("cat", 0.5, 0.25, 9, 7, difficult=True, crowd=True),)


def test_only_objects_of_the_picture_count_not_their_parts(tmp_path):
    paint(tmp_path, "1.jpg")
    part = "<part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part>"
    put(tmp_path, "1.xml", voc(("person", 2, 2, 9, 9), flags=part))
    assert boxes(open_annotations(tmp_path))["1.jpg"] == [("person", (1, 1, 9, 9))]


def test_pairs_are_made_by_stem_and_by_the_file_that_is_named(tmp_path):
    paint(tmp_path, "images/a.jpg", "images/real.png", "images/b.jpg", "images/other.jpg")
    put(tmp_path, "xml/a.xml", voc(("x", 2, 2, 5, 5), name="/home/pi/images/gone.jpg"))
    put(tmp_path, "xml/0001.xml", voc(("y", 2, 2, 5, 5), name="real.jpg"))  # a .jpg that became a .png
    put(tmp_path, "xml/b.xml", voc(("z", 2, 2, 5, 5), name="other.jpg"))
    put(tmp_path, "xml/lost.xml", voc(("w", 2, 2, 5, 5), name="lost.jpg"))
    found = open_annotations(tmp_path)
    assert {image: [name for name, _ in rows] for image, rows in boxes(found).items()} == {
        "images/a.jpg": ["x"],
        "images/real.png": ["y"],
        "images/b.jpg": ["z"],
    }
    assert "images/b.jpg (xml/b.xml names other.jpg)" in kinds(found)["name-differs"]
    assert "1 annotations name an image that is not there" in kinds(found)["missing-image"]
    assert "xml/lost.xml (lost.jpg)" in kinds(found)["missing-image"]
    assert "images/other.jpg" in kinds(found)["missing-label"]


@pytest.mark.parametrize("trainval", [True, False])
def test_lists_are_splits_and_what_none_lists_is_left_out(tmp_path, trainval):
    for name in "abcd":
        paint(tmp_path, f"JPEGImages/{name}.jpg")
        put(tmp_path, f"Annotations/{name}.xml", voc())
    if trainval:
        put(tmp_path, "ImageSets/Main/trainval.txt", "a\nb\n")
    else:
        put(tmp_path, "ImageSets/Main/train.txt", "a\n")
        put(tmp_path, "ImageSets/Main/val.txt", "b\n\n")
        put(tmp_path, "ImageSets/Main/trainval.txt", "a\nb\nd\n")  # says nothing that the other two do not
    put(tmp_path, "ImageSets/Main/test.txt", "c  1\nnone\na\n")
    put(tmp_path, "ImageSets/Main/cat_train.txt", "a -1\n")
    found = open_annotations(tmp_path)
    b = "train" if trainval else "valid"
    assert splits(found) == {"JPEGImages/a.jpg": "train", "JPEGImages/b.jpg": b, "JPEGImages/c.jpg": "test"}
    said = kinds(found)
    assert "ImageSets/Main/test.txt (none)" in said["missing-image"]
    assert "JPEGImages/a.jpg (train and test)" in said["repeated-split"]
    assert said["no-split"].endswith("left out: JPEGImages/d.jpg.")
    assert "not-read" not in said


def test_degenerate_boxes_are_left_out_and_counted(tmp_path):
    paint(tmp_path, "1.jpg", "2.jpg")
    put(tmp_path, "1.xml", voc(("a", 5, 5, 5, 5), ("a", 9, 2, 5, 5), ("a", 5, 2, 5, 9)))  # a line of one pixel is a box
    put(tmp_path, "2.xml", voc(("a", 5, 5, 5, 5)))
    found = open_annotations(tmp_path)
    assert boxes(found) == {"1.jpg": [("a", (4, 1, 5, 9))], "2.jpg": []}
    assert kinds(found)["degenerate-box"].startswith("3 boxes have no width or height")
    assert "1.jpg (1.xml, object 1: a single point at 5, 5)" in kinds(found)["degenerate-box"]
    assert kinds(found)["emptied-image"].endswith("count as background: 2.jpg.")


@pytest.mark.parametrize("text", [BILLION, OUTSIDE], ids=["entities", "files"])
def test_documents_that_declare_a_type_are_refused(text):
    for data in (text.encode(), b"\xff\xfe" + text.split("?>")[-1].encode("utf-16-le")):
        with pytest.raises(DataError, match="declares a document type"):
            parse_xml(data)


def test_broken_files_are_errors_of_the_set_all_at_once(tmp_path):
    paint(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg")
    put(tmp_path, "a.xml", voc(("x", 2, 2, 5, 5)))
    put(tmp_path, "b.xml", "<annotation><object>")
    put(tmp_path, "c.xml", BILLION)
    put(tmp_path, "d.xml", "<annotation><object><name>x</name></object></annotation>")
    put(tmp_path, "e.xml", voc(("x", "two", 2, 5, 5)))  # type: ignore[arg-type]
    put(tmp_path, "f.xml", "<project/>")
    found = open_annotations(tmp_path)
    (bad,) = (finding for finding in found.findings if finding.kind == "bad-annotation")
    assert (bad.severity, bad.records) == ("error", ("b.xml", "c.xml", "d.xml", "e.xml"))
    assert list(boxes(found)) == ["a.jpg"]
    assert "f.xml" in kinds(found)["not-read"]


def test_boxes_without_a_class_are_left_out(tmp_path):
    paint(tmp_path, "a.jpg")
    put(tmp_path, "a.xml", voc(("", 2, 2, 5, 5), ("x", 2, 2, 5, 5)))
    found = open_annotations(tmp_path)
    assert boxes(found)["a.jpg"] == [("x", (1, 1, 5, 5))]
    assert "a.jpg (a.xml, object 1)" in kinds(found)["unknown-class"]


def test_a_box_of_one_whole_pixel_is_not_written(tmp_path):
    paint(tmp_path, "a.jpg")
    record = AnnotatedImage("a.jpg", tmp_path / "a.jpg", (20, 10), (Box("x", 3, 3, 4, 4),))
    with pytest.raises(DataError, match=r"a.jpg: VOC cannot tell a box of one whole pixel from a slip"):
        write_voc([record], tmp_path / "out")
