"""From labels to what a network is trained on (classes, numbers, masks, pictures, boxes), and what a model keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convlens.data.box_targets import box_strata, learn_boxes, read_box_targets
from convlens.data.boxes import read_boxes
from convlens.data.classes import Classes
from convlens.data.facts import Fact
from convlens.data.findings import Finding
from convlens.data.mask_targets import read_masks, read_pictures
from convlens.data.record import Record, Source
from convlens.data.tables import names_of
from convlens.errors import ClassMismatch, DataError, did_you_mean
from convlens.options import DataConfig, Kind

if TYPE_CHECKING:
    from convlens.data.preprocess import Preprocess

STRATA = 5
NORMAL = ("good", "normal", "ok", "healthy")
CHANNELS = {1: ("grey",), 3: ("red", "green", "blue")}


@dataclass(frozen=True)
class Targets:
    """What every image is to be answered with.

    Attributes:
        kind: what the values are.
        names: one for each output of the network: the classes, what the numbers are called, or the channels.
        values: class indices (N,) int64, numbers (N, T) float32, or masks (N, H, W) uint8 with 255 where nothing
            counts. Of pictures, the index of their class in `groups`, -1 without one (N,) int64. Of boxes, rows
            `class, x1, y1, x2, y2` in pixels of the stored image, see `box_targets` (N, M, 5) float32.
        strata: (N,) int64, by which a split is stratified.
        facts: what else the model's card keeps of them.
        groups: the classes of pictures, the normal one first; empty where nothing is said.
        findings: about masks and boxes.
    """

    kind: Kind
    names: Classes
    values: np.ndarray
    strata: np.ndarray
    facts: dict[str, Any]
    groups: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    def learned(self, rows: np.ndarray) -> dict[str, Any]:
        """What the model's card keeps of the training targets: counts of the classes, or mean, spread and median."""
        match self.kind:
            case "class":
                return {"train_counts": np.bincount(self.values[rows], minlength=len(self.names)).tolist()}
            case "number":
                found = self.values[rows]
                std = np.where(found.std(0) > 0, found.std(0), 1.0)
                figures = {"mean": found.mean(0), "std": std, "median": np.median(found, 0)}
                return {name: [float(v) for v in values] for name, values in figures.items()} | self.facts
            case "mask":
                each = (np.bincount(self.values[row].reshape(-1), minlength=256) for row in rows)  # wide while counted
                counts = sum(each, np.zeros(256, np.int64))[: len(self.names)]
                return {"train_counts": counts.tolist()} | self.facts
            case "boxes":
                return learn_boxes(self.values[rows], len(self.names)) | self.facts
            case _:
                return dict(self.facts)

    def said(self, row: int, record: Record) -> str | None:
        """The label as a run keeps it; of a mask, with what it shows."""
        if self.kind not in ("mask", "pair"):
            return record.label
        return f"{record.label} {hashlib.sha256(self.values[row].tobytes()).hexdigest()[:16]}"


def make_targets(
    source: Source,
    records: Sequence[Record],
    facts: Sequence[Fact],
    data: DataConfig,
    preprocess: Preprocess,
    names: Classes | None = None,
    groups: Sequence[str] = (),
) -> Targets:
    """The targets of some records of a source.

    Args:
        records: those that are kept.
        facts: one for each of them.
        data: says which columns numbers came from.
        preprocess: to which size masks are brought.
        names: of a network already trained; the labels must be among its classes, or as many as its numbers.
        groups: the normal class of a network already trained.

    Raises:
        ClassMismatch: a label is not one of the classes.
        DataError: another number of values than the network answers with.
    """
    match source.kind:
        case "number":
            return _numbers(source, records, data, names or names_of_outputs(source, data, 1))
        case "mask":
            return _masks(source, records, facts, preprocess, names)
        case "boxes":
            names = names or names_of_outputs(source, data, 0)
            values, findings = read_box_targets(source, records, facts, preprocess, names)
            return Targets("boxes", names, values, box_strata(values, len(names)), {}, (), findings)
        case "pair":
            names = names or names_of_outputs(source, data, preprocess.policy.channels)
            values, findings = read_pictures(source, records, facts, preprocess)
            return Targets("pair", names, values, np.zeros(len(values), np.int64), {}, (), findings)
        case "picture":
            channels = preprocess.policy.channels
            return _pictures(source, records, data, names or names_of_outputs(source, data, channels), groups)
        case _:
            labels = [str(record.label) for record in records]
            names = names or (Classes(source.classes) if source.classes else Classes.of(labels))
            indices = np.array(names.indices(labels, where=source.name), dtype=np.int64)
            return Targets("class", names, indices, indices, {})


