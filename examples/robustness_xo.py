"""X or O: how far can the letters be turned, moved, shrunk or thickened before the network errs?

    python examples/robustness_xo.py

Two networks are trained on the same upright letters, one of them with augmentation. Then one thing at a time is
changed, on letters neither has seen, and the accuracy stands in a table with its 95 % interval.
"""

from __future__ import annotations

from typing import Any

import convlens as cl
from convlens.data.builtin import draw_xo

UPRIGHT: dict[str, Any] = {"rotate_deg": 0.0, "shift": 0.0, "scale": 0.9, "thickness": 0.1, "noise": (0.0, 0.1)}
CHANGES: dict[str, tuple[float, ...]] = {
    "rotate_deg": (0, 15, 30, 45),
    "shift": (0.0, 0.1, 0.2, 0.3),
    "scale": (0.3, 0.5, 0.7, 1.1),
    "thickness": (0.02, 0.05, 0.2, 0.3),
}


def main(images: int = 600, epochs: int = 10, tested: int = 200) -> dict[tuple[str, float], tuple[float, float]]:
    """Train both networks, print the table; returns {(what, value): (plain accuracy, augmented accuracy)}."""
    plain = train(images, epochs, {"preset": "none"})
    augmented = train(images, epochs, {"preset": "none", "rotate_deg": 45, "translate": 0.25, "scale": 0.4})
    print(f"\n{'change':<12}{'value':>7}   {'plain':<26}with augmentation")
    table = {}
    for what, values in CHANGES.items():
        for value in values:
            changed = (value, value) if what != "shift" else (-value, value)
            letters = draw_xo(tested, seed=1, **{**UPRIGHT, what: changed})
            scores = [model.evaluate(letters)["accuracy"] for model in (plain, augmented)]
            cells = [f"{s['value']:.3f} [{s['low']:.3f}, {s['high']:.3f}]" for s in scores]
            print(f"{what:<12}{value:>7g}   {cells[0]:<26}{cells[1]}", flush=True)
            table[what, value] = (scores[0]["value"], scores[1]["value"])
    return table


def train(images: int, epochs: int, augment: dict[str, Any]) -> cl.Model:
    """LeNet-5 on upright letters; returns the model of the finished run."""
    run = cl.train(draw_xo(images, **UPRIGHT), network="lenet5", epochs=epochs, augment=augment)
    print(f"{augment}: {run.report_path}", flush=True)
    return run.model


if __name__ == "__main__":
    main()
