"""What goes into the network, and why: the weights' wish first, then what was asked, then the images themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convlens.config import Config
from convlens.data.input import Wanted, choose_input, learns_normalisation, look, make_preprocess
from convlens.data.policy import ImagePolicy
from convlens.data.record import Record, Source
from convlens.errors import ConfigError, DataError
from convlens.options import IMAGENET_MEAN, IMAGENET_STD, Kind

OPTIONS = ("channels", "size_px", "store_px", "fit")
PUBLISHED = Wanted(224, 256, 1, IMAGENET_MEAN, IMAGENET_STD, "as the weights say")


def source(height: int = 40, width: int = 60, channels: int = 1, kind: Kind = "class") -> Source:
    images = np.zeros((3, height, width, channels), np.uint8)
    return Source("mine", tuple(Record(f"#{i}", i, "a") for i in range(3)), images, kind=kind)


def chosen(of: Source, wanted: Wanted | None = None, **options: Any) -> tuple[list[Any], list[str]]:
    """(values, origins) of channels, size, stored size and fit."""
    given = {name if name == "task" else f"data.{name}": value for name, value in options.items()}
    config = choose_input(Config.build(given), of, wanted or Wanted())
    return [config[f"data.{name}"] for name in OPTIONS], [config.origins[f"data.{name}"] for name in OPTIONS]


def test_without_a_wish_the_images_decide() -> None:
    values, reasons = chosen(source(40, 60))
    assert values == [1, 40, 40, "crop"]
    assert reasons == [
        "chosen: as the images are",
        "chosen: the median side of the images is 40 px",
        "chosen: as large as the input",
        "chosen: keeps proportions; the longer side is cut at both ends",
    ]
    assert chosen(source(400, 600, 3))[0] == [3, 64, 64, "crop"], "not larger than can be learned from scratch"
    assert chosen(source(20, 20), Wanted(smallest_px=32))[0][1] == 32, "not smaller than the network takes"


def test_starting_weights_see_what_they_were_trained_with() -> None:
    values, reasons = chosen(source(), PUBLISHED)
    assert values == [3, 224, 256, "crop"]
    assert reasons[:3] == ["chosen: as the weights were trained", *["chosen: as the weights say"] * 2]
    assert chosen(source(), PUBLISHED, size_px=112)[0][:3] == [3, 112, 128], "stored in the same proportion"


def test_what_was_asked_stays() -> None:
    asked = {"channels": 3, "size_px": 20, "store_px": 30, "fit": "squash"}
    values, reasons = chosen(source(), PUBLISHED, **asked)
    assert values == list(asked.values())
    assert set(reasons) == {"argument"}


def test_masks_are_stored_larger_than_the_windows_training_sees() -> None:
    values, reasons = chosen(source(700, 900, kind="mask"), task="segment")
    assert values == [1, 128, 512, "pad"]
    assert reasons[2] == "chosen: the median side of the images is 700 px; training sees windows of 128 px"
    assert chosen(source(40, 60, kind="mask"), task="segment")[0] == [1, 40, 40, "pad"]


def test_a_detector_is_not_of_the_size_of_the_classifier_it_is_from() -> None:
    boxes = source(500, 700, 3, kind="boxes")
    assert chosen(boxes, PUBLISHED, task="detect")[0] == [3, 416, 416, "pad"]
    assert chosen(boxes, Wanted(size_px=96), task="detect")[0][1] == 96, "but of that of the model it goes on from"


def test_a_picture_that_is_given_back_is_stored_as_it_is_shown() -> None:
    pictures = source(kind="picture")
    assert chosen(pictures, task="reconstruct")[0][1:3] == [40, 40]
    with pytest.raises(ConfigError, match=r"reconstruct gives back whole pictures.*got 50 and 40\. Leave"):
        chosen(pictures, task="reconstruct", store_px=50)


def test_some_images_are_looked_at_and_unreadable_ones_left(tmp_path: Any) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    mixed = Source("mine", (Record("#0", 0, "a"), Record("bad", tmp_path / "bad.png", "a")), np.zeros((1, 4, 5)))
    assert look(mixed, ImagePolicy()) == [(4, 5, 1)]
    many = Source("many", tuple(Record(str(i), i, "a") for i in range(1000)), np.zeros((1000, 1, 1)))
    assert len(look(many, ImagePolicy())) == 500
    assert chosen(Source("none", (Record("bad", tmp_path / "bad.png", "a"),)))[0] == [3, 64, 64, "crop"]


@pytest.mark.parametrize(
    ("normalise", "wanted", "mean", "std", "learns"),
    [
        ("auto", Wanted(), (0.5,) * 3, (0.5,) * 3, True),
        ("auto", PUBLISHED, IMAGENET_MEAN, IMAGENET_STD, False),
        ("data", PUBLISHED, (0.5,) * 3, (0.5,) * 3, True),
        ("imagenet", Wanted(), IMAGENET_MEAN, IMAGENET_STD, False),
        ("half", PUBLISHED, (0.5,) * 3, (0.5,) * 3, False),
    ],
)
def test_the_scale_of_the_input(normalise: str, wanted: Wanted, mean: Any, std: Any, learns: bool) -> None:
    config = choose_input(Config.build({"data.normalise": normalise}), source(channels=3), wanted)
    preprocess = make_preprocess(config, wanted)
    assert (preprocess.mean, preprocess.std) == (mean, std)
    assert learns_normalisation(config, wanted) == learns


def test_the_preprocessing_is_what_was_chosen() -> None:
    given = {"data.size_px": 20, "data.store_px": 30, "data.fit": "squash", "data.background": [1, 2, 3]}
    config = choose_input(Config.build(given | {"data.white_level": 4095, "data.max_pixels": 999}), source(), Wanted())
    preprocess = make_preprocess(config, Wanted())
    assert (preprocess.size_px, preprocess.store_px, preprocess.fit) == ((20, 20), (30, 30), "squash")
    assert preprocess.policy == ImagePolicy(channels=1, background=(1, 2, 3), white_level=4095, max_pixels=999)
    with pytest.raises(DataError, match=r"normalise=imagenet needs 3 channels; the images have 4"):
        make_preprocess(config.choose("data.channels", 4, "").choose("data.normalise", "imagenet", ""), Wanted())
