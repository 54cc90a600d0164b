"""Receptive fields against three oracles: where a NaN spreads, where a gradient goes, what noise cannot change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convlens.errors import ShapeError
from convlens.explain.receptive_field import ReceptiveFields
from convlens.explain.record import record
from convlens.explain.steps import Record
from convlens.shapes import Field, Window, receptive_fields
from explain.random_networks import SIZE, Branches, Do, random_network

SCALE = torch.tensor(2.0)


def run(network: nn.Module, *shape: int, dtype: torch.dtype = torch.float64) -> tuple[Record, ReceptiveFields]:
    recorded = record(network, torch.zeros(1, *(shape or SIZE), dtype=dtype))
    return recorded, ReceptiveFields(recorded)


def line(network: nn.Module, *shape: int) -> tuple[Field | None, ...]:
    recorded, fields = run(network.double(), *shape)
    return fields.line(recorded.output)


@torch.no_grad()
def poisoned(network: nn.Module) -> list[np.ndarray]:
    """Whether a NaN in a row reaches each unit, (*output, rows); and the same for columns."""
    height, width = SIZE[1:]
    x = torch.rand(1, *SIZE, dtype=torch.float64).repeat(height * width, 1, 1, 1)
    for i in range(height * width):
        x[i, :, i // width, i % width] = torch.nan
    y = network(x)
    reached = torch.isnan(y).numpy().reshape(height, width, 1, *y.shape[1:])
    return [np.moveaxis(reached.any(1), 0, -1), np.moveaxis(reached.any(0), 0, -1)]


# oracles --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", range(10))
def test_units_see_just_what_a_nan_can_reach_them_from(part: int) -> None:
    for seed in range(30 * part, 30 * part + 30):
        network = random_network(seed)
        recorded, fields = run(network)
        found = fields.all_units(recorded.output)
        assert found is not None, f"seed {seed}: {network}"
        extent = fields.extent(recorded.output)
        assert extent
        for ours, truth, widest in zip(found, poisoned(network), extent, strict=True):
            assert np.array_equal(ours, truth), f"seed {seed}: {network}"
            cells = [np.flatnonzero(unit) for unit in truth.reshape(-1, truth.shape[-1]) if unit.any()]
            assert widest == max((seen[-1] - seen[0] + 1 for seen in cells), default=0)


def test_gradients_with_weights_of_one_go_just_where_units_see() -> None:
    rng = np.random.default_rng(0)
    for seed in range(60):
        network = random_network(seed, linear=True)
        recorded, fields = run(network)
        x = torch.rand(1, *SIZE, dtype=torch.float64, requires_grad=True)
        y = network(x * 1)  # not the leaf itself, which nothing may change in place
        if fields.is_unknown(recorded.output) or not y.requires_grad:
            continue
        for _ in range(5):
            at = tuple(int(rng.integers(n)) for n in y.shape)
            (gradient,) = torch.autograd.grad(y[at], x, retain_graph=True)
            touched = gradient[0].abs().sum(0).numpy() > 0
            seen = fields.unit(recorded.output, at)
            assert seen
            truth = [np.flatnonzero(touched.any(1)).tolist(), np.flatnonzero(touched.any(0)).tolist()]
            assert [list(cells) for cells in seen.cells] == truth, f"seed {seed}, unit {at}: {network}"


@torch.no_grad()
def test_noise_outside_leaves_a_unit_as_it_was_bit_for_bit() -> None:
    rng, looked = np.random.default_rng(0), 0
    for seed in range(60):
        network = random_network(seed).float()
        recorded, fields = run(network, dtype=torch.float32)
        x, noise = torch.rand(1, *SIZE), 1e3 * torch.randn(1, *SIZE)
        y = network(x)
        for _ in range(3):
            at = tuple(int(rng.integers(n)) for n in y.shape)
            seen = fields.unit(recorded.output, at)
            if seen is None or seen.whole:
                continue
            inside = torch.zeros(SIZE[1:], dtype=torch.bool)
            inside[np.ix_(*seen.cells)] = True
            assert torch.equal(network(torch.where(inside, x, noise))[at], y[at]), f"seed {seed}, unit {at}: {network}"
            looked += 1
    assert looked > 60


# the textbook's line --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_the_line_of_a_chain_is_that_of_the_formula(seed: int) -> None:
    drawn = np.random.default_rng(seed).integers((1, 1, 0, 1), (5, 3, 3, 3), (4, 4)).tolist()
    windows = [Window(k, s, min(p, k // 2), d) for k, s, p, d in drawn]
    chain = nn.Sequential(*(nn.Conv2d(1, 1, w.kernel, w.stride, w.padding, w.dilation) for w in windows))
    assert line(chain, 1, 200, 190) == (receptive_fields(windows)[-1],) * 2
    recorded, fields = run(chain, 1, 200, 190)
    middle = tuple(n // 2 for n in recorded.output.shape)
    seen, (size, jump, start) = fields.unit(recorded.output, middle), receptive_fields(windows)[-1]
    assert seen
    assert seen.hull[0] == (start + middle[2] * jump, start + middle[2] * jump + size - 1)


def test_branches_that_do_not_lie_alike_see_their_hull() -> None:
    """The example of the paper: two windows of three cells, one begins a cell later. No unit sees just three."""
    beside = Branches(
        nn.Conv2d(1, 1, 3, padding=1), nn.Sequential(nn.Conv2d(1, 1, 3), nn.ZeroPad2d((0, 2, 0, 2))), "add"
    )
    assert line(beside, 1, 8, 9) == (Field(4, 1, -1),) * 2
    recorded, fields = run(beside, 1, 8, 9)
    seen = fields.unit(recorded.output, (0, None, 3, 3))
    assert seen
    assert seen.cells == ((2, 3, 4, 5), (2, 3, 4, 5))


def test_branches_of_another_stride_have_no_line_but_exact_cells() -> None:
    class Cut(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :, ::2, ::2] + x[:, :, :4, :4]

    recorded, fields = run(Cut(), 1, 8, 8)
    assert fields.line(recorded.output) == (None, None)
    seen = fields.unit(recorded.output, (0, 0, 3, 1))
    assert seen
    assert seen.cells == ((3, 6), (1, 2))


def test_axes_may_change_places_and_keep_their_line() -> None:
    moved = nn.Sequential(
        nn.Conv2d(1, 2, (3, 5), (1, 2)), Do(lambda x: x.permute(0, 3, 2, 1)), nn.LayerNorm(2), nn.Linear(2, 4)
    )
    assert line(moved, 1, 8, 9) == (Field(3, 1, 0), Field(5, 2, 0))
    recorded, fields = run(moved, 1, 8, 9)
    seen = fields.unit(recorded.output, (0, 2, 1, None))
    assert seen
    assert seen.hull == ((1, 3), (4, 8))
    assert line(nn.Sequential(moved, Do(lambda x: x.flatten(1, 2))), 1, 8, 9) == (Field(3, 1, 0), Field(5, 2, 0))


@pytest.mark.parametrize(("reads", "hull"), [("query", (4, 5)), ("key", (0, 7)), ("value", (0, 7))])
def test_attention_reads_its_own_query_and_all_keys_and_values(reads: str, hull: tuple[int, int]) -> None:
    def mixed(x: Tensor) -> Tensor:
        tokens = x[:, :, ::2].transpose(1, 2)
        parts = {name: tokens if name == reads else tokens.new_ones(1, 4, 3) for name in ("query", "key", "value")}
        return nn.functional.scaled_dot_product_attention(**{name: part[None] for name, part in parts.items()})

    recorded, fields = run(
        nn.Sequential(nn.Conv1d(3, 3, 2, padding=0), nn.ConstantPad1d((0, 1), 0), Do(mixed)).double(), 3, 8
    )
    seen = fields.unit(recorded.output, (0, 0, 2, 0))
    assert seen
    assert seen.hull == (hull,)


def test_groups_that_are_normalised_see_only_their_own_channels() -> None:
    def cut(x: Tensor) -> Tensor:
        return torch.cat([nn.functional.pad(x[:, :, :2], (0, 0, 0, 4)), x], 1)

    recorded, fields = run(nn.Sequential(Do(cut), nn.GroupNorm(2, 2)).double(), 1, 6, 6)
    first, second = (fields.unit(recorded.output, (0, channel, 5, 5)) for channel in (0, 1))
    assert first
    assert second
    assert (first.hull, second.hull) == (((0, 1), (0, 5)), ((0, 5), (0, 5)))


def test_a_dilated_window_leaves_cells_out() -> None:
    recorded, fields = run(nn.Conv2d(1, 1, 3, dilation=3, padding=3).double(), 1, 8, 8)
    seen = fields.unit(recorded.output, (0, 0, 0, 4))
    assert seen
    assert seen.cells == ((0, 3), (1, 4, 7))
    assert seen.padding == ((3, 0), (0, 0))
    assert seen.fields == (Field(7, 1, -3),) * 2
    assert not seen.whole


def test_a_window_that_lies_in_padding_sees_nothing_at_all() -> None:
    recorded, fields = run(nn.Conv2d(1, 1, 2, padding=3).double(), 1, 4, 4)
    seen = fields.unit(recorded.output, (0, 0, 0, 4))
    assert seen
    assert seen.cells == ((), ())
    assert seen.hull == (None, None)
    assert fields.extent(recorded.output) == (2, 2)


# what is not known ----------------------------------------------------------------------------------------------------


class Sorted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x).sort(3).values * 2


class Elsewhere(nn.Module):
    """Leaves torch for a moment."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy().copy()) + 1


