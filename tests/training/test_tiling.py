"""A trained network on images larger than it was trained on: in tiles at their own scale, or a reason why not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convlens.data.policy import ImagePolicy
from convlens.data.preprocess import Preprocess
from convlens.errors import ConfigError
from convlens.models import catalog
from convlens.tasks.catalog import make
from convlens.tasks.task import Task
from convlens.training.tiling import alignment, answer_in_tiles, choose_tiles


def segmenter() -> nn.Module:
    """A U-Net of two levels that gives both classes about as often, in evaluation mode."""
    torch.manual_seed(0)
    network = catalog.build("unet", in_channels=1, outputs=2, size_px=32, width=4, depth=1)
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(4, 1, 32, 32))
        network.eval()
        logits = network(torch.randn(4, 1, 32, 32)).mean((0, 2, 3))
        network.get_submodule("head").get_parameter("bias").sub_(logits)
    return network


def preprocess(size_px: int = 32) -> Preprocess:
    size = (size_px, size_px)
    return Preprocess(ImagePolicy(channels=1), size, size, "pad", (0.5,), (0.29,))


def pictures(task: str) -> Task:
    return make(task, ("grey",), {"data": {"mean": [0.5], "std": [0.29]}})


def test_a_network_sees_tiles_normalised_as_in_training() -> None:
    network, asks = segmenter(), make("segment", ("ground", "cell"), {})
    pixels = np.random.default_rng(0).integers(0, 256, (130, 117, 1), dtype=np.uint8)
    side = choose_tiles(network, asks, preprocess(), 96)
    found = answer_in_tiles(network, asks, preprocess(), pixels, side)
    x = (torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255.0 - 0.5) / 0.29
    with torch.inference_mode():
        logits = network(x)
    sure = (logits[:, 0] - logits[:, 1]).abs().numpy() > 1e-3
    assert found.dtype == np.uint8
    assert found.shape == (1, 130, 117)
    assert (found == logits.argmax(1).numpy())[sure].all()
    assert 0.2 < found.mean() < 0.8


def test_a_picture_comes_back_in_levels_at_its_own_size() -> None:
    torch.manual_seed(0)
    network = nn.Conv2d(1, 1, 3, padding=1)
    nn.init.dirac_(network.weight)
    nn.init.zeros_(network.bias)  # type: ignore[arg-type]
    pixels = np.random.default_rng(0).integers(0, 256, (70, 201, 1), dtype=np.uint8)
    found = answer_in_tiles(network, pictures("denoise"), preprocess(), pixels, 64)
    np.testing.assert_allclose(found[0, 0], pixels[:, :, 0] / 255.0, atol=1e-6)


def test_the_side_of_tiles_is_that_of_stored_images_or_as_asked() -> None:
    network, asks = segmenter(), make("segment", ("ground", "cell"), {})
    assert alignment(network) == 2
    assert choose_tiles(network, asks, preprocess(48), True) == 48
    assert choose_tiles(network, asks, preprocess(48), 20) == 20
    with pytest.raises(ConfigError, match=r"Tiles of 3 px are too small.*Take tiles of 4 px or more"):
        choose_tiles(network, asks, preprocess(48), 3)
    plain = nn.Conv2d(1, 1, 3, padding=1)
    assert alignment(plain) == 32
    assert choose_tiles(plain, pictures("denoise"), preprocess(48), True) == 64


@pytest.mark.parametrize("task", ["classify", "regress", "anomaly"])
def test_answers_about_whole_images_have_no_tiles(task: str) -> None:
    with pytest.raises(ConfigError, match=rf"Tiles are for answers about pixels; of {task}, .*Leave tiles out"):
        choose_tiles(nn.Identity(), make(task, ("a", "b"), {}), preprocess(), True)


def test_a_network_of_one_size_has_no_tiles() -> None:
    network = catalog.build("autoencoder", in_channels=1, outputs=1, size_px=32, width=4, code=4)
    with pytest.raises(ConfigError, match=r"takes images of every size, such as unet, .* fails at 63 x 61 px"):
        choose_tiles(network, pictures("reconstruct"), preprocess(), 64)
