"""A U-Net on images with masks: one training beside Otsu's threshold, and what augmentation and skips are worth.

    python benchmarks/segmentation.py train --images FOLDER --masks FOLDER [--set option=value]
    python benchmarks/segmentation.py compare --images FOLDER --masks FOLDER [--folds 5] [--set option=value]

`compare` cross-validates three networks on the same folds: the usual one, one that sees no augmented image, and one
without skip connections. All scores are over all images, each answered by a network that did not see it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import Any

import convlens as cl
from convlens.request import parse_assignment

WAYS: dict[str, dict[str, Any]] = {
    "unet": {},
    "without augmentation": {"augment__preset": "none"},
    "without skips": {"skips": False},
}
SCORES = ("foreground_dice", "mean_iou", "boundary_f1")


def score(found: dict[str, Any]) -> str:
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def settings(asked: argparse.Namespace) -> dict[str, Any]:
    given = dict(parse_assignment(text) for text in asked.set)
    return {key.replace(".", "__"): value for key, value in given.items()}


def train(asked: argparse.Namespace, folder: str) -> None:
    run = cl.train(asked.images, task="segment", masks=asked.masks, directory=folder, **settings(asked))
    report = run.evaluation["test"]
    seconds = sum(row["seconds"] for row in run.history.rows)
    print(f"n {report['n']}, {len(run.history)} epochs in {seconds:.0f} s of training")
    for name, found in (("unet", report), *((row["name"], row) for row in report["baselines"])):
        print(f"  {name:16} " + ", ".join(f"{key} {score(found[key])}" for key in SCORES[:2]))


def compare(asked: argparse.Namespace, folder: str) -> None:
    given = settings(asked)
    options = given.pop("network__options", {})
    for way, changes in WAYS.items():
        changed, started = dict(changes), time.perf_counter()
        own = {**options, **({"skips": False} if changed.pop("skips", True) is False else {})}
        found = cl.cross_validate(
            asked.images,
            folds=asked.folds,
            task="segment",
            masks=asked.masks,
            network__options=own,
            directory=folder,
            name=way.replace(" ", "-"),
            **given,
            **changed,
        )
        report = found.report
        seconds = time.perf_counter() - started
        said = ", ".join(f"{key} {score(report[key])}" for key in SCORES)
        print(f"  {way:22} {said}  n {report['n']}, {seconds:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "compare"])
    parser.add_argument("--images", required=True)
    parser.add_argument("--masks", required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (train if asked.what == "train" else compare)(asked, folder)


if __name__ == "__main__":
    main()
