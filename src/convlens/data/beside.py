"""What lies beside the images and is learned from: a mask for each, or the boxes of an annotation.

Images and masks are paired by name, never by their order. This file knows where things lie, not what is in them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from convlens.config import DataConfig
from convlens.data.pairing import pair_masks
from convlens.data.record import Record, Source
from convlens.data.tables import SPLITS
from convlens.errors import ConfigError, DataError

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "scans", "photos")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "segmentations", "gt")


def with_masks(source: Source | tuple[Any, Any], data: DataConfig) -> Source:
    """The same images, each with its mask; those without one are left out, with a finding.

    Args:
        source: images without labels; or arrays (images, masks), the masks (N, H, W) of whole numbers.
        data: `masks` names their folder; without it, a folder of images and one of masks are looked for in the source.

    Raises:
        ConfigError: it is not said where the masks are.
        DataError: nothing can be paired.
    """
    if isinstance(source, tuple):
        return _arrays_with_masks(*source)
    if source.kind == "mask":
        return source
    if source.root is None:
        raise DataError(f"{source.name} has no folder to find masks beside. Give (images, masks) as arrays.")
    records, root = source.records, source.root
    if data.masks is not None:
        masks = Path(data.masks).expanduser().absolute()
        if not masks.is_dir():
            raise DataError(f"data.masks={data.masks} is not a folder. Name the folder that the masks lie in.")
    else:
        inner = _both_folders(root)
        if inner is None:
            raise ConfigError(
                f"The task segment needs a mask for each image: give --masks FOLDER. Without it, {source.name} would "
                f"have to hold a folder 'images' and a folder 'masks'."
            )
        images, masks = inner
        records = tuple(record for record in records if record.id.startswith(images + "/"))
    inside = masks.relative_to(root).as_posix() + "/" if masks.is_relative_to(root) and masks != root else None
    if inside:
        records = tuple(record for record in records if not record.id.startswith(inside))
    pairs, findings = pair_masks([record.id for record in records], root, masks)
    parts = _split_folders(records)
    paired = [
        replace(record, label=pairs[record.id].relative_to(masks).as_posix(), split=parts.get(record.id.split("/")[0]))
        for record in records
        if record.id in pairs
    ]
    every = (*source.findings, *findings)
    return replace(source, records=tuple(paired), findings=every, kind="mask", target_root=masks)


def with_boxes(spec: Any, data: DataConfig) -> Source:
    """Images with the boxes of their annotations.

    Raises:
        DataError: there are none.
    """
    raise DataError("Boxes cannot be read yet.")


def _both_folders(root: Path) -> tuple[str, Path] | None:
    """The one folder of images and the one of masks below a root, by their names."""
    found = {path.name.lower(): path for path in root.iterdir() if path.is_dir()}
    images = [found[name] for name in IMAGE_FOLDERS if name in found]
    masks = [found[name] for name in MASK_FOLDERS if name in found]
    return (images[0].name, masks[0]) if len(images) == len(masks) == 1 else None


def _split_folders(records: tuple[Record, ...]) -> dict[str, str]:
    """{first folder: split}, empty unless every image lies below one that says train, valid or test."""
    tops = {record.id.split("/")[0] for record in records if "/" in record.id}
    if not tops or any("/" not in record.id or top.lower() not in SPLITS for record in records for top in tops):
        return {}
    return {top: SPLITS[top.lower()] for top in tops}


def _arrays_with_masks(images: Any, masks: Any) -> Source:
    pictures, classes = np.asarray(images), np.asarray(masks)
    if pictures.ndim not in (3, 4) or pictures.dtype.kind not in "buif" or 0 in pictures.shape:
        raise DataError(
            f"Expected images as an array of numbers (N, H, W) or (N, H, W, C); got {pictures.shape} {pictures.dtype}."
        )
    if classes.dtype.kind not in "bui" or classes.shape != pictures.shape[:3]:
        raise DataError(
            f"Expected masks of whole numbers {pictures.shape[:3]}, as the images are; got {classes.shape} of "
            f"{classes.dtype}."
        )
    records = tuple(Record(f"arrays#{i}", i, str(i)) for i in range(len(pictures)))
    classes = classes.astype(np.uint8) if classes.dtype.kind == "b" else classes
    return Source("arrays", records, pictures, kind="mask", target_arrays=classes)
