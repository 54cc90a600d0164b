"""What a frozen backbone gives for every image, computed once; the head then trains on it as on small images.

Nothing else changes: order, seeds, checkpoints and averages are the engine's, and an epoch sees the same numbers as if
the backbone had run again. That holds where a picture is the same in every epoch, or one of a few views in turn, and
where the head's answer, a row of numbers, is the network's; `hindrance` says why it does not. Features stay in memory,
or, where they are too many, in a file beside the store, used again only if everything that decides them is the same.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convlens.config import Config
from convlens.data.augment import Augment, changing
from convlens.data.batch import Batch, Batches
from convlens.data.prepare import Prepared
from convlens.files import locked, sweep_aside, write_atomic, writing
from convlens.models.depth import head_of, in_head
from convlens.options import AugmentConfig
from convlens.training.hardware import Hardware, keep_depthwise_float32
from convlens.training.transfer import Transfer, in_evaluation

FORMAT = "convlens.features/1"
MIB = 2**20
CHUNK = 64
TOLERANCE = 1e-4
Progress = Callable[[int, int], None]
ToInput = Callable[[Tensor, np.ndarray], Tensor]
Piece = tuple[np.ndarray, np.ndarray]


class Head(nn.Module):
    """The last layer of a network as a network of its own, with the same parameters.

    Shapes:
        (N, D, 1, 1) features -> (N, K)
    """

    def __init__(self, head: nn.Module, shape: Sequence[int]) -> None:
        super().__init__()
        self.head, self.shape = head, tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.reshape(len(x), *self.shape)).flatten(1)


@dataclass(frozen=True)
class Features:
    """Cached features and the head that trains on them; presents a batch of them as what it is.

    Shapes:
        every array (rows of the store, D) float32; rows that nobody uses are 0.

    Attributes:
        views: of training images, in the precision of training; epoch e uses view e modulo their number.
        plain: of validation images, in float32, as in a prediction.
        of_changed: the views are of changed pictures, not of the images as they are.
        images: how many there are features of.
        seconds: it took to compute them.
    """

    head: Head
    views: tuple[np.ndarray, ...]
    plain: np.ndarray
    of_changed: bool
    images: int
    seconds: float

    def __str__(self) -> str:
        views = f", {len(self.views)} views of each" if len(self.views) > 1 else ""
        size = f"{self.plain.shape[1]:,} features of {self.images:,} images{views}"
        return f"{size}, computed once in {self.seconds:.3g} s"

    def tensor(self, batch: Tensor) -> Tensor:
        """A batch as the head's input: (N, D) -> (N, D, 1, 1)."""
        return batch[:, :, None, None]

    def still(self, images: Tensor, targets: Tensor, samples: np.ndarray) -> tuple[Tensor, Tensor]:
        """As `tensor`."""
        return self.tensor(images), targets

    def changed(self, images: Tensor, targets: Tensor, samples: np.ndarray, epoch: int) -> tuple[Tensor, Tensor]:
        """The same; the pictures were changed before the features were computed."""
        return self.tensor(images), targets


