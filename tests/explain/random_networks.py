"""Small random networks with all that makes receptive fields hard.

Branches of unlike windows, joints, splits, memory written over in parts, attention, layouts other than (N, C, H, W).
"""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = (3, 7, 9)  # channels, height, width, all different
LARGEST = 1500  # values of a tensor in a random network


class Do(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Branches(nn.Module):
    """Two chains that read the same and are joined: added, multiplied or concatenated, or one gates the other."""

    def __init__(self, first: nn.Module, second: nn.Module, how: str) -> None:
        super().__init__()
        self.first, self.second, self.how = first, second, how

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.first(x), self.second(x)
        if self.how == "gate":
            return a * torch.sigmoid(b.mean((2, 3), keepdim=True)[:, :1])
        rows, columns = min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])
        a, b = a[:, :, :rows, :columns], b[:, :, -rows:, -columns:]
        if self.how == "cat":
            return torch.cat([a, b], 1)
        channels = min(a.shape[1], b.shape[1])
        a, b = a[:, :channels].clone(), b[:, :channels]
        return a.add_(b) if self.how == "add" else a * b


def written_over(x: Tensor) -> Tensor:
    """A larger tensor, of which a box is written over, and part of it once more."""
    n, channels, rows, columns = x.shape
    y = x.new_zeros(n, channels, rows + 1, columns + 2)
    y[:, :, :rows, 1:-1] = x
    y[:, :, 0] *= 2
    y[:, :, ::2, 0] = y[:, :, ::2, 2]
    return y


def half_in_place(x: Tensor) -> Tensor:
    """One half of the channels is added to the other, and then the whole is read."""
    x, half = x.clone(), x.shape[1] // 2
    first, second = x[:, :half], x[:, half : 2 * half]
    first += second.flip(3)
    return x


