"""Where samples come from: whatever the user points at becomes a `Source` of records.

`open_source` is the one door: a folder per class (with or without train, valid and test folders), a CSV or Parquet
table, MNIST-style idx files, a built-in set, or (images, labels) in memory. A source lists; it opens no image. What it
leaves out (hidden files, names that are no image's, links that lead elsewhere, rows without a class) is in its
findings with every name. This file knows nothing of pixels, class indices or what the records are for.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from convlens.config import DataConfig
from convlens.data.builtin import BUILTIN
from convlens.data.classes import natural_key
from convlens.data.findings import Finding, Severity, shorten
from convlens.data.idx import IdxSet, is_idx_name, read_idx_file, read_idx_folder
from convlens.data.labels import label_text, look_alikes, number_text, odd_characters, similar_classes
from convlens.data.tables import SPLITS, ReadLabel, is_image_name, is_inside, is_table, read_table
from convlens.errors import ConfigError, DataError, did_you_mean

SYSTEM_NAMES = ("__MACOSX", "Thumbs.db", "desktop.ini")
_IDX_PARTS = {**SPLITS, "t10k": "test"}


@dataclass(frozen=True)
class Record:
    """One sample.

    Attributes:
        id: unique and stable: the path below the root with forward slashes, or `train-images#12`.
        image: a file, or a row of the source's arrays.
        label: the class, or the numbers with a space between them; a text in every record of a source that was opened
            `labelled`.
        group: records of equal group stay on one side of a split.
        split: `train`, `valid` or `test` where the source itself says so.
    """

    id: str
    image: Path | int
    label: str | None
    group: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Source:
    """Records in natural order of their ids, and what was noticed while listing them.

    Attributes:
        name: short, for people: the folder's or file's name, or that of the built-in set.
        arrays: (N, H, W) or (N, H, W, C), where the images are in memory.
        root: the folder all files lie below.
        classes: the order of the classes, where the source declares one.
        numeric: labels are numbers, not classes.
    """

    name: str
    records: tuple[Record, ...]
    arrays: np.ndarray | None = None
    root: Path | None = None
    findings: tuple[Finding, ...] = ()
    classes: tuple[str, ...] | None = None
    numeric: bool = False

    def image(self, record: Record) -> Path | np.ndarray:
        """What the decoder takes: a file, or one array.

        Raises:
            DataError: the record points at a row, but this source has no arrays.
        """
        if isinstance(record.image, Path):
            return record.image
        if self.arrays is None:
            raise DataError(f"Record {record.id} is row {record.image} of an array, but source {self.name} has none.")
        return self.arrays[record.image]


def open_source(
    spec: str | Path | tuple[Any, Any] | Source, data: DataConfig, *, labelled: bool = True, numeric: bool = False
) -> Source:
    """List the samples of whatever `spec` names.

    Args:
        spec: a folder, table, idx file, the name of a built-in set, (images, labels), or a source.
        data: the columns of a table; nothing else of it is read.
        labelled: False for prediction: every label is None, folders are not read as classes, a single image will do.
        numeric: labels are read as numbers.

    Raises:
        DataError: there is no such thing, it holds no sample, or it contradicts itself.
        ConfigError: a column is named, but no source is a table.

    Example:
        >>> source = open_source(([[[0, 255], [255, 0]]] * 2, ["b", "a"]), DataConfig())
        >>> source.records[1]
        Record(id='arrays#1', image=1, label='a', group=None, split=None)
    """
    if numeric:
        return _with_numbers(_list(spec, data, labelled, number_text))
    return _list(spec, data, labelled, label_text)


def _with_numbers(source: Source) -> Source:
    """The same source with every label spelled as numbers, each record with as many as the first."""
    records = []
    for record in source.records:
        label = None if record.label is None else number_text(record.label, f"{source.name}, {record.id}")
        records.append(replace(record, label=label))
    counts = {record.label.count(" ") + 1: record.id for record in records if record.label is not None}
    if len(counts) > 1:
        some = ", ".join(f"{record} has {count}" for count, record in counts.items())
        raise DataError(f"Every image of {source.name} needs the same number of values; {some}.")
    return replace(source, records=tuple(records), numeric=True, classes=None)


def _list(spec: Any, data: DataConfig, labelled: bool, read_label: ReadLabel) -> Source:
    if isinstance(spec, Source):
        missing = [record.id for record in spec.records if labelled and record.label is None]
        if missing:
            raise DataError(f"Source {spec.name} has {len(missing):,} records without a class: {shorten(missing)}.")
        return spec
    if isinstance(spec, tuple):
        if len(spec) != 2:
            raise DataError(f"Expected (images, labels), a tuple of two; got a tuple of {len(spec)}.")
        return _from_arrays("arrays", *spec, labelled=labelled, read_label=read_label)
    _refuse_unused_columns(str(spec), data)
    if isinstance(spec, str) and spec in BUILTIN:
        source = _from_arrays(spec, *BUILTIN[spec](), labelled=labelled, read_label=read_label)
        message = f"'{spec}' is the built-in set; write ./{spec} for what lies here under that name."
        return replace(source, findings=(Finding("built-in", "note", message),)) if Path(spec).exists() else source
    path = Path(spec).expanduser().absolute()
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise DataError(
            f"There is no file or folder '{spec}', and no built-in set of that name. {did_you_mean(str(spec), BUILTIN)}"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"'{spec}' cannot be looked at: {getattr(error, 'strerror', None) or error}.") from None
    if stat.S_ISDIR(mode):
        sets, findings = read_idx_folder(path, labelled=labelled)
        return _from_idx(path, sets, findings, labelled) if sets else _from_folder(path, labelled=labelled)
    if not stat.S_ISREG(mode):
        raise DataError(f"'{spec}' is a pipe or device; expected a file or a folder.")
    if is_table(path.name):
        table = read_table(path, data, labelled=labelled, read_label=read_label)
        rows = zip(table.ids, table.images, table.labels, table.groups, table.splits, strict=True)
        return Source(path.stem, tuple(Record(*row) for row in rows), root=path.parent, findings=table.findings)
    if is_idx_name(path.name):
        return _from_idx(path, (read_idx_file(path, labelled=labelled),), (), labelled)
    if not labelled:
        return Source(path.name, (Record(path.name, path, None),), root=path.parent)
    raise DataError(
        f"'{spec}' is a single file; expected a folder, a table (.csv, .tsv, .parquet) or an idx file. "
        f"Unpack an archive first. {layout('photos')}"
    )


def layout(name: str) -> str:
    """The sentence that says how a labelled folder looks."""
    return (
        f"Expected one folder per class, such as {name}/cat/1.jpg and {name}/dog/2.jpg, with or without train, valid "
        f"and test folders above them; or a table with a row per image, such as {name}/labels.csv."
    )


def _refuse_unused_columns(spec: str, data: DataConfig) -> None:
    options = ("image_column", "label_column", "group_column", "split_column")
    said = [f"data.{option}" for option in options if getattr(data, option) is not None]
    if said and not any(is_table(name) for name in (spec, data.source, data.valid or "", data.test or "")):
        raise ConfigError(f"{', '.join(said)}: there is no table to find a column in; '{spec}' is none. Leave it out.")


# In memory ------------------------------------------------------------------------------------------------------------


def _from_arrays(name: str, images: Any, labels: Any, *, labelled: bool, read_label: ReadLabel) -> Source:
    """One record per image; samples without a class are left out with a finding."""
    try:
        array = np.asarray(images)
    except ValueError as error:
        raise DataError(f"Images in memory must all have one shape: {error}.") from None
    if array.ndim not in (3, 4) or array.dtype.kind not in "buif" or 0 in array.shape:
        raise DataError(
            f"Expected images as an array of numbers (N, H, W) or (N, H, W, C), none empty; "
            f"got shape {array.shape} of {array.dtype}."
        )
    if array.ndim == 4 and array.shape[1] in (1, 2, 3, 4) and array.shape[3] > 4:
        raise DataError(
            f"Images of shape {array.shape} look like (N, C, H, W); expected (N, H, W, C). "
            "Use images.transpose(0, 2, 3, 1)."
        )
    ids = [f"{name}#{i}" for i in range(len(array))]
    if not labelled:
        return Source(name, tuple(Record(identity, i, None) for i, identity in enumerate(ids)), array)
    values = np.asarray(labels, dtype=object)
    several = read_label is number_text and values.ndim == 2
    if values.shape[:1] != (len(array),) or not (values.ndim == 1 or several):
        raise DataError(f"Expected one label per image, of shape ({len(array)},); got shape {values.shape}.")
    texts = [read_label(value, f"label {i}") for i, value in enumerate(values.tolist())]
    records = tuple(Record(ids[i], i, text) for i, text in enumerate(texts) if text is not None)
    findings = [] if read_label is number_text else list(similar_classes(texts, name))
    missing = tuple(ids[i] for i, text in enumerate(texts) if text is None)
    if not records:
        raise DataError(f"None of the {len(array):,} images has a label; expected one each.")
    if missing:
        message = f"{len(missing):,} of {len(array):,} images have no class and are left out: {shorten(missing)}."
        findings.append(Finding("missing-label", "warning", message, missing))
    return Source(name, records, array, findings=tuple(findings))


def _from_idx(path: Path, sets: Sequence[IdxSet], findings: tuple[Finding, ...], labelled: bool) -> Source:
    """Sets of one folder as one source; a single set does not say which split it is."""
    first, splits = sets[0], dict[str, str | None]()
    for one in sets:
        shape, expected = one.images.shape[1:], first.images.shape[1:]
        if shape != expected or one.images.dtype != first.images.dtype:
            raise DataError(f"{one.name} holds images of {shape}, {first.name} of {expected}; expected the same.")
        word = one.part.replace("_", "-").split("-")[-1]
        splits[one.name] = _IDX_PARTS.get(word) if len(sets) > 1 else None
    if len(sets) > 1 and (None in splits.values() or len(set(splits.values())) < len(sets)):
        raise DataError(
            f"{path.name} holds the idx sets {', '.join(splits)}; expected one for each of train, valid and test "
            "(t10k). Name one images file instead of the folder."
        )
    records: list[Record] = []
    for one in sets:
        labels = [None] * len(one.images) if one.labels is None else [str(label) for label in one.labels.tolist()]
        for i, label in enumerate(labels):
            records.append(Record(f"{one.name}#{i}", len(records), label, None, splits[one.name]))
    arrays = first.images if len(sets) == 1 else np.concatenate([one.images for one in sets])
    name, root = (first.name, path.parent) if len(sets) == 1 and path.is_file() else (path.name, path)
    return Source(name, tuple(records), arrays, root, findings)


# Folders --------------------------------------------------------------------------------------------------------------


class _Walk:
    """Every file below a root, each folder entered once, and what was passed over.

    Links to files and folders inside the root are followed after all real folders, so a link never takes the place of
    what it points at, and a loop of links ends where it began.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.real_root = os.path.realpath(root)
        self.files: list[str] = []
        self.folders: list[str] = []
        self.passed: dict[str, list[str]] = {}
        self._entered: set[str] = set()
        self._pending = [("", self.real_root)]  # (path below the root ending in a slash, resolved folder)
        self._links: list[str] = []
        while self._pending or self._links:
            if self._pending:
                self._enter(*self._pending.pop())
            else:
                links, self._links = sorted(self._links), []
                for link in links:
                    self._follow(link)

    def _pass(self, kind: str, name: str) -> None:
        self.passed.setdefault(kind, []).append(name)

    def _enter(self, prefix: str, real: str) -> None:
        if real in self._entered:
            self._pass("repeated-link", prefix.rstrip("/"))
            return
        self._entered.add(real)
        if prefix:
            self.folders.append(prefix.rstrip("/"))
        try:
            with os.scandir(real) as entries:
                for entry in entries:
                    self._sort(entry, prefix + entry.name, real)
        except OSError as error:
            self._pass("unreadable-folder", f"{prefix or '.'} ({error.strerror})")

    def _sort(self, entry: os.DirEntry[str], name: str, real: str) -> None:
        if entry.name.startswith(".") or entry.name in SYSTEM_NAMES:
            self._pass("hidden", name)
        elif odd_characters(entry.name):
            self._pass("odd-name", ascii(name)[1:-1])
        elif entry.is_symlink():
            self._links.append(name)
        elif entry.is_dir(follow_symlinks=False):
            self._pending.append((name + "/", os.path.join(real, entry.name)))
        elif entry.is_file(follow_symlinks=False):
            self.files.append(name)
        else:
            self._pass("not-a-file", name)

    def _follow(self, name: str) -> None:
        try:
            real = os.path.realpath(self.root / name, strict=True)
            mode = os.stat(real).st_mode
        except OSError:
            self._pass("broken-link", name)
            return
        if not is_inside(self.real_root, real):
            self._pass("outside-root", name)
        elif stat.S_ISDIR(mode):
            self._pending.append((name + "/", real))
        elif stat.S_ISREG(mode):
            self.files.append(name)
        else:
            self._pass("not-a-file", name)

    def findings(self) -> Iterator[Finding]:
        said: dict[str, tuple[Severity, str]] = {
            "hidden": ("note", "hidden or system entries were passed over"),
            "repeated-link": ("note", "links lead to folders that are read anyway and were not followed"),
            "odd-name": ("warning", "names hold control characters or broken encodings and were not read; rename them"),
            "broken-link": ("warning", "links lead nowhere"),
            "outside-root": (
                "warning",
                f"links lead out of {self.root.name} and were refused; copy what they point at",
            ),
            "not-a-file": ("warning", "entries are pipes, sockets or devices and were not opened"),
            "unreadable-folder": ("error", "folders could not be read; check their permissions"),
        }
        for kind, (severity, text) in said.items():
            if names := sorted(self.passed.get(kind, ()), key=natural_key):
                yield Finding(kind, severity, f"{len(names):,} {text}: {shorten(names)}.", tuple(names))


