"""Which mask belongs to which image: told by their names, never by their order.

Names are compared as paths without the suffix, from strict to loose: the same path; the same folders and name from the
end of the path; and the same again without words such as `_mask` or `image_`. Whatever fits two ways is not guessed.
This file opens nothing.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from convlens.data.classes import natural_key
from convlens.data.findings import Finding, shorten
from convlens.data.folders import Walk
from convlens.data.tables import is_image_name
from convlens.errors import DataError

_OF_MASKS = (
    "mask masks label labels lbl seg segs segmentation segmentations gt groundtruth ground truth anno annotation "
    "annotations manual manual1 matte target instance instances gtfine labelids"
)
_OF_FOLDERS = "image images img imgs photo photos picture pictures scan scans "
_OF_IMAGES = "im pic raw input original orig rgb sat training test leftimg8bit"
MASK_WORDS = frozenset(_OF_MASKS.split())
IMAGE_WORDS = frozenset((_OF_FOLDERS + _OF_IMAGES).split())
FOLDER_WORDS = frozenset((_OF_FOLDERS + _OF_MASKS).split())
_NUMBERED = re.compile(r"(\D+?)(\d+)")


@dataclass(frozen=True)
class _Name:
    """A file by the parts of its path that are compared.

    Attributes:
        file: the path below its root, with forward slashes.
        exact: the same without the suffix.
        folders: those above it, folded, without words that only say what lies in them, such as `images`.
        stem: the name without the suffix, folded.
        plain: the same with one kind of separator.
        bare: the same without the words that only say what it is.
    """

    file: str
    exact: str
    folders: tuple[str, ...]
    stem: str
    plain: str
    bare: str

    @classmethod
    def of(cls, file: str, words: frozenset[str]) -> _Name:
        path = PurePosixPath(file)
        folders = ("_".join(_without(_parts(_fold(folder)), FOLDER_WORDS)) for folder in path.parent.parts)
        stem = _fold(path.stem)
        parts = _parts(PurePosixPath(stem).stem if is_image_name(stem) else stem)  # 1.jpg.png is the mask of 1.jpg
        bare = "_".join(_without(parts, words) or parts)
        return cls(file, file.removesuffix(path.suffix), tuple(filter(None, folders)), stem, "_".join(parts), bare)

    @property
    def worded(self) -> bool:
        """Whether it had such words."""
        return self.bare != self.plain


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[ _.\-]+", name) if part]


def _without(parts: Sequence[str], words: frozenset[str]) -> list[str]:
    """The parts that say which one it is: nothing of `mask`, 12 of `mask12`, all of `cat`."""
    kept = []
    for part in parts:
        numbered = _NUMBERED.fullmatch(part)
        if part not in words:
            kept.append(numbered[2] if numbered and numbered[1] in words else part)
    return kept


def pair_masks(ids: Sequence[str], root: Path, masks: Path) -> tuple[dict[str, Path], tuple[Finding, ...]]:
    """Find the mask of every image.

    Args:
        ids: paths of the images below `root`, with forward slashes.
        root: the folder of the images.
        masks: the folder of the masks; may be `root` itself, or lie below it.

    Returns:
        {id: mask}, in the order of the ids, and what was noticed: images without a mask (left out), masks without an
        image, and images whose mask cannot be told from another (an error; left out).

    Raises:
        DataError: there is no such folder, or no image has a mask.
    """
    if not masks.is_dir():
        raise DataError(f"There is no folder of masks '{masks}'. Name the folder in which each image has its mask.")
    walk = Walk(masks)
    findings = list(walk.findings())
    files = sorted((file for file in walk.files if is_image_name(file)), key=natural_key)
    if strange := sorted((file for file in walk.files if not is_image_name(file)), key=natural_key):
        message = f"{len(strange):,} files do not have the name of an image and were not read: {shorten(strange)}."
        findings.append(Finding("not-an-image-name", "note", message, tuple(strange)))
    ids, files = _apart(ids, root, masks, files, findings)
    images, drawn = [_Name.of(i, IMAGE_WORDS) for i in ids], [_Name.of(file, MASK_WORDS) for file in files]
    match = _match(images, drawn)
    findings += _findings(match, images, drawn)
    if not match.pairs:
        seen = "".join(f" {finding.message}" for finding in findings if finding.severity != "note")
        raise DataError(
            f"None of {len(ids):,} images has a mask in {masks}. Images: {shorten(ids) or 'none'}. Masks: "
            f"{shorten(files) or 'none'}. Name each mask as its image, with or without _mask, _label or _seg."
            f"{seen if match.unclear else ''}"
        )
    return {i: masks / match.pairs[i].file for i in ids if i in match.pairs}, tuple(findings)


def _apart(
    ids: Sequence[str], root: Path, masks: Path, files: list[str], findings: list[Finding]
) -> tuple[list[str], list[str]]:
    """The images that are not masks themselves, and the masks that are not images."""
    real_root, real_masks = os.path.realpath(root), os.path.realpath(masks)
    if real_root == real_masks:
        among = {i for i in ids if _Name.of(i, MASK_WORDS).worded}
        files = [file for file in files if _Name.of(file, MASK_WORDS).worded]
    elif real_masks.startswith(real_root.rstrip(os.sep) + os.sep):
        below = Path(real_masks).relative_to(real_root).as_posix() + "/"
        among = {i for i in ids if i.startswith(below)}
    else:
        among = set[str]()
    if among:
        named = sorted(among, key=natural_key)
        message = f"{len(named):,} files among the images are masks by their place or name: {shorten(named)}."
        findings.append(Finding("mask-among-images", "note", message, tuple(named)))
    return [i for i in ids if i not in among], files


@dataclass
class _Match:
    """Pairs {id: mask}, with how they were found, and what fits several ways {id: masks}."""

    pairs: dict[str, _Name]
    loosely: list[str]
    unclear: dict[str, list[str]]


Key = Callable[[_Name], object]


def _levels(depth: int) -> Iterator[tuple[Key, Key]]:
    """What an image and a mask are compared by, from strict to loose; None where a name has nothing to compare."""

    def end(count: int, part: str) -> Key:
        def key(name: _Name) -> object:
            above = len(name.folders) - count
            return (name.folders[above:], getattr(name, part)) if above >= 0 else None

        return key

    yield (lambda name: name.exact), (lambda name: name.exact)
    yield (lambda name: (name.folders, name.stem)), (lambda name: (name.folders, name.stem))
    for image, mask in (("stem", "stem"), ("plain", "bare"), ("bare", "plain"), ("bare", "bare")):
        for count in range(depth, -1, -1):
            yield end(count, image), end(count, mask)


def _match(images: Sequence[_Name], masks: Sequence[_Name]) -> _Match:
    match, taken = _Match({}, [], {}), set[str]()
    depth = max((len(name.folders) for name in (*images, *masks)), default=0)
    for level, keys in enumerate(_levels(depth)):
        groups: dict[object, tuple[list[_Name], list[_Name]]] = {}
        for side, (names, key) in enumerate(zip((images, masks), keys, strict=True)):
            for name in names:
                if (by := key(name)) is not None:
                    groups.setdefault(by, ([], []))[side].append(name)
        for ours, theirs in groups.values():
            if not ours or not theirs or any(n.file in match.pairs or n.file in match.unclear for n in ours):
                continue
            if any(name.file in taken for name in theirs):
                continue
            taken.update(name.file for name in theirs)
            if len(ours) == len(theirs) == 1:
                match.pairs[ours[0].file] = theirs[0]
                match.loosely += [ours[0].file] if level > 1 else []
            else:
                match.unclear.update((name.file, [other.file for other in theirs]) for name in ours)
    _find_second(match, images, masks, taken)
    return match


def _find_second(match: _Match, images: Sequence[_Name], masks: Sequence[_Name], taken: set[str]) -> None:
    """Unpair images of which a second mask lies beside the first, such as 1_mask.png and 1_mask_2.png."""
    owners: dict[tuple[tuple[str, ...], str], _Name] = {}
    for image in images:
        if image.file in match.pairs:
            owners[match.pairs[image.file].folders, image.bare] = image
    for mask in masks:
        if mask.file in taken:
            continue
        owner = owners.get((mask.folders, mask.bare))
        if owner is None and mask.worded:
            owner = owners.get((mask.folders, re.sub(r"_\d{1,2}$", "", mask.bare)))
        if owner is not None:
            taken.add(mask.file)
            first = match.pairs.pop(owner.file, None)
            match.unclear.setdefault(owner.file, [first.file] if first else []).append(mask.file)
    match.loosely = [i for i in match.loosely if i in match.pairs]


def _findings(match: _Match, images: Sequence[_Name], masks: Sequence[_Name]) -> Iterator[Finding]:
    used = {mask.file for mask in match.pairs.values()} | {file for files in match.unclear.values() for file in files}
    if match.loosely:
        named = shorten(f"{i} with {match.pairs[i].file}" for i in match.loosely)
        message = (
            f"{len(match.loosely):,} masks were found by a path or name that is not quite that of the image: {named}."
        )
        yield Finding("paired-by-name", "note", message, tuple(match.loosely))
    if match.unclear:
        named = shorten(f"{i} ({shorten(files)})" for i, files in match.unclear.items())
        message = (
            f"{len(match.unclear):,} images have several masks, or one with others, and are left out: {named}. Join "
            "masks of one image in one file; give images different names."
        )
        yield Finding("two-masks", "error", message, tuple(match.unclear))
    if bare := [name.file for name in images if name.file not in match.pairs and name.file not in match.unclear]:
        message = f"{len(bare):,} of {len(images):,} images have no mask and are left out: {shorten(bare)}."
        yield Finding("no-mask", "warning", message, tuple(bare))
    if alone := [name.file for name in masks if name.file not in used]:
        message = f"{len(alone):,} of {len(masks):,} masks belong to no image: {shorten(alone)}."
        yield Finding("no-image", "note", message, tuple(alone))
