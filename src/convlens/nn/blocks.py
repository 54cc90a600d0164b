"""The building blocks of networks: a few layers that always come together, under one name.

A block is a plain `nn.Sequential` whose parts have names, so that `print(network)` reads like the paper's figure and
every part can be looked into. Blocks know nothing of image sizes, classes or training. Those with a shortcut are in
`residual.py` and `mobile.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn.functional import pad

from convlens.errors import ConfigError, ShapeError, did_you_mean
from convlens.nn.layers import SamePad2d

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}


def activation(name: str, *, inplace: bool = False) -> nn.Module:
    """The non-linearity of a name; `inplace` saves the memory of its input where it can.

    Example:
        >>> activation("leaky_relu")
        LeakyReLU(negative_slope=0.01)

    Raises:
        ConfigError: there is none of that name, or it is the softmax, which is part of the loss.
    """
    if name in ("softmax", "log_softmax"):
        raise ConfigError(f"Leave '{name}' out: networks end in logits, and the loss applies the softmax itself.")
    if name not in ACTIVATIONS:
        raise ConfigError(f"There is no activation '{name}'. {did_you_mean(name, ACTIVATIONS)}")
    function = ACTIVATIONS[name]()
    if isinstance(function, nn.ReLU | nn.ReLU6):  # their gradient can be read off their output
        function.inplace = inplace
    return function


def conv_norm_act(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    stride: int = 1,
    *,
    groups: int = 1,
    act: str | None = "relu",
    pool: bool = False,
    same: bool = False,
    eps: float = 1e-5,
) -> nn.Sequential:
    """A convolution, a 2x2 maximum where asked, batch normalisation, and a non-linearity unless `act` is None.

    The convolution has no bias, since the normalisation would subtract it again. The maximum comes before the two that
    work on single values, and so leaves them a quarter of the work.

    Args:
        groups: `in_channels` for a depthwise convolution.
        same: zeros as TensorFlow puts them, which differ from ours at a stride of 2 (see `SamePad2d`).
        eps: added to the variance by the normalisation.

    Shapes:
        (N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride)), with `pool` half of that, rounded down.

    Example:
        >>> list(dict(conv_norm_act(3, 8, pool=True).named_children()))
        ['conv', 'pool', 'norm', 'act']

    Raises:
        ShapeError: the kernel is even, and cannot be padded alike on both sides.

    Source: Ioffe and Szegedy 2015, "Batch Normalization", arXiv 1502.03167.
    """
    if kernel_size % 2 == 0:
        raise ShapeError(f"kernel_size must be odd, to keep the size of the image; got {kernel_size}.")
    parts = OrderedDict[str, nn.Module]()
    if same:
        parts["pad"] = SamePad2d(kernel_size, stride)
    padding = 0 if same else kernel_size // 2
    parts["conv"] = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)
    if pool:
        parts["pool"] = nn.MaxPool2d(2)
    parts["norm"] = nn.BatchNorm2d(out_channels, eps=eps)
    if act:
        parts["act"] = activation(act, inplace=True)
    return nn.Sequential(parts)


def dense_act(inputs: int, units: int, *, act: str = "relu", dropout: float = 0.0) -> nn.Sequential:
    """A dense layer, a non-linearity, and dropout where asked.

    Shapes:
        (N, inputs) -> (N, units)

    Example:
        >>> list(dict(dense_act(4, 2, dropout=0.5).named_children()))
        ['dense', 'act', 'drop']
    """
    parts = OrderedDict[str, nn.Module](dense=nn.Linear(inputs, units), act=activation(act))
    if dropout:
        parts["drop"] = nn.Dropout(dropout)
    return nn.Sequential(parts)


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and the last column until both sides are multiples; `x` itself where they are.

    Shapes:
        (N, C, H, W) -> (N, C, ceil(H / multiple) * multiple, ceil(W / multiple) * multiple)

    Example:
        >>> import torch
        >>> pad_to_multiple(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 2).tolist()
        [[[[1.0, 2.0, 3.0, 3.0], [1.0, 2.0, 3.0, 3.0]]]]
    """
    right, below = -x.shape[-1] % multiple, -x.shape[-2] % multiple
    return pad(x, (0, right, 0, below), mode="replicate") if right or below else x


def cut_to(x: Tensor, size: Sequence[int]) -> Tensor:
    """The upper left part of maps; `x` itself where that is all, since even a cut of nothing costs a copy backwards.

    Shapes:
        (N, C, H, W) -> (N, C, *size)
    """
    rows, columns = size
    return x if x.shape[-2:] == (rows, columns) else x[..., :rows, :columns]


def start_by_fan_out(network: nn.Module) -> None:
    """Start every convolution at normal weights of variance 2 / (outputs that read one input), its biases at zero.

    Source: He et al. 2015, "Delving Deep into Rectifiers", arXiv 1502.01852, in its backward form.
    Differs: torchvision counts a depthwise filter as if it fed all channels, and starts it far smaller; here it is
    counted as what it is, as in the authors' own MobileNet and EfficientNet code.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.weight[:, 0].numel() // module.groups
            nn.init.normal_(module.weight, 0.0, (2.0 / fan_out) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
