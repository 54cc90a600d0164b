"""What may stand as a class, a group or a number beside an image, and what only looks like one.

Knows values and their spelling, not tables or folders.
"""

from __future__ import annotations

import math
import numbers
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from convlens.data.findings import Finding
from convlens.errors import DataError

MAX_LABEL = 200


def label_text(value: Any, place: str) -> str | None:
    """A class, group or split as text: NFC, no spaces around it; None where there is no value.

    Example:
        >>> label_text(" 7 ", "line 2"), label_text(7, "line 2"), label_text(7.0, "line 2"), label_text("", "line 2")
        ('7', '7', '7', None)

    Raises:
        DataError: a fraction, a control character, bytes that are not UTF-8, or more than 200 characters.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    whole = isinstance(value, numbers.Integral) or (isinstance(value, float) and value.is_integer())
    if whole and not isinstance(value, bool):
        value = int(value)
    elif not isinstance(value, (str, bool)):
        raise DataError(f"{place}: expected a text or a whole number; got {value!r} ({type(value).__name__}).")
    if isinstance(value, str) and len(value) > MAX_LABEL:
        raise DataError(f"{place}: expected at most {MAX_LABEL} characters; got {len(value):,}: '{value[:40]}...'.")
    text = unicodedata.normalize("NFC", str(value)).strip()
    if odd := odd_characters(text):
        raise DataError(f"{place}: {text!r} contains {odd}.")
    return text or None


def number_text(value: Any, place: str) -> str | None:
    """One number, or several, as a text with a space between them; None where there is no value.

    Example:
        >>> number_text(" 7.50 ", "line 2"), number_text([1, 2.5], "line 2"), number_text("", "line 2")
        ('7.5', '1 2.5', None)

    Raises:
        DataError: something that is not a finite number.
    """
    parts = value.split() if isinstance(value, str) else list(value) if isinstance(value, list | tuple) else [value]
    if not parts or any(part is None or part == "" or part != part for part in parts):  # NaN differs from itself
        return None
    try:
        found = [float(part) for part in parts]
    except (TypeError, ValueError):
        found = [math.nan]
    if not all(map(math.isfinite, found)):
        raise DataError(f"{place}: expected a number for the task regress; got {value!r}.")
    return " ".join(f"{number:g}" if float(f"{number:g}") == number else repr(number) for number in found)


def odd_characters(text: str) -> str:
    """What makes a name unusable in a list of names: a control character or a broken encoding; empty when nothing does.

    Example:
        >>> odd_characters("naïve 猫.jpg"), odd_characters("two" + chr(10) + "lines")
        ('', 'a control character (U+000A)')
    """
    if text.isprintable():
        return ""
    for character in text:
        category = unicodedata.category(character)
        if category == "Cs":
            return "bytes that are not UTF-8"
        if category in ("Cc", "Zl", "Zp"):
            return f"a control character (U+{ord(character):04X})"
    return ""


def look_alikes(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Names that differ only in case, Unicode form or spaces around them, in groups.

    Example:
        >>> look_alikes(["cat", "dog", "Cat"])
        [('Cat', 'cat')]
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        groups.setdefault(unicodedata.normalize("NFC", name).strip().lower(), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def similar_classes(labels: Iterable[str | None], where: str) -> Iterator[Finding]:
    """A warning for each group of classes that look like one."""
    for names in look_alikes(label for label in labels if label):
        quoted = " and ".join(f"'{name}'" for name in names)
        yield Finding("similar-classes", "warning", f"{where}: {quoted} are different classes; is one a slip?")
