"""CSV and Parquet tables that name images, and the words every reader of sources shares.

A table has a header and one row per image. Paths are relative to the table's folder and may not leave it: a path that
is absolute, climbs with `..`, is led out by a symbolic link, or names something that is no regular file is refused
with its line. Nothing is opened but the table itself; a file that is missing stays in the table, and the decoder names
it. This file knows nothing of folders of classes, of pixels, or of what becomes of a row. The home of pyarrow.
"""

from __future__ import annotations

import csv
import itertools
import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convlens.data.classes import natural_key
from convlens.data.findings import Finding, shorten
from convlens.data.labels import label_text, number_text, odd_characters, similar_classes
from convlens.errors import ConfigError, DataError, did_you_mean
from convlens.options import DataConfig

_IMAGE_NAME = re.compile(
    r".*\.(jpe?g|jpe|jfif|png|webp|bmp|dib|gif|tiff?|p[bgnp]m|npy|txt|csv)", re.IGNORECASE | re.DOTALL
)
_ADDRESS = re.compile(r"[A-Za-z]:[\\/]|[A-Za-z][A-Za-z0-9+.-]*://")
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")
MAX_PATH = 4096
ReadLabel = Callable[[Any, str], str | None]
_HEAD = 100
_KNOWN = {
    "image": "image images path file filename filepath file_path file_name image_path image_file img img_path",
    "label": "label labels class class_name classname category target",
    "group": "group group_id patient patient_id subject subject_id",
    "split": "split subset partition",
}


@dataclass(frozen=True)
class Table:
    """What a table says, as columns of equal length in natural order of `ids`."""

    ids: tuple[str, ...]
    images: tuple[Path, ...]
    labels: tuple[str | None, ...]
    groups: tuple[str | None, ...]
    splits: tuple[str | None, ...]
    findings: tuple[Finding, ...]


def is_inside(root: str, path: str) -> bool:
    """Whether one resolved path is the other or lies below it."""
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def is_image_name(value: Any) -> bool:
    """Whether a value is a name with the ending of an image; `.npy`, `.txt` and `.csv` hold matrices."""
    return isinstance(value, str) and _IMAGE_NAME.fullmatch(value) is not None


def is_table(name: str) -> bool:
    """Whether a file name says that the file is a table."""
    return name.lower().endswith(TABLE_SUFFIXES)


def read_table(
    path: Path, data: DataConfig, *, labelled: bool, parts: bool = True, read_label: ReadLabel = label_text
) -> Table:
    """Read a table; columns that `data` does not name are found by their names and contents.

    Args:
        labelled: False for images alone.
        parts: look for columns that group and divide the images; False for prediction, which reads only those named.
        read_label: `label_text` for classes; with `number_text`, `data.label_column` may name several columns, with
            commas between them.

    Raises:
        DataError: a column is missing or could be several, a row is malformed or refused (with its line), rows
            contradict each other, no image exists, or no row is left.
        ConfigError: a Parquet table without pyarrow.
    """
    table = _Parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _Csv(path)
    several = read_label is number_text
    columns, unused = _choose(table, data, labelled=labelled, parts=parts, several=several)
    roles = [role for role in columns if columns[role]]
    reader = _Rows(path, columns.get("label", ""), read_label)
    wanted = {role: names_of(columns[role]) if several and role == "label" else [columns[role]] for role in roles}
    for place, values in table.rows([column for role in roles for column in wanted[role]]):
        following = iter(values)
        found = {role: [next(following) for _ in wanted[role]] for role in roles}
        row = {role: cells[0] if len(cells) == 1 else cells for role, cells in found.items()}
        reader.add(place, row, labelled=labelled)
    found = reader.finish(", ".join(f"'{columns[role]}' as {role}" for role in roles))
    return replace(found, findings=(*found.findings, *unused))


def names_of(columns: str) -> list[str]:
    """The columns of a list with commas.

    Example:
        >>> names_of("age, weight")
        ['age', 'weight']
    """
    return [name.strip() for name in columns.split(",")]


