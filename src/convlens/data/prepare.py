"""From an opened source to what the engine reads: images decoded once, their health, the answers, and the split.

Everything later in the house takes a `Prepared` and never opens a source again. How the source was opened
(`opening.py`) and how the preprocessing was chosen (`input.py`) is not known here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from convlens.config import Config
from convlens.data.classes import Classes
from convlens.data.findings import Finding
from convlens.data.health import Health, inspect, leaks
from convlens.data.noise import Noise
from convlens.data.pixels import resize
from convlens.data.preprocess import Preprocess
from convlens.data.record import Record, Source
from convlens.data.split import Split, default_fractions, fold_split, make_split
from convlens.data.store import Store, build_store
from convlens.data.targets import NORMAL, Targets, make_targets
from convlens.errors import DataError

MEAN_PX = 32
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Prepared:
    """Images, targets and their parts, ready for the engine.

    Attributes:
        answers: what every row of `store.images` is to be answered with.
        split: row numbers of train, valid and test.
        told: what else the model's card must keep to present images as they were in training, such as the noise.
    """

    source: Source
    preprocess: Preprocess
    store: Store
    health: Health
    split: Split
    answers: Targets
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> Classes:
        """The names of the network's outputs: classes, or what the numbers are called."""
        return self.answers.names

    @property
    def targets(self) -> np.ndarray:
        """What the batches carry beside the images; see `Targets.values`."""
        return self.answers.values

    @cached_property
    def learned(self) -> dict[str, Any]:
        """What the model's card keeps of the training targets."""
        learned = self.answers.learned(self.split.train)
        if self.answers.kind in ("picture", "pair"):
            learned |= {"mean": list(self.preprocess.mean), "std": list(self.preprocess.std)}
            learned["mean_picture"] = mean_picture(self.store.images, self.split.train).tolist()
        return {**learned, **self.told}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that was noticed, from the listing to the split."""
        return (*self.source.findings, *self.health.findings, *self.answers.findings, *self.split.findings)

    def counts(self, part: str) -> dict[str, int]:
        """Images of every class in `train`, `valid` or `test`; where an image has no one class, images in all."""
        rows, names = getattr(self.split, part), self.classes.names
        if self.answers.kind == "picture":
            names = self.answers.groups
        elif self.answers.kind != "class":
            names = ()
        if not names:
            return {"images": len(rows)}
        found = np.bincount(np.maximum(self.targets[rows], 0), minlength=len(names))
        return dict(zip(names, found.tolist(), strict=True))

    def table(self) -> list[dict[str, Any]]:
        """One row for every image: id, label, part and content, by which a resumed run knows its data again."""
        parts = {int(row): part for part in ("train", "valid", "test") for row in getattr(self.split, part)}
        contents = {fact.id: fact.content for fact in self.store.facts if fact.ok}
        return [
            {"id": r.id, "label": self.answers.said(row, r), "part": parts.get(row, "none"), "content": contents[r.id]}
            for row, r in enumerate(self.store.records)
        ]


def prepare(
    config: Config,
    source: Source,
    preprocess: Preprocess,
    *,
    classes: Classes | None = None,
    learn_normalisation: bool = True,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Decode once, look at the health, split, and count.

    Args:
        classes: the names of a network already trained; the labels must be among them.
        learn_normalisation: take mean and deviation from the training images.
        folder: where a set too large for memory is mapped from.

    Raises:
        DataError: the data cannot be trained on; the message says what was found.
    """
    plain = replace(preprocess, mean=(0.0,) * len(preprocess.mean), std=(1.0,) * len(preprocess.std))
    store = build_store(  # keyed without the normalisation, which is not part of what is stored
        source,
        plain,
        directory=folder or Path(config.run.directory) / ".store",
        memory_mb=config.data.memory_mb,
        threads=min(os.cpu_count() or 1, 16),
        progress=progress,
    )
    health = inspect(
        source,
        store.facts,
        near_duplicates=config.data.near_duplicates,
        max_bad_fraction=config.data.max_bad_fraction,
        size_px=preprocess.size_px,
        white_level=preprocess.policy.white_level,
    )
    require_healthy((*source.findings, *health.findings), strict=config.run.strict)
    answers = make_targets(source, store.records, store.kept, config.data, preprocess, classes)
    if config.task == "anomaly":
        require_normal(answers, config.data.normal, source.name)
    require_healthy(answers.findings, strict=config.run.strict)
    split = divide(config, store.records, answers, health)
    if learn_normalisation:
        mean, std = channel_statistics(store.images, split.train)
        preprocess = replace(preprocess, mean=mean, std=std)
    return Prepared(source, preprocess, store, health, split, answers, _told(config, answers))


