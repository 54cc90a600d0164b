from __future__ import annotations

import json
from typing import Any

import pytest

from annotated_folder import boxes, kinds, paint, put, splits
from convlens.data.annotations import open_annotations
from convlens.data.boxes import Box
from convlens.errors import DataError


def coco(images: list[Any], annotations: list[Any], categories: list[Any]) -> str:
    return json.dumps({"info": {}, "images": images, "annotations": annotations, "categories": categories})


def image(key: Any, name: str, **more: Any) -> dict[str, Any]:
    return {"id": key, "file_name": name, **more}


def box(key: Any, category: Any, *bbox: float, **more: Any) -> dict[str, Any]:
    return {"image_id": key, "category_id": category, "bbox": list(bbox), **more}


CATEGORIES = [{"id": 90, "name": "dog"}, {"id": 7, "name": "cat"}]


def test_ids_are_names_not_positions(tmp_path):
    paint(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    images = [image(502, "b.jpg"), image("x1", "a.jpg"), image(0, "c.jpg")]
    text = coco(images, [box("x1", 7, 1, 2, 3, 4), box(502, 90, 0, 0, 0.5, 10)], CATEGORIES)
    found = open_annotations(put(tmp_path, "boxes.json", text).parent)
    assert boxes(found) == {"a.jpg": [("cat", (1, 2, 4, 6))], "b.jpg": [("dog", (0, 0, 0.5, 10))], "c.jpg": []}
    assert found.classes == ("dog", "cat")  # in the order of the file


def test_crowds_are_kept(tmp_path):
    paint(tmp_path, "a.jpg")
    annotations = [box(1, 7, 1, 2, 3, 4, iscrowd=1), box(1, 7, 0, 0, 3, 4, difficult=1, iscrowd=0)]
    put(tmp_path, "boxes.json", coco([image(1, "a.jpg")], annotations, CATEGORIES))
    (record,) = open_annotations(tmp_path).records
    assert record.boxes == (Box("cat", 1, 2, 4, 6, crowd=True), Box("cat", 0, 0, 3, 4, difficult=True))


def test_what_leads_nowhere_is_found(tmp_path):
    paint(tmp_path, "a.jpg", "stray.jpg")
    annotations = [box(1, 7, 1, 2, 3, 4), box(1, 8, 1, 2, 3, 4), box(99, 7, 1, 2, 3, 4), box(2, 7, 1, 2, 3, 4)]
    annotations += [{"image_id": 1, "category_id": 7}, box(1, 7, 0, 0, float("nan"), 2)]
    put(tmp_path, "boxes.json", coco([image(1, "a.jpg"), image(2, "gone.jpg")], annotations, CATEGORIES))
    found = open_annotations(tmp_path)
    assert boxes(found) == {"a.jpg": [("cat", (1, 2, 4, 6))]}
    said = kinds(found)
    assert "1 boxes have no class, or one that is not declared" in said["unknown-class"]
    assert "category_id 8" in said["unknown-class"]
    assert said["missing-image"].startswith("2 annotations name an image that is not there")
    assert "gone.jpg" in said["missing-image"]
    assert "image_id 99" in said["missing-image"]
    assert said["bad-annotation"].startswith("2 annotations cannot be read")
    assert said["missing-label"].endswith("left out: stray.jpg.")
    assert said["empty-class"].endswith("have no box: dog.")


def test_an_image_listed_twice_counts_once_with_all_its_boxes(tmp_path):
    paint(tmp_path, "a.jpg")
    annotations = [box(1, 7, 1, 2, 3, 4), box(2, 90, 0, 0, 3, 4), box(2, 7, 1, 2, 3, 4)]
    put(tmp_path, "boxes.json", coco([image(1, "a.jpg"), image(2, "./a.jpg")], annotations, CATEGORIES))
    found = open_annotations(tmp_path)
    assert boxes(found) == {"a.jpg": [("cat", (1, 2, 4, 6)), ("dog", (0, 0, 3, 4))]}
    assert "a.jpg (boxes.json, image 2)" in kinds(found)["repeated-image"]
    assert kinds(found)["duplicate-box"].startswith("1 boxes are there twice")


def test_the_name_of_the_file_is_the_split_and_others_are_not_read(tmp_path):
    paint(tmp_path, "train2017/1.jpg", "val2017/1.jpg")
    put(tmp_path, "annotations/instances_train2017.json", coco([image(1, "1.jpg")], [], CATEGORIES))
    put(tmp_path, "annotations/instances_val2017.json", coco([image(1, "1.jpg")], [], CATEGORIES))
    put(tmp_path, "annotations/person_keypoints_val2017.json", coco([image(1, "1.jpg")], [], CATEGORIES))
    put(tmp_path, "annotations/captions_val2017.json", '{"images": [], "annotations": []}')
    found = open_annotations(tmp_path)
    assert splits(found) == {"train2017/1.jpg": "train", "val2017/1.jpg": "valid"}
    assert kinds(found)["not-read"].startswith("2 files")


def test_the_folder_is_the_split_where_the_name_says_nothing(tmp_path):
    for part, split in (("train", "train"), ("valid", "valid"), ("test", "test")):
        paint(tmp_path, f"{part}/1.jpg")
        put(tmp_path, f"{part}/_annotations.coco.json", coco([image(0, "1.jpg")], [box(0, 7, 1, 1, 2, 2)], CATEGORIES))
        assert split in part
    found = open_annotations(tmp_path)
    assert splits(found) == {"test/1.jpg": "test", "train/1.jpg": "train", "valid/1.jpg": "valid"}
    assert all(len(rows) == 1 for rows in boxes(found).values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [], "annotations": [], "categories": []', "is not JSON that can be read"),
        ('[{"images": [], "annotations": [], "categories": []}]', "expected an object with the lists"),
        ('{"images": [1], "annotations": [], "categories": []}', "expected an object with the lists"),
        (coco([image([], "a.jpg")], [], []), r"boxes.json, image 1: expected an id, .* got \[\]"),
        (coco([image(1, "")], [], []), "image 1: expected a file_name"),
        (coco([image(1, "a.jpg"), image(1, "b.jpg")], [], []), "id 1 is b.jpg here and a.jpg before"),
        (coco([image(1, "a.jpg")], [box(None, 1, 0, 0, 1, 1)], []), "annotation 1: expected an id"),
        (coco([image(1, "a.jpg")], [], [{"id": 1}]), "category 1 has no name"),
        (coco([], [], [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]), "id 1 is 'a' and 'b'"),
        (coco([image(1, "gone.jpg")], [], []), "holds no image with annotations"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path, text, message):
    paint(tmp_path, "a.jpg", "b.jpg")
    put(tmp_path, "boxes.json", text)
    with pytest.raises(DataError, match=message):
        open_annotations(tmp_path)
