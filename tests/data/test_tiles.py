"""An image in tiles is answered as at once: no seam, no border, no pixel left out, in memory for one row of tiles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convlens.data.tiles import starts, tiled, tiled_strips
from convlens.errors import ConfigError, ShapeError
from convlens.models import catalog

REACH = 12  # pixels to each side that an answer of the U-Net below can depend on, measured in a test


def tiny_unet() -> nn.Module:
    """A U-Net of two levels whose norms have seen something, in evaluation mode."""
    torch.manual_seed(0)
    network = catalog.build("unet", in_channels=1, outputs=2, size_px=32, width=4, depth=1)
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(4, 1, 32, 32))
    return network.eval()


def local(reach: int) -> Callable[[Tensor], Tensor]:
    """A convolution that reads `reach` pixels to each side, and zeros beyond the border."""
    torch.manual_seed(1)
    layer = nn.Conv2d(1, 3, 2 * reach + 1, padding=reach)
    return lambda x: layer(x).detach()


# where tiles lie ------------------------------------------------------------------------------------------------------


@given(st.integers(1, 300), st.integers(1, 16), st.integers(0, 40), st.integers(0, 40), st.integers(1, 4))
def test_tiles_cover_a_side_at_multiples_and_overlap(
    side: int, align: int, overlap: int, more: int, steps: int
) -> None:
    tile = overlap + steps * align + more
    found = starts(side, tile, overlap, align)
    assert found[0] == 0
    assert found[-1] < side
    assert found[-1] + tile >= side
    assert all(start % align == 0 for start in found)
    steps_between = np.diff(found)
    assert (steps_between > 0).all()
    assert (steps_between <= tile - overlap).all()
    assert len(found) == 1 or found[-2] + tile < side, "no tile is superfluous"


def test_an_image_no_larger_than_a_tile_is_one_tile() -> None:
    seen = []

    def answer(tiles: Tensor) -> Tensor:
        seen.append(tuple(tiles.shape))
        return tiles

    x = torch.rand(1, 2, 20, 31)
    assert torch.equal(tiled(answer, x, 32, 16, align=8), x)
    assert seen == [(1, 2, 20, 31)]


# the same as at once --------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 3), st.integers(1, 12), st.integers(1, 5))
def test_a_local_answer_is_the_same_in_tiles(height: int, width: int, reach: int, more: int, batch: int) -> None:
    torch.manual_seed(height * 61 + width)
    x, answer = torch.randn(1, 1, height, width), local(reach)
    overlap = 3 * reach
    found = tiled(answer, x, overlap + more, overlap, batch_size=batch)
    torch.testing.assert_close(found, answer(x), atol=1e-5, rtol=1e-5)


def test_the_reach_of_the_network_is_what_these_tests_take_it_for() -> None:
    network, reached = tiny_unet(), 0
    x = torch.randn(8, 1, 64, 64, requires_grad=True)
    for place in (31, 32):  # at either side of what is pooled together
        (grad,) = torch.autograd.grad(network(x)[:, :, place, place].sum(), x)
        rows = np.flatnonzero(grad.abs().sum((0, 1, 3)).numpy())
        reached = max(reached, place - int(rows[0]), int(rows[-1]) - place)
    assert 5 < reached <= REACH


@pytest.mark.parametrize("size", [(150, 203), (97, 64), (131, 300), (40, 50)])
def test_a_unet_answers_in_tiles_as_at_once(size: tuple[int, int]) -> None:
    network = tiny_unet()
    torch.manual_seed(2)
    x = torch.randn(1, 1, *size)
    with torch.inference_mode():
        whole = network(x)
        found = tiled(network, x, 3 * REACH + 17, 3 * REACH, align=2, batch_size=3)
    torch.testing.assert_close(found, whole, atol=1e-4, rtol=0)


def test_without_alignment_or_margin_it_is_not_the_same() -> None:
    network = tiny_unet()
    torch.manual_seed(2)
    x = torch.randn(1, 1, 120, 120)
    with torch.inference_mode():
        whole = network(x)
        askew = tiled(network, x, 3 * REACH + 18, 3 * REACH + 1, align=1)
        narrow = tiled(network, x, 32, 6, align=2)
    assert (askew - whole).abs().max() > 1e-3
    assert (narrow - whole).abs().max() > 1e-3


def test_where_tiles_disagree_there_is_no_seam() -> None:
    """Each tile says another number: the answer goes over from one to the next in even steps, and not in the margin."""
    said = iter(range(10))

    def answer(tiles: Tensor) -> Tensor:
        return torch.full_like(tiles, float(next(said)))

    found = tiled(answer, torch.zeros(1, 1, 1, 54), 30, 6)[0, 0, 0].numpy()
    assert found[:26].tolist() == [0.0] * 26
    np.testing.assert_allclose(found[26:28], [0.25, 0.75])
    assert found[28:].tolist() == [1.0] * 26


# memory and errors ----------------------------------------------------------------------------------------------------


def test_strips_come_before_the_next_row_is_asked_for() -> None:
    asked = []

    def answer(tiles: Tensor) -> Tensor:
        asked.append(tiles.shape)
        return tiles.float()

    x = torch.arange(100 * 10, dtype=torch.uint8).view(1, 1, 100, 10)
    strips = tiled_strips(answer, x, 20, 4, align=4, batch_size=9)
    heights = []
    for number, strip in enumerate(strips, 1):
        assert len(asked) == number
        heights.append(strip.shape[2])
    assert heights == [16, 16, 16, 16, 16, 20]
    assert all(shape[2:] in {(20, 10)} for shape in asked)


def test_batches_hold_as_many_tiles_as_asked_for_and_tiles_of_one_size() -> None:
    counts = []

    def answer(tiles: Tensor) -> Tensor:
        counts.append((len(tiles), tiles.shape[3]))
        return tiles

    tiled(answer, torch.rand(1, 1, 8, 61), 16, 8, align=8, batch_size=3)
    assert counts == [(3, 16), (3, 16), (1, 13)]


def test_tiles_that_cannot_move_on_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"cannot move on by 16 px.*Take tiles of 32 px or more"):
        starts(100, 24, 16, 16)
    with pytest.raises(ConfigError):
        starts(100, 24, -1)


def test_not_one_image_or_another_size_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"from one image, \(1, C, H, W\); got \(2, 1, 4, 4\)"):
        tiled(lambda x: x, torch.zeros(2, 1, 4, 4), 4, 2)
    with pytest.raises(ShapeError, match=r"it gives \(1, 1, 2, 4\) for \(1, 1, 4, 4\)"):
        tiled(lambda x: x[:, :, ::2], torch.zeros(1, 1, 4, 4), 4, 2)