def _told(config: Config, answers: Targets) -> dict[str, Any]:
    match config.task, answers.kind:
        case "detect", _:
            return {"overlap": config.evaluate.overlap}
        case "denoise", "picture":
            return {"noise": str(Noise.parse(config.data.corruption)), "noise_seed": config.seed}
        case _:
            return {}


def divide(config: Config, records: Sequence[Record], answers: Targets, health: Health) -> Split:
    """The parts of the images that can be read.

    Raises:
        DataError: they cannot be divided as the config wants; the message says what was found.
    """
    auto = default_fractions(sum(record.split != "test" for record in records))
    asked = (config.data.valid_fraction, config.data.test_fraction)
    valid, test = (a if f == "auto" else float(f) for f, a in zip(asked, auto, strict=True))
    units = {"duplicate_groups": health.duplicate_groups, "seed": config.seed}
    folds, fold = config.data.folds, config.data.fold
    if folds and fold:
        split = fold_split(records, answers.strata, k=folds, fold=fold, valid_fraction=valid, **units)
    else:
        split = make_split(records, answers.strata, fractions=(valid, test), **units)
    if config.task == "anomaly":
        split = _normal_alone(split, answers, records, joins=not folds)
    split = replace(split, findings=(*split.findings, *leaks(split, health.duplicate_groups, records)))
    require_healthy(split.findings, strict=config.run.strict)
    return split


def require_normal(answers: Targets, said: str | None, where: str) -> None:
    """Check that it is known which of several classes is the normal one.

    Raises:
        DataError: nobody says, and no name tells.
    """
    if said is None and len(answers.groups) > 1 and answers.groups[0].lower() not in NORMAL:
        raise DataError(
            f"It is not known which class of {where} is the normal one: {', '.join(sorted(answers.groups))}. Name it "
            f"with --normal NAME (data.normal), or call it {', '.join(NORMAL[:-1])} or {NORMAL[-1]}."
        )


def _normal_alone(split: Split, answers: Targets, records: Sequence[Record], *, joins: bool) -> Split:
    """Train and validation without what is not normal, which joins the test unless the source put it elsewhere.

    Args:
        joins: False in a cross-validation, where each image is in the test of its own fold.
    """
    if not answers.groups:
        return split
    strange = answers.values > 0
    away = [row for part in (split.train, split.valid) for row in part[strange[part]]]
    joining = [row for row in away if records[row].split is None and joins]
    test = np.sort(np.concatenate([split.test, np.array(joining, np.int64)]))
    train, valid = (part[~strange[part]] for part in (split.train, split.valid))
    if not len(train):
        raise DataError(f"None of the training images is '{answers.groups[0]}'. Name the normal class: data.normal.")
    left = len(away) - len(joining)
    said = f"Trained on '{answers.groups[0]}' alone: {len(joining):,} images of other classes joined the test"
    where = "the source's own training images" if joins else "the other folds"
    said += f", {left:,} of {where} are left out." if left else "."
    finding = Finding("normal-alone", "note", said)
    return Split(train, valid, test, (*split.findings, finding))


def require_healthy(findings: Sequence[Finding], *, strict: bool) -> None:
    """Stop when a finding is an error, or, if strict, a warning.

    Raises:
        DataError: with every such finding.
    """
    stops = [f for f in findings if f.severity == "error" or (strict and f.severity == "warning")]
    if stops:
        raise DataError("\n".join(finding.message for finding in stops))


def channel_statistics(images: np.ndarray, rows: np.ndarray, most: int = 2000) -> tuple[tuple[float, ...], ...]:
    """Mean and standard deviation of each channel on the 0..1 scale, over at most 2,000 training images.

    Shapes:
        images (N, H, W, C) uint8 -> two tuples of C.
    """
    chosen = np.sort(rows)[:: max(1, len(rows) // most)]
    levels, channels = np.arange(256) / 255.0, images.shape[-1]
    counts = np.zeros((channels, 256), np.int64)  # of every level: exact, and far faster than sums of the pixels
    for row in chosen:
        for channel in range(channels):
            counts[channel] += np.bincount(images[row, ..., channel].reshape(-1), minlength=256)
    mean = counts @ levels / counts.sum(1)
    std = np.sqrt((counts * (levels - mean[:, None]) ** 2).sum(1) / counts.sum(1))
    return tuple(round(float(v), 6) for v in mean), tuple(round(float(v), 6) for v in np.maximum(std, 1e-3))


def mean_picture(images: np.ndarray, rows: np.ndarray, most: int = 2000) -> np.ndarray:
    """The mean of at most 2,000 training images, (h, w, C) uint8 of at most 32 px a side."""
    chosen = np.sort(rows)[:: max(1, len(rows) // most)]
    mean = np.rint(images[chosen].mean(0, dtype=np.float64)).astype(np.uint8)
    height, width = mean.shape[:2]
    return resize(mean, (min(height, MEAN_PX), min(width, MEAN_PX)))