class Scaled(nn.Module):
    """Takes a number out of torch and back in; the truth it asks for first is no such number."""

    def forward(self, x: Tensor) -> Tensor:
        x = x + 1 if x.sum() > 0 else x - 1
        return x / x.abs().max().item()


@pytest.mark.parametrize("network", [Sorted(), Elsewhere(), Scaled()], ids=["sort", "numpy", "item"])
def test_after_an_unknown_step_all_is_unknown(network: nn.Module) -> None:
    recorded, fields = run(network, 1, 4, 4)
    assert fields.unit(recorded.output, (0, 0, 1, 1)) is None
    assert fields.extent(recorded.output) is None
    assert fields.all_units(recorded.output) is None
    assert fields.line(recorded.output) == (None, None)


def test_what_lies_before_an_unknown_step_is_known() -> None:
    recorded, fields = run(Sorted(), 1, 4, 4)
    assert fields.line(recorded.steps[0].outputs[0]) == (Field(1, 1, 0),) * 2
    recorded, fields = run(Scaled(), 1, 4, 4)
    assert [fields.is_unknown(s.outputs[0]) for s in recorded.steps if s.op in ("sub", "div")] == [False, True]


def test_what_does_not_read_the_input_sees_nothing() -> None:
    recorded, fields = run(Do(lambda x: x.new_ones(1, 2, 3, 3)), 1, 4, 4)
    seen = fields.unit(recorded.output, (0, 1, 2, 2))
    assert seen
    assert seen.cells == ((), ())
    assert fields.extent(recorded.output) == (0, 0)


