"""Layers torch lacks. They know nothing of any network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import pad

from convlens.shapes import pair, same_padding


class SamePad2d(nn.Module):
    """Zeros around a map so that the convolution behind it gives ceil(size / stride), at any stride and input size.

    An odd row or column goes to the bottom or right, as in Keras and TensorFlow. torch's own `padding="same"` refuses
    strides above 1, and a fixed padding of 1 gives the same size but reads other pixels.

    Shapes:
        (N, C, H, W) -> (N, C, H + top + bottom, W + left + right)

    Example:
        >>> import torch
        >>> SamePad2d(3, stride=2)(torch.ones(1, 1, 6, 6))[0, 0, -1].tolist()
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """

    def __init__(
        self, kernel_size: int | Sequence[int], stride: int | Sequence[int] = 1, dilation: int | Sequence[int] = 1
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.dilation = pair(kernel_size), pair(stride), pair(dilation)

    def forward(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = (
            same_padding(int(size), *axis)
            for size, *axis in zip(x.shape[-2:], self.kernel_size, self.stride, self.dilation, strict=True)
        )
        return pad(x, (left, right, top, bottom))

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, dilation={self.dilation}"