class _Rows:
    """Rows gathered one by one into a `Table`, each checked against those before it."""

    def __init__(self, path: Path, label_column: str, read_label: ReadLabel) -> None:
        self.path, self.label_column, self.read_label = path, label_column, read_label
        self.root = os.path.realpath(path.parent)
        self.parents: dict[str, str] = {}  # folder as written: folder as resolved
        self.seen: dict[str, tuple[str, tuple[str | None, ...]]] = {}  # id: (place, (label, group, split))
        self.repeated: dict[str, str] = {}
        self.unlabelled: dict[str, str] = {}
        self.present = 0

    def add(self, place: str, row: dict[str, Any], *, labelled: bool) -> None:
        identity, exists = self._locate(row["image"], place)
        label = self.read_label(row.get("label"), place)
        group, split = (label_text(row.get(role), place) for role in ("group", "split"))
        if split is not None and split.lower() not in SPLITS:
            raise DataError(f"{place}: expected train, valid or test as the split; got '{split}'. Write one of them.")
        facts = (label, group, SPLITS[split.lower()] if split else None)
        if identity in self.seen:
            first_place, first = self.seen[identity]
            for role, new, old in zip(("label", "group", "split"), facts, first, strict=True):
                if new != old:
                    raise DataError(
                        f"{place}: {identity} has {role} {new!r}, but {old!r} in {first_place}. Keep one of the rows."
                    )
            self.repeated.setdefault(identity, place)
            return
        self.seen[identity] = (place, facts)
        self.present += exists
        if labelled and label is None:
            self.unlabelled[identity] = place

    def finish(self, columns: str) -> Table:
        name, rows = self.path.name, self.seen
        if not self.present:
            first = next(iter(rows))
            hint = " Write paths with / instead of \\." if "\\" in first else ""
            raise DataError(
                f"None of the {len(rows):,} files named in {name} exists; the first is '{first}' ({rows[first][0]}). "
                f"Paths are relative to the table's folder, {self.path.parent}.{hint}"
            )
        if len(self.unlabelled) == len(rows):
            raise DataError(f"Column '{self.label_column}' of {name} is empty in all {len(rows):,} rows.")
        ids = sorted((i for i in rows if i not in self.unlabelled), key=natural_key)
        labels, groups, splits = zip(*(rows[i][1] for i in ids), strict=True)
        if None in splits and any(splits):
            place = next(rows[i][0] for i in ids if rows[i][1][2] is None)
            raise DataError(f"{place}: the split is empty, but other rows have one. Fill in every row or none.")
        images = tuple(self.path.parent / i for i in ids)
        return Table(tuple(ids), images, labels, groups, splits, tuple(self._findings(columns, labels)))

    def _findings(self, columns: str, labels: Sequence[str | None]) -> Iterator[Finding]:
        name = self.path.name
        yield Finding("columns", "note", f"{name}: read {columns}.")
        if self.unlabelled:
            places, what = _places(self.unlabelled), "number" if self.read_label is number_text else "class"
            message = (
                f"{len(self.unlabelled):,} of {len(self.seen):,} images have no {what} and are left out: {places}."
            )
            yield Finding("missing-label", "warning", message, tuple(self.unlabelled))
        if self.repeated:
            places = _places(self.repeated)
            message = f"{len(self.repeated):,} images are named more than once and count once: {places}."
            yield Finding("repeated-row", "warning", message, tuple(self.repeated))
        if self.read_label is label_text:
            yield from similar_classes(labels, name)

    def _locate(self, value: Any, place: str) -> tuple[str, bool]:
        """The image's path below the table's folder, normalised, and whether the file exists."""
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{place}: expected the path of an image; got {value!r}.")
        if len(value) > MAX_PATH:
            raise DataError(f"{place}: expected a path of at most {MAX_PATH:,} characters; got {len(value):,}.")
        if odd := odd_characters(value):
            raise DataError(f"{place}: the path {value[:80]!r} contains {odd}.")
        relative = "Write it relative to the table's folder"
        if value.startswith(("/", "\\")) or _ADDRESS.match(value):
            raise DataError(f"{place}: '{value}' is an absolute path or an address. {relative}.")
        if ".." in value.split("/"):
            raise DataError(f"{place}: '{value}' climbs out with '..'. {relative}, without '..'.")
        identity = posixpath.normpath(value)
        folder, name = posixpath.split(identity)
        if folder not in self.parents:
            self.parents[folder] = os.path.realpath(os.path.join(self.root, folder))
        file = os.path.join(self.parents[folder], name)
        if is_inside(self.root, file) and os.path.islink(file):
            file = os.path.realpath(file)
        if not is_inside(self.root, file):
            raise DataError(f"{place}: a symbolic link leads '{value}' out of the table's folder. Copy the file there.")
        try:
            mode = os.stat(file).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return identity, False
        except OSError as error:
            raise DataError(f"{place}: '{value[:80]}' cannot be looked at: {error.strerror}.") from None
        if not stat.S_ISREG(mode):
            raise DataError(f"{place}: '{value}' is a folder, pipe or device; expected a file.")
        return identity, True


