"""Images with boxes, as every format of annotations is read into, and the checks all formats share.

A `Gathering` takes images and boxes as a reader meets them and becomes an `AnnotatedSet`: whatever it leaves out, clips
or counts once is in the findings with its place. This file knows no format.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from convlens.data.boxes import Box, boxes_text
from convlens.data.classes import Classes, natural_key
from convlens.data.findings import Finding, Severity, shorten
from convlens.data.image_file import read_header
from convlens.data.labels import label_text, similar_classes
from convlens.data.listing import Listing, folder_split
from convlens.data.policy import ImagePolicy
from convlens.data.record import Record, Source
from convlens.errors import BadImage, DataError

ROUNDING_PX = 0.02  # six decimals of a share of 16,384 px, the longest side that is read
Corners = tuple[float, float, float, float]
Size = tuple[int, int]


@dataclass(frozen=True)
class AnnotatedImage:
    """One image and its boxes.

    Attributes:
        id: the path below the root with forward slashes.
        size: (width, height), upright, of the file's header; else as the annotation states it, if it does.
        boxes: in the order of the annotation; none for a background image.
        split: `train`, `valid` or `test` where the source says so; then every image has one.
    """

    id: str
    path: Path
    size: Size | None
    boxes: tuple[Box, ...]
    split: str | None = None


@dataclass(frozen=True)
class AnnotatedSet:
    """All that was read, in natural order of the ids.

    Attributes:
        classes: as the annotations declare them, in that order; else those that occur, in natural order.
    """

    records: tuple[AnnotatedImage, ...]
    classes: tuple[str, ...]
    findings: tuple[Finding, ...] = ()

    def to_source(self, root: Path) -> Source:
        """The same as a source, whose labels are the boxes as text (`boxes_text`)."""
        records = tuple(Record(r.id, r.path, boxes_text(r.boxes), None, r.split) for r in self.records)
        name = root.resolve().name or "images"
        return Source(name, records, root=root, findings=self.findings, classes=self.classes, kind="boxes")


# Gathering ------------------------------------------------------------------------------------------------------------

KINDS: dict[str, tuple[Severity, str]] = {
    "bad-annotation": ("error", "annotations cannot be read; repair or remove them"),
    "missing-image": ("warning", "annotations name an image that is not there and are left out"),
    "name-differs": ("warning", "annotation files name another image than that of their own name, which was taken"),
    "repeated-image": ("warning", "times an image is listed again; it counts once, with all its boxes"),
    "size-differs": (
        "warning",
        "images have another size than their annotation states; the boxes were read as pixels of the image as it is",
    ),
    "unknown-size": ("warning", "images with boxes in shares of a size that cannot be read are left out"),
    "no-label-file": ("note", "images have no label file and count as background"),
    "missing-split": ("warning", "folders or lists of splits are not there"),
    "unknown-class": ("warning", "boxes have no class, or one that is not declared, and are left out"),
    "degenerate-box": ("warning", "boxes have no width or height and are left out"),
    "box-outside": ("warning", "boxes lie outside their image and are left out"),
    "clipped-box": ("warning", "boxes reached beyond their image and were clipped at its edge"),
    "duplicate-box": ("warning", "boxes are there twice, class and edges alike, and count once"),
    "emptied-image": ("warning", "images lost all their boxes for these reasons and count as background"),
    "polygon": ("note", "outlines were read as the boxes around them"),
    "repeated-split": ("warning", "images are listed in several splits and count in the first only"),
    "no-split": ("warning", "images are in none of the source's splits and are left out"),
    "missing-label": ("warning", "images are not mentioned by any annotation and are left out"),
    "not-read": ("note", "files are neither images nor annotations and were not read"),
}


@dataclass
class _Entry:
    size: Size | None
    boxes: list[Box] = field(default_factory=list)
    split: str | None = None
    lost: bool = False


class Gathering:
    """Images and boxes as a reader meets them; `finish` checks what only the whole can tell."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.used: set[str] = set()
        self.findings: list[Finding] = []
        self._entries: dict[str, _Entry] = {}
        self._noted: dict[str, list[tuple[str, str]]] = {}
        self._sizes: dict[str, Size | None] = {}

    def __contains__(self, image: str) -> bool:
        return image in self._entries

    def note(self, kind: str, record: str, place: str = "") -> None:
        """Count one thing of a kind; `place` says where and what in a few words."""
        self._noted.setdefault(kind, []).append((record, f"{record} ({place})" if place else record))

    def size(self, image: str) -> Size | None:
        """(width, height) as the file's header says, upright; None where it cannot be read."""
        if image not in self._sizes:
            try:
                header = read_header(self.listing.root / image, ImagePolicy(), image)
                self._sizes[image] = header.width, header.height
            except (BadImage, OSError):
                self._sizes[image] = None  # the decoder will say what is wrong with it
        return self._sizes[image]

    def image(self, image: str, place: str, *, size: Size | None = None, split: str | None = None) -> None:
        """An image is in the set, with boxes or without; `size` as the annotation states it."""
        found = self.size(image)
        stated = size if size and min(size) > 0 else None
        if found and stated and found != stated:
            self.note("size-differs", image, f"{stated[0]} x {stated[1]} stated, {found[0]} x {found[1]} found")
        if image in self._entries:
            self.note("repeated-image", image, place)
            self.split(image, split)
            return
        self._entries[image] = _Entry(found or stated, split=split)

    def split(self, image: str, split: str | None) -> None:
        """A split an image belongs to; the first one named stays."""
        entry = self._entries[image]
        if entry.split and split and entry.split != split:
            self.note("repeated-split", image, f"{entry.split} and {split}")
        entry.split = entry.split or split

    def lose(self, kind: str, image: str, place: str) -> None:
        """A box of an image is left out."""
        self._entries[image].lost = True
        self.note(kind, image, place)

    def box(
        self,
        image: str,
        place: str,
        name: str | None,
        corners: Corners,
        *,
        difficult: bool = False,
        crowd: bool = False,
    ) -> None:
        """A box of an image that is in the set already, in pixels."""
        entry = self._entries[image]
        text = f"{place}: {', '.join(f'{edge:g}' for edge in corners)}"
        if not all(map(math.isfinite, corners)):
            self.lose("bad-annotation", image, text)
        elif corners[2] <= corners[0] or corners[3] <= corners[1]:
            self.lose("degenerate-box", image, text)
        elif (label := label_text(name, place)) is None:
            self.lose("unknown-class", image, place)
        else:
            x1, y1, x2, y2 = corners
            if entry.size:
                width, height = entry.size
                x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
            if x2 <= x1 or y2 <= y1:
                self.lose("box-outside", image, text)
                return
            if max(abs(new - old) for new, old in zip((x1, y1, x2, y2), corners, strict=True)) > ROUNDING_PX:
                self.note("clipped-box", image, text)
            box = Box(label, x1, y1, x2, y2, difficult, crowd)
            if any(known.name == label and known.corners == box.corners for known in entry.boxes):
                self.note("duplicate-box", image, text)
            else:
                entry.boxes.append(box)

    def finish(self, classes: Sequence[str] | None = None, *, shares: bool = False) -> AnnotatedSet:
        """The set.

        Args:
            classes: as they are declared; None where the boxes alone tell.
            shares: the format writes shares of the image, so small edges are no sign of shares read as pixels.

        Raises:
            DataError: there is no image.
        """
        images = set(self.listing.images)
        sizeless = {image for image, _ in self._noted.get("unknown-size", ())}
        for image in self.listing.images:
            if image not in self._entries and image not in sizeless:
                self.note("missing-label", image)
        for image, entry in self._entries.items():
            if entry.lost and not entry.boxes:
                self.note("emptied-image", image)
        for file in self.listing.files:
            if file not in self.used and file not in images:
                self.note("not-read", file)
        self._settle_splits()
        records = tuple(
            AnnotatedImage(image, self.listing.root / image, entry.size, tuple(entry.boxes), entry.split)
            for image, entry in sorted(self._entries.items(), key=lambda item: natural_key(item[0]))
        )
        boxes = [box for record in records for box in record.boxes]
        names = tuple(classes) if classes is not None else Classes.of(box.name for box in boxes).names
        seen = (*_look(boxes, names, self.listing.root), *(() if shares else _look_for_shares(boxes)))
        findings = (*self.listing.findings, *self.findings, *self._report(), *seen)
        if not records:
            reasons = "".join(f" {finding.message}" for finding in findings)
            raise DataError(f"{self.listing.root} holds no image with annotations.{reasons}")
        return AnnotatedSet(records, names, findings)

    def _settle_splits(self) -> None:
        """Every image gets a split or none does: from the annotations, or else from the folders where all have one."""
        entries = self._entries
        if any(entry.split for entry in entries.values()):
            for image in [image for image, entry in entries.items() if entry.split is None]:
                self.note("no-split", image)
                del entries[image]
            return
        splits = {image: folder_split(image) for image in entries}
        count = Counter(splits.values())
        if not count[None]:
            for image, split in splits.items():
                entries[image].split = split
        elif len(count) > 1:
            message = f"Some folders are named like splits, but {count[None]:,} images lie in none; they are no splits."
            named = tuple(image for image, split in splits.items() if split)
            self.findings.append(Finding("split-name", "warning", message, named))

    def _report(self) -> Iterator[Finding]:
        for kind, (severity, text) in KINDS.items():
            if noted := self._noted.get(kind):
                message = f"{len(noted):,} {text}: {shorten(said for _, said in noted)}."
                yield Finding(kind, severity, message, tuple(dict.fromkeys(record for record, _ in noted)))


def _look(boxes: Sequence[Box], classes: Sequence[str], root: Path) -> Iterator[Finding]:
    """What all boxes together say."""
    yield from similar_classes(classes, root.name)
    used = {box.name for box in boxes}
    if empty := [name for name in classes if name not in used]:
        yield Finding("empty-class", "warning", f"{len(empty):,} declared classes have no box: {shorten(empty)}.")


def _look_for_shares(boxes: Sequence[Box]) -> Iterator[Finding]:
    if boxes and max(max(box.corners) for box in boxes) <= 1 and any(box.width < 1 or box.height < 1 for box in boxes):
        message = (
            "Every edge of every box lies between 0 and 1: are these shares of the image? They were read as pixels."
        )
        yield Finding("box-units", "warning", message)
