"""The files below a folder, and the image that a name in an annotation file means.

Annotations come from other machines: their paths may be absolute, or lead out, or be a name alone. So a name is never
opened; it is looked up among the files that are there.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from convlens.data.classes import natural_key
from convlens.data.folders import Walk
from convlens.data.tables import SPLITS, is_image_name
from convlens.errors import DataError

MAX_BYTES = 16 * 2**20
_NO_PICTURE = (".txt", ".csv")  # matrices elsewhere, annotations here


class Listing:
    """The files below a folder, hidden ones and links that lead out of it passed over.

    Attributes:
        files: paths below the root with forward slashes, in natural order.
        images: those with the name of a picture.
        folders: likewise.
        findings: what was passed over.
        only: the one annotation file to read, where the user named a file.
    """

    def __init__(self, root: Path, only: str | None = None) -> None:
        walk = Walk(root)
        self.root, self.only = root, only
        self.files = sorted(walk.files, key=natural_key)
        self.folders = sorted(walk.folders, key=natural_key)
        self.images = [file for file in self.files if is_image_name(file) and not file.lower().endswith(_NO_PICTURE)]
        self.findings = tuple(walk.findings())
        self._named: dict[str, list[str]] = {}
        for file in self.images:
            for name in {_last(file), _last(_stem(file))}:
                self._named.setdefault(name, []).append(file)

    def annotations(self, *suffixes: str) -> list[str]:
        """The files that may hold annotations, by the end of their name."""
        files = self.files if self.only is None else [self.only]
        return [file for file in files if file.lower().endswith(suffixes)]

    def read(self, file: str, most: int = MAX_BYTES) -> bytes:
        """The content of a file.

        Raises:
            DataError: it cannot be read, or is larger than any annotation file should be.
        """
        try:
            size = os.stat(self.root / file).st_size
            if size > most:
                raise DataError(f"{file} is {size:,} bytes; at most {most:,} are read of a file of its kind.")
            return (self.root / file).read_bytes()
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror}.") from None

    def lines(self, file: str) -> list[str]:
        """The lines of a text in UTF-8, without their ends.

        Raises:
            DataError: it cannot be read, or is in another encoding.
        """
        try:
            return self.read(file).decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise DataError(f"{file} is not a text in UTF-8; save it as UTF-8.") from None

    def find(self, name: str, near: str) -> str | None:
        """The image that an annotation file means, or None.

        A name may be a path, of this machine or another, with or without the ending. Of several images of that name,
        the one wins that agrees with most folders of the path, then the one nearest to the annotation file. An image
        in the folder of another split is never meant.

        Args:
            near: the annotation file.

        Raises:
            DataError: several images fit equally well.
        """
        parts = [part for part in unicodedata.normalize("NFC", name).replace("\\", "/").split("/") if part.strip(".")]
        split = folder_split(name.replace("\\", "/")) or split_word(near) or folder_split(near)
        found = self._named.get(_key(parts[-1]), []) if parts else []
        found = [file for file in found if not split or folder_split(file) in (split, None)]
        if len(found) < 2:
            return found[0] if found else None
        found = [file for file in found if file.endswith(parts[-1])] or found  # in just these letters, with this ending
        ranked = {file: _nearness(file, parts, near) for file in found}
        best = [file for file, rank in ranked.items() if rank == max(ranked.values())]
        if len(best) > 1:
            raise DataError(
                f"{near}: '{name}' could be {' or '.join(best[:2])}. Write the path of the image, or give the images "
                "names that differ."
            )
        return best[0]


def _nearness(file: str, parts: list[str], near: str) -> tuple[int, int]:
    """How many folders an image shares with a path that was written, and with the place where it was written."""
    mine = unicodedata.normalize("NFC", file).split("/")
    mine[-1] = parts[-1]  # known to be the same but for the ending
    return _agree(reversed(mine), reversed(parts)), _agree(mine[:-1], near.split("/")[:-1])


def _stem(file: str) -> str:
    return os.path.splitext(file)[0]


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _last(file: str) -> str:
    return _key(file.rpartition("/")[2])


def _agree(first: Iterable[str], second: Iterable[str]) -> int:
    """How many parts are equal from the start on."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count


def folder_split(file: str) -> str | None:
    """The split that the folders of a path name, the outermost first.

    Example:
        >>> folder_split("images/train2017/1.jpg"), folder_split("val/1.jpg"), folder_split("cats/train.jpg")
        ('train', 'valid', None)
    """
    words = (folder.lower().rstrip("0123456789").rstrip("_-") for folder in file.split("/")[:-1])
    return next((SPLITS[word] for word in words if word in SPLITS), None)


def split_word(file: str) -> str | None:
    """The split that the name of a file contains as a word.

    Example:
        >>> split_word("annotations/instances_val2017.json"), split_word("train/boxes.json")
        ('valid', None)
    """
    words = re.findall(r"[a-z]+", _stem(file).rpartition("/")[2].lower())
    return next((SPLITS[word] for word in words if word in SPLITS), None)
