"""A file is the old one or the new one; a folder belongs to one process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import small
from convlens.errors import RunError
from convlens.files import flush_folder, locked, sweep_aside, write_atomic, write_json


def test_what_is_written_is_there_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_atomic(target, "one")
    write_atomic(target, b"two")
    assert target.read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("stage", ["write", "fsync", "replace"])
def test_a_failure_at_any_stage_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    target = tmp_path / "a.txt"
    write_atomic(target, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    data: str | bytes = "new"
    if stage == "write":
        data = memoryview(b"new")[::2]  # type: ignore[assignment]  # a buffer that no file accepts
    else:
        monkeypatch.setattr(os, stage, full)
    with pytest.raises((OSError, BufferError)):
        write_atomic(target, data)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_the_data_reaches_the_disk_before_the_name_and_the_name_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(handle: int) -> None:
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        fsync(handle)

    def note_replace(source: Path, target: Path) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_atomic(tmp_path / "a.txt", "new")
    assert calls == ["file", "rename", "folder"]
    flush_folder(tmp_path)
    assert calls[-1] == "folder"


def test_json_is_readable_and_never_holds_what_json_has_not(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(target, {"name": "Müller", "value": 0.1})
    assert "Müller" in target.read_text(encoding="utf-8")
    assert json.loads(target.read_text(encoding="utf-8")) == {"name": "Müller", "value": 0.1}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(target, {"value": float("nan")})
    assert json.loads(target.read_text(encoding="utf-8"))["value"] == 0.1


def test_a_process_killed_while_writing_leaves_an_orphan_that_is_swept(tmp_path: Path) -> None:
    write_atomic(tmp_path / "kept.json", "kept")
    child = (
        "import os, signal, sys; from convlens.files import write_atomic; "
        "os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL); write_atomic(sys.argv[1], 'half')"
    )
    done = subprocess.run([sys.executable, "-c", child, str(tmp_path / "kept.json")], check=False, timeout=60)
    assert done.returncode == -9
    assert (tmp_path / "kept.json").read_text() == "kept"
    orphans = {path.name for path in tmp_path.iterdir()} - {"kept.json"}
    assert len(orphans) == 1
    assert set(sweep_aside(tmp_path)) == orphans
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]
    assert sweep_aside(tmp_path) == []


def test_a_folder_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(RunError, match="Another process is working in"), locked(tmp_path):
            pass
        child = "import pathlib, sys; from convlens.files import locked; locked(pathlib.Path(sys.argv[1])).__enter__()"
        command = [sys.executable, "-c", child, str(tmp_path)]
        done = subprocess.run(command, check=False, timeout=60, capture_output=True, text=True)
        assert "RunError" in done.stderr
    with locked(tmp_path):
        pass


def test_a_lock_ends_with_the_work_even_when_it_fails(tmp_path: Path) -> None:
    with contextlib.suppress(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_is_refused_by_name() -> None:
    with small.unwritable() as folder:
        words = f"{folder} cannot be written .*Permission denied.*run.directory"
        with pytest.raises(RunError, match=words), locked(folder):
            pass
        with pytest.raises(OSError, match="Permission denied"):
            write_atomic(folder / "old.txt", "new")
        assert (folder / "old.txt").read_text() == "old"
