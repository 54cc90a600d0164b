"""Costs against torch's own counter, formulas against the sizes that came out, unread cells against brute force."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from convlens.explain import operations as ops
from convlens.explain.record import record
from convlens.explain.steps import Step


def steps(network: nn.Module, *shape: int) -> list[Step]:
    return record(network, torch.zeros(1, *shape)).steps


def only(network: nn.Module, *shape: int) -> Step:
    """The one step that computes."""
    (found,) = [step for step in steps(network, *shape) if not ops.moves_only(step)]
    return found


def random_conv(rng: random.Random) -> tuple[nn.Module, tuple[int, ...]]:
    axes, groups, d = rng.choice([1, 2, 2, 2, 3]), rng.choice([1, 1, 2, 3]), rng.choice([1, 2, 3])
    channels, filters = groups * rng.choice([1, 2, 4]), groups * rng.choice([1, 3])
    kernel = [rng.choice([1, 2, 3, 5]) for _ in range(axes)]
    stride = [rng.choice([1, 2, 3]) for _ in range(axes)]
    padding, bias = [rng.randrange(k) for k in kernel], rng.random() < 0.5
    size = [rng.randrange(14, 20) for _ in range(axes)]
    if rng.random() < 0.4:
        kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[axes - 1]
        extra = [rng.randrange(max(s, d)) for s in stride]
        return kind(channels, filters, kernel, stride, padding, extra, groups, bias, d), (channels, *size)
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    return kind(channels, filters, kernel, stride, padding, d, groups, bias), (channels, *size)


class Attention(nn.Module):
    """Matrix products of every kind: linear on three axes and without bias, bmm, einsum, the fused attention."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(6, 18), nn.Linear(6, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).chunk(3, -1)
        y = torch.softmax(q @ k.transpose(1, 2), -1) @ v
        y = y + F.scaled_dot_product_attention(q[None], k[None], v[None])[0]
        return self.out(y) + torch.einsum("nld,dk->nlk", y, self.out.weight.T)


# cost -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(100))
def test_twice_our_macs_is_what_torch_counts(seed: int) -> None:
    network, shape = random_conv(random.Random(seed))
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, *shape))
    assert 2 * sum(ops.macs(step) or 0 for step in steps(network, *shape)) == counter.get_total_flops()


def test_matrix_products_too() -> None:
    with FlopCounterMode(display=False) as counter:
        Attention()(torch.zeros(1, 6, 3, 5))
    assert 2 * sum(ops.macs(step) or 0 for step in steps(Attention(), 6, 3, 5)) == counter.get_total_flops()


