"""Layers torch lacks. They know nothing of any network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convlens.errors import ConfigError, ShapeError, did_you_mean
from convlens.nn.named import require_number
from convlens.shapes import same_padding

Each = int | Sequence[int]
Index = tuple[int, ...]
ORDERS = ("channels_first", "channels_last")
MAX_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def each(value: Each, dims: int, name: str, least: int = 1) -> tuple[int, ...]:
    """A whole number for each axis, from one for all or one for each.

    Example:
        >>> each(2, 3, "stride"), each([1, 2], 2, "stride")
        ((2, 2, 2), (1, 2))

    Raises:
        ShapeError: there are too few or too many, or one is too small.
    """
    all_axes = (value,) * dims if isinstance(value, int) else tuple(value) if isinstance(value, list | tuple) else ()
    if len(all_axes) != dims or any(type(one) is not int or one < least for one in all_axes):
        several = f", or {dims} of them" if dims > 1 else ""
        raise ShapeError(f"{name} must be a whole number of at least {least}{several}; got {value!r}.")
    return all_axes


def pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], value: float) -> Tensor:
    """Cells around the last axes of a map, so that a window behind them is at ceil(size / stride) places."""
    axes = zip(x.shape[-len(kernel) :], kernel, stride, dilation, strict=True)
    sides = [same_padding(int(size), *axis) for size, *axis in axes]
    return F.pad(x, [cells for pair in reversed(sides) for cells in pair], value=value)


def sum_pool(x: Tensor, kernel: Index, stride: Index, padding: Index, *, ceil_mode: bool = False) -> Tensor:
    """The sum of each window along the last axes."""
    if len(kernel) == 3:
        return F.avg_pool3d(x, kernel, stride, padding, ceil_mode, divisor_override=1)
    if len(kernel) == 2:
        return F.avg_pool2d(x, kernel, stride, padding, ceil_mode, divisor_override=1)
    row = sum_pool(x.unsqueeze(-2), (1, *kernel), (1, *stride), (0, *padding), ceil_mode=ceil_mode)
    return row.squeeze(-2)  # torch divides the sums of a signal, but not those of a map of one row


class _SamePad(nn.Module):
    dims: ClassVar[int]

    def __init__(self, kernel_size: Each, stride: Each = 1, dilation: Each = 1, *, value: float = 0.0) -> None:
        super().__init__()
        self.kernel_size = each(kernel_size, self.dims, "kernel_size")
        self.stride, self.dilation = each(stride, self.dims, "stride"), each(dilation, self.dims, "dilation")
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return pad_same(x, self.kernel_size, self.stride, self.dilation, self.value)

    def extra_repr(self) -> str:
        cells = f", value={self.value}" if self.value else ""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, dilation={self.dilation}{cells}"


class SamePad1d(_SamePad):
    """`SamePad2d` with one axis less."""

    dims = 1


class SamePad2d(_SamePad):
    """Zeros around a map so that the convolution behind it gives ceil(size / stride), at any stride and input size.

    An odd row or column goes to the bottom or right, as in Keras and TensorFlow. torch's own `padding="same"` refuses
    strides above 1, and a fixed padding of 1 gives the same size but reads other pixels.

    Args:
        value: what stands in the new cells, such as -inf before a maximum.

    Shapes:
        (N, C, H, W) -> (N, C, H + top + bottom, W + left + right)

    Example:
        >>> SamePad2d(3, stride=2)(torch.ones(1, 1, 6, 6))[0, 0, -1].tolist()
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """

    dims = 2


class SamePad3d(_SamePad):
    """`SamePad2d` with one axis more."""

    dims = 3


class _Pool(nn.Module):
    dims: ClassVar[int]

    def __init__(
        self, kernel_size: Each, stride: Each | None = None, padding: Each = 0, *, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.kernel_size = each(kernel_size, self.dims, "kernel_size")
        self.stride = self.kernel_size if stride is None else each(stride, self.dims, "stride")
        self.padding, self.ceil_mode = each(padding, self.dims, "padding", least=0), ceil_mode
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ShapeError(
                f"A pooling window of {self.kernel_size} takes a padding of at most half its size; got {self.padding}. "
                "A window lying wholly on padding would pool nothing."
            )

    def extra_repr(self) -> str:
        options = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return f"{options}, ceil_mode={self.ceil_mode}"


class _MinPool(_Pool):
    def forward(self, x: Tensor) -> Tensor:
        pool = MAX_POOLS[self.dims]
        return -pool(-x, self.kernel_size, self.stride, self.padding, ceil_mode=self.ceil_mode)


class MinPool1d(_MinPool):
    """`MinPool2d` with one axis less."""

    dims = 1


class MinPool2d(_MinPool):
    """The smallest number of each window; arguments as for `torch.nn.MaxPool2d`. Padding never wins.

    Shapes:
        (N, C, H, W) -> (N, C, H', W'), H' = shapes.pool_size(H, kernel_size, stride, padding, partial=ceil_mode)

    Example:
        >>> MinPool2d(2)(torch.tensor([[[[29.0, 15.0], [0.0, 100.0]]]])).item()
        0.0
    """

    dims = 2


class MinPool3d(_MinPool):
    """`MinPool2d` with one axis more."""

    dims = 3


class _SumPool(_Pool):
    def forward(self, x: Tensor) -> Tensor:
        return sum_pool(x, self.kernel_size, self.stride, self.padding, ceil_mode=self.ceil_mode)


class SumPool1d(_SumPool):
    """`SumPool2d` with one axis less."""

    dims = 1


class SumPool2d(_SumPool):
    """The sum of each window; arguments as for `torch.nn.MaxPool2d`.

    Shapes:
        (N, C, H, W) -> (N, C, H', W'), H' = shapes.pool_size(H, kernel_size, stride, padding, partial=ceil_mode)

    Example:
        >>> SumPool2d(2)(torch.tensor([[[[29.0, 15.0], [0.0, 100.0]]]])).item()
        144.0
    """

    dims = 2


class SumPool3d(_SumPool):
    """`SumPool2d` with one axis more."""

    dims = 3


class _SameAvgPool(nn.Module):
    dims: ClassVar[int]

    def __init__(self, kernel_size: Each, stride: Each | None = None) -> None:
        super().__init__()
        self.kernel_size = each(kernel_size, self.dims, "kernel_size")
        self.stride = self.kernel_size if stride is None else each(stride, self.dims, "stride")

    def forward(self, x: Tensor) -> Tensor:
        return self._sums(x) / self._sums(torch.ones_like(x[:1, :1]))  # by the cells of each window that are there

    def _sums(self, x: Tensor) -> Tensor:
        none = (0,) * self.dims
        padded = pad_same(x, self.kernel_size, self.stride, (1,) * self.dims, 0.0)
        return sum_pool(padded, self.kernel_size, self.stride, none)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}"


class SameAvgPool1d(_SameAvgPool):
    """`SameAvgPool2d` with one axis less."""

    dims = 1


class SameAvgPool2d(_SameAvgPool):
    """The mean of each window with Keras's "same" padding, over the cells that are really there.

    Shapes:
        (N, C, H, W) -> (N, C, ceil(H / stride), ceil(W / stride))

    Example:
        >>> SameAvgPool2d(2)(torch.tensor([[[[1.0, 3.0, 4.0]]]]))
        tensor([[[[2., 4.]]]])
    """

    dims = 2


class SameAvgPool3d(_SameAvgPool):
    """`SameAvgPool2d` with one axis more."""

    dims = 3


class GaussianNoise(nn.Module):
    """Adds normal noise while training, and nothing else ever.

    Example:
        >>> layer = GaussianNoise(0.1).eval()
        >>> x = torch.ones(2)
        >>> layer(x) is x
        True
    """

    def __init__(self, stddev: float) -> None:
        super().__init__()
        require_number("GaussianNoise", "stddev", stddev, least=0)
        self.stddev = stddev

    def forward(self, x: Tensor) -> Tensor:
        return x + self.stddev * torch.randn_like(x) if self.training and self.stddev else x

    def extra_repr(self) -> str:
        return f"stddev={self.stddev}"


class Flatten(nn.Module):
    """All maps of a sample in one vector, in either order.

    `channels_first` goes map by map, as `torch.nn.Flatten`; `channels_last` goes pixel by pixel, each with all its
    channels, as in Keras. Weights of a dense layer behind it must be permuted to go from one to the other.

    Shapes:
        (N, C, H, W) -> (N, C H W); the channels are the second axis in both orders.

    Example:
        >>> x = torch.tensor([[[[1, 2]], [[3, 4]]]])
        >>> Flatten()(x).tolist(), Flatten("channels_last")(x).tolist()
        ([[1, 2, 3, 4]], [[1, 3, 2, 4]])
    """

    def __init__(self, order: str = "channels_first") -> None:
        super().__init__()
        if order not in ORDERS:
            raise ConfigError(f"There is no flatten order '{order}'. {did_you_mean(order, ORDERS)}")
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return (x.movedim(1, -1) if self.order == "channels_last" else x).flatten(1)

    def extra_repr(self) -> str:
        return f"order={self.order!r}"


class CutEnd(nn.Module):
    """Leaves out the last cells of the last axes, so many on each."""

    def __init__(self, cells: Sequence[int]) -> None:
        super().__init__()
        self.cells = tuple(cells)

    def forward(self, x: Tensor) -> Tensor:
        sizes = zip(x.shape[-len(self.cells) :], self.cells, strict=True)
        return x[(..., *(slice(size - cells) for size, cells in sizes))]

    def extra_repr(self) -> str:
        return f"cells={self.cells}"


class ChannelsFirst(nn.Module):
    """(N, H, W, C) -> (N, C, H, W), with any number of axes between."""

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(-1, 1)


class ChannelsLast(nn.Module):
    """(N, C, H, W) -> (N, H, W, C), with any number of axes between."""

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, -1)
