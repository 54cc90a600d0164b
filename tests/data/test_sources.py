from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from convlens.data import folders
from convlens.data.findings import Finding
from convlens.data.sources import Record, Source, open_source
from convlens.errors import ConfigError, DataError
from convlens.options import DataConfig

AUTO = DataConfig()
posix = pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and byte names are made the POSIX way")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "photos"


def fill(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def rows(source: Source) -> list[tuple[str, str | None]]:
    return [(r.id, r.label) for r in source.records]


def found(source: Source) -> dict[str, Finding]:
    kinds = {finding.kind: finding for finding in source.findings}
    assert len(kinds) == len(source.findings)
    return kinds


# Folders ------------------------------------------------------------------------------------------------------------


def test_the_first_folder_is_the_class_and_ids_are_in_natural_order(root):
    fill(root, "10/a.jpg", "2/b10.PNG", "2/b2.webp", "2/deep/er/c.npy", "2/matrix.txt")
    source = open_source(root, AUTO)
    assert rows(source) == [
        ("2/b2.webp", "2"),
        ("2/b10.PNG", "2"),
        ("2/deep/er/c.npy", "2"),
        ("2/matrix.txt", "2"),
        ("10/a.jpg", "10"),
    ]
    assert (source.name, source.root, source.arrays, source.classes) == ("photos", root, None, None)
    assert source.image(source.records[0]) == root / "2" / "b2.webp"
    assert source.findings == ()
    assert {(r.group, r.split) for r in source.records} == {(None, None)}


def test_the_order_of_the_file_system_does_not_matter(root, monkeypatch):
    fill(root, *(f"{c}/{d}/{i}.jpg" for c in "ab" for d in "xy" for i in range(3)))
    fill(root, ".store/1.jpg")
    for name in ("c", "d"):
        (root / name).symlink_to(".store")
    forwards = open_source(root, AUTO)
    scan = os.scandir

    class Backwards(list):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(folders.os, "scandir", lambda path: Backwards(reversed(list(scan(path)))))
    assert open_source(root, AUTO) == forwards


def test_a_relative_root_gives_absolute_files(root, monkeypatch):
    fill(root, "a/1.jpg", "b/1.jpg")
    monkeypatch.chdir(root)
    source = open_source(".", AUTO)
    assert (source.name, source.records[0].image) == ("photos", root / "a" / "1.jpg")


def test_labels_are_composed_unicode_whatever_the_disk_says(root):
    name = "caf\u00e9"
    fill(root, unicodedata.normalize("NFD", name) + "/1.jpg", "猫/🐈.jpg")
    assert {r.label for r in open_source(root, AUTO).records} == {name, "猫"}


@pytest.mark.parametrize("train", ["train", "Training"])
@pytest.mark.parametrize("valid", ["val", "valid", "validation", "VAL", "dev"])
@pytest.mark.parametrize("test", ["test", "Testing"])
def test_split_folders_go_by_any_of_their_names(root, train, valid, test):
    fill(root, f"{train}/cat/1.jpg", f"{valid}/cat/in/1.jpg", f"{test}/dog/1.jpg")
    got = {(r.id, r.label, r.split) for r in open_source(root, AUTO).records}
    assert got == {
        (f"{train}/cat/1.jpg", "cat", "train"),
        (f"{valid}/cat/in/1.jpg", "cat", "valid"),
        (f"{test}/dog/1.jpg", "dog", "test"),
    }


def test_a_test_folder_without_classes_beside_train_is_said(root):
    fill(root, "train/cat/1.jpg", "train/dog/1.jpg", "test/1.jpg", "test/2.jpg")
    source = open_source(root, AUTO)
    assert [r.split for r in source.records] == ["train", "train"]
    assert found(source)["missing-label"].records == ("test/1.jpg", "test/2.jpg")
    assert found(source)["missing-label"].severity == "warning"


def test_a_folder_that_could_be_split_or_class_is_asked(root):
    fill(root, "cat/1.jpg", "test/cat/1.jpg")
    with pytest.raises(DataError, match="holds the split folder test and beside it cat: are those classes"):
        open_source(root, AUTO)


def test_a_flat_folder_named_like_a_split_beside_classes_is_a_class_with_a_warning(root):
    fill(root, "plane/1.jpg", "train/1.jpg")
    source = open_source(root, AUTO)
    assert rows(source) == [("plane/1.jpg", "plane"), ("train/1.jpg", "train")]
    assert found(source)["split-name"].message.startswith("train beside plane counts as a class")


def test_split_folders_need_classes_and_one_folder_each(root):
    fill(root, "train/1.jpg", "test/2.jpg")
    with pytest.raises(DataError, match="photos has test, train but no class folders inside"):
        open_source(root, AUTO)
    fill(root, "train/cat/1.jpg", "val/cat/1.jpg", "valid/cat/1.jpg")
    with pytest.raises(DataError, match="two folders for one split: test, train, val, valid"):
        open_source(root, AUTO)


def test_hidden_and_system_files_are_passed_over_with_a_note(root):
    fill(root, "a/1.jpg", "b/1.jpg", "a/.DS_Store", "a/._1.jpg", ".git/x.jpg", "__MACOSX/a/1.jpg", "b/Thumbs.db")
    source = open_source(root, AUTO)
    assert len(source.records) == 2
    hidden = found(source)["hidden"]
    assert hidden.records == (".git", "__MACOSX", "a/._1.jpg", "a/.DS_Store", "b/Thumbs.db")
    assert hidden.severity == "note"
    assert "5 hidden or system entries" in hidden.message


def test_names_that_are_no_image_are_listed(root):
    fill(root, "a/1.jpg", "b/1.jpg", "b/notes.doc", "a/x10", "a/x2", "README.md", "labels.csv")
    source = open_source(root, AUTO)
    assert len(source.records) == 2
    inside, beside = (f for f in source.findings if f.kind == "not-an-image-name")
    assert (inside.severity, inside.records) == ("warning", ("a/x2", "a/x10", "b/notes.doc"))
    assert (beside.severity, beside.records) == ("note", ("labels.csv", "README.md"))


def test_images_beside_class_folders_are_left_out_and_listed(root):
    fill(root, "a/1.jpg", "b/1.jpg", "stray.jpg")
    source = open_source(root, AUTO)
    assert len(source.records) == 2
    assert found(source)["missing-label"].records == ("stray.jpg",)


def test_images_without_class_folders_explain_the_layout(root):
    fill(root, "1.jpg", "2.jpg", "labels.csv")
    message = r"photos holds 2 images but none in a class folder\. Expected one folder per class, such as photos/cat/1"
    with pytest.raises(DataError, match=rf"{message}.*To use the table, name it: photos/labels\.csv\."):
        open_source(root, AUTO)


def test_a_folder_without_images_says_what_was_passed_over(root):
    root.mkdir()
    with pytest.raises(DataError, match=r"photos holds no images\. Expected one folder per class"):
        open_source(root, AUTO)
    fill(root, "a/1.heic", "b/.hidden.jpg")
    with pytest.raises(DataError, match=r"holds no images\. 1 hidden .*1 files do not have the name .*a/1\.heic"):
        open_source(root, AUTO)
    with pytest.raises(DataError, match=r"1 files do not have the name of an image and were not read: a/1\.heic\.$"):
        open_source(root, AUTO, labelled=False)


def test_empty_classes_and_a_single_class_are_findings(root):
    fill(root, "data/cat/1.jpg", "data/dog/1.jpg", "empty/x.doc")
    (root / "void").mkdir()
    source = open_source(root, AUTO)
    assert {r.label for r in source.records} == {"data"}
    assert found(source)["empty-class"].records == ("empty", "void")
    assert "only class of photos is 'data'. If data/cat, data/dog are the classes" in found(source)["one-class"].message


@pytest.mark.parametrize(
    "names",
    [
        ("Cat/1.jpg", "cat/1.jpg"),
        ("caf\u00e9/1.jpg", "cafe\u0301/1.jpg"),
        ("cat/1.jpg", "cat /1.jpg"),
        ("train/Cat/1.jpg", "test/cat/1.jpg"),
        ("train/Cat/1.jpg", "train/cat/1.jpg"),
    ],
)
def test_class_folders_that_differ_in_case_or_unicode_form_are_refused(root, names):
    fill(root, *names, "dog/1.jpg" if "train" not in names[0] else "train/dog/1.jpg")
    with pytest.raises(DataError, match="differ only in case, Unicode form or spaces") as caught:
        open_source(root, AUTO)
    for name in names:
        assert ascii(name.split("/")[-2])[1:] in str(caught.value)


def test_one_class_in_two_unicode_forms_on_two_sides_is_one_class(root):
    fill(root, "train/caf\u00e9/1.jpg", "test/cafe\u0301/1.jpg")
    assert {r.label for r in open_source(root, AUTO).records} == {"caf\u00e9"}


# Links and things that are no files ---------------------------------------------------------------------------------


@posix
def test_links_inside_are_followed_once_and_loops_end(root):
    fill(root, "a/1.jpg", "b/2.jpg", ".store/3.jpg")
    (root / "a" / "up").symlink_to("..")
    (root / "a" / "self").symlink_to(".")
    (root / "b" / "file.jpg").symlink_to("../a/1.jpg")
    (root / "c").symlink_to(".store")
    (root / "d").symlink_to("a")
    source = open_source(root, AUTO)
    assert rows(source) == [("a/1.jpg", "a"), ("b/2.jpg", "b"), ("b/file.jpg", "b"), ("c/3.jpg", "c")]
    assert found(source)["repeated-link"].records == ("a/self", "a/up", "d")
    assert "empty-class" not in found(source)


@posix
def test_a_ladder_of_links_does_not_double_at_every_rung(root):
    for i in range(40):
        fill(root, f".s/{i}/x.jpg")
        if i:
            for name in ("l", "r"):
                (root / ".s" / str(i - 1) / name).symlink_to(f"../{i}")
    (root / "a").symlink_to(".s/0")
    assert len(open_source(root, AUTO).records) == 40


@posix
def test_what_leads_out_or_nowhere_or_is_no_file_is_refused_and_listed(root):
    fill(root, "a/1.jpg", "b/1.jpg", "../photos2/secret/1.jpg")
    (root / "a" / "out.jpg").symlink_to("../../photos2/secret/1.jpg")
    (root / "c").symlink_to(root.parent / "photos2" / "secret")
    (root / "a" / "null.jpg").symlink_to("/dev/null")
    (root / "a" / "none.jpg").symlink_to("nowhere")
    (root / "a" / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(root / "a" / "pipe.jpg")
    (root / "b" / "pipe.jpg").symlink_to("../a/pipe.jpg")
    source = open_source(root, AUTO)
    assert rows(source) == [("a/1.jpg", "a"), ("b/1.jpg", "b")]
    assert {k: (f.severity, f.records) for k, f in found(source).items()} == {
        "outside-root": ("warning", ("a/null.jpg", "a/out.jpg", "c")),
        "broken-link": ("warning", ("a/loop.jpg", "a/none.jpg")),
        "not-a-file": ("warning", ("a/pipe.jpg", "b/pipe.jpg")),
    }


@posix
def test_names_no_list_can_hold_are_listed_escaped(root):
    fill(root, "a/1.jpg", "b/1.jpg", "b/two\nlines.jpg")
    (root / "a" / os.fsdecode(b"\xe9.jpg")).write_bytes(b"")
    source = open_source(root, AUTO)
    assert len(source.records) == 2
    assert found(source)["odd-name"].records == ("a/\\udce9.jpg", "b/two\\nlines.jpg")


def test_a_folder_that_cannot_be_listed_is_an_error_finding(root, monkeypatch):
    fill(root, "a/1.jpg", "b/1.jpg", "c/1.jpg")
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("c"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(folders.os, "scandir", refuse)
    finding = found(open_source(root, AUTO))["unreadable-folder"]
    assert (finding.severity, finding.records) == ("error", ("c/ (Permission denied)",))


# Unlabelled ---------------------------------------------------------------------------------------------------------


def test_unlabelled_takes_any_folder_and_a_single_image(root):
    fill(root, "10.jpg", "2.jpg", "in/x.png", "README.md")
    source = open_source(root, AUTO, labelled=False)
    assert rows(source) == [("2.jpg", None), ("10.jpg", None), ("in/x.png", None)]
    assert found(source)["not-an-image-name"].records == ("README.md",)
    fill(root, "train/cat/1.jpg")
    assert {r.split for r in open_source(root, AUTO, labelled=False).records} == {None}
    single = open_source(root / "10.jpg", AUTO, labelled=False)
    assert single.records == (Record("10.jpg", root / "10.jpg", None),)
    with pytest.raises(DataError, match=r"10\.jpg' is a single file; expected a folder, a table"):
        open_source(root / "10.jpg", AUTO)


# In memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 5, 4), (3, 5, 4, 1), (3, 5, 4, 7)])
@pytest.mark.parametrize(
    "labels", [[3, 10, 3], np.array([3, 10, 3], np.uint8), ("3", "10", "3"), np.array([3.0, 10, 3])]
)
def test_arrays_in_memory(shape, labels):
    images = np.arange(np.prod(shape)).reshape(shape)
    source = open_source((images, labels), AUTO)
    assert rows(source) == [("arrays#0", "3"), ("arrays#1", "10"), ("arrays#2", "3")]
    assert (source.image(source.records[2]) == images[2]).all()
    assert source.findings == ()


def test_arrays_without_labels_only_when_unlabelled():
    images = np.zeros((2, 4, 4), np.uint8)
    assert rows(open_source((images, None), AUTO, labelled=False)) == [("arrays#0", None), ("arrays#1", None)]
    assert rows(open_source((images, ["a", "b"]), AUTO, labelled=False))[0] == ("arrays#0", None)
    source = open_source((images, [None, "b"]), AUTO)
    assert rows(source) == [("arrays#1", "b")]
    assert found(source)["missing-label"].records == ("arrays#0",)
    numbers = open_source((images, [None, 2.5]), AUTO, kind="number")
    assert found(numbers)["missing-label"].message.startswith("1 of 2 images have no number and are left out")
    assert "similar-classes" in found(open_source((images, ["A", "a"]), AUTO))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 9)), [0, 1], r"\(N, H, W\) or \(N, H, W, C\), none empty; got shape \(2, 9\)"),
        (np.zeros((0, 9, 9)), [], r"none empty; got shape \(0, 9, 9\)"),
        (np.full((2, 2, 2), "x"), [0, 1], "of <U1"),
        (
            [np.zeros((2, 2)), np.zeros((3, 2))],
            [0, 1],
            r"images in memory to be all of one size; got \(2, 2\), \(3, 2\)\. Bring them",
        ),
        (np.zeros((2, 3, 32, 32)), [0, 1], r"look like \(N, C, H, W\)"),
        (np.zeros((2, 9, 9)), None, r"one label per image, of shape \(2,\); got shape \(\)"),
        (np.zeros((2, 9, 9)), [0, 1, 2], r"got shape \(3,\)"),
        (np.zeros((2, 9, 9)), np.eye(2), r"got shape \(2, 2\)"),
        (np.zeros((2, 9, 9)), [0, 1.5], "label 1: expected a text or a whole number; got 1.5"),
        (np.zeros((2, 9, 9)), [None, ""], "None of the 2 images has a label"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(images, labels, message):
    with pytest.raises(DataError, match=message):
        open_source((images, labels), AUTO)


@pytest.mark.parametrize("images", [np.zeros((2, 4, 4)), [np.zeros((4, 4)), np.zeros((4, 4))]])
def test_images_alone_will_do_where_no_labels_are_needed(images):
    source = open_source(images, AUTO, kind="picture")
    assert (source.kind, rows(source)) == ("picture", [("arrays#0", None), ("arrays#1", None)])
    assert rows(open_source(images, AUTO, labelled=False)) == rows(source)
    with pytest.raises(DataError, match=r"Expected a path or \(images, masks\), got"):
        open_source(images, AUTO, kind="mask")
    with pytest.raises(DataError, match=r"Expected a path or \(images, boxes\), got"):
        open_source(images, AUTO, kind="boxes")


# The door -----------------------------------------------------------------------------------------------------------


def test_a_source_passes_through_but_not_without_its_labels():
    source = Source("mine", (Record("a", 0, "x"), Record("b", 1, None)), np.zeros((2, 4, 4)))
    assert open_source(source, AUTO, labelled=False) is source
    with pytest.raises(DataError, match="Source mine has 1 records without a class: b"):
        open_source(source, AUTO)
    with pytest.raises(DataError, match="Source mine has 1 records without a number: b"):
        open_source(source, AUTO, kind="number")
    with pytest.raises(DataError, match="row 0 of an array, but source empty has none"):
        Source("empty", ()).image(source.records[0])


def test_a_built_in_name_is_the_built_in_set(root, monkeypatch):
    source = open_source("xo", AUTO)
    assert (source.name, len(source.records), source.findings) == ("xo", 2000, ())
    assert rows(source)[:2] == [("xo#0", "X"), ("xo#1", "O")]
    fill(root, "xo/a/1.jpg", "xo/b/1.jpg")
    monkeypatch.chdir(root)
    assert "write ./xo" in found(open_source("xo", AUTO))["built-in"].message
    assert len(open_source("./xo", AUTO).records) == len(open_source(Path("xo"), AUTO).records) == 2


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("digist", r"no file or folder 'digist', and no built-in set of that name\. Did you mean 'digits'\?"),
        ("no/such", r"no file or folder 'no/such'.* Choose from: digits, xo\."),
        ("x" * 5000, "cannot be looked at: File name too long"),
        ("nul\0", "cannot be looked at: embedded null byte"),
        (os.devnull, "is a pipe or device"),
        (__file__, r"is a single file; expected a folder, a table \(\.csv, \.tsv, \.parquet\) or an idx file"),
        ((1, 2, 3), "a tuple of two; got a tuple of 3"),
        (np.zeros((6, 8, 8)), r"Expected a path or \(images, labels\), got an ndarray of shape \(6, 8, 8\)\. Give"),
        ([np.zeros((8, 8))], r"Expected a path or \(images, labels\), got a list\. Give"),
        ({"a": 1}, "got a dict"),
        (3, "got an int"),
        (None, "got None"),
    ],
)
def test_what_is_no_source_says_so(spec, message):
    with pytest.raises(DataError, match=message):
        open_source(spec, AUTO)


def test_a_column_without_a_table_is_an_unused_option(root):
    fill(root, "a/1.jpg", "b/1.jpg")
    with pytest.raises(
        ConfigError, match=r"data\.label_column, data\.group_column: there is no table to find a column"
    ):
        open_source(root, DataConfig(label_column="x", group_column="y"))
    assert len(open_source(root, DataConfig(label_column="x", test="test.CSV")).records) == 2


def test_listing_needs_neither_torch_nor_a_decoder(root):
    fill(root, "a/1.jpg", "b/1.jpg")
    code = (
        "import sys; from convlens.options import DataConfig; from convlens.data.sources import open_source; "
        f"open_source({str(root)!r}, DataConfig()); "
        "print([m for m in ('torch', 'PIL', 'sklearn', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
