"""Where samples come from: whatever the user points at becomes a `Source` of records.

`open_source` is the one door: a folder per class (with or without train, valid and test folders), a CSV or Parquet
table, MNIST-style idx files, a built-in set, or (images, labels) in memory. A source lists; it opens no image. What it
leaves out (hidden files, names that are no image's, links that lead elsewhere, rows without a class) is in its
findings with every name. This file knows nothing of pixels, class indices or what the records are for.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from convlens.data.arrays import described, one_array
from convlens.data.beside import DRAWN, with_boxes, with_clean, with_masks
from convlens.data.builtin import BUILTIN
from convlens.data.findings import Finding, shorten
from convlens.data.folders import Labels, layout, read_folder
from convlens.data.idx import IdxSet, is_idx_name, read_idx_file, read_idx_folder
from convlens.data.labels import label_text, number_text, similar_classes
from convlens.data.record import Record, Source
from convlens.data.tables import SPLITS, ReadLabel, is_table, read_table
from convlens.errors import ConfigError, DataError, did_you_mean
from convlens.options import DataConfig, Kind

__all__ = ["Record", "Source", "open_source"]
_IDX_PARTS = {**SPLITS, "t10k": "test"}


def open_source(spec: Any, data: DataConfig, *, labelled: bool = True, kind: Kind = "class") -> Source:
    """List the samples of whatever `spec` names.

    Args:
        spec: a folder, table, idx file, the name of a built-in set, (images, labels), or a source; images alone, as an
            array or a list, where no labels are needed.
        data: the columns of a table, and where masks or clean pictures lie; nothing else of it is read.
        labelled: False for prediction: every label is None, folders are not read as classes, a single image will do.
        kind: what the labels are.

    Raises:
        DataError: there is no such thing, it holds no sample, or it contradicts itself.
        ConfigError: a column is named, but no source is a table.

    Example:
        >>> source = open_source(([[[0, 255], [255, 0]]] * 2, ["b", "a"]), DataConfig())
        >>> source.records[1]
        Record(id='arrays#1', image=1, label='a', group=None, split=None)
    """
    spec = _known(spec, "picture" if not labelled else kind)
    if not labelled:
        return _list(spec, data, "none", label_text, parts=False)
    match kind:
        case "class":
            return _list(spec, data, "needed", label_text)
        case "number":
            return _with_numbers(_list(spec, data, "needed", number_text))
        case "picture" | "pair" if data.clean is not None:
            return with_clean(_list(spec, data, "none", label_text), data.clean)
        case "picture" | "pair":
            return replace(_list(spec, data, "if any", label_text), kind=kind)
        case "mask":
            return with_masks(spec if isinstance(spec, tuple | Source) else _list(spec, data, "none", label_text), data)
        case "boxes":
            return with_boxes(spec, data)


def _known(spec: Any, kind: Kind) -> str | Path | tuple[Any, Any] | Source:
    """What was given, where it can be a source; images alone become (images, None) where no labels are needed."""
    what = {"mask": "masks", "boxes": "boxes"}.get(kind, "labels")
    if isinstance(spec, tuple):
        if len(spec) != 2:
            raise DataError(f"Expected (images, {what}), a tuple of two; got a tuple of {len(spec)}.")
        return spec
    if isinstance(spec, str | Path | Source):
        return spec
    if kind in ("picture", "pair") and (isinstance(spec, list) or hasattr(spec, "__array__")):
        return spec, None
    raise DataError(
        f"Expected a path or (images, {what}), got {described(spec)}. Give the path of a folder or table, or a tuple "
        f"of images and {what}."
    )


def _with_numbers(source: Source) -> Source:
    """The same source with every label spelled as numbers, each record with as many as the first."""
    records = []
    for record in source.records:
        label = None if record.label is None else number_text(record.label, f"{source.name}, {record.id}")
        records.append(replace(record, label=label))
    counts = {record.label.count(" ") + 1: record.id for record in records if record.label is not None}
    if len(counts) > 1:
        some = ", ".join(f"{record} has {count}" for count, record in counts.items())
        raise DataError(f"Every image of {source.name} needs the same number of values; {some}.")
    return replace(source, records=tuple(records), kind="number", classes=None)


def _list(spec: Any, data: DataConfig, labels: Labels, read_label: ReadLabel, *, parts: bool = True) -> Source:
    labelled = labels != "none"
    if isinstance(spec, Source):
        missing = [record.id for record in spec.records if record.label is None]
        if missing and labels == "needed":
            what = "number" if read_label is number_text else "class"
            raise DataError(f"Source {spec.name} has {len(missing):,} records without a {what}: {shorten(missing)}.")
        return spec
    if isinstance(spec, tuple):
        labelled = labelled and (labels == "needed" or spec[1] is not None)
        return _from_arrays("arrays", *spec, labelled=labelled, read_label=read_label)
    _refuse_unused_columns(str(spec), data)
    if isinstance(spec, str) and spec in BUILTIN:
        source = _from_arrays(spec, *BUILTIN[spec](), labelled=labelled, read_label=read_label)
        message = f"'{spec}' is the built-in set; write ./{spec} for what lies here under that name."
        return replace(source, findings=(Finding("built-in", "note", message),)) if Path(spec).exists() else source
    path = Path(spec).expanduser().absolute()
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        hint = f"The set {spec} is for --task detect." if spec in DRAWN else did_you_mean(str(spec), BUILTIN)
        raise DataError(f"There is no file or folder '{spec}', and no built-in set of that name. {hint}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"'{spec}' cannot be looked at: {getattr(error, 'strerror', None) or error}.") from None
    if stat.S_ISDIR(mode):
        sets, findings = read_idx_folder(path, labelled=labelled)
        return _from_idx(path, sets, findings, labelled) if sets else read_folder(path, labels=labels)
    if not stat.S_ISREG(mode):
        raise DataError(f"'{spec}' is a pipe or device; expected a file or a folder.")
    if is_table(path.name):
        labelled = labelled and (labels == "needed" or data.label_column is not None)
        table = read_table(path, data, labelled=labelled, parts=parts, read_label=read_label)
        rows = zip(table.ids, table.images, table.labels, table.groups, table.splits, strict=True)
        return Source(path.stem, tuple(Record(*row) for row in rows), root=path.parent, findings=table.findings)
    if is_idx_name(path.name):
        return _from_idx(path, (read_idx_file(path, labelled=labelled),), (), labelled)
    if not labelled:
        return Source(path.name, (Record(path.name, path, None),), root=path.parent)
    raise DataError(
        f"'{spec}' is a single file; expected a folder, a table (.csv, .tsv, .parquet) or an idx file. "
        f"Unpack an archive first. {layout('photos')}"
    )


def _refuse_unused_columns(spec: str, data: DataConfig) -> None:
    options = ("image_column", "label_column", "group_column", "split_column")
    said = [f"data.{option}" for option in options if getattr(data, option) is not None]
    if said and not any(is_table(name) for name in (spec, data.source, data.valid or "", data.test or "")):
        raise ConfigError(f"{', '.join(said)}: there is no table to find a column in; '{spec}' is none. Leave it out.")


# In memory ------------------------------------------------------------------------------------------------------------


def _from_arrays(name: str, images: Any, labels: Any, *, labelled: bool, read_label: ReadLabel) -> Source:
    """One record per image; samples without a class are left out with a finding."""
    array = one_array(images)
    if array.ndim not in (3, 4) or array.dtype.kind not in "buif" or 0 in array.shape:
        raise DataError(
            f"Expected images as an array of numbers (N, H, W) or (N, H, W, C), none empty; "
            f"got shape {array.shape} of {array.dtype}."
        )
    if array.ndim == 4 and array.shape[1] in (1, 2, 3, 4) and array.shape[3] > 4:
        raise DataError(
            f"Images of shape {array.shape} look like (N, C, H, W); expected (N, H, W, C). "
            "Use images.transpose(0, 2, 3, 1)."
        )
    ids = [f"{name}#{i}" for i in range(len(array))]
    if not labelled:
        return Source(name, tuple(Record(identity, i, None) for i, identity in enumerate(ids)), array)
    values = np.asarray(labels, dtype=object)
    several = read_label is number_text and values.ndim == 2
    if values.shape[:1] != (len(array),) or not (values.ndim == 1 or several):
        raise DataError(f"Expected one label per image, of shape ({len(array)},); got shape {values.shape}.")
    texts = [read_label(value, f"label {i}") for i, value in enumerate(values.tolist())]
    records = tuple(Record(ids[i], i, text) for i, text in enumerate(texts) if text is not None)
    findings = [] if read_label is number_text else list(similar_classes(texts, name))
    missing = tuple(ids[i] for i, text in enumerate(texts) if text is None)
    if not records:
        raise DataError(f"None of the {len(array):,} images has a label; expected one each.")
    if missing:
        what = "number" if read_label is number_text else "class"
        message = f"{len(missing):,} of {len(array):,} images have no {what} and are left out: {shorten(missing)}."
        findings.append(Finding("missing-label", "warning", message, missing))
    return Source(name, records, array, findings=tuple(findings))


def _from_idx(path: Path, sets: Sequence[IdxSet], findings: tuple[Finding, ...], labelled: bool) -> Source:
    """Sets of one folder as one source; a single set does not say which split it is."""
    first, splits = sets[0], dict[str, str | None]()
    for one in sets:
        shape, expected = one.images.shape[1:], first.images.shape[1:]
        if shape != expected or one.images.dtype != first.images.dtype:
            raise DataError(f"{one.name} holds images of {shape}, {first.name} of {expected}; expected the same.")
        word = one.part.replace("_", "-").split("-")[-1]
        splits[one.name] = _IDX_PARTS.get(word) if len(sets) > 1 else None
    if len(sets) > 1 and (None in splits.values() or len(set(splits.values())) < len(sets)):
        raise DataError(
            f"{path.name} holds the idx sets {', '.join(splits)}; expected one for each of train, valid and test "
            "(t10k). Name one images file instead of the folder."
        )
    records: list[Record] = []
    for one in sets:
        labels = [None] * len(one.images) if one.labels is None else [str(label) for label in one.labels.tolist()]
        for i, label in enumerate(labels):
            records.append(Record(f"{one.name}#{i}", len(records), label, None, splits[one.name]))
    arrays = first.images if len(sets) == 1 else np.concatenate([one.images for one in sets])
    name, root = (first.name, path.parent) if len(sets) == 1 and path.is_file() else (path.name, path)
    return Source(name, tuple(records), arrays, root, findings)
