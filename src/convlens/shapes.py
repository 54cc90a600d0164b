"""What size comes out, how many parameters, and how far a unit sees: integer arithmetic, one axis at a time.

Every function here is a formula of the lectures with the floor written out. A result that cannot be is a `ShapeError`
with the formula filled in and the repair. This file does not know torch; networks are built with it before they exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from convlens.errors import ShapeError

Pair = tuple[int, int]
Padding = int | Pair | str


def pair(value: int | Sequence[int]) -> Pair:
    """Height and width, from one number for both or from two.

    Example:
        >>> pair(3), pair([3, 5])
        ((3, 3), (3, 5))
    """
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2:
        raise ShapeError(f"Give one number for both axes, or [height, width]; got {len(both)} numbers: {list(both)}.")
    return both[0], both[1]


def effective_kernel(kernel: int, dilation: int = 1) -> int:
    """Reach of a dilated kernel: d (k - 1) + 1.

    Example:
        >>> effective_kernel(3), effective_kernel(3, dilation=2)
        (3, 5)
    """
    return dilation * (kernel - 1) + 1


def same_padding(size: int, kernel: int, stride: int = 1, dilation: int = 1) -> Pair:
    """Zeros before and after that make the output ceil(n / s); an odd one goes after (bottom, right).

    total = max((ceil(n / s) - 1) s + d (k - 1) + 1 - n, 0)

    Example:
        >>> same_padding(5, 3), same_padding(5, 3, stride=2), same_padding(6, 3, stride=2)
        ((1, 1), (1, 1), (0, 1))
    """
    _require_counts(size=size, kernel=kernel, stride=stride, dilation=dilation)
    total = max((-(-size // stride) - 1) * stride + effective_kernel(kernel, dilation) - size, 0)
    return total // 2, total - total // 2


def sides(size: int, kernel: int, stride: int, padding: Padding, dilation: int = 1) -> Pair:
    """Zeros before and after for `"valid"` (none), `"same"`, one number for both sides, or (before, after)."""
    if isinstance(padding, str):
        if padding not in ("valid", "same"):
            raise ShapeError(f"Padding is 'valid', 'same', or a number of zeros; got '{padding}'.")
        return same_padding(size, kernel, stride, dilation) if padding == "same" else (0, 0)
    before, after = pair(padding)
    if before < 0 or after < 0:
        raise ShapeError(f"Padding is at least 0; got {before} before and {after} after.")
    return before, after


def conv_size(size: int, kernel: int, stride: int = 1, padding: Padding = "valid", dilation: int = 1) -> int:
    """Output size of a convolution: floor((n + p_before + p_after - d (k - 1) - 1) / s) + 1.

    A window that would run over the edge is left out: the floor that slides often omit.

    Example:
        >>> conv_size(5, 3), conv_size(5, 3, padding="same"), conv_size(5, 3, stride=2, padding="same")
        (3, 5, 3)
        >>> conv_size(6, 3, stride=2)  # (6 - 3) / 2 + 1 = 2.5
        2
        >>> conv_size(3, 5)
        Traceback (most recent call last):
        ...
        convlens.errors.ShapeError: A window of 5 does not fit into 3: floor((3 + 0 - 5) / 1) + 1 = -1, expected at \
