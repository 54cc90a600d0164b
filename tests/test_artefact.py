"""A sealed file is either exactly what was written or a clear error; nothing in it is ever run."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from convlens import artefact
from convlens.errors import ArtefactError

TENSORS = {"conv.weight": torch.arange(12.0).reshape(3, 4), "count": torch.tensor([7]), "flag": torch.tensor([True])}
CARD = {"classes": ["2", "10", "Ä"], "nested": {"value": 0.1}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "model.safetensors"
    artefact.write(target, TENSORS, CARD)
    return target


def test_round_trip_is_exact(path: Path) -> None:
    tensors, card = artefact.read(path)
    assert card == CARD
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_writing_twice_gives_the_same_bytes() -> None:
    assert artefact.seal(TENSORS, CARD, "model") == artefact.seal(TENSORS, CARD, "model")


SEALED = artefact.seal(TENSORS, CARD, "model")


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, len(SEALED) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_is_an_error(tmp_path_factory: pytest.TempPathFactory, at: int, bit: int) -> None:
    data = bytearray(SEALED)
    data[at] ^= 1 << bit
    target = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    target.write_bytes(data)
    with pytest.raises(ArtefactError):
        artefact.read(target)


@settings(max_examples=60, deadline=None)
@given(length=st.integers(0, len(SEALED) - 1))
def test_any_truncation_is_an_error(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    target = tmp_path_factory.getbasetemp() / "short.safetensors"
    target.write_bytes(SEALED[:length])
    with pytest.raises(ArtefactError):
        artefact.read(target)


def header(text: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text + data


def resealed(change: Callable[[dict], None]) -> bytes:
    """A file whose seal is right but whose header was changed by someone who knows the format."""
    import hashlib

    end = 8 + artefact._header_length(SEALED)
    table = json.loads(SEALED[8:end])
    card = json.loads(table["__metadata__"]["convlens"])
    card["sha256"] = artefact.BLANK
    change(card)
    table["__metadata__"]["convlens"] = json.dumps(card, sort_keys=True)
    data = bytearray(header(json.dumps(table).encode(), SEALED[end:]))
    at = data.find(artefact.BLANK.encode())
    if at >= 0:
        data[at : at + 64] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not a model file"),
    "seven bytes": (b"1234567", "not a model file"),
    "header of 2^63 bytes": (struct.pack("<Q", 2**63) + b"{}", "not a model file"),
    "header longer than the file": (struct.pack("<Q", 100) + b"{}", "not a model file"),
    "header of 101 MB": (struct.pack("<Q", 101_000_000) + b" " * 1000, "not a model file"),
    "not JSON": (header(b"{nope}"), "header is not readable"),
    "a list": (header(b"[]"), "not a table"),
    "nested 200,000 deep": (header(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), "header is not readable"),
    "a name twice": (header(b'{"a":{},"a":{}}'), "a name occurs twice"),
    "no card": (save({"a": torch.zeros(2)}), "convlens did not write it"),
    "foreign metadata": (save({"a": torch.zeros(2)}, {"format": "pt"}), "convlens did not write it"),
    "unknown format": (resealed(lambda card: card.update(format="other.model/1")), "unknown format"),
    "a newer version": (resealed(lambda card: card.update(format="convlens.model/9")), "newer version"),
    "a checkpoint": (resealed(lambda card: card.update(format="convlens.checkpoint/1")), "is a checkpoint"),
    "no card content": (resealed(lambda card: card.pop("card")), "no content"),
    "no checksum": (resealed(lambda card: card.pop("sha256")), "no checksum"),
    "a wrong checksum": (resealed(lambda card: card.update(sha256="ab" * 32)), "checksum does not match"),
    "a zip": (b"PK\x03\x04" + b"0" * 100, "not a model file"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_one_clear_error(tmp_path: Path, case: str) -> None:
    data, words = HOSTILE[case]
    target = tmp_path / "hostile.safetensors"
    target.write_bytes(data)
    with pytest.raises(ArtefactError, match=words):
        artefact.read(target)


class Bomb:
    def __reduce__(self) -> tuple:
        return os.system, ("touch canary",)


def test_a_pickle_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ArtefactError, match="can run code"):
        artefact.read("evil.pt")
    assert not (tmp_path / "canary").exists()


def test_values_that_are_not_finite_are_refused_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {"w": torch.tensor([1.0, float("nan")])}
    with pytest.raises(ArtefactError, match="not finite"):
        artefact.write(tmp_path / "a.safetensors", bad, {})
    with monkeypatch.context() as patch:
        patch.setattr(artefact, "_require_finite", lambda *_: None)
        artefact.write(tmp_path / "a.safetensors", bad, {})
    with pytest.raises(ArtefactError, match="the tensor w holds values that are not finite"):
        artefact.read(tmp_path / "a.safetensors")


def test_names_are_plain(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="Tensor names are letters"):
        artefact.write(tmp_path / "a.safetensors", {"../evil\0": torch.zeros(1)}, {})


def test_what_is_not_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtefactError, match="not a regular file"):
        artefact.read(tmp_path / "pipe")
    with pytest.raises(ArtefactError, match="No such file"):
        artefact.read(tmp_path / "missing.safetensors")
    with pytest.raises(ArtefactError, match="not a regular file"):
        artefact.read(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_nothing_aside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        artefact.write(path, {"a": torch.ones(100)}, {})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]
