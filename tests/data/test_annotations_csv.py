from __future__ import annotations

import pytest

from annotated_folder import boxes, kinds, paint, put, splits
from convlens.data.annotations import open_annotations
from convlens.data.boxes import Box
from convlens.errors import DataError

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def test_rows_of_one_image_belong_together_and_empty_ones_are_background(tmp_path):
    paint(tmp_path, "images/a.jpg", "images/b.jpg", "images/c.jpg")
    text = HEADER + "b.jpg,20,10,cat,0,0,20,10\na.jpg,20,10,dog,1.5,2,3,4\nb.jpg,20,10,dog,5,5,6,6\nc.jpg,20,10,,,,,\n"
    put(tmp_path, "boxes.csv", text)
    found = open_annotations(tmp_path)
    assert boxes(found) == {
        "images/a.jpg": [("dog", (1.5, 2, 3, 4))],
        "images/b.jpg": [("cat", (0, 0, 20, 10)), ("dog", (5, 5, 6, 6))],
        "images/c.jpg": [],
    }
    assert found.classes == ("cat", "dog")
    said = kinds(found)
    assert said.keys() == {"box-format", "columns"}
    assert said["columns"].startswith("boxes.csv: read 'filename' as image, 'xmin' as x1,")


@pytest.mark.parametrize(
    "header",
    [
        "image;x1;y1;x2;y2;label;split;iscrowd",
        "Image Path;X-Min;Y-Min;X-Max;Y-Max;Class Name;Subset;Crowd",
        "path;left;top;right;bottom;category;partition;is_crowd",
    ],
)
def test_columns_are_found_by_their_names(tmp_path, header):
    paint(tmp_path, "a.jpg", "b.jpg")
    put(tmp_path, "boxes.csv", f"{header}\na.jpg;1;2;3;4;cat;training;1\nb.jpg;1;2;3;4;cat;VAL;0\n")
    found = open_annotations(tmp_path)
    assert [record.boxes for record in found.records] == [
        (Box("cat", 1, 2, 3, 4, crowd=True),),
        (Box("cat", 1, 2, 3, 4),),
    ]
    assert splits(found) == {"a.jpg": "train", "b.jpg": "valid"}


def test_the_name_of_the_table_is_the_split(tmp_path):
    paint(tmp_path, "a.jpg", "b.jpg")
    put(tmp_path, "train_labels.csv", f"{HEADER}a.jpg,,,cat,1,1,3,3\n")
    put(tmp_path, "test_labels.csv", f"{HEADER}b.jpg,,,cat,1,1,3,3\n")
    put(tmp_path, "prices.csv", "day,price\n1,2\n")
    found = open_annotations(tmp_path)
    assert splits(found) == {"a.jpg": "train", "b.jpg": "test"}
    assert kinds_of(found, "not-read") == [("prices.csv",)]


def kinds_of(found, kind):
    return [finding.records for finding in found.findings if finding.kind == kind]


def test_what_is_wrong_is_found_with_its_line(tmp_path):
    paint(tmp_path, "a.jpg")
    rows = ["a.jpg,20,10,cat,1,1,3,3", "gone.jpg,20,10,cat,1,1,3,3", "a.jpg,20,10,cat,1,,3,3", "a.jpg,20,10,,1,1,3,3"]
    put(tmp_path, "boxes.csv", HEADER + "\n".join([*rows, "a.jpg,20,10,cat,30,1,40,3", "a.jpg,20,10,cat,5,1,5,3"]))
    found = open_annotations(tmp_path)
    assert boxes(found) == {"a.jpg": [("cat", (1, 1, 3, 3))]}
    said = kinds(found)
    assert "boxes.csv, line 3 (gone.jpg)" in said["missing-image"]
    assert "a.jpg (boxes.csv, line 4: 1, , 3, 3)" in said["bad-annotation"]
    assert "a.jpg (boxes.csv, line 5)" in said["unknown-class"]
    assert "a.jpg (boxes.csv, line 6: 30, 1, 40, 3)" in said["box-outside"]
    assert "a.jpg (boxes.csv, line 7: 5, 1, 5, 3)" in said["degenerate-box"]


def test_a_split_of_another_name_is_refused(tmp_path):
    paint(tmp_path, "a.jpg")
    put(tmp_path, "boxes.csv", "image,xmin,ymin,xmax,ymax,class,split\na.jpg,1,1,2,2,cat,third\n")
    with pytest.raises(DataError, match=r"boxes.csv, line 2: expected train, valid or test as the split; got 'third'"):
        open_annotations(tmp_path)


def test_a_table_without_a_header_is_refused_where_it_was_named(tmp_path):
    paint(tmp_path, "a.jpg")
    table = put(tmp_path, "boxes.csv", "a.jpg,1,1,2,2,cat\n")
    with pytest.raises(DataError, match=r"boxes.csv has no header"):
        open_annotations(table)
