from __future__ import annotations

import os
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.data.labels import label_text, look_alikes, odd_characters
from convlens.data.sources import Source, open_source
from convlens.data.tables import read_table
from convlens.errors import ConfigError, DataError
from convlens.options import DataConfig

AUTO = DataConfig()


def images(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def table(root: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    path = root / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def rows(source: Source) -> list[tuple[str, str | None]]:
    return [(r.id, r.label) for r in source.records]


def kinds(source: Source) -> dict[str, str]:
    return {finding.kind: finding.message for finding in source.findings}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    images(tmp_path, "a.jpg", "b.jpg", "in/c10.jpg", "in/c2.jpg")
    return tmp_path


def test_rows_become_records_in_natural_order(root):
    path = table(root, "path,label\nin/c10.jpg,dog\nin/c2.jpg,cat\n./b.jpg,dog\na.jpg,1\n")
    source = open_source(path, AUTO)
    assert rows(source) == [("a.jpg", "1"), ("b.jpg", "dog"), ("in/c2.jpg", "cat"), ("in/c10.jpg", "dog")]
    assert source.records[2].image == root / "in" / "c2.jpg"
    assert (source.name, source.root) == ("labels", root)
    assert kinds(source) == {"columns": "labels.csv: read 'path' as image, 'label' as label."}


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_a_header_may_be_quoted_with_every_separator(root, separator):
    lines = [("path", "breed, of; dog| any"), ("a.jpg", "x"), ("b.jpg", "y")]
    text = "\n".join(separator.join(f'"{cell}"' for cell in line) for line in lines)  # as R writes
    assert rows(open_source(table(root, text), AUTO)) == [("a.jpg", "x"), ("b.jpg", "y")]


def test_a_header_that_no_separator_reads_is_said_with_its_line(root):
    with pytest.raises(DataError, match=r"labels\.csv, line 1: .*Check for a quote that is not closed"):
        open_source(table(root, '"path,label\na.jpg,x\n'), AUTO)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separator_byte_order_mark_and_line_ends_are_found(root, separator, mark, end):
    text = end.join(separator.join(row) for row in (("path", "breed"), ("a.jpg", '"süß; ""ok"", yes"'), ("b.jpg", "x")))
    source = open_source(table(root, mark + text.encode()), DataConfig(image_column="path"))
    assert rows(source) == [("a.jpg", 'süß; "ok", yes'), ("b.jpg", "x")]


def test_blank_lines_and_empty_rows_are_no_rows(root):
    source = open_source(table(root, "\n\npath, label\n\na.jpg, x\n,\nb.jpg, y\n\n"), AUTO)
    assert rows(source) == [("a.jpg", "x"), ("b.jpg", "y")]


def test_columns_named_by_the_config_win(root):
    text = "path,file,label,breed,animal,part\na.jpg,b.jpg,1,cat,7,TRAIN\nb.jpg,a.jpg,2,dog,8,Validation\n"
    data = DataConfig(
        source="labels.csv", image_column="file", label_column="breed", group_column="animal", split_column="part"
    )
    source = open_source(table(root, text), data)
    assert [(r.id, r.label, r.group, r.split) for r in source.records] == [
        ("a.jpg", "dog", "8", "valid"),
        ("b.jpg", "cat", "7", "train"),
    ]


def test_columns_are_found_by_contents_and_names_and_said(root):
    text = "id,where,category,Patient ID,subset\n1,a.jpg,x,p1,train\n2,b.jpg,y,,test\n"
    source = open_source(table(root, text), AUTO)
    assert [(r.id, r.label, r.group, r.split) for r in source.records] == [
        ("a.jpg", "x", "p1", "train"),
        ("b.jpg", "y", None, "test"),
    ]
    assert "'where' as image, 'category' as label, 'Patient ID' as group, 'subset' as split" in kinds(source)["columns"]


def test_of_several_columns_of_image_names_the_one_called_so_is_read(root):
    assert rows(open_source(table(root, "thumb,path,label\nb.jpg,a.jpg,x\n"), AUTO)) == [("a.jpg", "x")]


def test_the_only_other_column_is_the_label_and_a_numbered_subset_is_no_split(root):
    assert rows(open_source(table(root, "id.1,picture\nx,a.jpg\n"), AUTO)) == [("a.jpg", "x")]
    source = open_source(table(root, "path,label,subset\na.jpg,x,3\nb.jpg,y,4\n"), AUTO)
    assert source.records[0].split is None
    unused = next(finding for finding in source.findings if finding.kind == "unused-split")
    assert unused.severity == "warning"
    assert unused.message.startswith("labels.csv: column 'subset' was not used as the split: none of its first values")
    assert unused.message.endswith("is train, valid or test; they are 3, 4.")
    assert "unused-split" not in kinds(open_source(table(root, "path,label,split\na.jpg,x,\n"), AUTO))
    assert "unused-split" not in kinds(open_source(table(root, "path,subset\na.jpg,3\n"), AUTO)), "it is the label"


def test_dev_is_validation(root):
    source = open_source(table(root, "path,label,split\na.jpg,x,train\nb.jpg,y,Dev\nin/c2.jpg,x,test\n"), AUTO)
    assert [record.split for record in source.records] == ["train", "valid", "test"]


def test_one_odd_value_does_not_make_a_split_column_none(root):
    path = table(root, "path,label,split\na.jpg,x,train\nb.jpg,y,holdout\nin/c2.jpg,x,test\n")
    with pytest.raises(DataError, match=r"line 3: expected train, valid or test as the split; got 'holdout'"):
        open_source(path, AUTO)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "path,file,label",
            r"image column of labels\.csv could be any of path, file\. Its columns are: path, file, la",
        ),
        ("path,x,class,category", "label column of .* could be any of class, category.*--label-column"),
        ("path,x,y,z", r"label column of .* cannot be told\. Its columns are: path, x, y, z\. Say which"),
        ("path,patient,subject,label", "group column of .* could be any of patient, subject"),
    ],
)
def test_what_could_be_several_columns_is_asked(root, header, message):
    n = header.count(",")
    line = "a.jpg,b.jpg,1" if "file" in header else "a.jpg" + ",1" * n
    with pytest.raises(DataError, match=message):
        open_source(table(root, f"{header}\n{line}\n"), AUTO)


