"""Checkpoints survive what disks and people do to them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from convlens import artefact
from convlens.errors import ArtefactError
from convlens.training.checkpoint import Checkpoints
from convlens.training.history import Events, History


def filled(folder: Path, steps: int = 4) -> tuple[Checkpoints, Events]:
    events = Events()
    checkpoints = Checkpoints(folder, events, 0.0)
    for step in range(1, steps + 1):
        checkpoints.save(step, ({"w": torch.full((50,), float(step))}, {"step": step}))
    return checkpoints, events


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    checkpoints, _ = filled(tmp_path)
    assert [p.name for p in checkpoints.list()] == ["step-00000003.safetensors", "step-00000004.safetensors"]
    found = checkpoints.load()
    assert found is not None
    assert found[1] == {"step": 4}
    assert found[0]["w"][0] == 4


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "delete"])
def test_a_damaged_newest_is_set_aside_and_the_one_before_used(tmp_path: Path, damage: str) -> None:
    checkpoints, events = filled(tmp_path)
    newest = checkpoints.list()[-1]
    data = bytearray(newest.read_bytes())
    if damage == "delete":
        newest.unlink()
    else:
        data[-20] ^= 1
        newest.write_bytes({"truncate": data[:-7], "flip": data, "empty": b""}[damage])
    found = checkpoints.load()
    assert found is not None
    assert found[1] == {"step": 3}
    if damage != "delete":
        assert "set aside as step-00000004.damaged" in events[-1]["message"]
        assert (tmp_path / "step-00000004.damaged").exists()


def test_when_all_are_damaged_training_never_starts_afresh(tmp_path: Path) -> None:
    checkpoints, _ = filled(tmp_path)
    for path in checkpoints.list():
        path.write_bytes(b"")
    with pytest.raises(ArtefactError, match="never goes on from fresh weights unasked"):
        checkpoints.load()
    assert Checkpoints(tmp_path / "new", Events(), 0.0).load() is None


def test_a_full_disk_is_noted_and_the_old_ones_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints, events = filled(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(artefact, "write", full)
        assert checkpoints.save(5, ({}, {})) is None
    assert checkpoints.failed == "the disk is full"
    assert "was not written: the disk is full. Older ones are kept." in events[-1]["message"]
    found = checkpoints.load()
    assert found is not None
    assert found[1] == {"step": 4}
    checkpoints.save(6, ({"w": torch.ones(1)}, {"step": 6}))
    assert checkpoints.failed == ""


def test_half_written_files_are_swept(tmp_path: Path) -> None:
    orphan = tmp_path / "step-00000009.safetensors.123.writing"
    orphan.write_bytes(b"half")
    Checkpoints(tmp_path, Events(), 0.0)
    assert not orphan.exists()


def test_a_history_cut_short_by_a_crash_is_read_and_cut_back(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    history = History(path)
    for epoch in range(1, 4):
        history.append({"epoch": epoch})
    with path.open("a") as file:
        file.write('{"epoch": 4, "val')
    again = History(path)
    assert again.column("epoch") == [1, 2, 3]
    again.cut(2)
    assert History(path).column("epoch") == [1, 2]


def test_a_history_on_a_full_disk_catches_up_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(tmp_path / "history.jsonl")
    history.append({"epoch": 1})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        history.append({"epoch": 2})
        history.append({"epoch": 3})
    assert history.column("epoch") == [1, 2, 3]
    history.append({"epoch": 4})
    assert History(tmp_path / "history.jsonl").column("epoch") == [1, 2, 3, 4]
