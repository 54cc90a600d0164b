"""How many images a second a network answers, one at a time, as it would in front of a camera: by each way to run it.

A way is an arrangement of torch on this machine, or an exported file; the report calls it an engine. What is timed goes
from the stored image to what is kept of the answer, for objects from the image to its boxes; what is faster but says
something else is told by how far its scores are off.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convlens.data.present import Present
from convlens.nn.detection import cell_scores
from convlens.tasks.task import Task
from convlens.training.hardware import Hardware, arranged, keep_depthwise_float32, tune_allocator

MOST_IMAGES, MOST_SECONDS = 30, 2.0  # of each runner
UNCOUNTED = 2  # the first answers, which warm up; one where they take a quarter of the time
COMPARED = 8  # images whose scores are compared
WAYS = (("contiguous", "float32"), ("channels_last", "float32"), ("channels_last", "bfloat16"))

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Runner:
    """A way to run a network.

    Attributes:
        name: in words.
        open: a context that gives the function from an input (1, C, H, W) float32 to the network's outputs.
    """

    name: str
    open: Callable[[], AbstractContextManager[Forward]]


@dataclass(frozen=True)
class Walk:
    """What lies around the network on the way from an image to its answer, the same for every runner.

    Attributes:
        before: from a stored image (1, H, W, C) uint8 to the input (1, C, H, W).
        after: from the outputs to what is kept of them; returns when it is there.
        scores: from the outputs to the numbers in which runners are compared.
    """

    before: Forward
    after: Callable[[Tensor], object]
    scores: Forward


def walk_of(asks: Task, present: Present, device: str) -> Walk:
    """The way of an image as a model goes it: presented, and kept of its answer what the task keeps.

    Runners are compared in what is kept; detections in the score of every class in every cell, since which of them are
    kept may hang on a last digit.
    """
    target, row = torch.zeros(1, dtype=torch.long, device=device), np.zeros(1, np.int64)
    return Walk(
        before=lambda image: present.still(image.to(device), target, row)[0],
        after=lambda outputs: asks.keep(outputs).cpu(),
        scores=cell_scores if asks.name == "detect" else asks.keep,
    )


def torch_runners(network: nn.Module) -> list[Runner]:
    """Torch on the network's device: float32 as it is, with channels last, and with channels last in bfloat16.

    Each runs a copy, so that the network stays as it is.
    """
    device = str(next(network.parameters()).device)
    ways = [Hardware(device, layout, precision) for layout, precision in WAYS]
    return [
        Runner(f"torch, {way.precision}, {way.layout.replace('_', ' ')}", partial(_in_torch, network, way))
        for way in ways
    ]


def one_at_a_time(runners: Sequence[Runner], images: np.ndarray, walk: Walk, device: str) -> dict[str, Any]:
    """Time single images, in turn, for at most about two seconds a runner.

    Args:
        runners: the first is what the others are compared with.
        images: as stored (N, H, W, C) uint8.
        device: the network is on.

    Returns:
        `image_px`, `where` in words, and `engines`, each with its `name` and `images_per_s` by the median, `median_ms`,
        `slow_ms` (one image in ten takes longer), `n` images that were timed, and `score_off`, the largest difference
        of a score from the first one's (None where there is no number). One that fails here has its `name`
        and the `error`.
    """
    found, known = list[dict[str, Any]](), dict[int, Tensor]()
    for number, runner in enumerate(runners):
        try:
            took, said = _time(runner, images, walk)
        except Exception as error:  # no network is lost because one way to run it does not work here
            found.append({"name": runner.name, "error": f"{type(error).__name__}: {str(error).split(chr(10))[0]}"})
            continue
        known = known if number else said
        median, slow = np.median(took), np.quantile(took, 0.9)
        found.append(
            {
                "name": runner.name,
                "images_per_s": round(1.0 / float(median), 1),
                "median_ms": round(1000 * float(median), 3),
                "slow_ms": round(1000 * float(slow), 3),
                "n": len(took),
                "score_off": _off(said, known),
            }
        )
    threads = torch.get_num_threads()
    machine = f"{platform.processor() or platform.machine()}, {threads} thread{'s' if threads > 1 else ''}"
    return {"image_px": list(images.shape[1:3]), "where": machine if device == "cpu" else device, "engines": found}


def _time(runner: Runner, images: np.ndarray, walk: Walk) -> tuple[list[float], dict[int, Tensor]]:
    """Seconds of each image that counts, and the scores of the first few images."""
    took, scores = list[float](), dict[int, Tensor]()
    with runner.open() as run, torch.inference_mode():
        started = time.perf_counter()
        for number in range(UNCOUNTED + MOST_IMAGES):
            row = number % len(images)
            before = time.perf_counter()
            outputs = run(walk.before(torch.from_numpy(images[[row]]))).float()
            walk.after(outputs)
            now = time.perf_counter()
            if number >= UNCOUNTED or before - started > MOST_SECONDS / 4:
                took.append(now - before)
            if row < COMPARED and row not in scores:
                scores[row] = walk.scores(outputs).cpu()
            if took and now - started > MOST_SECONDS:
                break
    return took, scores


def _off(scores: dict[int, Tensor], known: dict[int, Tensor]) -> float | None:
    """The largest difference on the images that both have; None where there is none, or no number."""
    differences = [float((scores[row] - known[row]).abs().max()) for row in scores.keys() & known.keys()]
    return max(differences) if differences and np.isfinite(differences).all() else None


@contextmanager
def _in_torch(network: nn.Module, way: Hardware) -> Iterator[Forward]:
    tune_allocator()
    copied = arranged(network, way).eval()

    def run(x: Tensor) -> Tensor:
        with way.autocast():
            return copied(x.contiguous(memory_format=way.memory_format))

    with keep_depthwise_float32(copied, way):
        yield run
