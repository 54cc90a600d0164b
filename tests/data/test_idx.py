from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.data.idx import MAX_BYTES, find_idx_sets, is_idx_name, read_idx, read_idx_file, read_idx_folder
from convlens.data.sources import open_source
from convlens.errors import DataError
from convlens.options import DataConfig

CODES = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}


def idx(array: np.ndarray) -> bytes:
    big = array.astype(array.dtype.newbyteorder(">"))
    return struct.pack(f">HBB{array.ndim}I", 0, CODES[array.dtype.name], array.ndim, *array.shape) + big.tobytes()


def write(path: Path, array: np.ndarray) -> Path:
    data = idx(array)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def pair(folder: Path, name: str, n: int, ending: str = "-idx{}-ubyte", first: int = 0) -> np.ndarray:
    images = np.arange(first, first + n * 6, dtype=np.uint8).reshape(n, 3, 2)
    write(folder / f"{name}images{ending.format(3)}", images)
    write(folder / f"{name}labels{ending.format(1)}", (np.arange(n) % 10).astype(np.uint8))
    return images


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_every_type_is_read_as_written(tmp_path, kind, ending):
    array = np.arange(24).reshape(2, 3, 4).astype(kind)
    got = read_idx(write(tmp_path / f"a.idx{ending}", array))
    assert got.dtype == array.dtype
    assert got.dtype.isnative
    assert (got == array).all()


@pytest.mark.parametrize(
    "ending", ["-idx{}-ubyte", "-idx{}-ubyte.gz", ".idx{}-ubyte", ".idx", ".idx.gz", "-idx{}.gz", "_ubyte"]
)
def test_a_folder_of_four_files_is_one_source_with_two_splits(tmp_path, ending):
    train, test = pair(tmp_path, "train-", 12, ending), pair(tmp_path, "t10k-", 3, ending, first=100)
    source = open_source(tmp_path, DataConfig())
    assert source.name == tmp_path.name
    assert [r.split for r in source.records] == ["test"] * 3 + ["train"] * 12
    assert source.records[2].id == "t10k-images#2"
    last = source.records[-1]
    assert (last.id, last.label, last.group) == ("train-images#11", "1", None)
    assert (source.image(last) == train[11]).all()
    assert (source.image(source.records[1]) == test[1]).all()
    assert source.findings == ()
    assert len({r.id for r in source.records}) == 15


def test_unlabelled_needs_no_labels_file(tmp_path):
    write(tmp_path / "images.idx", np.zeros((4, 5, 5), np.uint8))
    source = open_source(tmp_path, DataConfig(), labelled=False)
    assert [r.label for r in source.records] == [None] * 4
    assert source.arrays is not None
    assert source.arrays.shape == (4, 5, 5)


def test_one_images_file_finds_its_labels_and_claims_no_split(tmp_path):
    pair(tmp_path, "train-", 12, "-idx{}-ubyte.gz")
    images = pair(tmp_path, "t10k-", 3, "-idx{}-ubyte.gz", first=50)
    source = open_source(tmp_path / "t10k-images-idx3-ubyte.gz", DataConfig())
    assert (source.name, len(source.records)) == ("t10k-images", 3)
    assert [r.label for r in source.records] == ["0", "1", "2"]
    assert {r.split for r in source.records} == {None}
    assert source.arrays is not None
    assert (source.arrays == images).all()


def test_colour_and_a_plain_file_before_its_gzipped_twin(tmp_path):
    colour = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    write(tmp_path / "train-images-idx4-ubyte", colour)
    write(tmp_path / "train-images-idx4-ubyte.gz", colour + 1)
    write(tmp_path / "train-labels-idx1-ubyte", np.array([3, 7], np.int32))
    (tmp_path / "readme.md").write_text("x")
    (tmp_path / "train-labels-idx1-ubyte.gz").mkdir()
    (one,), findings = read_idx_folder(tmp_path, labelled=True)
    assert (one.images == colour).all()
    assert one.labels is not None
    assert one.labels.tolist() == [3, 7]
    assert [f.records for f in findings] == [("readme.md", "train-images-idx4-ubyte.gz", "train-labels-idx1-ubyte.gz")]


def test_names():
    assert find_idx_sets(["emnist-letters-Test-images-idx3-ubyte.gz"]) == {
        "emnist-letters-test": ("emnist-letters-Test-images-idx3-ubyte.gz", "")
    }
    assert not any(is_idx_name(n) for n in ("images.png", "images", "labels.csv", "index.html", "idx", "train.txt"))


