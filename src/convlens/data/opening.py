"""What the user pointed at, opened as one source: the images, and validation and test of their own where there are any.

Nothing is decoded but the masks, whose values have to be understood; how the images are used is not known here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from convlens.config import DEFAULT, Config
from convlens.data.beside import both_folders
from convlens.data.classes import natural_key
from convlens.data.mask_targets import understand
from convlens.data.record import Record, Source
from convlens.data.sources import open_source
from convlens.errors import ClassMismatch, ConfigError, DataError
from convlens.options import KINDS


def open_all(config: Config, source: Any = None) -> Source:
    """Open the source, and the separate validation and test sources where they are given, as one.

    Args:
        source: what has no name, such as arrays; else `data.source` is opened.

    Raises:
        ConfigError: a fold that does not exist, or beside it a part of its own; clean pictures and a noise.
        DataError: a source cannot be opened.
        ClassMismatch: validation or test have other classes than training.
    """
    _require_one_fold(config)
    _require_one_noise(config)
    data = config.data
    opened = open_source(data.source if source is None else source, data, kind=KINDS[config.task])
    separate = {part: spec for part, spec in (("valid", data.valid), ("test", data.test)) if spec}
    if separate:
        opened = _join(opened, separate, config)
    _require_same_classes(opened)
    return understand(opened, data)


def _require_one_fold(config: Config) -> None:
    data = config.data
    if (data.folds is None) != (data.fold is None) or (data.folds or 0) < (data.fold or 0):
        raise ConfigError(
            f"data.folds and data.fold belong together: fold 1 of 5, to 5 of 5; got {data.fold} of {data.folds}. "
            f"'convlens cross-validate' trains all folds."
        )
    if data.folds and (data.valid or data.test or data.test_fraction != "auto"):
        raise ConfigError(
            "In a cross-validation every image of data.source is tested once; leave out data.valid, data.test and "
            "data.test_fraction."
        )


def _require_one_noise(config: Config) -> None:
    if config.data.clean is not None and config.origins.get("data.corruption", DEFAULT) != DEFAULT:
        raise ConfigError(
            f"Give either data.clean={config.data.clean}, whose images are noisy already, or the noise to add, "
            f"data.corruption={config.data.corruption} (--noise). Leave one of them out."
        )


def _join(main: Source, separate: Mapping[str, str], config: Config) -> Source:
    """The source with others as its parts; what it had itself in such a part is left out.

    Args:
        separate: where `valid` or `test` is.
    """
    kind = KINDS[config.task]
    records = [r if r.split else replace(r, split="train") for r in main.records if r.split not in separate]
    findings, arrays = list(main.findings), [main.arrays]
    rows = 0 if main.arrays is None else len(main.arrays)
    for part, spec in separate.items():
        beside = kind == "mask" and Path(spec).is_dir() and both_folders(Path(spec))  # not those of training
        data = config.data.model_copy(update={"masks": None}) if beside else config.data
        other = open_source(spec, data, kind=kind)
        if (other.arrays is None) != (main.arrays is None):
            raise DataError(f"data.{part} must be of the same kind as data.source; got {spec} beside {main.name}.")
        if other.arrays is not None and main.arrays is not None and other.arrays.shape[1:] != main.arrays.shape[1:]:
            ours, theirs = (" x ".join(map(str, found.shape[1:])) for found in (main.arrays, other.arrays))
            raise DataError(f"The images of data.{part} must be {ours} as in data.source; got {theirs} in {spec}.")
        for record in other.records:
            image = record.image + rows if isinstance(record.image, int) else record.image
            label = record.label if other.target_root is None else _seen_from(main, other, record)
            records.append(replace(record, id=f"{part}:{record.id}", image=image, label=label, split=part))
        findings += other.findings
        arrays.append(other.arrays)
        rows += 0 if other.arrays is None else len(other.arrays)
    if main.target_root is not None:
        _require_own_targets(records)
    stacked = None if main.arrays is None else np.concatenate([a for a in arrays if a is not None])
    return replace(main, records=tuple(records), arrays=stacked, findings=tuple(findings))


def _seen_from(main: Source, other: Source, record: Record) -> str:
    """The path of the mask of another source's record, or of its clean picture, as the main source's records say it."""
    if main.target_root is None:
        raise DataError(f"{other.name} has files beside its images and {main.name} has none; give two of one kind.")
    return Path(os.path.relpath(str(other.target(record)), main.target_root)).as_posix()


def _require_own_targets(records: Sequence[Record]) -> None:
    """Check that no mask and no clean picture belongs to images of two parts, which then have but a name in common.

    Raises:
        DataError: one does.
    """
    owners: dict[str | None, Record] = {}
    for record in records:
        owner = owners.setdefault(record.label, record)
        if owner.split != record.split:
            raise DataError(
                f"{record.label} would belong to {owner.id} and to {record.id}, which only share a name. Give "
                f"data.valid and data.test as folders that hold 'images' and 'masks', or every image its own name."
            )


def _require_same_classes(source: Source) -> None:
    """Check that the parts a source itself declares have the same classes; numbers may differ.

    Raises:
        ClassMismatch: they differ; the message prints both lists.
    """
    labels: dict[str, set[str]] = {}
    for record in source.records:
        if record.label is not None and source.kind == "class":
            labels.setdefault(record.split or "train", set()).add(record.label)
    wanted = labels.get("train", set())
    for part in ("valid", "test"):
        if part in labels and wanted and labels[part] != wanted:
            both = [", ".join(sorted(names, key=natural_key)) for names in (wanted, labels[part])]
            raise ClassMismatch(
                f"{source.name}: the classes of {part} differ from those of train. train: {both[0]}. "
                f"{part}: {both[1]}. Classes are matched by name; rename or remove the ones that differ."
            )