def _numbers(source: Source, records: Sequence[Record], data: DataConfig, names: Classes) -> Targets:
    labels = [str(record.label) for record in records]
    values = np.array([[float(number) for number in label.split()] for label in labels], np.float32)
    values = values.reshape(len(labels), -1)
    if values.shape[1] != len(names):
        raise DataError(
            f"The network answers with {len(names)} numbers ({', '.join(names.names)}); the images of {source.name} "
            f"have {values.shape[1]}."
        )
    if data.bounds and not (data.bounds[0] <= values.min() and values.max() <= data.bounds[1]):
        raise DataError(
            f"data.bounds says that every number lies between {data.bounds[0]:g} and {data.bounds[1]:g}; those of "
            f"{source.name} lie between {values.min():g} and {values.max():g}."
        )
    facts = {"bounds": list(data.bounds)} if data.bounds else {}
    return Targets("number", names, values, _fifths(values[:, 0]), facts)


def _masks(
    source: Source, records: Sequence[Record], facts: Sequence[Fact], preprocess: Preprocess, names: Classes | None
) -> Targets:
    meant = source.mask_map
    if meant is None:
        raise DataError(f"It is not known what the values of the masks of {source.name} mean. Open it with open_all.")
    if names is not None and names.names != tuple(meant.names):
        raise ClassMismatch(
            f"The classes of the masks must be those of training. Training has: {', '.join(names.names)}. "
            f"{source.name} has: {', '.join(meant.names)}. Say what the values mean with data.mask_values."
        )
    values, findings = read_masks(source, records, facts, preprocess)
    counted = (values != 255).sum((1, 2)).clip(1)
    strata = _fifths(((values > 0) & (values != 255)).sum((1, 2)) / counted)
    return Targets("mask", Classes(tuple(meant.names)), values, strata, {"mask": meant.to_json()}, (), findings)


def _pictures(
    source: Source, records: Sequence[Record], data: DataConfig, names: Classes, groups: Sequence[str]
) -> Targets:
    found = Classes.of(record.label for record in records if record.label is not None).names
    normal = groups[0] if groups else data.normal
    if normal is None and found:
        likely = [name for name in found if name.lower() in NORMAL]
        normal = likely[0] if likely else found[0]
    if data.normal is not None and data.normal not in found:
        known = f"is none of the classes of {source.name}: {', '.join(found)}. {did_you_mean(data.normal, found)}"
        alone = f"has no effect, for {source.name} has no classes: all its images count as normal. Leave it out."
        raise DataError(f"data.normal={data.normal} {known if found else alone}")
    ordered = tuple(sorted(found, key=lambda name: name != normal))
    position = {name: i for i, name in enumerate(ordered)}
    if normal is not None and normal not in position:  # an evaluation may hold anomalies alone
        ordered, position = (normal, *ordered), {name: i + 1 for name, i in position.items()}
    values = np.array([-1 if record.label is None else position[record.label] for record in records], np.int64)
    facts = {"groups": list(ordered)}
    return Targets("picture", names, values, np.maximum(values, 0), facts, ordered)


def _fifths(values: np.ndarray) -> np.ndarray:
    """Which fifth of the range each value lies in, by rank; fewer parts where there are few values."""
    order = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return (order * min(STRATA, max(1, len(values) // 10)) // max(1, len(values))).astype(np.int64)


def names_of_outputs(source: Source, data: DataConfig, channels: int) -> Classes:
    """The names of a network's outputs: the classes, the channels of a picture, or what the numbers are called.

    Numbers are called as their columns, or `value`, or `value 1` and so on.
    """
    if source.kind in ("picture", "pair"):
        return Classes(CHANNELS.get(channels) or tuple(f"channel {number}" for number in range(1, channels + 1)))
    if source.kind == "mask" and source.mask_map is not None:
        return Classes(tuple(source.mask_map.names))
    if source.kind == "boxes":
        boxes = (box.name for record in source.records for box in read_boxes(record.label or "[]"))
        return Classes(source.classes) if source.classes else Classes.of(boxes)
    if source.kind != "number":
        labels = [record.label for record in source.records if record.label is not None]
        return Classes(source.classes) if source.classes else Classes.of(labels)
    count = next((record.label.count(" ") + 1 for record in source.records if record.label is not None), 1)
    asked = names_of(data.label_column) if data.label_column else []
    if len(asked) == count:
        return Classes(tuple(asked))
    return Classes(("value",) if count == 1 else tuple(f"value {number}" for number in range(1, count + 1)))