def test_a_folder_without_idx_files_has_no_sets(tmp_path):
    (tmp_path / "images.zip").write_bytes(b"")
    assert read_idx_folder(tmp_path, labelled=True) == ((), ())


MALFORMED = {
    "empty": (b"", "expected a magic number .* got an empty file"),
    "magic": (b"\x89PNG" + bytes(40), "expected a magic number .* got 89 50 4e 47"),
    "type": (bytes([0, 0, 7, 3]) + bytes(40), "got 00 00 07 03"),
    "axes": (bytes([0, 0, 8, 0]), "got 00 00 08 00"),
    "header": (bytes([0, 0, 8, 3]) + bytes(7), "expected 12 bytes of lengths in the header; got 7"),
    "short": (idx(np.zeros((2, 3, 4), np.uint8))[:-5], r"must hold 24 bytes .* shape \(2, 3, 4\); got 19"),
    "long": (idx(np.zeros((2, 3, 4), np.uint8)) + b"x", "must hold 24 bytes .* got more than 24"),
    "huge": (struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**20, 2**20), f"expected at most {MAX_BYTES:,}"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_says_expected_and_got(tmp_path, case, packed):
    data, message = MALFORMED[case]
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(caught.value).startswith("train-images-idx3-ubyte")


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_gzip_stream_is_named(tmp_path, damage):
    values = np.random.default_rng(0).integers(0, 256, (20, 50, 50)).astype(np.uint8)
    data = bytearray(gzip.compress(idx(values)))
    if damage == "cut":
        del data[-2000:]
    else:
        data[-6] ^= 1  # the checksum
    (tmp_path / "a.idx.gz").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.idx\.gz is (cut off: expected 50,000|a damaged gzip)"):
        read_idx(tmp_path / "a.idx.gz")


def test_counts_shapes_and_partners_must_agree(tmp_path):
    images = write(tmp_path / "images.idx", np.zeros((4, 5, 5), np.uint8))
    with pytest.raises(DataError, match=r"images\.idx has no labels file beside it"):
        read_idx_file(images, labelled=True)
    labels = write(tmp_path / "labels.idx", np.zeros(3, np.uint8))
    with pytest.raises(DataError, match="got 3 labels and 4 images"):
        read_idx_file(images, labelled=True)
    with pytest.raises(DataError, match=r"labels\.idx holds labels; expected the images file"):
        read_idx_file(labels, labelled=True)
    write(labels, np.zeros((4, 8), np.uint8))
    with pytest.raises(DataError, match=r"expected one integer for each image; got \(4, 8\)"):
        read_idx_file(images, labelled=True)
    write(labels, np.zeros(4, np.float32))
    with pytest.raises(DataError, match="of float32"):
        read_idx_file(images, labelled=True)
    write(images, np.zeros((4, 25), np.uint8))
    with pytest.raises(DataError, match=r"expected images as \(N, H, W\)"):
        read_idx_file(images, labelled=False)
    images.unlink()
    with pytest.raises(DataError, match=r"labels\.idx has no images file beside it"):
        open_source(tmp_path, DataConfig())


def test_sets_of_one_folder_must_fit_together(tmp_path):
    pair(tmp_path, "letters-train-", 2)
    pair(tmp_path, "digits-train-", 2)
    with pytest.raises(DataError, match="holds the idx sets digits-train-images, letters-train-images; expected one"):
        open_source(tmp_path, DataConfig())
    assert len(open_source(tmp_path / "digits-train-images-idx3-ubyte", DataConfig()).records) == 2
    for name in ("images-idx3-ubyte", "labels-idx1-ubyte"):
        (tmp_path / f"letters-train-{name}").rename(tmp_path / f"letters-test-{name}")
    assert [r.split for r in open_source(tmp_path, DataConfig()).records] == ["train", "train", "test", "test"]
    write(tmp_path / "letters-test-images-idx3-ubyte", np.zeros((2, 9, 9), np.uint8))
    with pytest.raises(DataError, match=r"images of \(9, 9\), digits-train-images of \(3, 2\)"):
        open_source(tmp_path, DataConfig())


GOOD = idx(np.arange(12, dtype=np.uint8).reshape(3, 2, 2))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.integers(0, len(GOOD)), st.booleans())
def test_whatever_the_bytes_only_a_data_error_escapes(tmp_path_factory, at, value, length, packed):
    data = bytearray(GOOD)
    data[at] = value
    data = bytes(data[:length])
    path = tmp_path_factory.mktemp("fuzz") / "images.idx"
    path.write_bytes(gzip.compress(data)[: length + 20] if packed else data)
    try:
        read_idx(path)
    except DataError as error:
        assert "images.idx" in str(error)  # noqa: PT017