class FeatureBatches(Batches):
    """Batches of features; each epoch reads the next view.

    Args:
        views: as of `Features`; all else as for `Batches`.
    """

    def __init__(self, views: Sequence[np.ndarray], targets: np.ndarray, indices: np.ndarray, **settings: Any) -> None:
        super().__init__(views[0], targets, indices, **settings)
        self.views = views

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from batch `start` on."""
        self.images = self.views[epoch % len(self.views)]
        yield from super().epoch(epoch, start)


def hindrance(network: nn.Module, transfer: Transfer, augment: AugmentConfig, x: Tensor) -> str:
    """Why features cannot be computed once; "" where they can.

    Args:
        network: stays as it is, but for its head, which gets random values: give a copy.
        augment: with nothing open.
        x: some inputs (N, C, H, W).
    """
    if not transfer.only_head:
        return "layers below the head are trained"
    if augment.mixup or augment.cutmix:
        return "mixup and cutmix make new pictures in every epoch"
    if (changes := changing(augment)) and not augment.views:
        return f"augmentation ({', '.join(changes)}) makes new pictures in every epoch; augment.views would limit them"
    name, *others = transfer.head
    if others:
        return f"the head is of {len(transfer.head)} layers ({', '.join(transfer.head)})"
    x = x.to(next(network.parameters()).device)
    generator = torch.Generator().manual_seed(0)
    head = network.get_submodule(name)
    with torch.no_grad(), in_evaluation(network), capturing(network, name) as caught:
        for parameter in head.parameters():  # two heads of zeros would always agree
            parameter.copy_(torch.randn(parameter.shape, generator=generator).to(x.device))
        outputs = network(x)
        if outputs.ndim > 2:
            return "the network answers with more than a row of numbers"
        if not caught:
            return f"{name} is no layer that is called as a whole"
        if len(caught) > 1:
            return "the head is used more than once"
        answers = Head(head, caught[0].shape[1:])(caught[0])
    same = answers.shape == outputs.shape and torch.allclose(answers, outputs, rtol=TOLERANCE, atol=TOLERANCE)
    return "" if same else "the network goes on after its last layer"


def compute_features(
    network: nn.Module, config: Config, prepared: Prepared, hardware: Hardware, progress: Progress | None = None
) -> Features:
    """Run the backbone once over the training images, in each of their views, and over those of validation.

    Args:
        network: moved to the device; otherwise only its head will change, when that is trained.
        config: with nothing open; its `train.cache_features` is true.
        progress: called with (pictures done, pictures in all).

    Raises:
        OSError: there is no room on the disk.
        RunError: another process is computing the same.
    """
    started = time.perf_counter()
    network.to(hardware.device, memory_format=hardware.memory_format)  # type: ignore[call-overload]
    store, split, preprocess = prepared.store, prepared.split, prepared.preprocess
    name = head_of(network)[0]
    augment = Augment(config.augment, preprocess, seed=config.seed, classes=len(prepared.classes))
    train, valid, changed = np.sort(split.train), np.sort(split.valid), bool(changing(config.augment))
    views = range((config.augment.views or 1) if changed else 1)
    asked = [(f"view {view}", train, _viewed(augment, view), hardware) for view in views]
    asked.append(("still", valid, unchanged(prepared), replace(hardware, precision="float32")))
    done, total = 0, sum(len(rows) for _, rows, _, _ in asked)

    def count(pieces: Iterable[Piece]) -> Iterator[Piece]:
        nonlocal done
        for piece in pieces:
            yield piece
            done += len(piece[0])
            if progress:
                progress(done, total)

    shape = feature_shape(network, name, preprocess.tensor(torch.from_numpy(store.images[:1])).to(hardware.device))
    size = len(store.images), int(np.prod(shape))
    large = 4 * size[0] * size[1] * len(asked) > config.data.memory_mb * MIB
    secret = _key(network, config, prepared, hardware) if large else ""
    found = []
    for what, rows, to_input, arithmetic in asked:
        pieces = count(extract(network, name, store.images, rows, to_input, arithmetic))
        if large:
            key = hashlib.sha256(f"{secret} {what}".encode() + rows.tobytes()).hexdigest()
            found.append(_mapped(Path(config.run.directory) / ".store" / f"features-{key[:16]}", key, size, pieces))
        else:
            array = np.zeros(size, np.float32)
            for some, values in pieces:
                array[some] = values
            found.append(array)
    head = Head(network.get_submodule(name), shape)
    seconds = time.perf_counter() - started
    return Features(head, tuple(found[:-1]), found[-1], changed, len(train) + len(valid), seconds)


def extract(
    network: nn.Module, head: str, images: np.ndarray, rows: np.ndarray, to_input: ToInput, hardware: Hardware
) -> Iterator[Piece]:
    """Yield (rows, features (n, D)) for some rows of the store, in order: what reaches the head in evaluation mode.

    Args:
        to_input: from stored images and their rows to the network's input, on the device.
    """
    zeros = np.zeros(len(images), np.int64)
    batches = Batches(images, zeros, rows, batch_size=CHUNK, seed=0, shuffle=False)
    with keep_depthwise_float32(network, hardware), in_evaluation(network), capturing(network, head) as caught:
        for batch in batches.epoch(0):
            with torch.inference_mode(), hardware.autocast():
                x = to_input(batch.images.to(hardware.device), batch.samples)
                network(x.contiguous(memory_format=hardware.memory_format))
                values = caught.pop().float().flatten(1).cpu().numpy()
            yield batch.samples, values


def feature_shape(network: nn.Module, head: str, x: Tensor) -> tuple[int, ...]:
    """What reaches the head for one image, without the batch."""
    with torch.inference_mode(), in_evaluation(network), capturing(network, head) as caught:
        network(x)
    return tuple(caught[0].shape[1:])


@contextmanager
def capturing(network: nn.Module, head: str) -> Iterator[list[Tensor]]:
    """Collect what reaches a layer."""
    caught: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        caught.append(inputs[0])

    handle = network.get_submodule(head).register_forward_pre_hook(keep)
    try:
        yield caught
    finally:
        handle.remove()


def _viewed(augment: Augment, view: int) -> ToInput:
    return lambda images, rows: augment(images, torch.zeros(len(rows), dtype=torch.int64), rows, view)[0]


def unchanged(prepared: Prepared) -> ToInput:
    """Images as they are."""
    return lambda images, _: prepared.preprocess.tensor(images)


# on disk --------------------------------------------------------------------------------------------------------------


def _key(network: nn.Module, config: Config, prepared: Prepared, hardware: Hardware) -> str:
    """Hash of all that decides the features, but for which rows and which view."""
    told = {
        "format": FORMAT,
        "torch": str(torch.__version__),
        "network": config.network.model_dump(include={"name", "layers", "options"}),
        "preprocess": prepared.preprocess.to_json(),
        "augment": config.augment.model_dump(),
        "seed": config.seed,
        "arithmetic": [hardware.device, hardware.layout, hardware.precision, hardware.threads],
        "records": [record.id for record in prepared.store.records],
        "fingerprint": prepared.store.fingerprint,
    }
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    head = in_head(network)
    for name, tensor in network.state_dict().items():
        if name not in head:
            key.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return key.hexdigest()


def _mapped(folder: Path, key: str, size: tuple[int, int], pieces: Iterable[Piece]) -> np.ndarray:
    """Take over a complete file of the same key, or write one, row after row, and map it."""
    folder.mkdir(parents=True, exist_ok=True)
    card, values, volume = folder / "card.json", folder / "values", 4 * size[0] * size[1]
    wanted = json.dumps({"format": FORMAT, "key": key, "shape": size})
    with locked(folder):
        sweep_aside(folder)
        if not (card.exists() and card.read_text() == wanted and values.stat().st_size == volume):
            at = 0
            with writing(values) as file:
                for rows, found in pieces:
                    block = np.zeros((rows[-1] + 1 - at, size[1]), np.float32)
                    block[rows - at] = found
                    file.write(block.data)
                    at = rows[-1] + 1
                file.truncate(volume)
            write_atomic(card, wanted)  # last: without it the values count as incomplete
    return np.memmap(values, np.float32, mode="r", shape=size)