def _places(rows: dict[str, str]) -> str:
    return shorten(f"{identity} ({place})" for identity, place in rows.items())


class _Csv:
    """A CSV file: `columns`, and any number of passes over its `rows`."""

    def __init__(self, path: Path) -> None:
        self.path, self.delimiter = path, ","
        with path.open("rb") as file:
            if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
                raise DataError(f"{path.name} is UTF-16; save it as CSV UTF-8.")
        headers, wrong = dict[str, list[str]](), list[DataError]()
        for self.delimiter in ",;\t|":
            try:
                headers[self.delimiter] = next(self._lines(), ("", []))[1]
            except DataError as error:  # "a","b" ends a quoted field where only the right separator may follow
                wrong.append(error)
        if not headers:
            raise wrong[0]
        self.delimiter = max(headers, key=lambda delimiter: len(headers[delimiter]))
        self.columns = [column.strip() for column in headers[self.delimiter]]
        if not self.columns:
            raise DataError(f"{path.name} is empty; expected a header such as path,label and one row per image.")
        if any(odd_characters(column) for column in self.columns):
            raise DataError(f"{path.name}, line 1: expected a header in UTF-8; got {str(self.columns)[:80]}.")
        if any(is_image_name(column) for column in self.columns):
            raise DataError(f"{path.name} has no header: its first line is data. Put a line such as path,label first.")
        _refuse_twins(self.columns, path.name)

    def rows(self, names: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
        positions = [self.columns.index(name) for name in names]
        for place, row in itertools.islice(self._lines(), 1, None):
            if len(row) != len(self.columns):
                raise DataError(
                    f"{place}: expected {len(self.columns)} fields as in the header; got {len(row)}. "
                    "Quote fields that contain the separator."
                )
            yield place, [row[i] for i in positions]

    def _lines(self) -> Iterator[tuple[str, list[str]]]:
        """Each row that is not blank, with the line it starts on."""
        with self.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file, delimiter=self.delimiter, skipinitialspace=True, strict=True)
            line = 0
            try:
                for row in reader:
                    if any(row):
                        yield f"{self.path.name}, line {line + 1}", row
                    line = reader.line_num
            except csv.Error as error:
                raise DataError(
                    f"{self.path.name}, line {line + 1}: {error}. Check for a quote that is not closed."
                ) from None

    def why_not(self, name: str) -> str:
        return ""


