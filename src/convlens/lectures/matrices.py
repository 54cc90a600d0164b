"""Matrices as people write them: "1 2; 3 4", the name of a kernel, or a text file with a row a line.

Nothing is evaluated: a number is a whole number, a decimal, or a fraction such as 1/9.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np

from convlens.errors import DataError
from convlens.reference import kernel

SUFFIXES = (".csv", ".tsv", ".txt")
MOST_BYTES = 4 * 2**20
NAME = re.compile(r"[A-Za-z]\w*")
Number = int | float


def read_matrix(text: str, name: str = "input") -> np.ndarray:
    """The matrix that a text means: a file's, or the text's own.

    Args:
        text: rows separated by semicolons, numbers by blanks or commas; or the path of a file, ending in .csv, .tsv or
            .txt, with a row a line.
        name: what to call it in errors.

    Example:
        >>> read_matrix("1 2; 3 4").tolist(), read_matrix("1/2, -1").tolist()
        ([[1, 2], [3, 4]], [[0.5, -1.0]])
        >>> read_matrix("1 2; 3")
        Traceback (most recent call last):
        ...
        convlens.errors.DataError: input must have rows of equal length; row 1 has 2 numbers and row 2 has 1. Complete \
the short row.

    Raises:
        DataError: there is no such file, or it is no matrix of finite numbers.
    """
    if Path(text).suffix.lower() in SUFFIXES:
        return _matrix(_lines(text), r"[\s,;]+", text)
    return _matrix(re.split(r"[;\n]", text), r"[\s,]+", name)


def read_kernel(text: str) -> np.ndarray:
    """A kernel: a matrix as in `read_matrix`, or one of the named kernels; whole numbers where all are.

    Example:
        >>> read_kernel("box_blur").shape, read_kernel("0 1 0").shape
        ((3, 3), (1, 3))

    Raises:
        ConfigError: there is no kernel of that name.
        DataError: it is no matrix.
    """
    if not NAME.fullmatch(text.strip()):
        return read_matrix(text, "kernel")
    named = kernel(text.strip())
    return named.astype(np.int64) if (named == np.rint(named)).all() else named


def _lines(path: str) -> list[str]:
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise DataError(f"There is no file '{path}'. Give an existing one, or type the numbers: '1 2; 3 4'.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Give a text file with a row a line.") from None
    if len(raw) > MOST_BYTES:
        raise DataError(f"{path} has more than {MOST_BYTES:,} bytes; give a smaller matrix.")
    try:
        return raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path} is not text in UTF-8. Give a file with a row of numbers a line.") from None


def _matrix(lines: list[str], separator: str, name: str) -> np.ndarray:
    rows = [re.split(separator, line.strip(" \t,;\r")) for line in lines if line.strip(" \t,;\r")]
    if not rows:
        raise DataError(f"{name} holds no numbers. Write it row by row, such as '1 2; 3 4'.")
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise DataError(
                f"{name} must have rows of equal length; row 1 has {len(rows[0])} numbers and row {number} has "
                f"{len(row)}. Complete the short row."
            )
    return np.array([[_number(word, name) for word in row] for row in rows])


def _number(word: str, name: str) -> Number:
    try:
        if re.fullmatch(r"[+-]?\d{1,6}", word):  # longer ones as floats: products of whole numbers must not overflow
            return int(word)
        value = float(Fraction(word)) if "/" in word else float(word)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise DataError(f"{name} must hold numbers; got '{word}'. Write such as '1 0 -1' or '1/9 1/9'.") from None
    if not math.isfinite(value):
        raise DataError(f"{name} must hold finite numbers; got '{word}'. Replace it.")
    return value
