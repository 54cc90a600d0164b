from __future__ import annotations

import pytest

from annotated_folder import paint, put
from convlens.data.listing import Listing, folder_split, split_word
from convlens.errors import DataError


def test_images_are_told_from_texts_and_hidden_files(tmp_path):
    paint(tmp_path, "b10.png", "b2.jpg", ".cache/c.jpg", "in/a.JPEG")
    put(tmp_path, "labels.txt", "")
    put(tmp_path, "in/table.csv", "")
    listing = Listing(tmp_path)
    assert listing.images == ["b2.jpg", "b10.png", "in/a.JPEG"]
    assert listing.files == ["b2.jpg", "b10.png", "in/a.JPEG", "in/table.csv", "labels.txt"]
    assert [finding.kind for finding in listing.findings] == ["hidden"]
    assert listing.annotations(".txt", ".csv") == ["in/table.csv", "labels.txt"]
    assert Listing(tmp_path, only="labels.txt").annotations(".txt", ".csv") == ["labels.txt"]


@pytest.mark.parametrize(
    ("name", "near", "image"),
    [
        ("one.jpg", "x.json", "images/one.jpg"),
        ("one", "Annotations/one.xml", "images/one.jpg"),
        ("ONE.JPG", "x.json", "images/one.jpg"),
        (r"C:\Users\me\images\one.jpg", "x.json", "images/one.jpg"),
        ("/home/me/elsewhere/one.jpg", "x.json", "images/one.jpg"),
        ("../../one.jpg", "x.json", "images/one.jpg"),
        ("a.b", "x.xml", "images/a.b.png"),
        ("two.png", "x.json", "images/two.png"),  # not two.jpg
        ("two.jpg", "x.json", "images/two.jpg"),
        ("day/same.jpg", "x.json", "day/same.jpg"),
        ("/far/night/same.jpg", "day/x.json", "night/same.jpg"),
        ("same.jpg", "night/x.json", "night/same.jpg"),
        ("shot.jpg", "annotations/instances_val2017.json", "val2017/shot.jpg"),
        ("shot.jpg", "train2017/x.json", "train2017/shot.jpg"),
        ("train2017/shot.jpg", "annotations/val.json", "train2017/shot.jpg"),
        ("only.jpg", "annotations/val.json", None),  # the one of train is another picture
        ("none.jpg", "x.json", None),
        ("", "x.json", None),
        ("..", "x.json", None),
    ],
)
def test_a_name_means_the_nearest_image(tmp_path, name, near, image):
    paint(tmp_path, "images/one.jpg", "images/a.b.png", "images/two.png", "images/two.jpg", "day/same.jpg")
    paint(tmp_path, "night/same.jpg", "val2017/shot.jpg", "train2017/shot.jpg", "train2017/only.jpg")
    assert Listing(tmp_path).find(name, near) == image


def test_a_name_that_could_be_two_images_is_refused(tmp_path):
    paint(tmp_path, "day/same.jpg", "night/same.jpg")
    with pytest.raises(DataError, match=r"x.json: 'same.jpg' could be day/same.jpg or night/same.jpg"):
        Listing(tmp_path).find("same.jpg", "x.json")


def test_files_are_read_up_to_a_size_and_in_utf8(tmp_path):
    put(tmp_path, "a.txt", "\ufeffone\ntwo\n")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe1")
    listing = Listing(tmp_path)
    assert listing.lines("a.txt") == ["one", "two"]
    with pytest.raises(DataError, match=r"a.txt is 11 bytes; at most 10 are read"):
        listing.read("a.txt", 10)
    with pytest.raises(DataError, match="not a text in UTF-8"):
        listing.lines("b.txt")
    with pytest.raises(DataError, match=r"gone.txt cannot be read: No such file"):
        listing.read("gone.txt")


def test_words_of_splits():
    assert [folder_split(p) for p in ("Train/1.jpg", "a/val_2017/1.jpg", "test.jpg", "training-set/1.jpg")] == [
        "train",
        "valid",
        None,
        None,
    ]
    assert [split_word(p) for p in ("a/instances_train2017.json", "TEST.csv", "trainval.txt", "train/all.csv")] == [
        "train",
        "test",
        None,
        None,
    ]
