"""From what the user pointed at to what the engine reads: records, classes, health, store, split, in that order.

Everything later in the house takes a `Prepared` and never opens a source again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from convlens.config import Config
from convlens.data.classes import Classes, natural_key
from convlens.data.findings import Finding
from convlens.data.health import Health, inspect, leaks
from convlens.data.image import ImagePolicy, read_header
from convlens.data.preprocess import Preprocess
from convlens.data.sources import Record, Source, open_source
from convlens.data.split import Split, default_fractions, make_split
from convlens.data.store import Store, build_store
from convlens.data.targets import Targets, make_targets
from convlens.errors import BadImage, ClassMismatch, DataError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LARGEST_SCRATCH_PX = 64
LOOKED_AT = 400
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Wanted:
    """What a network expects of its input, where it says so; None where it does not mind."""

    size_px: int | None = None
    store_px: int | None = None
    smallest_px: int = 1
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    reason: str = "the network's own size"


@dataclass(frozen=True)
class Prepared:
    """Images, targets and their parts, ready for the engine.

    Attributes:
        answers: what every row of `store.images` is to be answered with.
        split: row numbers of train, valid and test.
    """

    source: Source
    preprocess: Preprocess
    store: Store
    health: Health
    split: Split
    answers: Targets

    @property
    def classes(self) -> Classes:
        """The names of the network's outputs: classes, or what the numbers are called."""
        return self.answers.names

    @property
    def targets(self) -> np.ndarray:
        """Class indices (N,), or numbers (N, T)."""
        return self.answers.values

    @property
    def learned(self) -> dict[str, Any]:
        """What the model's card keeps of the training targets."""
        return self.answers.learned(self.split.train)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that was noticed, from the listing to the split."""
        return (*self.source.findings, *self.health.findings, *self.split.findings)

    def counts(self, part: str) -> dict[str, int]:
        """Images of every class in `train`, `valid` or `test`; of numbers, images in all."""
        if self.answers.numeric:
            return {"images": len(getattr(self.split, part))}
        found = np.bincount(self.targets[getattr(self.split, part)], minlength=len(self.classes))
        return dict(zip(self.classes.names, found.tolist(), strict=True))

    def table(self) -> list[dict[str, Any]]:
        """One row for every image: id, label, part and content, by which a resumed run knows its data again."""
        parts = {int(row): part for part in ("train", "valid", "test") for row in getattr(self.split, part)}
        contents = {fact.id: fact.content for fact in self.store.facts if fact.ok}
        return [
            {"id": r.id, "label": r.label, "part": parts.get(row, "none"), "content": contents[r.id]}
            for row, r in enumerate(self.store.records)
        ]


def open_all(config: Config, source: Any = None) -> Source:
    """Open the source, and the separate validation and test sources where they are given, as one.

    Raises:
        DataError: a source cannot be opened.
        ClassMismatch: validation or test have other classes than training.
    """
    numeric = config.task == "regress"
    main = open_source(config.data.source if source is None else source, config.data, numeric=numeric)
    extra = {part: getattr(config.data, part) for part in ("valid", "test") if getattr(config.data, part)}
    if not extra:
        require_same_classes(main)
        return main
    records = [r if r.split else replace(r, split="train") for r in main.records if r.split not in extra]
    findings, arrays = list(main.findings), [main.arrays]
    rows = 0 if main.arrays is None else len(main.arrays)
    for part, spec in extra.items():
        other = open_source(spec, config.data, numeric=numeric)
        if (other.arrays is None) != (main.arrays is None):
            raise DataError(f"data.{part} must be of the same kind as data.source; got {spec} beside {main.name}.")
        for record in other.records:
            image = record.image + rows if isinstance(record.image, int) else record.image
            records.append(replace(record, id=f"{part}:{record.id}", image=image, split=part))
        findings += other.findings
        arrays.append(other.arrays)
        rows += 0 if other.arrays is None else len(other.arrays)
    stacked = None if main.arrays is None else np.concatenate([a for a in arrays if a is not None])
    joined = replace(main, records=tuple(records), arrays=stacked, findings=tuple(findings))
    require_same_classes(joined)
    return joined


def require_same_classes(source: Source) -> None:
    """Check that the parts a source itself declares have the same classes; numbers may differ.

    Raises:
        ClassMismatch: they differ; the message prints both lists.
    """
    labels: dict[str, set[str]] = {}
    for record in source.records:
        if record.label is not None and not source.numeric:
            labels.setdefault(record.split or "train", set()).add(record.label)
    wanted = labels.get("train", set())
    for part in ("valid", "test"):
        if part in labels and wanted and labels[part] != wanted:
            both = [", ".join(sorted(names, key=natural_key)) for names in (wanted, labels[part])]
            raise ClassMismatch(
                f"{source.name}: the classes of {part} differ from those of train. train: {both[0]}. "
                f"{part}: {both[1]}. Classes are matched by name; rename or remove the ones that differ."
            )


def choose_input(config: Config, source: Source, wanted: Wanted) -> Config:
    """Fill in size, channels and fit from the network's wish, or else from the images' headers."""
    shapes = _look(source, ImagePolicy(max_pixels=config.data.max_pixels))
    if config.data.channels == "auto":
        channels = _channels(shapes) if wanted.mean is None else len(wanted.mean)
        reason = "as the images are" if wanted.mean is None else "as the weights were trained"
        config = config.choose("data.channels", channels, reason)
    if config.data.size_px == "auto":
        side = int(np.median([min(height, width) for height, width, _ in shapes])) if shapes else LARGEST_SCRATCH_PX
        size = wanted.size_px or max(min(side, LARGEST_SCRATCH_PX), wanted.smallest_px)
        reason = wanted.reason if wanted.size_px else f"the median side of the images is {side} px"
        config = config.choose("data.size_px", size, reason)
    if config.data.fit == "auto":
        config = config.choose("data.fit", "crop", "keeps proportions; the longer side is cut at both ends")
    return config


def _look(source: Source, policy: ImagePolicy) -> list[tuple[int, int, int]]:
    """(height, width, channels) of some images, spread evenly over the source; unreadable ones are met later."""
    found = []
    for record in source.records[:: max(1, len(source.records) // LOOKED_AT)]:
        image = source.image(record)
        if isinstance(image, np.ndarray):
            found.append((*image.shape[:2], image.shape[2] if image.ndim == 3 else 1))
            continue
        try:
            header = read_header(image, policy)
        except BadImage:
            continue
        found.append((header.height, header.width, header.channels))
    return found


def _channels(shapes: Sequence[tuple[int, int, int]]) -> int:
    return max((channels for _, _, channels in shapes), default=3)


def make_preprocess(config: Config, wanted: Wanted) -> Preprocess:
    """The preprocessing for a config whose input is chosen; mean and deviation may be filled in from the data later."""
    size, channels = int(config.data.size_px), int(config.data.channels)
    store = size
    if wanted.store_px and wanted.size_px:
        store = round(size * wanted.store_px / wanted.size_px)
    white = 65535 if config.data.white_level == "auto" else config.data.white_level
    policy = ImagePolicy(
        channels=channels, background=config.data.background, white_level=white, max_pixels=config.data.max_pixels
    )
    match config.data.normalise:
        case "imagenet":
            mean, std = (values[:channels] for values in IMAGENET)
        case "auto" if wanted.mean and wanted.std:
            mean, std = wanted.mean, wanted.std
        case _:
            mean, std = (0.5,) * channels, (0.5,) * channels
    if len(mean) != channels:
        raise DataError(f"data.normalise=imagenet needs 3 channels; the images have {channels}. Use data or half.")
    fit = "crop" if config.data.fit == "auto" else config.data.fit
    return Preprocess(policy=policy, size_px=(size, size), store_px=(store, store), fit=fit, mean=mean, std=std)


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
    answers = make_targets(source, store.records, config.data, classes)
    auto = default_fractions(sum(record.split != "test" for record in store.records))
    asked = (config.data.valid_fraction, config.data.test_fraction)
    valid, test = (a if f == "auto" else float(f) for f, a in zip(asked, auto, strict=True))
    split = make_split(
        store.records,
        answers.strata,
        duplicate_groups=health.duplicate_groups,
        fractions=(valid, test),
        seed=config.seed,
    )
    split = replace(split, findings=(*split.findings, *leaks(split, health.duplicate_groups, store.records)))
    require_healthy(split.findings, strict=config.run.strict)
    if learn_normalisation:
        mean, std = channel_statistics(store.images, split.train)
        preprocess = replace(preprocess, mean=mean, std=std)
    return Prepared(source, preprocess, store, health, split, answers)


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
    pixels = images[chosen].astype(np.float64).reshape(-1, images.shape[-1]) / 255.0
    mean, std = pixels.mean(0), np.maximum(pixels.std(0), 1e-3)
    return tuple(round(float(v), 6) for v in mean), tuple(round(float(v), 6) for v in std)


def records_of(store: Store, rows: np.ndarray) -> list[Record]:
    """The records of some rows."""
    return [store.records[int(row)] for row in rows]
