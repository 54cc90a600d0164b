"""Masks beside images: where they are looked for, which parts the folders say, and masks in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import scenes
from convlens.data.sources import open_source
from convlens.errors import ConfigError, DataError
from convlens.options import DataConfig

IMAGES, MASKS = scenes.scenes(6)


def opened(spec: object, **data: object) -> list[tuple[str, str | None, str | None]]:
    """(id, path or row of the mask, part) of every record."""
    source = open_source(spec, DataConfig(**data), kind="mask")  # type: ignore[arg-type]
    assert source.kind == "mask"
    return [(record.id, record.label, record.split) for record in source.records]


@pytest.mark.parametrize(("images", "masks"), [("images", "masks"), ("Imgs", "GT"), ("scans", "annotations")])
def test_two_folders_are_found_by_their_names(images: str, masks: str, tmp_path: Path) -> None:
    scenes.files(tmp_path / images, IMAGES[:2])
    scenes.files(tmp_path / masks, MASKS[:2])
    assert opened(tmp_path) == [(f"{images}/00.png", "00.png", None), (f"{images}/01.png", "01.png", None)]


def test_masks_may_lie_anywhere_else(tmp_path: Path) -> None:
    scenes.files(tmp_path / "photos", IMAGES[:3])
    scenes.files(tmp_path / "drawn", MASKS[1:3], "0{}_mask.png")
    found = open_source(tmp_path / "photos", DataConfig(masks=str(tmp_path / "drawn")), kind="mask")
    assert [(record.id, record.label) for record in found.records] == [
        ("00.png", "00_mask.png"),
        ("01.png", "01_mask.png"),
    ]
    assert [finding.records for finding in found.findings if finding.kind == "no-mask"] == [("02.png",)]
    np.testing.assert_equal(found.target(found.records[1]), tmp_path / "drawn" / "01_mask.png")


def test_a_folder_of_masks_among_the_images_holds_no_images(tmp_path: Path) -> None:
    scenes.files(tmp_path, IMAGES[:2])
    scenes.files(tmp_path / "drawn", MASKS[:2])
    assert opened(tmp_path, masks=str(tmp_path / "drawn")) == [("00.png", "00.png", None), ("01.png", "01.png", None)]


@pytest.mark.parametrize("above", ["", "images/"])
def test_folders_say_which_part_an_image_belongs_to(above: str, tmp_path: Path) -> None:
    for number, part in enumerate(("train", "val", "testing")):
        scenes.files(tmp_path / above / part, IMAGES[number : number + 1], f"{number}.png")
        scenes.files(tmp_path / "masks" / part, MASKS[number : number + 1], f"{number}.png")
    found = opened(tmp_path, **({} if above else {"masks": str(tmp_path / "masks")}))
    assert sorted((label, part) for _, label, part in found) == [
        ("testing/2.png", "test"),
        ("train/0.png", "train"),
        ("val/1.png", "valid"),
    ]


def test_a_table_keeps_its_own_parts(tmp_path: Path) -> None:
    scenes.files(tmp_path / "photos", IMAGES[:2])
    scenes.files(tmp_path / "drawn", MASKS[:2])
    (tmp_path / "t.csv").write_text("path,part\nphotos/00.png,train\nphotos/01.png,test\n")
    found = opened(tmp_path / "t.csv", masks=str(tmp_path / "drawn"), split_column="part")
    assert [part for _, _, part in found] == ["train", "test"]
    (tmp_path / "t.csv").write_text("path,patient,split\nphotos/00.png,a,train\nphotos/01.png,b,test\n")
    for kind, beside in (("mask", {"masks": "drawn"}), ("picture", {"clean": "drawn"}), ("picture", {})):
        data = DataConfig(**{option: str(tmp_path / folder) for option, folder in beside.items()})  # type: ignore
        records = open_source(tmp_path / "t.csv", data, kind=kind).records  # type: ignore[arg-type]
        assert [(record.group, record.split) for record in records] == [("a", "train"), ("b", "test")]
    for record in open_source(tmp_path / "t.csv", DataConfig(), labelled=False).records:
        assert (record.group, record.split) == (None, None)


def test_arrays_of_masks_are_rows_beside_the_images() -> None:
    source = open_source((IMAGES, MASKS), DataConfig(), kind="mask")
    assert [(record.image, record.label) for record in source.records] == [(i, str(i)) for i in range(6)]
    np.testing.assert_equal(source.target(source.records[4]), MASKS[4])
    flat = open_source((IMAGES, MASKS[..., None]), DataConfig(), kind="mask")
    np.testing.assert_equal(flat.target(flat.records[4]), MASKS[4])
    bits = open_source((IMAGES[..., 0], MASKS > 0), DataConfig(), kind="mask")
    assert np.asarray(bits.target(bits.records[0])).dtype == np.uint8


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        (MASKS[:5], r"Expected masks of whole numbers \(6, 16, 16\), as the images are; got \(5, 16, 16\) of uint8"),
        (MASKS[:, :8], r"got \(6, 8, 16\) of uint8"),
        (MASKS / 2, "of float64"),
        (np.stack([MASKS] * 3, -1), r"got \(6, 16, 16, 3\)"),
        ([MASKS[0][:8], *MASKS[1:]], r"masks in memory to be all of one size; got \(8, 16\), \(16, 16\)\. Bring"),
    ],
)
def test_arrays_that_are_no_masks_of_these_images(masks: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=said):
        open_source((IMAGES, masks), DataConfig(), kind="mask")


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    flat = scenes.files(tmp_path / "flat", IMAGES)
    with pytest.raises(
        ConfigError, match=r"give --masks FOLDER\. Without it, flat would have to hold a folder 'images'"
    ):
        opened(flat)
    with pytest.raises(DataError, match=r"data\.masks=nowhere is not a folder"):
        opened(flat, masks="nowhere")
    with pytest.raises(DataError, match="has no folder to find masks beside"):
        opened("digits")
    strange = scenes.files(tmp_path / "strange", MASKS, "other{}.png")
    with pytest.raises(DataError, match="None of 6 images has a mask"):
        opened(flat, masks=str(strange))
    for name in ("images", "photos", "masks"):
        scenes.files(tmp_path / "two" / name, IMAGES[:1])
    with pytest.raises(ConfigError, match="give --masks FOLDER"):
        opened(tmp_path / "two")


def test_images_of_several_sizes_in_memory_are_refused() -> None:
    images = [IMAGES[0][:8], *IMAGES[1:]]
    said = r"images in memory to be all of one size; got \(8, 16, 1\), \(16, 16, 1\)\. .* folder, where they may differ"
    with pytest.raises(DataError, match=said):
        open_source(
            (images, [mask[: len(image)] for image, mask in zip(images, MASKS, strict=True)]), DataConfig(), kind="mask"
        )
    with pytest.raises(DataError, match="a tuple of two; got a tuple of 3"):
        open_source((IMAGES, MASKS, 1), DataConfig(), kind="mask")