def attended(x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    return F.scaled_dot_product_attention(tokens, tokens, tokens).transpose(1, 2).reshape(x.shape)


def in_windows(x: Tensor) -> Tensor:
    """Softmax attention within windows of two rows."""
    n, channels, rows, columns = x.shape
    parts = x[:, :, : rows // 2 * 2].reshape(n, channels, rows // 2, 2, columns).permute(0, 2, 4, 3, 1)
    mixed = torch.softmax(parts @ parts.transpose(-1, -2), -1) @ parts
    return mixed.permute(0, 4, 1, 3, 2).reshape(n, channels, rows // 2 * 2, columns)


def channels_last(channels: int, rng: random.Random) -> nn.Module:
    norm, linear = nn.LayerNorm(channels), nn.Linear(channels, rng.choice([2, 4]))
    return nn.Sequential(Do(lambda x: x.permute(0, 2, 3, 1)), norm, linear, Do(lambda x: x.permute(0, 3, 1, 2)))


def layer(rng: random.Random, channels: int, linear: bool) -> nn.Module:
    """One random layer for a map of some channels, whether it fits or not; a linear one can have a plain gradient."""
    k, s, p = rng.choice([1, 2, 3, 3, 4]), rng.choice([1, 1, 2, 3]), rng.choice([0, 1, 1, 2, 4])
    d = rng.choice([1, 1, 2, 3])
    groups = rng.choice([g for g in (1, 1, 2, 3, channels) if channels % g == 0])
    out = groups * rng.choice([1, 2])
    other = rng.choice([1, 2, 3])
    axes, normed, meant = rng.choice([(2,), (3,)]), rng.choice([1, 2, 3]), rng.choice([1, 2, (2, 3)])
    kinds: list[Callable[[], nn.Module]] = [
        lambda: nn.Conv2d(channels, out, (k, other), s, (p, rng.choice([0, 1])), (d, 1), groups),
        lambda: nn.Conv2d(channels, out, k, s, p, d, groups),
        lambda: nn.Conv2d(channels, 4, 3, padding=1, padding_mode=rng.choice(["circular", "reflect", "replicate"])),
        lambda: nn.ConvTranspose2d(channels, out, k, s, min(p, k - 1), rng.randrange(max(s, d)), groups, True, d),
        lambda: nn.AvgPool2d(k, s, min(p, k // 2), ceil_mode=rng.random() < 0.5),
        lambda: nn.AdaptiveAvgPool2d((rng.choice([2, 3, 5]), rng.choice([1, 2, 4]))),
        lambda: nn.Upsample(scale_factor=rng.choice([1.5, 2, 2.3]), mode=rng.choice(["nearest", "nearest-exact"])),
        lambda: nn.ZeroPad2d((rng.choice([-1, 0, 2]), 1, p, rng.choice([-1, 3]))),
        lambda: rng.choice([nn.ReflectionPad2d, nn.ReplicationPad2d, nn.CircularPad2d])((2, 0, 1, 2)),
        lambda: nn.BatchNorm2d(channels),
        lambda: nn.PixelShuffle(2),
        lambda: nn.PixelUnshuffle(rng.choice([2, 3])),
        lambda: nn.ChannelShuffle(groups),
        lambda: Do(lambda x: torch.roll(x, (1, -2), (2, 3)).flip(axes)),
        lambda: Do(lambda x: x.transpose(2, 3)),
        lambda: Do(lambda x: x[:, :, 1:, ::2]),
        lambda: Do(lambda x: x.flatten(2).reshape(x.shape[0], -1, x.shape[3], x.shape[2])),
        lambda: Do(lambda x: x + x.mean(meant, keepdim=True)),
        lambda: Do(lambda x: torch.stack(x.split([1, x.shape[1] - 1], 1)[1].unbind(1), 1).repeat(1, 1, 1, 2)),
        lambda: Do(lambda x: x.new_ones(1, 1, 2, x.shape[2]) @ x if s > 1 else x @ x.new_ones(x.shape[3], 3)),
        lambda: Do(written_over),
        lambda: Do(half_in_place),
    ]
    others: list[Callable[[], nn.Module]] = [
        lambda: nn.MaxPool2d(k, s, min(p, k // 2), ceil_mode=rng.random() < 0.5),
        lambda: nn.MaxPool2d(2, s, 0, d),
        lambda: nn.AdaptiveMaxPool2d(rng.choice([2, 3])),
        lambda: nn.Upsample((rng.choice([3, 5, 8]), 6), mode=rng.choice(["bilinear", "bicubic"]), align_corners=k > 2),
        lambda: nn.ReLU(inplace=True),
        lambda: nn.GroupNorm(groups, channels),
        lambda: nn.InstanceNorm2d(channels),
        lambda: Do(lambda x: F.layer_norm(x, x.shape[-1:])),
        lambda: channels_last(channels, rng),
        lambda: nn.Sequential(nn.PReLU(), nn.Hardswish(), nn.GELU()),
        lambda: Do(lambda x: F.glu(torch.cat([x, x.flip(2)], 1), 1)),
        lambda: Do(lambda x: x.softmax(normed)),
        lambda: Do(attended),
        lambda: Do(in_windows),
    ]
    return rng.choice(kinds if linear else kinds + others)()


def chain(
    rng: random.Random, x: Tensor, length: int, branching: float, linear: bool = False
) -> tuple[nn.Module, Tensor]:
    """A chain of random layers that fit, and what it gives for x."""
    modules: list[nn.Module] = []
    while len(modules) < length:
        try:
            module = branches(rng, x, linear) if rng.random() < branching else layer(rng, x.shape[1], linear)
            y = module.double().eval()(x)
        except (RuntimeError, ValueError, IndexError):
            continue
        if y.dim() == 4 and 0 < y.numel() <= LARGEST:
            modules.append(module)
            x = y
    return nn.Sequential(*modules), x


def branches(rng: random.Random, x: Tensor, linear: bool) -> nn.Module:
    first, _ = chain(rng, x, rng.choice([1, 2]), 0, linear)
    second, _ = chain(rng, x, rng.choice([0, 1, 2]), 0, linear)
    return Branches(first, second, rng.choice(["add", "cat"] if linear else ["add", "mul", "cat", "cat", "gate"]))


@torch.no_grad()
def random_network(seed: int, *, linear: bool = False) -> nn.Module:
    """A random network for images of SIZE, in double precision; a linear one with weights of 1 and no biases."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    network = chain(rng, torch.rand(1, *SIZE, dtype=torch.float64), rng.choice([2, 3, 4, 5]), 0.3, linear)[0]
    for name, parameter in network.named_parameters():
        if linear:
            parameter.fill_(name.endswith("weight"))
    return network