least 1. The smallest size that works here is 5; or pad with 1 on each side.

    Raises:
        ShapeError: the window is larger than the padded input.
    """
    _require_counts(size=size, kernel=kernel, stride=stride, dilation=dilation)
    reach, pads = effective_kernel(kernel, dilation), sum(sides(size, kernel, stride, padding, dilation))
    out = (size + pads - reach) // stride + 1
    if out < 1:
        raise ShapeError(
            f"A window of {reach} does not fit into {size}: floor(({size} + {pads} - {reach}) / {stride}) + 1 = {out}, "
            f"expected at least 1. The smallest size that works here is {reach - pads}; "
            f"or pad with {-(-(reach - size) // 2)} on each side."
        )
    return out


def pool_size(size: int, kernel: int, stride: int | None = None, padding: int = 0, *, partial: bool = False) -> int:
    """Output size of pooling: floor((n + 2p - k) / s) + 1, or with partial windows ceil((n + 2p - k) / s) + 1.

    A partial window must still begin on the input or on the padding before it. The stride is the window's own size
    unless given.

    Example:
        >>> pool_size(4, 2), pool_size(5, 2, stride=1)
        (2, 4)
        >>> pool_size(7, 2), pool_size(7, 2, partial=True), pool_size(5, 2, partial=True)
        (3, 4, 3)

    Raises:
        ShapeError: the window is larger than the padded input, or the padding larger than half the window.
    """
    stride = kernel if stride is None else stride
    _require_counts(size=size, kernel=kernel, stride=stride)
    if not 0 <= padding <= kernel // 2:
        raise ShapeError(
            f"Pooling with a window of {kernel} takes a padding from 0 to {kernel // 2}; got {padding}. "
            "A window lying wholly on padding would pool nothing."
        )
    room = size + 2 * padding - kernel
    out = (-(-room // stride) if partial else room // stride) + 1
    if partial and (out - 1) * stride >= size + padding:
        out -= 1
    if out < 1:
        rounding = "ceil" if partial else "floor"
        raise ShapeError(
            f"A pooling window of {kernel} does not fit into {size}: {rounding}(({size} + {2 * padding} - {kernel}) / "
            f"{stride}) + 1 = {out}, expected at least 1. The smallest size that works here is {kernel - 2 * padding}; "
            f"or leave this pooling out."
        )
    return out


def transposed_size(
    size: int, kernel: int, stride: int = 1, padding: int = 0, output_padding: int = 0, dilation: int = 1
) -> int:
    """Output size of a transposed convolution: (n - 1) s - 2p + d (k - 1) + output_padding + 1.

    Example:
        >>> transposed_size(2, 2, stride=2), transposed_size(3, 3, stride=2, padding=1, output_padding=1)
        (4, 6)

    Raises:
        ShapeError: nothing is left after the padding, or the output padding is not smaller than stride or dilation.
    """
    _require_counts(size=size, kernel=kernel, stride=stride, dilation=dilation)
    if not 0 <= output_padding < max(stride, dilation):
        raise ShapeError(
            f"output_padding must be smaller than the stride or the dilation ({max(stride, dilation)}); "
            f"got {output_padding}."
        )
    out = (size - 1) * stride - 2 * padding + effective_kernel(kernel, dilation) + output_padding
    if out < 1 or padding < 0:
        raise ShapeError(
            f"Nothing is left of the output: ({size} - 1) x {stride} - 2 x {padding} + {dilation} x ({kernel} - 1) + "
            f"{output_padding} + 1 = {out}, expected at least 1. Choose a padding from 0 to "
            f"{(out + 2 * padding - 1) // 2}."
        )
    return out


def conv_parameters(
    in_channels: int, filters: int, kernel: int | Sequence[int], *, groups: int = 1, bias: bool = True
) -> int:
    """Parameters of a convolution, transposed or not: filters x (k_h k_w C / groups) + filters biases.

    Example:
        >>> conv_parameters(3, 6, 5), conv_parameters(4, 8, 3, groups=2, bias=False)
        (456, 144)

    Raises:
        ShapeError: the groups do not divide the channels and the filters.
    """
    _require_counts(in_channels=in_channels, filters=filters, groups=groups)
    if in_channels % groups or filters % groups:
        raise ShapeError(
            f"groups={groups} must divide the {in_channels} channels that come in and the {filters} that go out. "
            f"Choose a common divisor of both, or groups=1."
        )
    height, width = pair(kernel)
    return filters * (height * width * in_channels // groups) + filters * bias


def depthwise_parameters(channels: int, kernel: int | Sequence[int], *, multiplier: int = 1, bias: bool = True) -> int:
    """Parameters of a depthwise convolution: k_h k_w C m, and C m biases.

    Example:
        >>> depthwise_parameters(32, 3), depthwise_parameters(32, 3, bias=False)
        (320, 288)
    """
    return conv_parameters(channels, channels * multiplier, kernel, groups=channels, bias=bias)


def dense_parameters(inputs: int, units: int, *, bias: bool = True) -> int:
    """Parameters of a dense layer: inputs x units, and one bias a unit.

    Example:
        >>> dense_parameters(400, 120), dense_parameters(3 * 5 * 5, 3, bias=False)
        (48120, 225)
        >>> dense_parameters(4000 * 4000, 1024, bias=False)
        16384000000
    """
    _require_counts(inputs=inputs, units=units)
    return inputs * units + units * bias


def norm_parameters(channels: int) -> int:
    """Learned parameters of batch normalisation: a scale and a shift a channel. Its running mean and variance are not.

    Example:
        >>> norm_parameters(32)
        64
    """
    _require_counts(channels=channels)
    return 2 * channels


class Window(NamedTuple):
    """How a convolution or pooling layer slides along one axis; `padding` is what lies on each side."""

    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1


class Field(NamedTuple):
    """What the units of a layer see of the input, along one axis.

    Unit i sees the input cells from `start + i * jump` to `start + i * jump + size - 1`; negative ones are padding.
    """

    size: int
    jump: int
    start: int


def receptive_fields(windows: Iterable[Window]) -> list[Field]:
    """Receptive field after each layer: size += (k - 1) d jump, start -= p jump, jump *= s, from (1, 1, 0).

    Example:
        >>> tutorial = [Window(5), Window(2, stride=2), Window(5), Window(2, stride=2)]
        >>> [field.size for field in receptive_fields(tutorial)]
        [5, 6, 14, 16]
        >>> receptive_fields([Window(3, padding=1), Window(3, stride=2, padding=1)])[-1]
        Field(size=5, jump=2, start=-2)
    """
    fields, (size, jump, start) = [], (1, 1, 0)
    for window in windows:
        _require_counts(kernel=window.kernel, stride=window.stride, dilation=window.dilation)
        size += (effective_kernel(window.kernel, window.dilation) - 1) * jump
        start -= window.padding * jump
        jump *= window.stride
        fields.append(Field(size, jump, start))
    return fields


def size_after(size: int, layers: Mapping[str, Window]) -> int:
    """Size after a chain of named convolutions and poolings (without partial windows).

    Example:
        >>> lenet = {"conv1": Window(5), "pool1": Window(2, 2), "conv2": Window(5), "pool2": Window(2, 2)}
        >>> size_after(32, lenet)
        5
        >>> size_after(12, lenet)
        Traceback (most recent call last):
        ...
        convlens.errors.ShapeError: conv2: A window of 5 does not fit into 4: floor((4 + 0 - 5) / 1) + 1 = 0, expected \
