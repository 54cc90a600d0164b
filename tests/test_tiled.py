"""A model asked in tiles: every image at its own scale and size, in Python and on the command line."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import small
from convlens.cli.main import app
from convlens.data.classes import Classes
from convlens.data.image import decode
from convlens.data.pixels import encode_png
from convlens.data.policy import ImagePolicy
from convlens.data.preprocess import Preprocess
from convlens.errors import BadImage, ConfigError
from convlens.model import Model
from convlens.models import catalog
from convlens.tasks.pictures import Picture
from convlens.tasks.segment import Segmentation


def preprocess(size_px: int = 16) -> Preprocess:
    return Preprocess(ImagePolicy(channels=1), (size_px, size_px), (size_px, size_px), "pad", (0.5,), (0.25,))


@pytest.fixture(scope="module")
def bright() -> Model:
    """A U-Net that answers `bright` where a pixel is above the middle level, whatever lies around it."""
    size = {"in_channels": 1, "outputs": 2, "size_px": (16, 16)}
    options = {"width": 2, "depth": 1}
    network = catalog.build("unet", **size, **options)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.weight.zero_()
        for name in ("encoder.levels.0.conv1", "encoder.levels.0.conv2", "ups.0.conv1", "ups.0.conv2"):
            conv = next(m for m in network.get_submodule(name).modules() if isinstance(m, nn.Conv2d))
            conv.weight[0, 0, 1, 1] = 1.0  # the positive part of the level is handed on
        head = network.get_submodule("head")
        head.get_parameter("weight")[1, 0] = 1.0
        head.get_parameter("bias").copy_(torch.tensor([0.01, 0.0]))
    architecture = {"name": "unet", **size, "size_px": [16, 16], "options": options}
    return Model(network.eval(), "segment", Classes(("ground", "bright")), preprocess(), architecture)


def picture(height: int = 41, width: int = 67) -> np.ndarray:
    """Dots and lines one pixel wide, which a resized image would lose."""
    rng = np.random.default_rng(0)
    return np.where(rng.random((height, width, 1)) < 0.2, 230, 20).astype(np.uint8)


def test_an_answer_is_of_each_pixel_at_the_images_own_scale(bright: Model) -> None:
    pixels = picture()
    answer = bright.predict(pixels, tiles=True)
    assert isinstance(answer, Segmentation)
    assert answer.mask is not None
    assert (answer.mask == (pixels[:, :, 0] > 127)).all()
    assert dict(answer.shares)["bright"] == pytest.approx((pixels > 127).mean())
    brought_small = bright.predict(pixels)
    assert brought_small.mask.shape == answer.mask.shape
    assert (brought_small.mask != answer.mask).any()


@pytest.mark.parametrize("tiles", [4, 7, 16, 500])
def test_tiles_of_every_side_say_the_same(bright: Model, tiles: int) -> None:
    assert (bright.predict(picture(), tiles=tiles).mask == bright.predict(picture(), tiles=True).mask).all()


def test_images_of_several_sizes_come_in_their_order_with_what_cannot_be_read(bright: Model, tmp_path: Path) -> None:
    for name, size in (("a", (9, 70)), ("b", (40, 40)), ("d", (1, 1))):
        (tmp_path / f"{name}.png").write_bytes(encode_png(picture(*size)))
    (tmp_path / "c.png").write_bytes(b"no image")
    answers = bright.predict(tmp_path, tiles=12)
    assert [Path(answer.name).name for answer in answers] == ["a.png", "b.png", "c.png", "d.png"]
    assert [None if answer.mask is None else answer.mask.shape for answer in answers] == [
        (9, 70),
        (40, 40),
        None,
        (1, 1),
    ]
    assert answers[2].error
    listed = bright.predict([tmp_path / "b.png"], tiles=12)
    assert (listed[0].mask == answers[1].mask).all()
    with pytest.raises(BadImage):
        bright.predict(tmp_path / "c.png", tiles=12)


def test_a_denoised_picture_has_the_size_of_its_image() -> None:
    network = nn.Conv2d(1, 1, 3, padding=1)
    nn.init.dirac_(network.weight)
    nn.init.zeros_(network.bias)  # type: ignore[arg-type]
    card = {"data": {"mean": [0.5], "std": [0.25]}}
    answer = Model(network.eval(), "denoise", Classes(("grey",)), preprocess(), None, card).predict(
        picture(), tiles=True
    )
    assert isinstance(answer, Picture)
    assert answer.levels is not None
    assert (answer.levels == picture()).all()


def test_tiles_that_make_no_sense_are_refused(bright: Model) -> None:
    model = Model.load(small.finished().model_path)
    with pytest.raises(ConfigError, match="of classify, a class is of the whole image"):
        model.predict(picture(), tiles=True)
    with pytest.raises(ConfigError, match="of classify"):
        list(model.predict_each([picture()], tiles=True))
    with pytest.raises(ConfigError, match="Take tiles of 4 px or more"):
        bright.predict(picture(), tiles=3)


def test_the_command_line_writes_masks_of_the_images_own_size(bright: Model, tmp_path: Path) -> None:
    model, image, out = tmp_path / "m.safetensors", tmp_path / "a.png", tmp_path / "out"
    bright.save(model)
    image.write_bytes(encode_png(picture()))
    for words in (["--tiles"], ["--tile-px", "12"]):
        result = CliRunner().invoke(
            app, ["predict", str(model), str(image), "--format", "csv", "--out", str(out), *words]
        )
        assert result.exit_code == 0, result.output
        (row,) = csv.DictReader(io.StringIO(result.stdout))
        assert float(row["bright, share"]) == pytest.approx((picture() > 127).mean(), abs=1e-5)
        written = decode(out / "a.png", ImagePolicy(channels=1)).pixels
        assert written.shape[:2] == picture().shape[:2]
        assert ((written[:, :, 0] > 0) == (picture()[:, :, 0] > 127)).all()
    refused = CliRunner().invoke(app, ["predict", str(small.finished().model_path), str(image), "--tiles"])
    assert refused.exit_code == 2
    assert "Leave tiles out" in refused.output