def test_the_batch_counts() -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 5))
    one, three = (record(network, torch.zeros(n, 2, 4, 4)).steps for n in (1, 3))
    assert [ops.macs(step) for step in one if ops.macs(step)] == [3 * 4 * 2 * 9, 60]
    assert [3 * (ops.macs(step) or 0) for step in one] == [ops.macs(step) for step in three]


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (nn.Conv2d(2, 3, 3), 3 * 36),  # the biases
        (nn.Conv2d(2, 3, 3, bias=False), 0),
        (nn.ConvTranspose2d(2, 3, 3), 3 * 100),
        (nn.ReLU(), 128),
        (nn.BatchNorm2d(2), 128),
        (nn.MaxPool2d(3, 2), 2 * 9 * 9),
        (nn.AvgPool2d(2), 2 * 16 * 4),
        (nn.AdaptiveAvgPool2d(1), 128),
        (nn.AdaptiveMaxPool2d(3), 128),
        (nn.Upsample(scale_factor=2, mode="bilinear"), 2 * 256),
        (nn.Upsample(scale_factor=2), 0),
        (nn.Softmax(1), 128),
        (nn.Flatten(), 0),
        (nn.ZeroPad2d(1), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_all_else_is_counted_apart(network: nn.Module, count: int) -> None:
    found = steps(network, 2, 8, 8)
    assert sum(ops.elementwise(step) or 0 for step in found) == count
    assert isinstance(network, nn.Conv2d | nn.ConvTranspose2d) or not any(ops.macs(step) for step in found)


def test_an_unknown_operation_costs_nobody_knows_what() -> None:
    class Sort(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sort().values

    step = only(Sort(), 4)
    assert not ops.is_known(step)
    assert (ops.macs(step), ops.elementwise(step), ops.formula(step)) == (None, None, "")


def test_memory_is_what_is_written_anew() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = torch.sigmoid(x)
            y += 1
            return torch.cat([y.transpose(1, 2).flatten(1)[:, :4], y.flatten(1)], 1)

    written = {step.op: ops.written_bytes(step) for step in steps(Net(), 2, 3)}
    assert {op: size for op, size in written.items() if size} == {"sigmoid": 24, "cat": 40, "clone": 24}
    assert [ops.written_bytes(s) for s in record(nn.ReLU(), torch.zeros(1, 3).double()).steps] == [24]


# words ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(100))
def test_the_formula_is_right(seed: int) -> None:
    """Worked out by Python, both sides are equal, and equal to what came out."""
    rng = random.Random(seed)
    network, shape = random_conv(rng)
    if rng.random() < 0.5:
        k, s, ceil = rng.choice([2, 3, 4]), rng.choice([1, 2, 3, 5]), rng.random() < 0.5
        kind, shape = rng.choice([nn.MaxPool2d, nn.AvgPool2d]), (1, rng.randrange(9, 15), rng.randrange(9, 15))
        network = kind(k, s, rng.randrange(k // 2 + 1), ceil_mode=ceil)
    step = only(network, *shape)
    equations = [part.rsplit(" = ", 1) for part in ops.formula(step).split(", ")]
    out = list(step.outputs[0].shape[2:])
    names = {"floor": lambda x: x // 1, "ceil": lambda x: -(-x // 1)}
    assert all(eval(left, names) == int(right) for left, right in equations)
    assert [int(right) for _, right in equations] == (out if len(equations) > 1 else out[:1])
    assert len(equations) > 1 or set(out) == {out[0]}


@pytest.mark.parametrize(
    ("network", "shape", "formula"),
    [
        (nn.Conv2d(1, 6, 5, padding=2), (1, 32, 32), "(32 + 2*2 - 5)/1 + 1 = 32"),
        (nn.Conv2d(1, 1, (3, 5), (1, 2)), (1, 9, 9), "(9 + 2*0 - 3)/1 + 1 = 7, (9 + 2*0 - 5)/2 + 1 = 3"),
        (nn.Conv2d(1, 1, 3, dilation=2), (1, 9, 9), "(9 + 2*0 - 2*(3 - 1) - 1)/1 + 1 = 5"),
        (nn.MaxPool2d(2), (1, 7, 7), "floor((7 + 2*0 - 2)/2) + 1 = 3"),
        (nn.MaxPool2d(2, ceil_mode=True), (1, 7, 7), "ceil((7 + 2*0 - 2)/2) + 1 = 4"),
        (nn.MaxPool2d(2, 3, 1, ceil_mode=True), (1, 5, 5), "ceil((5 + 2*1 - 2)/3) + 1 - 1 = 2"),
        (nn.ConvTranspose2d(1, 1, 3, 2, 1, 1), (1, 4, 4), "(4 - 1)*2 - 2*1 + 3 + 1 = 8"),
        (nn.ConvTranspose2d(1, 1, 3, 2, dilation=2), (1, 4, 4), "(4 - 1)*2 - 2*0 + 2*(3 - 1) + 1 = 11"),
        (nn.AdaptiveAvgPool2d(1), (1, 7, 6), "7 x 6 -> 1"),
        (nn.AdaptiveAvgPool2d((3, 2)), (1, 7, 6), "7 x 6 -> 3 x 2"),
        (nn.Upsample(scale_factor=2), (1, 7, 5), "7 * 2 = 14, 5 * 2 = 10"),
        (nn.Upsample(10, mode="bicubic"), (1, 7, 7), "7 -> 10"),
        (nn.ZeroPad2d((1, 2, 3, 4)), (1, 5, 6), "5 + 3 + 4 = 12, 6 + 1 + 2 = 9"),
        (nn.Flatten(), (16, 5, 5), "16 x 5 x 5 = 400"),
        (nn.Linear(400, 120), (400,), "400 -> 120"),
        (nn.ReLU(), (3, 4, 4), ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_formulas_as_they_read(network: nn.Module, shape: tuple[int, ...], formula: str) -> None:
    assert [ops.formula(step) for step in steps(network, *shape) if ops.formula(step)] == ([formula] if formula else [])


def test_joints_say_what_they_are_made_of() -> None:
    class Cat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([torch.cat([x] * 3, 1)] * 6, 1)

    assert [ops.formula(step) for step in steps(Cat(), 2, 4, 4)] == ["2 + 2 + 2 = 6", "6 + ... + 6 = 36"]


@pytest.mark.parametrize(
    ("network", "shape", "words"),
    [
        (nn.MaxPool2d(2), (1, 7, 7), "row and column 6 are never read"),
        (nn.MaxPool2d(2), (1, 7, 6), "row 6 is never read"),
        (nn.MaxPool2d(2), (1, 6, 7), "column 6 is never read"),
        (nn.MaxPool2d(4), (1, 6, 7), "rows 4 to 5, columns 4 to 6 are never read"),
        (nn.Conv2d(1, 1, 1, 2), (1, 8, 8), "4 of 8 rows and columns are never read"),
        (nn.Conv2d(1, 1, 1, 3), (1, 8, 9), "5 of 8 rows, 6 of 9 columns are never read"),
        (nn.Conv2d(1, 1, 7, 2, 3), (1, 224, 224), ""),  # what the floor leaves over here is padding
        (nn.MaxPool2d(2, ceil_mode=True), (1, 7, 7), ""),
        (nn.Conv1d(1, 1, 2, 2), (1, 7), "cell 6 is never read"),
    ],
)
def test_what_is_never_read_is_said(network: nn.Module, shape: tuple[int, ...], words: str) -> None:
    assert ops.unread(only(network, *shape)) == words


def test_names_are_those_people_use() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ConvTranspose2d(2, 2, 1), nn.MaxPool2d(2), nn.GroupNorm(1, 2)
            )

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(F.adaptive_avg_pool2d(F.pad(self.layers(x), (1, 1)), 2).flatten(1), torch.ones(3, 8))

    expected = ["conv2d", "batch_norm", "transposed_conv2d", "max_pool2d", "group_norm", "pad", "adaptive_avg_pool2d"]
    names = [ops.name_of(step) for step in steps(Net(), 1, 8, 8) if not ops.is_hidden(step)]
    assert names == [*expected, "flatten", "linear"]
