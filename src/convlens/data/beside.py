"""What lies beside the images and is learned from: a mask or a clean picture for each, or the boxes of an annotation.

They are paired by name, never by their order. This file knows where things lie, not what is in them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from convlens.data.arrays import one_array
from convlens.data.boxes import Box, boxes_text
from convlens.data.findings import Finding
from convlens.data.pairing import pair_masks
from convlens.data.record import Record, Source
from convlens.data.shapes_set import make_shapes
from convlens.data.tables import SPLITS
from convlens.errors import ConfigError, DataError
from convlens.options import DataConfig

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "scans", "photos")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "segmentations", "gt")
DRAWN = {"shapes": make_shapes}  # built-in sets with boxes
COLUMNS = ("image_column", "label_column", "group_column", "split_column")


def with_masks(source: Source | tuple[Any, Any], data: DataConfig) -> Source:
    """The same images, each with its mask; those without one are left out, with a finding.

    Args:
        source: images without labels; or arrays (images, masks), the masks (N, H, W) or (N, H, W, 1) of
            whole numbers.
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
    records, root, above = source.records, source.root, ""
    if data.masks is not None:
        masks = Path(data.masks).expanduser().absolute()
        if not masks.is_dir():
            raise DataError(f"data.masks={data.masks} is not a folder. Name the folder that the masks lie in.")
    else:
        inner = both_folders(root)
        if inner is None:
            raise ConfigError(
                f"The task segment needs a mask for each image: give --masks FOLDER. Without it, {source.name} would "
                f"have to hold a folder 'images' and a folder 'masks'."
            )
        images, masks = inner
        above = images + "/"
        records = tuple(record for record in records if record.id.startswith(above))
    inside = masks.relative_to(root).as_posix() + "/" if masks.is_relative_to(root) and masks != root else None
    if inside:
        records = tuple(record for record in records if not record.id.startswith(inside))
    pairs, findings = pair_masks([record.id for record in records], root, masks)
    parts = _split_folders(records, above)
    drawn = {identity: mask.relative_to(masks).as_posix() for identity, mask in pairs.items()}
    paired = [
        replace(record, label=drawn[record.id], split=record.split or parts.get(record.id))
        for record in records
        if record.id in drawn
    ]
    every = (*source.findings, *findings)
    return replace(source, records=tuple(paired), findings=every, kind="mask", target_root=masks)


def with_clean(source: Source, folder: str) -> Source:
    """Noisy images, each with the clean picture of the same name.

    Raises:
        DataError: the folder is none, or nothing can be paired.
    """
    clean = Path(folder).expanduser().absolute()
    if not clean.is_dir() or source.root is None:
        raise DataError(f"data.clean={folder} must be a folder of clean pictures, beside a folder of noisy ones.")
    inside = clean.relative_to(source.root).as_posix() + "/" if clean.is_relative_to(source.root) else None
    records = [record for record in source.records if inside is None or not record.id.startswith(inside)]
    pairs, findings = pair_masks([record.id for record in records], source.root, clean)
    paired = tuple(
        replace(record, label=pairs[record.id].relative_to(clean).as_posix())
        for record in records
        if record.id in pairs
    )
    found = (*source.findings, *findings)
    return replace(source, records=paired, findings=found, kind="pair", target_root=clean)


