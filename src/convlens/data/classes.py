"""The one ordered map of class names, made once from the training records and matched by name everywhere else."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from convlens.errors import ClassMismatch, DataError, did_you_mean


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts 2 before 10.

    Example:
        >>> sorted(["10", "2", "b", "A"], key=natural_key)
        ['2', '10', 'A', 'b']
    """
    parts = re.findall(r"\d+|\D+", text)
    keys = ((0, int(part), part) if part.isdecimal() else (1, 0, part.casefold()) for part in parts)
    return (*keys, (2, 0, text))


@dataclass(frozen=True)
class Classes:
    """Ordered class names; position is the index of the network's output.

    Example:
        >>> classes = Classes.of(["10", "2", "2"])
        >>> classes.names, classes.index("10")
        (('2', '10'), 1)
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        folded = [unicodedata.normalize("NFC", name) for name in self.names]
        if len(set(folded)) != len(folded):
            twice = sorted({name for name in folded if folded.count(name) > 1})
            raise DataError(f"Class names must differ; these occur twice (after Unicode normalisation): {twice}.")

    @classmethod
    def of(cls, labels: Iterable[str]) -> Self:
        """The classes that occur in labels, in natural order."""
        return cls(tuple(sorted({unicodedata.normalize("NFC", label) for label in labels}, key=natural_key)))

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Position of a class.

        Raises:
            ClassMismatch: the class is unknown.
        """
        try:
            return self.names.index(unicodedata.normalize("NFC", name))
        except ValueError:
            raise ClassMismatch(f"There is no class '{name}'. {did_you_mean(name, self.names)}") from None

    def indices(self, labels: Iterable[str], where: str) -> list[int]:
        """Positions of many labels; `where` names their origin in the error.

        Raises:
            ClassMismatch: a label is not one of these classes; the message prints both lists.
        """
        position = {name: i for i, name in enumerate(self.names)}
        found = [unicodedata.normalize("NFC", label) for label in labels]
        unknown = sorted(set(found) - set(self.names), key=natural_key)
        if unknown:
            raise ClassMismatch(
                f"The classes of {where} must be among those of training. Unknown: {', '.join(unknown)}. "
                f"Training has: {', '.join(self.names)}. "
                f"{where} has: {', '.join(sorted(set(found), key=natural_key))}. Rename, or remove the extra classes."
            )
        return [position[label] for label in found]
