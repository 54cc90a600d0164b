"""Small summaries of runs that never were, for the tests of the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from convlens.data.pixels import encode_png
from convlens.metrics.classification import classification_report
from convlens.metrics.decision import risk_coverage
from convlens.report.figures import contact_sheet
from convlens.report.page import (
    Confidence,
    DataSummary,
    Headline,
    Layer,
    Mistake,
    NetworkSummary,
    RunSummary,
    Timing,
)


def history(epochs: int, *, valid: bool = True) -> list[dict[str, Any]]:
    """Curves that fall and flatten."""
    rows = []
    for epoch in range(1, epochs + 1):
        row = {"epoch": epoch, "train_loss": 2 / epoch, "train_accuracy": 1 - 0.5 / epoch, "rate": 0.1 / epoch}
        if valid:
            row |= {"val_loss": 2.2 / epoch, "val_accuracy": 1 - 0.6 / epoch}
        rows.append({**row, "seconds": 1.5, "images_per_s": 1000.0 + epoch})
    return rows


def probabilities(n: int, classes: int, *, skill: float = 2.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, classes) of a fair classifier, and the targets."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, classes, n)
    logits = generator.normal(size=(n, classes))
    logits[np.arange(n), targets] += skill
    raised = np.exp(logits)
    return raised / raised.sum(axis=1, keepdims=True), targets


def run(names: list[str], *, n: int = 200, epochs: int = 4) -> RunSummary:
    """A complete run on classes of the given names."""
    shares, targets = probabilities(n, len(names))
    threshold = 0.4 if len(names) == 2 else None
    counts = [30 + i for i in range(len(names))]
    report = classification_report(shares, targets, names, threshold=threshold, abstain=0.7, train_counts=counts)
    picture = encode_png(np.full((28, 28, 1), 99, np.uint8))
    images = [np.full((8, 8, 1), shade, np.uint8) for shade in (0, 128, 255)]
    return RunSummary(
        title="a run",
        task="classify",
        created="21 November 2026",
        duration_s=12.5,
        headline=Headline.of(report),
        test_opened=1,
        data=DataSummary(
            source="photos",
            counts={"train": dict(zip(names, counts, strict=True)), "test": dict.fromkeys(names, 9)},
            size_px=(28, 28),
            channels=1,
            findings=[
                {"kind": "duplicate", "severity": "warning", "message": "2 images twice.", "records": ["a", "b"]},
                {"kind": "odd-size", "severity": "note", "message": "1 image is tiny.", "records": ["c"]},
            ],
        ),
        network=NetworkSummary("compact", 1234, [Layer("conv", "Conv2d", "8 x 28 x 28", 1234)]),
        history=history(epochs),
        best_epoch=max(1, epochs - 1),
        test=report,
        confidence=Confidence(
            temperature=1.4, before=report["calibration"], risk_coverage=risk_coverage(shares, targets)
        ),
        mistakes=[Mistake(picture, names[0], names[-1], 0.99, "folder/one.png")],
        contact_sheet=contact_sheet([images, images]),
        config=[("train.rate", 0.1, "chosen: it was best"), ("seed", 0, "default")],
        events=[{"kind": "warning", "message": "a careful word"}],
        timing=Timing({"training": 6.0, "decoding": 2.0}, 0.3),
        hardware={"device": "cpu"},
        versions={"convlens": "0.1.0"},
    )
