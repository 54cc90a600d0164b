from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convlens.data.pixels import encode_png
from convlens.data.policy import Decoded, ImagePolicy
from convlens.data.preprocess import Preprocess
from convlens.data.sources import Record, Source
from convlens.data.store import build_store
from convlens.errors import ArtefactError, ConfigError, ShapeError

SHAPES = ((5, 9), (17, 6), (7, 7), (1, 12), (12, 11), (40, 30))


def make(channels: int = 3, size: tuple[int, int] = (6, 5), **changes: Any) -> Preprocess:
    fields: dict[str, Any] = {
        "policy": ImagePolicy(channels=channels),
        "size_px": size,
        "store_px": size,
        "fit": "crop",
        "mean": tuple(0.1 + 0.3 * c / channels for c in range(channels)),
        "std": tuple(0.2 + 0.1 * c / channels for c in range(channels)),
    }
    return Preprocess(**(fields | changes))


def pixels_of(preprocess: Preprocess, image: np.ndarray) -> np.ndarray:
    return preprocess.pixels(Decoded(image, "array"))


def write(folder: Path, shape: tuple[int, int], channels: int, seed: int) -> Path:
    image = np.random.default_rng(seed).integers(0, 256, (*shape, channels), dtype=np.uint8)
    path = folder / f"{seed}.{'png' if channels in (1, 3) else 'npy'}"
    if channels in (1, 3):
        path.write_bytes(encode_png(image))
    else:
        np.save(path, image)
    return path


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize(("store", "size"), [((7, 9), (7, 9)), ((8, 11), (5, 6))])
def test_predict_and_training_see_the_same_input(
    tmp_path: Path, channels: int, fit: str, store: tuple[int, int], size: tuple[int, int]
) -> None:
    preprocess = make(channels, size, store_px=store, fit=fit)
    paths = [write(tmp_path, shape, channels, seed) for seed, shape in enumerate(SHAPES)]
    source = Source("files", tuple(Record(path.name, path, "a") for path in paths), root=tmp_path)
    stored = build_store(source, preprocess, directory=tmp_path / "store", memory_mb=1, threads=1).images
    whole = preprocess.tensor(torch.from_numpy(np.array(stored)))
    assert whole.shape == (len(paths), channels, *size)
    for row, path in enumerate(paths):
        assert torch.equal(preprocess(path), whole[row : row + 1])
        assert torch.equal(preprocess(path.read_bytes(), path.name), whole[row : row + 1])


def test_red_is_the_first_channel(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    path.write_bytes(encode_png(np.full((4, 4, 3), (255, 0, 0), np.uint8)))
    x = make(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))(path)
    assert x[0, 0].eq(1.0).all()
    assert x[0, 1:].eq(-1.0).all()


