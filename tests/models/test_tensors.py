"""Tensors from files: in order where the format keeps it, and never code."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from convlens.errors import ArtefactError
from convlens.models.tensors import read_tensors

TENSORS = OrderedDict(second=torch.ones(2), first=torch.zeros(3, 1))


class Trap:
    """What a hostile file does when it is unpickled by a careless reader."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("trap-was-sprung",)


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model"])
def test_a_torch_file_keeps_the_order_also_inside_a_checkpoint(
    tmp_path: Path, suffix: str, wrapper: str | None
) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save({wrapper: TENSORS, "epoch": 3} if wrapper else TENSORS, path)
    found, ordered = read_tensors(path)
    assert ordered
    assert list(found) == ["second", "first"]
    assert torch.equal(found["first"], torch.zeros(3, 1))


def test_a_safetensors_file_has_lost_the_order(tmp_path: Path) -> None:
    save_file(dict(TENSORS), tmp_path / "weights.safetensors")
    found, ordered = read_tensors(tmp_path / "weights.safetensors")
    assert not ordered
    assert list(found) == ["first", "second"]


def test_code_in_a_torch_file_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": TENSORS, "extra": Trap()}, "trap.pth")
    torch.load("trap.pth", weights_only=False)
    assert (tmp_path / "trap-was-sprung").is_dir(), "the trap works on a careless reader"
    (tmp_path / "trap-was-sprung").rmdir()
    with pytest.raises(ArtefactError, match=r"holds code beside the tensors, which is never run .*state_dict\(\)"):
        read_tensors("trap.pth")
    assert not (tmp_path / "trap-was-sprung").exists()


def test_a_whole_network_in_a_file_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 3), tmp_path / "network.pth")
    with pytest.raises(ArtefactError, match="cannot be read as weights"):
        read_tensors(tmp_path / "network.pth")


@pytest.mark.parametrize("content", [[torch.ones(2)], {"epoch": 3}, {"state_dict": {"a": 1}}, torch.ones(2)])
def test_anything_but_a_table_of_tensors_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ArtefactError, match=r"holds no table of tensors by name.*under state_dict, model_state_dict"):
        read_tensors(tmp_path / "a.pth")


def test_other_files_absent_files_and_damaged_files(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:300])
    (tmp_path / "cut.safetensors").write_bytes(b"0123456789 not a header")
    (tmp_path / "empty.pt").touch()
    for name, message in [
        ("cut.pth", "cannot be read as weights: it is damaged"),
        ("empty.pt", "cannot be read as weights: it is damaged"),
        ("cut.safetensors", "is not a .safetensors file, or is damaged"),
        ("none.pth", "There is no file of weights"),
        ("none.safetensors", "There is no file of weights"),
        ("weights.bin", r"a .safetensors file, or from a .pth or .pt file of tensors; got 'weights.bin'"),
    ]:
        with pytest.raises(ArtefactError, match=message):
            read_tensors(tmp_path / name)