at least 1. The smallest size that works here is 5; or pad with 1 on each side. All layers fit from an input of 16 on.

    Raises:
        ShapeError: a window is larger than what reaches it.
    """
    try:
        return _size_after(size, layers)
    except ShapeError as error:
        least = smallest_size(lambda n: _size_after(n, layers))
        repair = f" All layers fit from an input of {least} on." if least else ""
        raise ShapeError(f"{error}{repair}") from None


def smallest_size(walk: Callable[[int], object], most: int = 1024) -> int | None:
    """The smallest size for which `walk` raises no `ShapeError`; None if there is none up to `most`.

    Example:
        >>> smallest_size(lambda n: conv_size(pool_size(conv_size(n, 5), 2), 5))
        14
    """
    for size in range(1, most + 1):
        try:
            walk(size)
        except ShapeError:
            continue
        return size
    return None


def _size_after(size: int, layers: Mapping[str, Window]) -> int:
    for name, window in layers.items():
        try:
            size = conv_size(size, window.kernel, window.stride, window.padding, window.dilation)
        except ShapeError as error:
            raise ShapeError(f"{name}: {error}") from None
    return size


def _require_counts(**values: int) -> None:
    for name, value in values.items():
        if not isinstance(value, int) or value < 1:
            raise ShapeError(f"{name} must be a whole number of at least 1; got {value!r}.")
