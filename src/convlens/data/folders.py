"""Folders of images: every file below a root, and the classes and splits that folders stand for."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from convlens.data.classes import natural_key
from convlens.data.findings import Finding, Severity, shorten
from convlens.data.labels import label_text, look_alikes, odd_characters
from convlens.data.record import Record, Source
from convlens.data.tables import SPLITS, is_image_name, is_inside, is_table
from convlens.errors import DataError

SYSTEM_NAMES = ("__MACOSX", "Thumbs.db", "desktop.ini")
Labels = Literal["needed", "if any", "none"]


def layout(name: str) -> str:
    """The sentence that says how a labelled folder looks."""
    return (
        f"Expected one folder per class, such as {name}/cat/1.jpg and {name}/dog/2.jpg, with or without train, valid "
        f"and test folders above them; or a table with a row per image, such as {name}/labels.csv."
    )


class Walk:
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


def read_folder(root: Path, *, labels: Labels) -> Source:
    """Every image below a root.

    Args:
        labels: the folders are classes; or only if there are any; or they are not.

    Raises:
        DataError: there are no images, or none in a class folder.
    """
    walk = Walk(root)
    name = root.resolve().name or "images"
    findings = list(walk.findings())
    labelled = labels == "needed" or (labels == "if any" and not _flat(walk))
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


def _flat(walk: Walk) -> bool:
    """Whether images lie beside one another, and none in a folder below the root."""
    return not any("/" in file for file in walk.files if is_image_name(file))


def _read_classes(name: str, walk: Walk) -> tuple[list[Record], list[Finding]]:
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


def _split_folders(name: str, walk: Walk) -> tuple[dict[str, str], list[Finding]]:
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
