"""A few pictures as files and one finished run made from them, shared by the tests of the upper floors."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import convlens as cl
import rig
from convlens import artefact, experiment, summary
from convlens.data.pixels import encode_png
from convlens.run import Run

OPTIONS: dict[str, Any] = {**rig.QUICK, "epochs": 6, "options": {"width": 8}, "preset": "none"}
CLASSES = ("left", "right", "top")
FILES = {  # of a finished run
    "checkpoints",
    "contact_sheet.png",
    "data.json",
    "evaluation.json",
    "events.jsonl",
    "health.json",
    "history.jsonl",
    "lock",
    "model.safetensors",
    "network.json",
    "report.html",
    "run.json",
    "test_opened.json",
}


def photos(folder: Path, n: int = 120) -> Path:
    """A folder for each class, filled with the pictures of `rig`."""
    images, labels = rig.pictures(n)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / f"{number:03d}.png").write_bytes(encode_png(image))
    return folder


@cache
def shared() -> Path:
    """Pictures and a run that every test may read and none may change."""
    folder = tempfile.TemporaryDirectory(prefix="convlens-tests-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


@cache
def shared_photos() -> Path:
    """The pictures every test may read."""
    return photos(shared() / "photos")


@cache
def finished() -> Run:
    """A finished run on them, with its report, even where the first test to ask for it draws none."""
    with patch.object(experiment, "summarise", summary.summarise):
        return cl.train(shared_photos(), directory=str(shared() / "runs"), name="finished", **OPTIONS)


@contextmanager
def unwritable() -> Iterator[Path]:
    """A folder this process may read but not write; the superuser has to become somebody else for that."""
    folder = Path(tempfile.mkdtemp(prefix="convlens-tests-"))
    (folder / "old.txt").write_text("old")
    (folder / "lock").touch(mode=0o444)
    folder.chmod(0o555)
    if root := os.geteuid() == 0:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def weights(path: Path) -> dict[str, bytes]:
    """The tensors of a sealed file, as bytes that can be compared."""
    tensors, _ = artefact.read(path)
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def timeless(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The history without what a clock decides."""
    return [
        {key: row[key] for key in row if key not in ("seconds", "waiting_s", "validation_s", "images_per_s")}
        for row in rows
    ]
