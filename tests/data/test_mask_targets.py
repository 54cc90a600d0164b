"""All masks of a source as one array: the meaning of their values, their fit, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import scenes
from convlens.data import mask_targets
from convlens.data.fitting import fit_mask
from convlens.data.mask_targets import read_masks, understand
from convlens.data.policy import ImagePolicy
from convlens.data.preprocess import Preprocess
from convlens.data.sources import Source, open_source
from convlens.data.store import Store, build_store
from convlens.errors import DataError
from convlens.options import DataConfig


def preprocess(side: int = 16, fit: str = "pad") -> Preprocess:
    return Preprocess(ImagePolicy(channels=1), (side, side), (side, side), fit, (0.5,), (0.5,))  # type: ignore[arg-type]


def opened(spec: object, **data: object) -> Source:
    given = DataConfig(**data)  # type: ignore[arg-type]
    return understand(open_source(spec, given, kind="mask"), given)  # type: ignore[arg-type]


def stored(source: Source, prepared: Preprocess, folder: Path) -> Store:
    return build_store(source, prepared, directory=folder, memory_mb=64, threads=1)


def read(source: Source, folder: Path, prepared: Preprocess | None = None) -> tuple[np.ndarray, list[str]]:
    prepared = prepared or preprocess()
    store = stored(source, prepared, folder)
    values, findings = read_masks(source, store.records, store.kept, prepared)
    assert all(finding.severity == "error" and finding.kind == "bad-mask" for finding in findings)
    return values, [finding.message for finding in findings]


def test_values_mean_what_all_masks_together_say(tmp_path: Path) -> None:
    source = opened(scenes.masked(tmp_path, n=6))
    assert source.mask_map is not None
    assert source.mask_map.names == ("background", "foreground")
    (told,) = (finding.message for finding in source.findings if finding.kind == "mask-values")
    assert told.startswith("The values of 6 masks: 0 is")
    values, wrong = read(source, tmp_path)
    assert (values == scenes.scenes(6)[1]).all()
    assert wrong == []
    assert understand(source, DataConfig(mask_values=["a", "b"])) is source, "what is understood stays"


def test_the_user_says_what_values_mean(tmp_path: Path) -> None:
    source = opened(scenes.masked(tmp_path, values=7, n=6), mask_values={"0": "sky", "7": "ignore", "9": "sun"})
    assert source.mask_map is not None
    assert source.mask_map.names == ("sky", "sun")
    values, _ = read(source, tmp_path)
    assert (values == 255 * scenes.scenes(6)[1]).all()


def test_masks_in_memory(tmp_path: Path) -> None:
    images, masks = scenes.scenes(6, kinds=2)
    values, wrong = read(opened((images, masks.astype(np.int64))), tmp_path)
    assert (values == masks).all()
    assert values.dtype == np.uint8
    assert wrong == []


@pytest.mark.parametrize("fit", ["pad", "crop", "squash"])
def test_a_mask_is_fitted_as_its_image_is(fit: str, tmp_path: Path) -> None:
    images, masks = scenes.scenes(6)
    wide = images[:, 2:12], masks[:, 2:12]
    prepared, source = preprocess(12, fit), opened(wide)
    values, _ = read(source, tmp_path, prepared)
    assert values.shape == (6, 12, 12)
    assert all((found == fit_mask(mask, prepared)).all() for found, mask in zip(values, wide[1], strict=True))
    shown = stored(source, prepared, tmp_path).images[..., 0]
    assert (shown[values == 1] > 75).mean() > 0.95, "the object is bright where the mask is"
    assert ((values == 255).any() == (fit == "pad")).all()


def test_bad_masks_are_found_in_order_and_named(tmp_path: Path) -> None:
    folder = scenes.masked(tmp_path / "m", n=6)
    source = opened(folder)
    scenes.files(folder / "masks", np.zeros((1, 8, 8), np.uint8))
    (folder / "masks" / "02.png").write_bytes(b"no picture")
    for number in (5, 3):
        scenes.files(folder / "masks", np.full((1, 16, 16), 9, np.uint8), f"{number:02d}.png")
    (folder / "masks" / "04.png").unlink()
    values, wrong = read(source, tmp_path)
    assert (values[[0, 2, 3, 4, 5]] == 255).all(), "nothing of them counts"
    assert len(wrong) == 4
    assert wrong[0].startswith("Mask of images/00.png: the mask is 8 x 8 pixels (height x width), its image 16 x 16")
    assert wrong[1].startswith("Mask of images/02.png: ")
    assert wrong[2].startswith(
        "Mask of images/03.png, images/05.png: the mask holds values that have no class: 9; known"
    )
    assert wrong[3].startswith("Mask of images/04.png: ")
    assert all(message.endswith(".") and not message.endswith("..") for message in wrong)


def test_many_different_faults_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = scenes.masked(tmp_path / "m", n=6)
    source = opened(folder)
    for side in range(6):
        scenes.files(folder / "masks", np.zeros((1, 8 + side, 8), np.uint8), f"{side:02d}.png")
    monkeypatch.setattr(mask_targets, "MOST_REASONS", 2)
    _, wrong = read(source, tmp_path)
    assert len(wrong) == 3
    assert wrong[-1] == "4 more cannot be used either: images/02.png, images/03.png, images/04.png and 1 more."


def test_values_that_cannot_be_understood_are_shown(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected at least two values to tell apart"):
        opened(scenes.masked(tmp_path / "empty", values=0, n=4))
    with pytest.raises(DataError, match=r"data\.mask_values says nothing of 255"):
        opened(scenes.masked(tmp_path / "odd", n=4), mask_values={"0": "a", "1": "b"})
