"""Labelled images for a model that exists: its preprocessing, its classes and its meaning of masks, or an error.

What a model is evaluated on is read as its training data was; nothing is learned from it, and nothing divided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convlens.config import Config
from convlens.data.classes import Classes
from convlens.data.mask_map import MaskMap
from convlens.data.prepare import require_healthy, require_normal
from convlens.data.preprocess import Preprocess
from convlens.data.record import Source
from convlens.data.sources import open_source
from convlens.data.store import Store, build_store
from convlens.data.targets import Targets, make_targets
from convlens.errors import ConfigError, DataError
from convlens.options import KINDS


@dataclass(frozen=True)
class Labelled:
    """Decoded images with their answers.

    Attributes:
        answers: what every row of `store.images` is to be answered with.
    """

    source: Source
    store: Store
    answers: Targets

    @property
    def noticed(self) -> list[str]:
        """Warnings about what was left out."""
        return [finding.message for finding in self.source.findings if finding.severity != "note"]

    @property
    def unreadable(self) -> list[dict[str, Any]]:
        """The files that could not be decoded, each with its `id` and the `reason`."""
        return [{"id": facts.id, "reason": facts.reason} for facts in self.store.facts if not facts.ok]


def read_labelled(
    data: Any,
    config: Config,
    preprocess: Preprocess,
    classes: Classes,
    learned: Mapping[str, Any],
    part: str | None = None,
) -> Labelled:
    """Open and decode what a model is to be scored on.

    Args:
        data: whatever names a source, or an opened one; its classes must be among the model's.
        config: of the model's task, with the options of how the source is read.
        learned: what the model's card keeps of its training targets.
        part: only the records the source itself puts in `train`, `valid` or `test`.

    Raises:
        ClassMismatch: a label is not one of the model's classes; before anything is decoded.
        ConfigError: the model learned from noisy and clean pictures, and there are no clean ones to score it on.
        DataError: there is nothing to score.
    """
    source = data if isinstance(data, Source) else open_source(data, config.data, kind=KINDS[config.task])
    if config.task == "denoise" and "noise" not in learned and source.kind != "pair":  # else its noisy input is the aim
        raise ConfigError("This model was trained on pairs: give --clean FOLDER (clean=... in Python).")
    if source.kind == "mask":
        source = replace(source, mask_map=MaskMap.from_json(learned["mask"]))  # one meaning, wherever they are read
    if part:
        source = _part_of(source, part)
    if source.kind == "class":
        classes.indices([str(record.label) for record in source.records], source.name)
    folder = Path(config.run.directory) / ".store"
    store = build_store(source, preprocess, directory=folder, memory_mb=config.data.memory_mb, threads=2)
    groups = learned.get("groups", ())
    answers = make_targets(source, store.records, store.kept, config.data, preprocess, classes, groups)
    if config.task == "anomaly":
        require_normal(answers, groups[0] if groups else config.data.normal, source.name)
    require_healthy(answers.findings, strict=False)
    if not len(answers.values):
        raise DataError(f"{source.name} has no labelled image that can be read.")
    return Labelled(source, store, answers)


def _part_of(source: Source, part: str) -> Source:
    kept = tuple(record for record in source.records if record.split == part)
    if not kept:
        raise DataError(f"{source.name} has no {part} part.")
    return replace(source, records=kept)
