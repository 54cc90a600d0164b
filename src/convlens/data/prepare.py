"""From what the user pointed at to what the engine reads: records, classes, health, store, split, in that order.

Everything later in the house takes a `Prepared` and never opens a source again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from convlens.config import IMAGENET_MEAN, IMAGENET_STD, KINDS, Config
from convlens.data.beside import both_folders
from convlens.data.classes import Classes, natural_key
from convlens.data.findings import Finding
from convlens.data.health import Health, inspect, leaks
from convlens.data.image import ImagePolicy, read_header, resize
from convlens.data.mask_targets import understand
from convlens.data.noise import Noise
from convlens.data.preprocess import Preprocess
from convlens.data.sources import Record, Source, open_source
from convlens.data.split import Split, default_fractions, fold_split, make_split
from convlens.data.store import Store, build_store
from convlens.data.targets import NORMAL, Targets, make_targets
from convlens.errors import BadImage, ClassMismatch, ConfigError, DataError

LARGEST_SCRATCH_PX = 64
LARGEST_OF = {"segment": 128, "detect": 416, "denoise": 128, "reconstruct": 64, "anomaly": 128}
LARGEST_STORED_PX = 512
LOOKED_AT = 400
MEAN_PX = 32
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


def open_all(config: Config, source: Any = None) -> Source:
    """Open the source, and the separate validation and test sources where they are given, as one.

    Raises:
        ConfigError: a fold that does not exist, or beside it a part of its own.
        DataError: a source cannot be opened.
        ClassMismatch: validation or test have other classes than training.
    """
    _require_one_fold(config)
    kind = KINDS[config.task]
    main = open_source(config.data.source if source is None else source, config.data, kind=kind)
    extra = {part: getattr(config.data, part) for part in ("valid", "test") if getattr(config.data, part)}
    if not extra:
        require_same_classes(main)
        return understand(main, config.data)
    records = [r if r.split else replace(r, split="train") for r in main.records if r.split not in extra]
    findings, arrays = list(main.findings), [main.arrays]
    rows = 0 if main.arrays is None else len(main.arrays)
    for part, spec in extra.items():
        beside = kind == "mask" and Path(spec).is_dir() and both_folders(Path(spec))  # not those of training
        data = config.data.model_copy(update={"masks": None}) if beside else config.data
        other = open_source(spec, data, kind=kind)
        if (other.arrays is None) != (main.arrays is None):
            raise DataError(f"data.{part} must be of the same kind as data.source; got {spec} beside {main.name}.")
        for record in other.records:
            image = record.image + rows if isinstance(record.image, int) else record.image
            label = record.label if other.target_root is None else _seen_from(main, other, record)
            records.append(replace(record, id=f"{part}:{record.id}", image=image, label=label, split=part))
        findings += other.findings
        arrays.append(other.arrays)
        rows += 0 if other.arrays is None else len(other.arrays)
    stacked = None if main.arrays is None else np.concatenate([a for a in arrays if a is not None])
    if main.target_root is not None:
        _require_own_targets(records)
    joined = replace(main, records=tuple(records), arrays=stacked, findings=tuple(findings))
    require_same_classes(joined)
    return understand(joined, config.data)


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


def require_same_classes(source: Source) -> None:
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


def choose_input(config: Config, source: Source, wanted: Wanted) -> Config:
    """Fill in size, channels and fit from the network's wish, or else from the images' headers."""
    shapes = _look(source, ImagePolicy(max_pixels=config.data.max_pixels))
    if (
        source.kind == "boxes" and wanted.mean is not None
    ):  # a detector takes other sizes than the classifier it is from
        wanted = replace(wanted, size_px=None, store_px=None)
    if config.data.channels == "auto":
        channels = _channels(shapes) if wanted.mean is None else len(wanted.mean)
        reason = "as the images are" if wanted.mean is None else "as the weights were trained"
        config = config.choose("data.channels", channels, reason)
    side = int(np.median([min(height, width) for height, width, _ in shapes])) if shapes else LARGEST_SCRATCH_PX
    if config.data.size_px == "auto":
        largest = LARGEST_OF.get(config.task, LARGEST_SCRATCH_PX)
        size = wanted.size_px or max(min(side, largest), wanted.smallest_px)
        reason = wanted.reason if wanted.size_px else f"the median side of the images is {side} px"
        config = config.choose("data.size_px", size, reason)
    if config.data.store_px == "auto":
        size = int(config.data.size_px)
        if source.kind == "mask":
            reason = f"the median side of the images is {side} px; training sees windows of {size} px"
            store = max(size, min(side, LARGEST_STORED_PX))
        else:
            reason = "as large as the input"
            store = size
            if wanted.store_px and wanted.size_px:
                store, reason = round(size * wanted.store_px / wanted.size_px), wanted.reason
        config = config.choose("data.store_px", store, reason)
    if source.kind == "picture" and config.data.store_px != config.data.size_px:
        raise ConfigError(
            f"The task {config.task} gives back whole pictures, so data.store_px must equal data.size_px; got "
            f"{config.data.store_px} and {config.data.size_px}. Leave data.store_px out."
        )
    if config.data.fit == "auto" and source.kind in ("mask", "boxes"):
        config = config.choose("data.fit", "pad", "keeps proportions and cuts nothing off")
    elif config.data.fit == "auto":
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
    size, channels, store = int(config.data.size_px), int(config.data.channels), int(config.data.store_px)
    white = 65535 if config.data.white_level == "auto" else config.data.white_level
    policy = ImagePolicy(
        channels=channels, background=config.data.background, white_level=white, max_pixels=config.data.max_pixels
    )
    match config.data.normalise:
        case "imagenet":
            mean, std = IMAGENET_MEAN[:channels], IMAGENET_STD[:channels]
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
    answers = make_targets(source, store.records, store.kept, config.data, preprocess, classes)
    if config.task == "anomaly":
        require_normal(answers, config.data.normal, source.name)
    require_healthy(answers.findings, strict=config.run.strict)
    split = divide(config, store.records, answers, health)
    if learn_normalisation:
        mean, std = channel_statistics(store.images, split.train)
        preprocess = replace(preprocess, mean=mean, std=std)
    told = {"overlap": config.evaluate.overlap} if config.task == "detect" else {}
    told |= (
        {"noise": str(Noise.parse(config.data.corruption)), "noise_seed": config.seed}
        if config.task == "denoise" and answers.kind == "picture"
        else {}
    )
    return Prepared(source, preprocess, store, health, split, answers, told)


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


def records_of(store: Store, rows: np.ndarray) -> list[Record]:
    """The records of some rows."""
    return [store.records[int(row)] for row in rows]