def test_weights_that_torch_does_not_know_of_are_constants() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Conv2d(1, 1, 3)]

        def forward(self, x: Tensor) -> Tensor:
            return self.layers[0](x) * SCALE

    recorded = record(Hidden(), torch.zeros(1, 1, 5, 5))
    assert ReceptiveFields(recorded).line(recorded.output) == (Field(3, 1, 0),) * 2


def test_a_view_by_strides_is_a_box() -> None:
    class Strided(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x[:, :, 1:] * 1
            z = y.as_strided((3, 2), (1, 10), 5)  # columns before rows: row 2 and 4, columns 0 to 2
            y.zero_()
            return z * 1

    recorded, fields = run(Strided(), 1, 6, 5)
    (view,) = [step for step in recorded.steps if step.op == "as_strided"]
    seen = fields.unit(view.outputs[0], (2, 1))
    assert seen
    assert seen.cells == ((4,), (2,))
    assert fields.extent(recorded.output) == (0, 0)


def test_vectors_have_no_field() -> None:
    recorded, fields = run(nn.Linear(4, 3).double(), 4)
    seen = fields.unit(recorded.output, (0, 1))
    assert seen
    assert seen.cells == ()


@pytest.mark.parametrize("at", [(0, 0, 1), (0, 0, 1, 9), (0, 0, -1, 0), (1, 0, 0, 0)])
def test_there_must_be_such_a_unit(at: tuple[int, ...]) -> None:
    recorded, fields = run(nn.Conv2d(1, 1, 3).double(), 1, 4, 4)
    with pytest.raises(ShapeError, match="A unit of 1 x 1 x 2 x 2 has 4 indices within it"):
        fields.unit(recorded.output, at)