def _from_folder(root: Path, *, labelled: bool) -> Source:
    walk = _Walk(root)
    name = root.resolve().name or "images"
    findings = list(walk.findings())
    if labelled:
        records, more = _read_classes(name, walk)
    else:
        records = [Record(file, root / file, None) for file in walk.files if is_image_name(file)]
        more = _strange("warning", [file for file in walk.files if not is_image_name(file)])
    findings += more
    if not records:
        reasons = "".join(f" {finding.message}" for finding in findings)
        raise DataError(f"{root} holds no images.{reasons} {layout(name) if labelled else ''}".rstrip())
    records.sort(key=lambda record: natural_key(record.id))
    return Source(name, tuple(records), root=root, findings=tuple(findings))


def _read_classes(name: str, walk: _Walk) -> tuple[list[Record], list[Finding]]:
    """Files as records: the first folder below the root, or below a split folder, is the class."""
    parts, findings = _split_folders(name, walk)
    classes = _class_labels(name, walk.folders, parts)
    records: list[Record] = []
    filled: set[str] = set()
    unlabelled, strange, beside = [], [], []
    for file in walk.files:
        folders = file.split("/")[:-1]
        folder = "/".join(folders[: 1 + bool(parts)])
        if folder not in classes:  # a matrix may be an image inside a class; beside the classes it is a note
            is_note = not is_image_name(file) or file.lower().endswith((".txt", ".csv"))
            (beside if is_note else unlabelled).append(file)
        elif is_image_name(file):
            records.append(Record(file, walk.root / file, classes[folder], None, parts.get(folders[0])))
            filled.add(folder)
        else:
            strange.append(file)
    tables = [file for file in beside if is_table(file) and "/" not in file]
    hint = f" To use the table, name it: {name}/{tables[0]}." if tables else ""
    if unlabelled and not records:
        raise DataError(f"{name} holds {len(unlabelled):,} images but none in a class folder. {layout(name)}{hint}")
    findings += _strange("warning", strange) + _strange("note", beside)
    if unlabelled:
        unlabelled.sort(key=natural_key)
        message = f"{len(unlabelled):,} images lie in no class folder and are left out: {shorten(unlabelled)}."
        findings.append(Finding("missing-label", "warning", message, tuple(unlabelled)))
    if empty := sorted(classes.keys() - filled, key=natural_key):
        message = f"{len(empty):,} class folders hold no image: {shorten(empty)}."
        findings.append(Finding("empty-class", "warning", message, tuple(empty)))
    if len(labels := {classes[folder] for folder in filled}) == 1:
        inner = sorted({"/".join(record.id.split("/")[:-1]) for record in records} - filled, key=natural_key)
        nested = f" If {shorten(inner)} are the classes, name the folder they lie in." if inner else ""
        message = f"The only class of {name} is '{labels.pop()}'.{nested}{hint}"
        findings.append(Finding("one-class", "warning", message))
    return records, findings