class _Parquet:
    """A Parquet file: its `columns` of text and numbers, and any number of passes over its `rows`."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as arrow
            import pyarrow.parquet as parquet
        except ImportError:
            raise ConfigError(f"Reading {path.name} needs pyarrow: pip install 'convlens[tables]'.") from None
        self.path, self.errors = path, (arrow.ArrowException, OSError)
        try:
            self.file = parquet.ParquetFile(path)
            schema = self.file.schema_arrow
        except self.errors as error:
            raise DataError(f"{path.name} is not a Parquet file that can be read: {_first_line(error)}.") from None
        self.other = {f.name: str(f.type) for f in schema if not _is_scalar(arrow, f.type)}
        self.columns = [field.name for field in schema if field.name not in self.other]
        _refuse_twins(schema.names, path.name)

    def rows(self, names: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
        try:
            row = 0
            for batch in self.file.iter_batches(batch_size=4096, columns=list(names)):
                for values in zip(*(batch.column(name).to_pylist() for name in names), strict=True):
                    row += 1
                    yield f"{self.path.name}, row {row}", list(values)
        except self.errors as error:
            raise DataError(f"{self.path.name} is damaged: {_first_line(error)}.") from None

    def why_not(self, name: str) -> str:
        return f" It is of type {self.other[name]}; expected text or numbers." if name in self.other else ""


def _is_scalar(arrow: Any, kind: Any) -> bool:
    kind = kind.value_type if arrow.types.is_dictionary(kind) else kind
    tests = ("string", "large_string", "string_view", "integer", "floating", "boolean", "null")
    return any(getattr(arrow.types, f"is_{test}")(kind) for test in tests)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _refuse_twins(columns: Sequence[str], name: str) -> None:
    twins = sorted({column for column in columns if columns.count(column) > 1})
    if twins:
        raise DataError(f"The columns of {name} must differ; these occur twice: {', '.join(twins)}.")


def _choose(
    table: _Csv | _Parquet, data: DataConfig, *, labelled: bool, parts: bool, several: bool = False
) -> tuple[dict[str, str], list[Finding]]:
    """The column for each role: named by the config, or the only one that can be meant; empty for none.

    Args:
        several: the label may be more than one column.
    """
    name, columns = table.path.name, table.columns
    listed = f"Its columns are: {', '.join(columns)}."
    said = {"image": data.image_column, "label": data.label_column}
    said |= {"group": data.group_column, "split": data.split_column}
    for role, asked in said.items():
        for column in names_of(asked) if asked and several and role == "label" else [asked]:
            if column is not None and column not in columns:
                why = table.why_not(column) or f" {did_you_mean(column, columns)}"
                raise DataError(f"{name} has no column '{column}' to read as {role}. {listed}{why}")
    chosen = {role: column for role, column in said.items() if column is not None}
    twice = {column for column in chosen.values() if list(chosen.values()).count(column) > 1}
    if twice:
        raise DataError(f"Column '{twice.pop()}' of {name} cannot play two roles: {chosen}. {listed}")
    head = {c: [] for c in columns}
    for _, values in itertools.islice(table.rows(columns), _HEAD):
        for column, value in zip(columns, values, strict=True):
            head[column].append(value)
    if not any(head.values()):
        raise DataError(f"{name} has a header but no rows; expected one row per image. {listed}")

    def free(role: str) -> list[str]:
        known = _KNOWN[role].split()
        spelled = {c: c.strip().lower().replace(" ", "_").replace("-", "_") for c in columns}
        return [c for c in columns if spelled[c] in known and c not in chosen.values()]

    def need(role: str, candidates: list[str]) -> str:
        if len(candidates) == 1:
            return candidates[0]
        several = f"could be any of {', '.join(candidates)}" if candidates else "cannot be told"
        raise DataError(f"The {role} column of {name} {several}. {listed} Say which with --{role}-column.")

    if "image" not in chosen:
        by_content = [c for c in columns if c not in chosen.values() and _all(head[c], is_image_name)]
        by_name = free("image")
        both = [c for c in by_content if c in by_name]
        chosen["image"] = need("image", both if len(both) == 1 else by_content or by_name)
    for role in ("group", "split") if parts else ():
        candidates = [c for c in free(role) if role == "group" or any(map(_is_split, head[c]))]
        if role not in chosen and candidates:
            chosen[role] = need(role, candidates)
    if labelled and "label" not in chosen:
        others = [c for c in columns if c not in chosen.values()]
        chosen["label"] = need("label", free("label") or (others if len(others) == 1 else []))
    unread = free("split") if parts and "split" not in chosen else []
    unused = [finding for column in unread for finding in _no_split(name, column, head[column])]
    return {role: chosen.get(role, "") for role in _KNOWN if labelled or role != "label"}, unused


def _no_split(name: str, column: str, values: Sequence[Any]) -> Iterator[Finding]:
    """A warning that a column is called like a split and has the name of none, unless it is empty."""
    if filled := dict.fromkeys(str(value).strip()[:40] for value in values if value not in (None, "")):
        message = (
            f"{name}: column '{column}' was not used as the split: none of its first values is train, valid or test; "
            f"they are {shorten(filled)}."
        )
        yield Finding("unused-split", "warning", message)


def _is_split(value: Any) -> bool:
    return isinstance(value, str) and value.strip().lower() in SPLITS


def _all(values: Sequence[Any], test: Any) -> bool:
    filled = [value for value in values if value not in (None, "")]
    return bool(filled) and all(test(value) for value in filled)
