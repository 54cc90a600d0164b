"""A linear probe: how far the starting weights get with nothing but a linear classifier on their features.

It is the baseline of every fine-tuning: what does not beat it has gained nothing from training the backbone.
Multinomial logistic regression on standardised features, fitted to the end by L-BFGS, so that no rate and no number of
epochs flatters or wrongs it; the strength of its penalty is chosen on validation. It costs one pass over the images.

Source: Alain, Bengio 2016, arXiv 1610.01644 (linear classifier probes).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from convlens.data.prepare import Prepared
from convlens.metrics.calibration import softmax
from convlens.metrics.classification import classification_report
from convlens.models.depth import head_of
from convlens.training.features import Features, extract, feature_shape, unchanged
from convlens.training.hardware import Hardware

PENALTIES = (1e-1, 1e-2, 1e-3)
UNTUNED = 1e-2
MOST_IMAGES = 20_000
STEPS = 200
FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "n", "level")


def linear_probe(
    network: nn.Module, prepared: Prepared, *, device: str, level: float, seed: int, known: Features | None = None
) -> dict[str, Any]:
    """Fit the probe on training images and score it on validation and test, without calibration.

    Args:
        network: with its starting weights; moved to the device, and otherwise left as it is.
        level: coverage of the intervals.
        known: features computed already; those of changed pictures are not used.

    Returns:
        `valid` and `test` as far as there are images, each with the figures of a classification report; `penalty`,
        `features` (their number D) and `train_images`, at most 20,000 of which are used.
    """
    split, targets = prepared.split, prepared.targets
    name, hardware = head_of(network)[0], Hardware(device=device, layout="channels_last")
    network.to(device, memory_format=hardware.memory_format)  # type: ignore[call-overload]
    first = prepared.preprocess.tensor(torch.from_numpy(prepared.store.images[:1]).to(device))
    shape = feature_shape(network, name, first)
    ready: dict[str, np.ndarray] = {}
    if known:
        ready = {"valid": known.plain} | ({} if known.of_changed else {"train": known.views[0]})

    def features(rows: np.ndarray, part: str) -> Tensor:
        if part in ready:
            values = np.asarray(ready[part][rows])
        else:
            pieces = extract(network, name, prepared.store.images, rows, unchanged(prepared), hardware)
            values = np.concatenate([piece for _, piece in pieces])
        return torch.from_numpy(values.reshape(len(rows), shape[0], -1)).mean(2)  # maps by their mean

    train = np.sort(split.train)
    train = train[np.linspace(0, len(train) - 1, min(len(train), MOST_IMAGES)).astype(np.int64)]
    x, y = features(train, "train"), torch.from_numpy(targets[train])
    mean, std = x.mean(0), x.std(0, correction=0).clamp_min(1e-6)
    x = (x - mean) / std
    held = {part: rows for part, rows in (("valid", split.valid), ("test", split.test)) if len(rows)}
    inputs = {part: (features(rows, part) - mean) / std for part, rows in held.items()}
    penalties = PENALTIES if "valid" in held else (UNTUNED,)
    fits = {penalty: fit(x, y, len(prepared.classes), penalty) for penalty in penalties}

    def cost(penalty: float) -> float:
        truth = torch.from_numpy(targets[held["valid"]])
        return float(cross_entropy(answer(inputs["valid"], fits[penalty]), truth))

    penalty = min(penalties, key=cost) if len(penalties) > 1 else UNTUNED
    found: dict[str, Any] = {"penalty": penalty, "features": x.shape[1], "train_images": len(train)}
    for part, rows in held.items():
        report = classification_report(
            softmax(answer(inputs[part], fits[penalty]).numpy()),
            targets[rows],
            prepared.classes.names,
            train_counts=list(prepared.counts("train").values()),
            level=level,
            seed=seed,
        )
        found[part] = {figure: report[figure] for figure in FIGURES}
    return found


def code_probe(
    codes: dict[str, np.ndarray], targets: dict[str, np.ndarray], names: Sequence[str], *, level: float, seed: int
) -> dict[str, Any]:
    """A linear classifier on the codes of an autoencoder: how much of the classes an unlabelled training has found.

    Args:
        codes, targets: of `train`, and of the parts it is scored on.

    Shapes:
        codes (N, D) float32, targets (N,) class indices

    Returns:
        for each part the figures of a classification report, with its baseline.
    """
    x, y = torch.from_numpy(codes["train"]), torch.from_numpy(targets["train"])
    mean, std = x.mean(0), x.std(0, correction=0).clamp_min(1e-6)
    fitted = fit((x - mean) / std, y, len(names), UNTUNED)
    counts = np.bincount(targets["train"], minlength=len(names)).tolist()
    found: dict[str, Any] = {"code": x.shape[1]}
    for part in codes.keys() - {"train"}:
        logits = answer((torch.from_numpy(codes[part]) - mean) / std, fitted).numpy()
        report = classification_report(
            softmax(logits), targets[part], names, train_counts=counts, level=level, seed=seed
        )
        found[part] = {figure: report[figure] for figure in (*FIGURES, "baseline")}
    return found


def fit(x: Tensor, targets: Tensor, classes: int, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights (D, K) and bias (K,) of the least mean cross-entropy plus `penalty / 2` times the squared weights.

    Shapes:
        x (N, D), targets (N,)
    """
    weight = torch.zeros(x.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    search = torch.optim.LBFGS([weight, bias], max_iter=STEPS, tolerance_grad=1e-5, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        search.zero_grad()
        loss = cross_entropy(x @ weight + bias, targets) + penalty / 2 * weight.square().sum()
        loss.backward()
        return loss

    search.step(closure)  # type: ignore[arg-type]
    return weight.detach(), bias.detach()


def answer(x: Tensor, fitted: tuple[Tensor, Tensor]) -> Tensor:
    """Logits (N, K)."""
    return x @ fitted[0] + fitted[1]