def test_normalisation_is_the_formula_and_memory_is_channels_last() -> None:
    preprocess = make(3, (4, 5), store_px=(7, 9))
    stored = torch.randint(0, 256, (3, 7, 9, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before = stored.clone()
    x = preprocess.tensor(stored)
    centre = stored[:, 1:5, 2:7].permute(0, 3, 1, 2).double() / 255
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (preprocess.mean, preprocess.std))
    torch.testing.assert_close(x.double(), (centre - mean) / std, atol=1e-6, rtol=0)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(stored, before)


def test_a_tensor_does_not_depend_on_its_batch() -> None:
    preprocess = make(3, (9, 13))
    stored = torch.randint(0, 256, (37, 9, 13, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    whole = preprocess.tensor(stored)
    assert all(torch.equal(preprocess.tensor(stored[i : i + 1]), whole[i : i + 1]) for i in range(37))


def test_crop_keeps_the_centre() -> None:
    image = np.arange(9, dtype=np.uint8)[None, :, None] * np.ones((3, 1, 1), np.uint8)
    assert pixels_of(make(1, (3, 3)), image)[0, :, 0].tolist() == [3, 4, 5]
    assert pixels_of(make(1, (3, 3)), image.transpose(1, 0, 2))[:, 0, 0].tolist() == [3, 4, 5]


def test_pad_shows_everything_on_the_background() -> None:
    policy = ImagePolicy(channels=3, background=(10, 20, 30))
    image = np.full((2, 4, 3), 200, np.uint8)
    padded = pixels_of(make(3, (8, 8), policy=policy, fit="pad"), image)
    assert (padded[2:6] == 200).all()
    assert (padded[[0, 1, 6, 7]] == (10, 20, 30)).all()
    grey = replace(make(1, (8, 8), fit="pad"), policy=ImagePolicy(channels=1, background=(255, 0, 0)))
    assert pixels_of(grey, image[..., :1])[0, 0, 0] == 76


def test_squash_fills_the_frame() -> None:
    image = np.repeat(np.uint8([[[0], [100]]]), 5, axis=0)
    squashed = pixels_of(make(1, (2, 6), fit="squash"), image)[..., 0]
    assert squashed.shape == (2, 6)
    assert squashed[:, 0].tolist() == [0, 0]
    assert squashed[:, 5].tolist() == [100, 100]


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_a_long_strip_costs_no_more_than_its_own_pixels(fit: str) -> None:
    strip = np.full((2, 16_000, 3), 50, np.uint8)
    stored = pixels_of(make(3, (224, 224), fit=fit), strip)
    assert stored.shape == (224, 224, 3)
    assert (stored == 50).any()


def test_stored_pixels_are_free_to_be_kept() -> None:
    image = np.zeros((6, 5, 3), np.uint8)
    stored = pixels_of(make(), image)
    stored[:] = 9
    assert not image.any()


def test_picture_gives_the_levels_back() -> None:
    preprocess = make(3, (4, 5))
    stored = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    x = preprocess.tensor(torch.from_numpy(stored))
    assert (preprocess.picture(x) == stored).all()
    assert preprocess.picture(x + 100).min() == 255


def test_json_round_trip() -> None:
    preprocess = make(3, (6, 5), store_px=(8, 8), fit="pad")
    text = json.dumps(preprocess.to_json())
    assert Preprocess.from_json(json.loads(text)) == preprocess


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "version 2; this program reads version 1"),
        ({"zoom": 1}, "unknown field 'zoom'"),
        ({"mean": None}, "cannot be used"),
        ({"fit": "Crop"}, "no fit 'Crop'"),
        ({"size_px": [6.0, 5]}, "whole pixels"),
        ({"size_px": [9, 9]}, "at least size_px"),
        ({"mean": [0.5]}, "for each of 3 channels"),
        ({"std": [0.5, 0.5, 0.0]}, "above 0"),
        ({"std": [0.5, 0.5, float("nan")]}, "finite"),
        ({"policy": {"version": 9}}, "version 9"),
        ({"policy": "RGB"}, "cannot be used"),
    ],
)
def test_a_stored_preprocess_that_cannot_be_used_says_why(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ArtefactError, match=says):
        Preprocess.from_json(make().to_json() | change)


def test_a_missing_field_is_named() -> None:
    data = make().to_json()
    del data["std"]
    with pytest.raises(ArtefactError, match="lacks the field 'std'"):
        Preprocess.from_json(data)
    with pytest.raises(ArtefactError, match="must be an object; got list"):
        Preprocess.from_json([])  # type: ignore[arg-type]


def test_fields_that_do_not_fit_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'crop'"):
        make(fit="cropp")


def test_only_stored_images_are_taken() -> None:
    preprocess = make(3, (6, 5))
    with pytest.raises(ShapeError, match=r"\(N, 6, 5, 3\) uint8; got \(2, 3, 6, 5\) uint8"):
        preprocess.tensor(torch.zeros(2, 3, 6, 5, dtype=torch.uint8))
    with pytest.raises(ShapeError, match="float32"):
        preprocess.tensor(torch.zeros(2, 6, 5, 3))
