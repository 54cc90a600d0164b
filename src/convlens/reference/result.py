"""What every operation here returns: the value, and on demand the trace of one number and the gradients.

An operation is a function that computes its value at once and hands over two functions for later. Nothing is recorded
and nothing is global: `relu(conv2d(x, weight))` works because an operation reads a `Result` like any array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from convlens.errors import ShapeError
from convlens.reference.trace import Trace

Index = tuple[int, ...]
Gradients = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The value of an operation, which can say how it came about.

    Example:
        >>> from convlens.reference import conv2d
        >>> y = conv2d([[1, 2], [3, 4]], [[1, 0], [0, 1]])
        >>> y
        Result([[5]])
        >>> y.trace((0, 0)).result, y.backward([[1]])["weight"].tolist()
        (5, [[1.0, 2.0], [3.0, 4.0]])
    """

    value: np.ndarray
    explain: Callable[[Index], Trace]
    differentiate: Callable[[np.ndarray], Gradients]

    def trace(self, out: int | Sequence[int] = ()) -> Trace:
        """How the number at index `out` came about. Leading axes of size 1 may be left out, or given as 0.

        Raises:
            ShapeError: there is no such number.
        """
        return self.explain(locate(self.value.shape, out))

    def backward(self, gradient: ArrayLike = 1) -> Gradients:
        """Gradients of the loss for each input by its name, from the gradient for this value.

        Raises:
            ShapeError: the gradient has another shape than the value.
        """
        array = np.asarray(numbers(gradient, "gradient"), dtype=np.float64)
        if array.shape != self.value.shape:
            raise ShapeError(
                f"The gradient must have the shape of the value, {self.value.shape}; got {array.shape}. "
                "Give one number for each number of the result."
            )
        return self.differentiate(array)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return self.value.shape

    def tolist(self) -> Any:
        """The value as nested lists."""
        return self.value.tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.value, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        return f"Result({np.array2string(self.value, separator=', ', prefix='Result(')})"


def numbers(values: ArrayLike, name: str) -> np.ndarray:
    """An array to calculate with: whole numbers stay whole and cannot overflow a byte, all others are float64.

    Example:
        >>> numbers([[1, 2]], "x").dtype, numbers(np.float32(0.5), "x").dtype
        (dtype('int64'), dtype('float64'))
        >>> numbers([[1, 2], [3]], "x")
        Traceback (most recent call last):
        ...
        convlens.errors.ShapeError: x must be numbers in rows of equal length; got a ragged list. Complete the short \
rows.

    Raises:
        ShapeError: it is ragged, or holds something else than real numbers.
    """
    try:
        array = np.asarray(values)
    except ValueError:
        raise ShapeError(
            f"{name} must be numbers in rows of equal length; got a ragged list. Complete the short rows."
        ) from None
    if array.dtype.kind not in "buif":
        raise ShapeError(f"{name} must hold real numbers; got {array.dtype}. Convert it first, as with float(...).")
    return array.astype(np.float64 if array.dtype.kind == "f" else np.int64)


def locate(shape: Index, out: int | Sequence[int]) -> Index:
    """The full index that `out` means: leading axes of size 1 may be left out, or given as 0.

    Example:
        >>> locate((1, 4, 4), (2, 3)), locate((4, 4), (0, 2, 3))
        ((0, 2, 3), (2, 3))
        >>> locate((4, 4), (2, 4))
        Traceback (most recent call last):
        ...
        convlens.errors.ShapeError: out must be an index into the result of shape (4, 4); got (2, 4). Count from 0: \
the last is (3, 3).
    """
    given = index = (int(out),) if isinstance(out, int | np.integer) else tuple(int(i) for i in out)
    missing = len(shape) - len(index)
    if missing > 0 and all(size == 1 for size in shape[:missing]):
        index = (0,) * missing + index
    elif missing < 0 and not any(index[:-missing]):
        index = index[-missing:]
    if len(index) != len(shape) or any(not 0 <= i < size for i, size in zip(index, shape, strict=True)):
        last = tuple(size - 1 for size in shape)
        raise ShapeError(
            f"out must be an index into the result of shape {shape}; got {given}. Count from 0: the last is {last}."
        )
    return index
