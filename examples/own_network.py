"""A network of your own, written in torch, with callbacks that watch it.

    python examples/own_network.py

Trains on the built-in digits, of which a fifth is kept aside for the score. Everything it writes goes to
`own_network/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

import convlens as cl
from convlens.data.builtin import digits


class TwoPaths(nn.Module):
    """Fine strokes and coarse shapes, side by side: a 3x3 and a 5x5 convolution, joined."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.fine = nn.Conv2d(1, 16, 3, padding=1)
        self.coarse = nn.Conv2d(1, 16, 5, padding=2)
        self.mix = nn.Conv2d(16, 32, 3, padding=1)
        self.head = nn.Linear(32 * 4 * 4, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.fine(x)) + relu(self.coarse(x))  # (N, 16, 8, 8)
        x = nn.functional.max_pool2d(relu(self.mix(x)), 2)  # (N, 32, 4, 4)
        return self.head(x.flatten(1))  # (N, classes)


class Narrator(cl.Callback):
    """Says how each epoch went; any method of `cl.Callback` can be overridden like this."""

    def on_epoch_end(self, engine: Any, row: dict[str, Any]) -> None:
        print(f"epoch {row['epoch']}  training loss {row['train_loss']:.3f}  validation loss {row['val_loss']:.3f}")


def main(epochs: int = 12, folder: str | Path = "own_network") -> dict[str, Any]:
    """Train, keep the best weights of each epoch, and score on images the network has never seen."""
    folder = Path(folder)
    images, labels = digits()
    kept = np.random.default_rng(0).permutation(len(images))
    aside, rest = kept[: len(kept) // 5], kept[len(kept) // 5 :]
    names = np.array(labels)

    torch.manual_seed(0)  # fresh weights are drawn here, by torch
    model = cl.Model(TwoPaths())
    model.fit(
        (images[rest], names[rest]),
        epochs=epochs,
        test_fraction=0,  # our own test images are kept aside already
        callbacks=[
            Narrator(),
            cl.EarlyStopping(patience=3),
            cl.ModelCheckpoint(folder / "best-{epoch:02d}-{val_loss:.3f}.safetensors", save_best_only=True),
        ],
    )
    path = model.save(folder / "model.safetensors")

    again = cl.Model.load(path, network=TwoPaths())  # the code of a module of your own is not in the file
    report = again.evaluate((images[aside], names[aside]))
    accuracy = report["accuracy"]
    print(f"accuracy {accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}] on {report['n']} images")
    return report


if __name__ == "__main__":
    main()
