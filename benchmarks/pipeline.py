"""A folder of photographs to a finished second epoch: ImageFolder, DataLoader and the tutorial's loop, against ours.

    python benchmarks/pipeline.py [--cases resnet18:224,mobilenetv3_small_100:160] [--images 600] [--rounds 3]

Both start from the same folder of JPEG files (500 x 375, made here, two classes), train the same network on the same
number of training images at the same input size and batch size for two epochs, and stop. A case is a network of timm
and the side of its input. Theirs is written as in the
PyTorch tutorials: RandomResizedCrop, flip, two worker processes. Ours is `convlens.train` with its defaults, decoding,
health check and duplicate search included; held-out parts are set to nothing so that both see the same images. The two
take turns; each is a process of its own, timed from after its imports.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CASES = "resnet18:224,resnet18:160,mobilenetv3_small_100:160"
BATCH = 32


def make_photographs(folder: Path, images: int) -> None:
    """JPEG files with the statistics of photographs: smooth shapes, edges and grain."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(images):
        label = "round" if number % 2 else "square"
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        picture = np.asarray(Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)).astype(np.int16)
        y, x = np.mgrid[:375, :500]
        cy, cx = rng.integers(80, 295), rng.integers(80, 420)
        inside = (y - cy) ** 2 + (x - cx) ** 2 < 70**2 if label == "round" else (abs(y - cy) < 62) & (abs(x - cx) < 62)
        picture[inside] = 255 - picture[inside]
        picture += rng.normal(0, 6, picture.shape).astype(np.int16)
        (folder / label).mkdir(exist_ok=True)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / label / f"{number:05}.jpg", quality=90)


def tutorial(folder: Path, network_name: str, size_px: int) -> float:
    """ImageFolder, DataLoader with two workers, and the loop of the tutorials."""
    import timm
    import torch
    from torch.nn.functional import cross_entropy
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    start = time.perf_counter()
    normalise = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    change = [
        transforms.RandomResizedCrop(size_px),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        normalise,
    ]
    loader = DataLoader(ImageFolder(str(folder), transforms.Compose(change)), BATCH, shuffle=True, num_workers=2)
    network = timm.create_model(network_name, num_classes=2)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    for _ in range(2):
        network.train()
        for images, targets in loader:
            optimiser.zero_grad()
            loss = cross_entropy(network(images), targets)
            loss.backward()
            optimiser.step()
            loss.item()
    return time.perf_counter() - start


def ours(folder: Path, network_name: str, size_px: int) -> float:
    """`convlens.train` from the folder to the end of the second epoch."""
    import timm  # noqa: F401
    import torchvision  # noqa: F401

    import convlens as cl
    import convlens.experiment
    from convlens.training.callbacks import Callback

    class Clock(Callback):
        def on_epoch_end(self, engine, row) -> None:
            self.end = time.perf_counter()

    clock = Clock()
    with tempfile.TemporaryDirectory() as runs:
        start = time.perf_counter()
        held_out = {"valid_fraction": 0.0, "test_fraction": 0.0}
        network = {"network": f"timm:{network_name}", "size_px": size_px}
        cl.train(folder, epochs=2, batch_size=BATCH, directory=runs, callbacks=[clock], **held_out, **network)
    return clock.end - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        way, folder, case = arguments.only
        network_name, size_px = case.split(":")
        print({"tutorial": tutorial, "ours": ours}[way](Path(folder), network_name, int(size_px)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_photographs(Path(folder), arguments.images)
        for case in arguments.cases.split(","):
            compare(folder, case, arguments.images, arguments.rounds)


def compare(folder: str, case: str, images: int, rounds: int) -> None:
    """Both ways in turn, and what came of it."""
    seconds: dict[str, list[float]] = {"tutorial": [], "ours": []}
    for _ in range(rounds):
        for way in seconds:
            command = [sys.executable, __file__, "--only", way, folder, case]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            seconds[way].append(float(output.splitlines()[-1]))
    print(f"{case} px, {images} JPEG files of 500 x 375, two epochs, {rounds} rounds")
    for way, values in seconds.items():
        print(f"  {way:9} {statistics.median(values):6.2f} s")
    ratios = [a / b for a, b in zip(seconds["tutorial"], seconds["ours"], strict=True)]
    print(f"  tutorial / ours: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)


if __name__ == "__main__":
    main()
