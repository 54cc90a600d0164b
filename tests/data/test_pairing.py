"""Masks found by name: which fit, which do not, and which could belong to several."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import pytest

from convlens.data.findings import Finding
from convlens.data.pairing import pair_masks
from convlens.errors import DataError

posix = pytest.mark.skipif(sys.platform == "win32", reason="links are made the POSIX way")


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def paired(tmp_path: Path, ids: str, masks: str) -> tuple[dict[str, str], dict[str, Finding]]:
    """Pairs as paths below the folder of masks, and findings by kind; names come with blanks between them."""
    folder = fill(tmp_path / "masks", *masks.split())
    pairs, findings = pair_masks(ids.split(), tmp_path / "images", folder)
    by_kind = {finding.kind: finding for finding in findings}
    assert len(by_kind) == len(findings)
    return {i: mask.relative_to(folder).as_posix() for i, mask in pairs.items()}, by_kind


def test_the_same_path_is_the_mask_whatever_the_suffix_and_the_order(tmp_path: Path) -> None:
    pairs, findings = paired(tmp_path, "b.jpg a.jpg train/a.jpg", "a.png train/a.tif b.npy")
    assert pairs == {"b.jpg": "b.npy", "a.jpg": "a.png", "train/a.jpg": "train/a.tif"}
    assert list(pairs) == ["b.jpg", "a.jpg", "train/a.jpg"]
    assert findings == {}


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("1.jpg", "1_mask.png"),
        ("1.jpg", "1-mask.png"),
        ("1.jpg", "1_Label.png"),
        ("1.jpg", "1_seg.png"),
        ("1.jpg", "1_segmentation.png"),
        ("1.jpg", "1_gt.png"),
        ("1.jpg", "mask_1.png"),
        ("1.jpg", "mask1.png"),
        ("1.jpg", "1.jpg.png"),
        ("im_1.jpg", "1.png"),
        ("1_image.jpg", "1.png"),
        ("image1.jpg", "mask1.png"),
        ("1_sat.jpg", "1_mask.png"),
        ("21_training.tif", "21_manual1.gif"),
        ("eye_image_1.jpg", "eye_mask_1.png"),
        ("city_0_leftImg8bit.png", "city_0_gtFine_labelIds.png"),
        ("a-b.jpg", "a_b_mask.png"),
        ("cell.jpg", "deep/down/cell.png"),
        ("deep/cell.jpg", "cell_mask.png"),
        ("images/1.jpg", "1.png"),
        ("Cell.JPG", "cell.png"),
        (unicodedata.normalize("NFD", "zell\u00e4.jpg"), "zell\u00e4.png"),
    ],
)
def test_a_name_that_says_what_it_is_still_fits(tmp_path: Path, image: str, mask: str) -> None:
    pairs, findings = paired(tmp_path, f"{image} other.jpg", f"{mask} different_mask.png")
    assert pairs == {image: mask}
    assert findings.keys() - {"paired-by-name"} == {"no-mask", "no-image"}


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("1.jpg", "10.png"),
        ("1.jpg", "1b.png"),
        ("1.jpg", "01.png"),
        ("cat.jpg", "cat_dog_mask.png"),
        ("mask.jpg", "x.png"),
    ],
)
def test_other_names_do_not_fit(tmp_path: Path, image: str, mask: str) -> None:
    with pytest.raises(DataError, match="None of 1 images has a mask"):
        paired(tmp_path, image, mask)


def test_folders_that_say_what_lies_in_them_are_not_compared(tmp_path: Path) -> None:
    pairs, _ = paired(tmp_path, "train/images/1.jpg valid/images/1.jpg", "valid/1.png train/1.png")
    assert pairs == {"train/images/1.jpg": "train/1.png", "valid/images/1.jpg": "valid/1.png"}
    pairs, _ = paired(
        tmp_path / "2", "images/train/1.jpg images/valid/1.jpg", "train_masks/1_mask.png valid_masks/1_mask.png"
    )
    assert pairs == {"images/train/1.jpg": "train_masks/1_mask.png", "images/valid/1.jpg": "valid_masks/1_mask.png"}


def test_the_strict_fit_comes_first(tmp_path: Path) -> None:
    pairs, findings = paired(tmp_path, "1.jpg test_1.jpg", "1_mask.png test_1_mask.png")
    assert pairs == {"1.jpg": "1_mask.png", "test_1.jpg": "test_1_mask.png"}
    assert findings["paired-by-name"].records == ("1.jpg", "test_1.jpg")
    assert "1.jpg with 1_mask.png" in findings["paired-by-name"].message


def test_what_has_no_partner_is_named(tmp_path: Path) -> None:
    pairs, findings = paired(tmp_path, "1.jpg 2.jpg 3.jpg", "1.png 4.png 10.png")
    assert pairs == {"1.jpg": "1.png"}
    said = {kind: (finding.severity, finding.records) for kind, finding in findings.items()}
    assert said == {"no-mask": ("warning", ("2.jpg", "3.jpg")), "no-image": ("note", ("4.png", "10.png"))}
    assert findings["no-mask"].message == "2 of 3 images have no mask and are left out: 2.jpg, 3.jpg."


def test_a_mask_of_another_folder_is_not_borrowed(tmp_path: Path) -> None:
    pairs, findings = paired(tmp_path, "train/1.jpg valid/1.jpg", "train/1.png test/1.png")
    assert pairs == {"train/1.jpg": "train/1.png"}
    assert findings["no-mask"].records == ("valid/1.jpg",)
    assert findings["no-image"].records == ("test/1.png",)


def test_a_mask_belongs_to_one_image(tmp_path: Path) -> None:
    pairs, findings = paired(tmp_path, "1.jpg 1_mask.jpg", "1_mask.png")
    assert pairs == {"1_mask.jpg": "1_mask.png"}
    assert findings["no-mask"].records == ("1.jpg",)


@pytest.mark.parametrize(
    ("ids", "masks", "unclear"),
    [
        ("1.jpg 2.jpg", "1.png 1.gif 2.png", ("1.jpg",)),
        ("1.jpg 2.jpg", "1.png 1_mask.png 2.png", ("1.jpg",)),
        ("1.jpg 2.jpg", "1_mask.png 1_label.png 2.png", ("1.jpg",)),
        ("1.jpg 2.jpg", "1_mask.png 1_mask_1.png 1_mask_2.png 2.png", ("1.jpg",)),
        ("1.jpg 2.jpg", "a/1.png b/1.png 2.png", ("1.jpg",)),
        ("1.jpg 1.png 2.jpg", "1.png 2.png", ("1.jpg", "1.png")),
        ("a/1.jpg b/1.jpg 2.jpg", "1.png 2.png", ("a/1.jpg", "b/1.jpg")),
    ],
)
def test_what_fits_several_ways_is_an_error_with_all_names(
    tmp_path: Path, ids: str, masks: str, unclear: tuple[str, ...]
) -> None:
    pairs, findings = paired(tmp_path, ids, masks)
    assert pairs == {"2.jpg": "2.png"}
    assert findings.keys() == {"two-masks"}
    assert (findings["two-masks"].severity, findings["two-masks"].records) == ("error", unclear)
    assert all(mask in findings["two-masks"].message for mask in masks.split() if mask != "2.png")


def test_nothing_in_common_is_an_error_with_names_of_both(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        paired(tmp_path, "a.jpg b.jpg c.jpg d.jpg", "1.png 2.png 3.png 4.png")
    assert "Images: a.jpg, b.jpg, c.jpg and 1 more. Masks: 1.png, 2.png, 3.png and 1 more." in str(caught.value)
    with pytest.raises(DataError, match=r"1\.jpg \(1\.gif, 1\.png\)"):
        paired(tmp_path / "2", "1.jpg", "1.png 1.gif")
    with pytest.raises(DataError, match="Masks: none"):
        pair_masks(["a.jpg"], tmp_path, fill(tmp_path / "3", "readme.md"))
    with pytest.raises(DataError, match="no folder of masks"):
        pair_masks(["a.jpg"], tmp_path, tmp_path / "gone")


# ------------------------------------------------------------------------------------------------- what lies in folders


@posix
def test_hidden_files_links_and_other_files_are_passed_over(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", "2.png")
    folder = fill(tmp_path / "masks", "1.png", ".3.png", "Thumbs.db", "classes.json", "real/4.png")
    (folder / "2.png").symlink_to(tmp_path / "elsewhere" / "2.png")
    (folder / "5.png").symlink_to(folder / "real" / "4.png")
    pairs, findings = pair_masks([f"{i}.jpg" for i in range(1, 6)], tmp_path / "images", folder)
    assert sorted(pairs) == ["1.jpg", "4.jpg", "5.jpg"]
    by_kind = {finding.kind: finding.records for finding in findings}
    assert by_kind["outside-root"] == ("2.png",)
    assert by_kind["hidden"] == (".3.png", "Thumbs.db")
    assert by_kind["not-an-image-name"] == ("classes.json",)
    assert by_kind["no-mask"] == ("2.jpg", "3.jpg")


def test_masks_beside_their_images_in_one_folder(tmp_path: Path) -> None:
    names = ["1.png", "1_mask.png", "2.png", "2_mask.png", "3.png"]
    pairs, findings = pair_masks(names, tmp_path, fill(tmp_path, *names))
    assert pairs == {"1.png": tmp_path / "1_mask.png", "2.png": tmp_path / "2_mask.png"}
    by_kind = {finding.kind: finding for finding in findings}
    assert by_kind["mask-among-images"].records == ("1_mask.png", "2_mask.png")
    assert by_kind["no-mask"].records == ("3.png",)


def test_masks_below_the_images_are_no_images(tmp_path: Path) -> None:
    names = ["1.png", "2.png", "masks/1.png", "masks/2.png"]
    fill(tmp_path, *names)
    pairs, findings = pair_masks(names, tmp_path, tmp_path / "masks")
    assert pairs == {"1.png": tmp_path / "masks" / "1.png", "2.png": tmp_path / "masks" / "2.png"}
    (finding,) = findings
    assert (finding.kind, finding.records) == ("mask-among-images", ("masks/1.png", "masks/2.png"))