def with_boxes(spec: Any, data: DataConfig) -> Source:
    """Images with the boxes of their annotations.

    Args:
        spec: a folder or a file of annotations, a built-in set, a source, or (images, boxes): arrays, and for each
            image a list of `Box` or of (class, x1, y1, x2, y2).
        data: `format` says how the boxes are written.

    Raises:
        ConfigError: an option that nothing here reads.
        DataError: there are no boxes, or they do not belong to the images.
    """
    said = [f"data.{option}" for option in COLUMNS if getattr(data, option) is not None]
    if said:
        raise ConfigError(f"{', '.join(said)}: a table of boxes has columns of its own; see data.format. Leave it out.")
    if isinstance(spec, str) and spec in DRAWN:
        if data.format != "auto":
            raise ConfigError(f"data.format={data.format} is for files; '{spec}' is a built-in set. Leave it out.")
        source = _arrays_with_boxes(spec, *DRAWN[spec]())
        message = f"'{spec}' is the built-in set; write ./{spec} for what lies here under that name."
        return replace(source, findings=(Finding("built-in", "note", message),)) if Path(spec).exists() else source
    if isinstance(spec, str | Path):
        from convlens.data.annotations import open_annotations  # it needs a decoder, and no other listing does

        return open_annotations(path := Path(spec), data.format).to_source(path if path.is_dir() else path.parent)
    if data.format != "auto":
        raise ConfigError(f"data.format={data.format} is for files of annotations; these boxes are in memory.")
    if isinstance(spec, Source):
        if spec.kind != "boxes":
            raise DataError(f"Source {spec.name} has no boxes. Name its folder, or open it with open_annotations.")
        return spec
    return _arrays_with_boxes("arrays", *spec)


def _arrays_with_boxes(name: str, images: Any, boxes: Any) -> Source:
    pictures = _pictures(images)
    if len(boxes) != len(pictures):
        raise DataError(f"Expected a list of boxes for each of {len(pictures):,} images; got {len(boxes):,}.")
    height, width = pictures.shape[1:3]
    records = []
    for i, listed in enumerate(boxes):
        found = [box if isinstance(box, Box) else _box(*box) for box in listed]
        for box in found:
            if min(box.x1, box.y1) < 0 or box.x2 > width or box.y2 > height:
                raise DataError(f"{name}#{i}: {box} leaves its image of {width} x {height} pixels. Clip it first.")
        records.append(Record(f"{name}#{i}", i, boxes_text(found)))
    return Source(name, tuple(records), pictures, kind="boxes")


def _box(name: Any, x1: Any, y1: Any, x2: Any, y2: Any) -> Box:
    return Box(str(name), float(x1), float(y1), float(x2), float(y2))


def both_folders(root: Path) -> tuple[str, Path] | None:
    """The one folder of images and the one of masks below a root, by their names."""
    found = {path.name.lower(): path for path in root.iterdir() if path.is_dir()}
    images = [found[name] for name in IMAGE_FOLDERS if name in found]
    masks = [found[name] for name in MASK_FOLDERS if name in found]
    return (images[0].name, masks[0]) if len(images) == len(masks) == 1 else None


def _split_folders(records: tuple[Record, ...], above: str) -> dict[str, str]:
    """{id: split}, empty unless every image lies below a folder that says train, valid or test.

    Args:
        above: the folder that all images lie in, with a slash; "" for the root.
    """
    tops = {record.id: record.id.removeprefix(above).split("/")[:-1] for record in records}
    if not all(folders and folders[0].lower() in SPLITS for folders in tops.values()):
        return {}
    return {identity: SPLITS[folders[0].lower()] for identity, folders in tops.items()}


def _arrays_with_masks(images: Any, masks: Any) -> Source:
    pictures, classes = _pictures(images), one_array(masks, "masks")
    classes = classes[..., 0] if classes.ndim == 4 and classes.shape[3] == 1 else classes
    if classes.dtype.kind not in "bui" or classes.shape != pictures.shape[:3]:
        raise DataError(
            f"Expected masks of whole numbers {pictures.shape[:3]}, as the images are; got {classes.shape} of "
            f"{classes.dtype}."
        )
    records = tuple(Record(f"arrays#{i}", i, str(i)) for i in range(len(pictures)))
    classes = classes.astype(np.uint8) if classes.dtype.kind == "b" else classes
    return Source("arrays", records, pictures, kind="mask", target_arrays=classes)


def _pictures(images: Any) -> np.ndarray:
    pictures = one_array(images)
    if pictures.ndim not in (3, 4) or pictures.dtype.kind not in "buif" or 0 in pictures.shape:
        raise DataError(
            f"Expected images as an array of numbers (N, H, W) or (N, H, W, C); got {pictures.shape} {pictures.dtype}."
        )
    return pictures
