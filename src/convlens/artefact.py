"""The one file format: a `.safetensors` file with a JSON card, sealed by a checksum over every byte.

Model files and checkpoints are both written and read here. Nothing is unpickled, nothing is imported by name, and a
file is believed only after its header, its names, its checksum and its numbers have been looked at. What the card
means is the business of the floors above.

The whole card lies in one metadata entry, `convlens`, as JSON text. It holds `sha256`, the digest of the complete
file with those 64 digits written as zeros, so that no byte, of weights or of card, can change unnoticed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convlens.errors import ArtefactError
from convlens.files import write_atomic

if TYPE_CHECKING:
    import torch

KINDS = {"model": 1, "checkpoint": 1}
ENTRY = "convlens"
BLANK = "0" * 64
MAX_HEADER_BYTES = 16 * 2**20
NAME = re.compile(r"[A-Za-z0-9_.\-]{1,200}")
DTYPES = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"}


def write(path: str | Path, tensors: Mapping[str, torch.Tensor], card: Mapping[str, Any], kind: str = "model") -> None:
    """Write tensors and their card as one sealed file, atomically.

    Raises:
        ArtefactError: a tensor's name is not plain, or a value is not finite.
        OSError: the file could not be written; an older file of that name is untouched.
    """
    write_atomic(path, seal(tensors, card, kind))


def seal(tensors: Mapping[str, torch.Tensor], card: Mapping[str, Any], kind: str) -> bytes:
    """The bytes of a sealed file."""
    from safetensors.torch import save

    for name, tensor in tensors.items():
        if not NAME.fullmatch(name):
            raise ArtefactError(f"Tensor names are letters, digits, '_', '-' and '.', up to 200; got {name!r}.")
        _require_finite(name, tensor, "the file to write")
    text = json.dumps(
        {"card": card, "format": f"convlens.{kind}/{KINDS[kind]}", "sha256": BLANK}, sort_keys=True, allow_nan=False
    )
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = bytearray(save(plain, {ENTRY: text}))
    at = data.find(BLANK.encode(), 8, 8 + _header_length(data))
    data[at : at + 64] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)


def read(path: str | Path, kind: str = "model") -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a sealed file back as (tensors, card), believing nothing before it is checked.

    Raises:
        ArtefactError: the file is missing, foreign, damaged, from a newer version, or holds values that are not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = _read_bytes(Path(path))
    card = _open_seal(data, str(path), kind)
    try:
        tensors = load(bytes(data))
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise ArtefactError(f"{path} is damaged: {error}.") from None
    for name, tensor in tensors.items():
        _require_finite(name, tensor, str(path))
    return tensors, card


def _read_bytes(path: Path) -> bytearray:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise ArtefactError(f"Cannot open {path}: {error.strerror}.") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ArtefactError(f"{path} is not a regular file. Give the path of a .safetensors file.")
    with os.fdopen(handle, "rb") as file:
        size = os.fstat(handle).st_size
        start = file.read(8)
        if size < 8 or _header_length(start) > min(MAX_HEADER_BYTES, size - 8):
            raise ArtefactError(
                f"{path} is not a model file of convlens: it does not begin like a .safetensors file. "
                f"Nothing else is opened; pickled files (.pt, .pth, .pkl) can run code and are never read here."
            )
        data = bytearray(start)
        data += file.read(size - 8)
    return data


def _open_seal(data: bytearray, path: str, kind: str) -> dict[str, Any]:
    end = 8 + _header_length(data)
    header = _parse(bytes(data[8:end]), path)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not isinstance(metadata.get(ENTRY), str):
        raise ArtefactError(
            f"{path} is a .safetensors file, but convlens did not write it: it has no card, so its classes and its "
            f"preprocessing are unknown. Use such weights as a start: --set network.weights={path}."
        )
    seal_ = _parse(metadata[ENTRY].encode(), path)
    _require_version(seal_.get("format"), path, kind)
    for name, entry in header.items():
        if not NAME.fullmatch(name) or not isinstance(entry, dict) or entry.get("dtype") not in DTYPES:
            raise ArtefactError(f"{path} is damaged: it has a tensor of an unexpected name or kind, {name[:60]!r}.")
    digest, card = seal_.get("sha256"), seal_.get("card")
    if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest) or not isinstance(card, dict):
        raise ArtefactError(f"{path} is damaged: its card has no checksum or no content. Use another copy.")
    at = data.find(digest.encode(), 8, end)
    blanked = hashlib.sha256(data[:at])
    blanked.update(BLANK.encode())
    blanked.update(memoryview(data)[at + 64 :])
    if blanked.hexdigest() != digest:
        raise ArtefactError(f"{path} is damaged: its checksum does not match its content. Use another copy.")
    return card


def _require_version(found: Any, path: str, kind: str) -> None:
    match = re.fullmatch(r"convlens\.([a-z]+)/(\d{1,6})", found) if isinstance(found, str) else None
    if not match or match[1] not in KINDS:
        raise ArtefactError(f"{path} has the unknown format {found!r}; expected convlens.{kind}/{KINDS[kind]}.")
    if match[1] != kind:
        raise ArtefactError(f"{path} is a {match[1]}; expected a {kind}.")
    if int(match[2]) > KINDS[kind]:
        raise ArtefactError(
            f"{path} was made by a newer version of convlens (format {match[2]}; this one reads up to {KINDS[kind]}). "
            f"Upgrade convlens."
        )


def _parse(text: bytes, path: str) -> dict[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=_no_twins)
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is damaged: its header is not readable ({error}).") from None
    if not isinstance(value, dict):
        raise ArtefactError(f"{path} is damaged: its header is not a table.")
    return value


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name occurs twice")
    return table


def _require_finite(name: str, tensor: torch.Tensor, where: str) -> None:
    if tensor.is_floating_point() and not tensor.isfinite().all():
        raise ArtefactError(f"{where}: the tensor {name} holds values that are not finite.")


def _header_length(data: bytes | bytearray) -> int:
    return int.from_bytes(data[:8], "little")
