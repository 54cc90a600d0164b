"""Matrices as they are typed: what is taken, and what is said about the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from convlens.errors import ConfigError, DataError
from convlens.lectures.matrices import read_kernel, read_matrix
from convlens.reference import KERNELS


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("1 2;3 4", [[1, 2], [3, 4]]),
        (" 1, -2 ;\n+3,4; ", [[1, -2], [3, 4]]),
        ("5", [[5]]),
        ("1 2\n3 4", [[1, 2], [3, 4]]),
        (".5 1e-3", [[0.5, 0.001]]),
        ("1/4 -1/2", [[0.25, -0.5]]),
    ],
)
def test_typed_matrices(text: str, rows: list[list[float]]) -> None:
    assert read_matrix(text).tolist() == rows


def test_whole_numbers_stay_whole_while_products_cannot_overflow() -> None:
    assert read_matrix("999999 -1").dtype == np.int64
    assert read_matrix("9999999 -1").dtype == np.float64


@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".csv", ";"), (".tsv", "\t"), (".txt", "  ")])
def test_files(tmp_path: Path, suffix: str, separator: str) -> None:
    file = tmp_path / f"matrix{suffix}"
    file.write_text(f"\ufeff1{separator}2\n\n3{separator}-4\n", encoding="utf-8")
    assert read_matrix(str(file)).tolist() == [[1, 2], [3, -4]]
    assert read_kernel(str(file)).tolist() == [[1, 2], [3, -4]]


def test_a_kernel_may_be_a_name() -> None:
    assert read_kernel(" sharpen ").tolist() == KERNELS["sharpen"].tolist()
    assert read_kernel("sharpen").dtype == np.int64
    assert np.array_equal(read_kernel("box_blur"), KERNELS["box_blur"])
    with pytest.raises(ConfigError, match=r"^There is no kernel 'sharpn'\. Did you mean 'sharpen'\?$"):
        read_kernel("sharpn")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 2; 3", "rows of equal length; row 1 has 2 numbers and row 2 has 1"),
        ("1 a", "must hold numbers; got 'a'"),
        ("1/0", "must hold numbers; got '1/0'"),
        ("1 nan", "finite numbers; got 'nan'"),
        ("1e400", "finite numbers; got '1e400'"),
        ("", "holds no numbers"),
        (" ; ;", "holds no numbers"),
        ("__import__('os')", "must hold numbers"),
        ("nowhere.csv", "There is no file 'nowhere.csv'"),
    ],
)
def test_what_is_no_matrix(text: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        read_matrix(text, "input")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    binary, folder, large = tmp_path / "b.csv", tmp_path / "d.csv", tmp_path / "l.txt"
    binary.write_bytes(b"\xff\xfe\x00")
    folder.mkdir()
    large.write_bytes(b"1 " * 2**21 + b"1")
    for path, said in ((binary, "not text in UTF-8"), (folder, "cannot be read"), (large, "more than 4,194,304 bytes")):
        with pytest.raises(DataError, match=said):
            read_matrix(str(path))
