"""Pooling with Keras's names, arguments and defaults, and its kin for minimum and sum; begin with `keras.py`.

Every window sees the cells that are really there: "same" padding wins no maximum and counts in no average.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

from torch import nn

from convlens.errors import ConfigError
from convlens.nn import layers
from convlens.nn.keras_layer import Layer
from convlens.nn.layers import Each, each

WINDOWS: dict[tuple[str, int], Callable[..., nn.Module]] = {
    ("max", 1): nn.MaxPool1d,
    ("max", 2): nn.MaxPool2d,
    ("max", 3): nn.MaxPool3d,
    ("min", 1): layers.MinPool1d,
    ("min", 2): layers.MinPool2d,
    ("min", 3): layers.MinPool3d,
    ("sum", 1): layers.SumPool1d,
    ("sum", 2): layers.SumPool2d,
    ("sum", 3): layers.SumPool3d,
    ("average", 1): nn.AvgPool1d,
    ("average", 2): nn.AvgPool2d,
    ("average", 3): nn.AvgPool3d,
}
SAME_PADS = {1: layers.SamePad1d, 2: layers.SamePad2d, 3: layers.SamePad3d}
SAME_AVERAGES = {1: layers.SameAvgPool1d, 2: layers.SameAvgPool2d, 3: layers.SameAvgPool3d}
BEYOND = {"max": -math.inf, "min": math.inf, "sum": 0.0}  # what "same" puts beyond the edge, so that it never counts
GLOBAL: dict[tuple[str, int], Callable[..., nn.Module]] = {
    ("max", 1): nn.AdaptiveMaxPool1d,
    ("max", 2): nn.AdaptiveMaxPool2d,
    ("max", 3): nn.AdaptiveMaxPool3d,
    ("average", 1): nn.AdaptiveAvgPool1d,
    ("average", 2): nn.AdaptiveAvgPool2d,
    ("average", 3): nn.AdaptiveAvgPool3d,
}


class _Pooling(Layer):
    weighted = False
    rule: ClassVar[str]

    def __init__(
        self,
        pool_size: Each = 2,
        strides: Each | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        *,
        ceil_mode: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, kwargs)
        dims = self.dims or 0
        self.pool_size = each(pool_size, dims, "pool_size")
        self.strides = self.pool_size if strides is None else each(strides, dims, "strides")
        if padding not in ("valid", "same"):
            raise ConfigError(f"{self.name}: padding is 'valid' or 'same'; got {padding!r}.")
        if padding == "same" and ceil_mode:
            raise ConfigError(f"{self.name}: padding='same' keeps partial windows anyway. Leave ceil_mode out.")
        window = WINDOWS[self.rule, dims]
        if padding == "valid":
            parts = {"pool": window(self.pool_size, self.strides, ceil_mode=ceil_mode)}
        elif self.rule == "average":
            parts = {"pool": SAME_AVERAGES[dims](self.pool_size, self.strides)}
        else:
            pad = SAME_PADS[dims](self.pool_size, self.strides, value=BEYOND[self.rule])
            parts = {"pad": pad, "pool": window(self.pool_size, self.strides)}
        self.assemble(parts)


class MaxPooling2D(_Pooling):
    """The largest number of each window.

    Shapes:
        (N, C, H, W) -> (N, C, H', W'), H' = floor((H - k) / s) + 1, or ceil(H / s) with "same"

    Args:
        pool_size: the window; strides: its step, its own size if not given.
        padding: "valid" leaves partial windows out, "same" keeps them, shared out between both edges.
        ceil_mode: with "valid", keep those at the bottom and right (torch's name; Keras has no such option).

    Example:
        >>> import torch
        >>> MaxPooling2D(padding="same")(torch.arange(9.0).reshape(1, 1, 3, 3)).flatten().tolist()
        [4.0, 5.0, 7.0, 8.0]
    """

    dims, rule = 2, "max"


class AveragePooling2D(_Pooling):
    """The mean of each window, over the cells that are there; arguments as for `MaxPooling2D`."""

    dims, rule = 2, "average"


class MinPooling2D(_Pooling):
    """The smallest number of each window; arguments as for `MaxPooling2D`. Keras has no such layer."""

    dims, rule = 2, "min"


class SumPooling2D(_Pooling):
    """The sum of each window; arguments as for `MaxPooling2D`. Keras has no such layer."""

    dims, rule = 2, "sum"


class MaxPooling1D(_Pooling):
    """`MaxPooling2D` for signals (N, C, L)."""

    dims, rule = 1, "max"


class AveragePooling1D(_Pooling):
    """`AveragePooling2D` for signals (N, C, L)."""

    dims, rule = 1, "average"


class MinPooling1D(_Pooling):
    """`MinPooling2D` for signals (N, C, L)."""

    dims, rule = 1, "min"


class SumPooling1D(_Pooling):
    """`SumPooling2D` for signals (N, C, L)."""

    dims, rule = 1, "sum"


class MaxPooling3D(_Pooling):
    """`MaxPooling2D` for volumes (N, C, D, H, W)."""

    dims, rule = 3, "max"


class AveragePooling3D(_Pooling):
    """`AveragePooling2D` for volumes (N, C, D, H, W)."""

    dims, rule = 3, "average"


class MinPooling3D(_Pooling):
    """`MinPooling2D` for volumes (N, C, D, H, W)."""

    dims, rule = 3, "min"


class SumPooling3D(_Pooling):
    """`SumPooling2D` for volumes (N, C, D, H, W)."""

    dims, rule = 3, "sum"


class _GlobalPooling(Layer):
    weighted = False
    rule: ClassVar[str]

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(data_format, kwargs)
        parts = {"pool": GLOBAL[self.rule, self.dims or 0](1)}
        self.assemble(parts if keepdims else {**parts, "flatten": nn.Flatten()})


class GlobalAveragePooling2D(_GlobalPooling):
    """The mean of each map.

    Shapes:
        (N, C, H, W) -> (N, C), or (N, C, 1, 1) with `keepdims`

    Example:
        >>> import torch
        >>> GlobalAveragePooling2D()(torch.arange(8.0).reshape(1, 2, 2, 2))
        tensor([[1.5000, 5.5000]])
    """

    dims, rule = 2, "average"


class GlobalMaxPooling2D(_GlobalPooling):
    """The largest number of each map; arguments as for `GlobalAveragePooling2D`."""

    dims, rule = 2, "max"


class GlobalAveragePooling1D(_GlobalPooling):
    """`GlobalAveragePooling2D` for signals (N, C, L)."""

    dims, rule = 1, "average"


class GlobalMaxPooling1D(_GlobalPooling):
    """`GlobalMaxPooling2D` for signals (N, C, L)."""

    dims, rule = 1, "max"


class GlobalAveragePooling3D(_GlobalPooling):
    """`GlobalAveragePooling2D` for volumes (N, C, D, H, W)."""

    dims, rule = 3, "average"


class GlobalMaxPooling3D(_GlobalPooling):
    """`GlobalMaxPooling2D` for volumes (N, C, D, H, W)."""

    dims, rule = 3, "max"