def _split_folders(name: str, walk: _Walk) -> tuple[dict[str, str], list[Finding]]:
    """{folder: split}, empty where the folders directly below the root are classes."""
    tops = sorted((folder for folder in walk.folders if "/" not in folder), key=natural_key)
    splits = {top: SPLITS[top.lower()] for top in tops if top.lower() in SPLITS}
    others = shorten(top for top in tops if top not in splits)
    holders = [top for top in splits if any(folder.startswith(top + "/") for folder in walk.folders)]
    if holders and others:
        raise DataError(
            f"{name} holds the split folder {holders[0]} and beside it {others}: are those classes? Move them into "
            f"{holders[0]} or out of {name}; if '{holders[0]}' is itself a class, give it another name."
        )
    if splits and not others and not holders:
        raise DataError(f"{name} has {shorten(splits)} but no class folders inside. {layout(name)}")
    if splits and others:
        message = f"{shorten(splits)} beside {others} counts as a class, not as a split; it holds no class folders."
        return {}, [Finding("split-name", "warning", message, tuple(splits))]
    if len(set(splits.values())) < len(splits):
        raise DataError(f"{name} holds two folders for one split: {', '.join(splits)}. Join them.")
    return splits, []


def _class_labels(name: str, folders: Sequence[str], parts: dict[str, str]) -> dict[str, str]:
    """{folder that is a class: its label}.

    Raises:
        DataError: two folders would be one class on another machine.
    """
    found: dict[str, str] = {}
    for folder in folders:
        above, _, last = folder.rpartition("/")
        if above not in (parts or ("",)):
            continue
        label = label_text(last, f"folder {folder}")
        if label is None:
            raise DataError(f"{name} has a class folder named {last!r}; a class needs a name.")
        found[folder] = label
    for part in parts or ("",):
        _refuse_look_alikes(name, [folder for folder in found if folder.rpartition("/")[0] == part])
    _refuse_look_alikes(name, found.values())
    return found


def _refuse_look_alikes(name: str, labels: Iterable[str]) -> None:
    for alike in look_alikes(labels):
        raise DataError(
            f"{name} has class folders that differ only in case, Unicode form or spaces: "
            f"{' and '.join(map(ascii, alike))}. Join them, or rename one."
        )


def _strange(severity: Severity, files: list[str]) -> list[Finding]:
    files.sort(key=natural_key)
    message = f"{len(files):,} files do not have the name of an image and were not read: {shorten(files)}."
    return [Finding("not-an-image-name", severity, message, tuple(files))] if files else []