def test_an_unknown_column_lists_the_columns_and_the_nearest(root):
    path = table(root, "path,breed\na.jpg,x\n")
    message = r"has no column 'bread' to read as label\. Its columns are: path, breed\. Did you mean 'breed'\?"
    with pytest.raises(DataError, match=message):
        open_source(path, DataConfig(label_column="bread"))
    with pytest.raises(DataError, match=r"'path' of labels\.csv cannot play two roles"):
        open_source(path, DataConfig(image_column="path", label_column="path"))


REFUSED = {
    "absolute": ("/etc/passwd.jpg", "is an absolute path or an address"),
    "drive": ("C:\\\\x\\\\a.jpg", "is an absolute path or an address"),
    "address": ("https://example.org/a.jpg", "is an absolute path or an address"),
    "climbs": ("in/../../a.jpg", r"climbs out with '\.\.'"),
    "link": ("link.jpg", "a symbolic link leads 'link.jpg' out"),
    "linked folder": ("linked/x.jpg", "a symbolic link leads 'linked/x.jpg' out"),
    "missing behind a link": ("linked/none.jpg", "a symbolic link leads 'linked/none.jpg' out"),
    "pipe": ("pipe.jpg", "is a folder, pipe or device"),
    "device": ("null.jpg", "a symbolic link leads 'null.jpg' out"),
    "folder": ("in", "is a folder, pipe or device"),
    "itself": (".", "is a folder, pipe or device"),
    "loop": ("loop.jpg", "cannot be looked at"),
    "nul": ("a\0.jpg", r"contains a control character \(U\+0000\)"),
    "newline": ('"a\n.jpg"', r"contains a control character \(U\+000A\)"),
    "encoding": (b"\xe9.jpg", "contains bytes that are not UTF-8"),
    "long name": ("x" * 300 + ".jpg", "cannot be looked at: File name too long"),
    "long path": ("x/" * 3000 + "a.jpg", "a path of at most 4,096 characters; got 6,005"),
    "empty": ('""', "expected the path of an image; got ''"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are made the POSIX way")
@pytest.mark.parametrize("case", REFUSED)
def test_a_path_that_is_not_a_file_below_the_table_is_refused_with_its_line(tmp_path, case):
    root = tmp_path / "root"
    images(tmp_path, "outside/x.jpg", "rooted.jpg", "root/a.jpg", "root/in/c.jpg")
    (root / "link.jpg").symlink_to("../outside/x.jpg")
    (root / "linked").symlink_to("../outside")
    (root / "loop.jpg").symlink_to("loop.jpg")
    (root / "null.jpg").symlink_to("/dev/null")
    os.mkfifo(root / "pipe.jpg")
    value, message = REFUSED[case]
    value = value.encode() if isinstance(value, str) else value
    path = table(root, b"path,label\na.jpg,x\n\n" + value + b",y\n")
    with pytest.raises(DataError, match=rf"^labels\.csv, line 4: .*{message}"):
        open_source(path, AUTO)


def test_a_link_that_stays_inside_is_a_file(root):
    (root / "again.jpg").symlink_to("in/c2.jpg")
    (root / "also").symlink_to("in")
    assert rows(open_source(table(root, "path,label\nagain.jpg,x\nalso/c2.jpg,y\n"), AUTO)) == [
        ("again.jpg", "x"),
        ("also/c2.jpg", "y"),
    ]


MALFORMED = {
    "ragged": ("path,label\na.jpg,x\nb.jpg,y,z\n", "line 3: expected 2 fields as in the header; got 3"),
    "short": ("path,label\n\nb.jpg\n", "line 3: expected 2 fields as in the header; got 1"),
    "open quote": ('path,label\na.jpg,x\n"b.jpg,y\n', "line 3: unexpected end of data.*not closed"),
    "huge field": ("path,label\na.jpg," + "x" * 10_000_000 + "\n", "line 2: field larger than field limit"),
    "long label": ("path,label\na.jpg," + "9" * 5000 + "\n", "line 2: expected at most 200 characters; got 5,000"),
    "control": ("path,label\na.jpg,x\0y\n", "line 2: .* contains a control character"),
    "encoding": (b"path,label\na.jpg,\xff\n", "line 2: .* contains bytes that are not UTF-8"),
    "utf-16": ("path,label\na.jpg,x\n".encode("utf-16"), r"labels\.csv is UTF-16"),
    "after a long cell": ('path,label,x\na.jpg,x,"1\n2"\n\n../b.jpg,y,1\n', "^labels.csv, line 5: "),
    "empty": ("", r"labels\.csv is empty; expected a header"),
    "header only": ("what,x,y\n", "has a header but no rows; expected one row per image. Its columns are: what, x, y"),
    "no header": ("a.jpg,x\nb.jpg,y\n", r"labels\.csv has no header"),
    "bad header": (b"p\xe9th,label\na.jpg,x\n", r"line 1: expected a header in UTF-8"),
    "twins": ("path,x,x\na.jpg,1,2\n", "columns of labels.csv must differ; these occur twice: x"),
    "no class": ("path,label\na.jpg,\nb.jpg, \n", "Column 'label' of labels.csv is empty in all 2 rows"),
    "other split": ("path,label,split\na.jpg,x,train\nb.jpg,y,\n", "line 3: the split is empty, but other rows"),
    "contradiction": ("path,label\na.jpg,x\n./a.jpg,y\n", r"line 3: a\.jpg has label 'y', but 'x' in .*line 2"),
    "two sides": ("path,label,split\na.jpg,x,train\na.jpg,x,test\n", "line 3: a.jpg has split 'test', but 'train'"),
    "none exists": (
        "path,label\nno\\1.jpg,x\n",
        r"None of the 1 files .* 'no\\1\.jpg' \(labels\.csv, line 2\).*with /",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_table_is_refused(root, case):
    text, message = MALFORMED[case]
    with pytest.raises(DataError, match=message):
        open_source(table(root, text), AUTO)


def test_a_split_column_that_was_named_must_hold_splits(root):
    path = table(root, "path,label,fold\na.jpg,x,train\nb.jpg,y,3\n")
    with pytest.raises(DataError, match=r"line 3: expected train, valid or test as the split; got '3'"):
        open_source(path, DataConfig(split_column="fold"))


def test_rows_without_a_class_repeated_rows_and_look_alikes_are_findings(root):
    text = "path,label\na.jpg,Cat\nb.jpg,\nin/c2.jpg, cat \n./in/c2.jpg,cat\n"
    source = open_source(table(root, text), AUTO)
    assert rows(source) == [("a.jpg", "Cat"), ("in/c2.jpg", "cat")]
    findings = {f.kind: f for f in source.findings}
    assert findings["missing-label"].records == ("b.jpg",)
    assert (
        "1 of 3 images have no class and are left out: b.jpg (labels.csv, line 3)" in findings["missing-label"].message
    )
    numbers = open_source(table(root, "path,label\na.jpg,1\nb.jpg,\n"), AUTO, kind="number")
    assert "1 of 2 images have no number and are left out: b.jpg" in kinds(numbers)["missing-label"]
    assert findings["repeated-row"].records == ("in/c2.jpg",)
    assert "'Cat' and 'cat'" in findings["similar-classes"].message
    assert {f.severity for f in source.findings} == {"note", "warning"}


def test_a_missing_file_stays_for_the_decoder_to_name(root):
    assert rows(open_source(table(root, "path,label\na.jpg,x\nnone/z.jpg,y\n"), AUTO))[1] == ("none/z.jpg", "y")


def test_unlabelled_asks_for_no_label_and_gives_none(root):
    text = "path,x,patient,subject\na.jpg,1,2,3\n"
    assert rows(open_source(table(root, text), AUTO, labelled=False)) == [("a.jpg", None)]
    assert rows(open_source(table(root, "path,label\nb.jpg,x\n"), AUTO, labelled=False)) == [("b.jpg", None)]


def test_the_folder_of_the_table_may_be_reached_through_a_link(root, tmp_path_factory):
    table(root, "path,label\na.jpg,x\n")
    link = tmp_path_factory.mktemp("other") / "link"
    link.symlink_to(root)
    assert rows(open_source(link / "labels.csv", AUTO)) == [("a.jpg", "x")]


def parquet(root: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), root / "labels.parquet")
    return root / "labels.parquet"


def test_parquet_gives_the_same_records_as_csv(root):
    names, labels, split = ["in/c10.jpg", "a.jpg", "b.jpg"], [10, 2, None], ["train", "test", "train"]
    path = parquet(root, path=names, label=labels, split=pa.array(split).dictionary_encode(), raw=[b"x"] * 3)
    from_parquet = open_source(path, AUTO)
    lines = [f"{n},{'' if v is None else v},{s}" for n, v, s in zip(names, labels, split, strict=True)]
    from_csv = open_source(table(root, "\n".join(["path,label,split", *lines])), AUTO)
    assert from_parquet.records == from_csv.records
    assert rows(from_parquet) == [("a.jpg", "2"), ("in/c10.jpg", "10")]
    assert "b.jpg (labels.parquet, row 3)" in kinds(from_parquet)["missing-label"]


def test_parquet_errors_name_the_row_or_the_type(root, monkeypatch):
    with pytest.raises(DataError, match=r"^labels\.parquet, row 2: '\.\./x\.jpg' climbs"):
        open_source(parquet(root, path=["a.jpg", "../x.jpg"], label=["x", "y"]), AUTO)
    with pytest.raises(DataError, match=r"row 1: expected a text or a whole number; got 0\.5"):
        open_source(parquet(root, path=["a.jpg"], label=[0.5]), AUTO)
    path = parquet(root, image=[{"bytes": b"x"}], label=["x"])
    with pytest.raises(DataError, match=r"no column 'image' .* It is of type struct<bytes: binary>; expected text"):
        open_source(path, DataConfig(image_column="image"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"labels\.parquet is not a Parquet file that can be read"):
        open_source(path, AUTO)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"needs pyarrow: pip install 'convlens\[tables\]'"):
        open_source(path, AUTO)


def test_a_parquet_file_damaged_inside_is_a_data_error(root):
    path = parquet(root, path=[f"{i}.jpg" for i in range(5000)], label=list(range(5000)))
    data = bytearray(path.read_bytes())
    data[200 : len(data) // 2] = bytes(len(data) // 2 - 200)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"labels\.parquet"):
        open_source(path, AUTO)


def test_labels_become_text_in_one_form():
    assert label_text("e\u0301", "x") == label_text("\u00e9", "x") == "\u00e9"
    assert [label_text(v, "x") for v in (None, float("nan"), "  ", True, -3, 2.0)] == [None] * 3 + ["True", "-3", "2"]
    with pytest.raises(DataError, match=r"x: expected a text or a whole number; got 2.5 \(float\)"):
        label_text(2.5, "x")
    assert look_alikes(["e\u0301", "\u00e9", "cat ", "cat", "dog"]) == [("cat", "cat "), ("e\u0301", "\u00e9")]
    assert odd_characters("a\u2028b") == "a control character (U+2028)"
    assert odd_characters("👩‍🔬 \u00a0.jpg") == ""


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet='ab.jpg,;\n"\0/ é', max_size=200).map(str.encode))
def test_whatever_the_bytes_only_a_data_error_escapes(tmp_path_factory, data):
    root = tmp_path_factory.getbasetemp()
    images(root, "a.jpg")
    path = table(root, b"path,label\na.jpg,x\n" + data, "fuzz.csv")
    try:
        table_ = read_table(path, AUTO, labelled=True)
    except DataError as error:
        assert "fuzz.csv" in str(error)  # noqa: PT017
    else:
        assert "a.jpg" in table_.ids
        assert all(table_.labels)
