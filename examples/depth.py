"""Why deep networks need shortcuts, and what a cheaper layer costs.

    python examples/depth.py

Plain and residual stacks of 8, 20, 32 and 56 layers learn the built-in digits under the same recipe; they differ in the
shortcuts alone, which have no parameters. Then three stacks of one shape are built of ordinary convolutions, of
depthwise-separable ones, and of 1x1 bottlenecks. A fifth of the digits is kept aside for the scores. The losses and the
gradients of every layer are drawn into `depth.png`. It takes a minute or two, and is one run each: read the large
differences, not the third digit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

import convlens as cl
from convlens.data.builtin import digits
from convlens.models.resnet import for_small_pictures
from convlens.models.stacks import bottleneck_stack, plain_stack, separable_stack

INK, MUTED, LINE = "#16181d", "#5a606b", "#e3e3de"  # as in the reports
COLOURS = {"plain": "#a8480b", "residual": "#2250c4"}
VARIANTS: dict[str, Callable[..., nn.Module]] = {
    "ordinary 3x3": plain_stack,
    "depthwise-separable": separable_stack,
    "1x1 bottleneck": bottleneck_stack,
}


class Trained(NamedTuple):
    """What became of one network.

    Attributes:
        losses: on the training images, epoch by epoch.
        gradients: norm of the gradient of every convolution, first to last, mean of the first epoch.
        accuracy: on the images kept aside, with its interval.
    """

    parameters: int
    losses: list[float]
    gradients: list[float]
    accuracy: dict[str, Any]

    def __str__(self) -> str:
        score = f"{self.accuracy['value']:.3f} [{self.accuracy['low']:.3f}, {self.accuracy['high']:.3f}]"
        first, last = self.gradients[0], self.gradients[-1]
        return f"{self.parameters:>10,}   {self.losses[-1]:>6.3f}   {score:<22}   {first:>6.2f}   {last:>6.2f}"


def train(build: Callable[..., nn.Module], epochs: int, **options: Any) -> Trained:
    """Train a network with the default recipe and score it on digits it has not seen."""
    images, labels = digits()
    order, names = np.random.default_rng(0).permutation(len(images)), np.array(labels)
    aside, rest = order[: len(order) // 5], order[len(order) // 5 :]
    torch.manual_seed(0)
    model = cl.Model(build(1, 10, 8, **options))
    fixed = {"test_fraction": 0, "preset": "none", "layout": "channels_last", "precision": "float32", "threads": 1}
    history = model.fit((images[rest], names[rest]), epochs=epochs, gradient_norms=True, **fixed)
    norms = next(iter(history))["gradient_norms"]
    kernels = [name for name, parameter in model.network.named_parameters() if parameter.ndim == 4]
    return Trained(
        parameters=sum(parameter.numel() for parameter in model.network.parameters()),
        losses=history.column("train_loss"),
        gradients=[norms[name] for name in kernels],
        accuracy=model.evaluate((images[aside], names[aside]))["accuracy"],
    )


def main(
    depths: Sequence[int] = (8, 20, 32, 56), epochs: int = 10, picture: str | Path = "depth.png"
) -> dict[tuple[str, str], Trained]:
    """Train all, print the table, draw the picture; returns what became of each network."""
    print(f"{'':<30}parameters     loss   {'accuracy':<22}   gradient first, last layer")
    table: dict[tuple[str, str], Trained] = {}
    for depth in depths:
        for kind, shortcut in (("plain", "none"), ("residual", "pad")):
            table[kind, str(depth)] = train(for_small_pictures(depth), epochs, shortcut=shortcut)
            print(f"{kind:<10}{f'{depth} layers':<20}{table[kind, str(depth)]}", flush=True)
    for name, build in VARIANTS.items():
        table["variant", name] = train(build, epochs, depth=2)
        print(f"{'of':<10}{name:<20}{table['variant', name]}", flush=True)
    draw(table, Path(picture))
    print(f"\n{picture}")
    return table


def draw(table: dict[tuple[str, str], Trained], picture: Path) -> None:
    """The losses over the epochs, and the gradients over the layers; the deeper a stack, the stronger its line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(9.6, 4.0), dpi=125, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    losses, gradients = figure.subplots(1, 2)
    stacks = {key: trained for key, trained in table.items() if key[0] != "variant"}
    deepest = max(len(trained.gradients) for trained in stacks.values())
    epochs = max(len(trained.losses) for trained in stacks.values())
    for (kind, depth), trained in stacks.items():
        layers = len(trained.gradients)
        line = {"color": COLOURS[kind], "alpha": 0.3 + 0.7 * layers / deepest, "linewidth": 2}
        losses.plot(range(1, len(trained.losses) + 1), trained.losses, **line)
        gradients.plot(range(1, layers + 1), trained.gradients, **line)
        name(
            gradients,
            kind,
            f"{kind} {depth}" if layers == deepest else depth,
            layers,
            trained.gradients[-1],
            "residual",
        )
    lowest = min(trained.losses[-1] for trained in stacks.values())
    for kind in COLOURS:
        ends = {depth: trained.losses[-1] for (one, depth), trained in stacks.items() if one == kind}
        together = [depth for depth, end in ends.items() if end < lowest + 0.1]
        for depth in ends.keys() - set(together):
            name(losses, kind, f"{kind} {depth}", epochs, ends[depth], "plain")
        if together:
            name(losses, kind, f"{kind} {', '.join(together)}", epochs, lowest, "plain")
    losses.set_title("training loss", loc="left", color=INK, fontsize=11)
    losses.set(xlabel="epoch", xticks=range(1, epochs + 1), xlim=(1, 1.42 * epochs), ylim=(0, None))
    gradients.set_title("gradient norm of each convolution, first epoch", loc="left", color=INK, fontsize=11)
    gradients.set(xlabel="layer", xticks=[int(depth) - 1 for _, depth in stacks], xlim=(1, 1.25 * deepest))
    gradients.set(yscale="log", yticks=(ticks := [0.3, 1, 3, 10, 30, 100]), yticklabels=ticks)
    gradients.yaxis.set_minor_locator(NullLocator())
    norms = [norm for trained in stacks.values() for norm in trained.gradients]
    gradients.set_ylim(0.8 * min(norms), 1.3 * max(norms))
    for axes in (losses, gradients):
        axes.xaxis.label.set_color(MUTED)
        axes.tick_params(colors=MUTED, length=0)
        axes.grid(axis="y", color=LINE)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left", "bottom"):
            axes.spines[side].set_visible(False)
    figure.savefig(picture)


def name(axes: Any, kind: str, text: str, x: float, y: float, upper: str) -> None:
    """Write a line's name at its end; the `upper` kind a little higher, so that equal ends do not collide."""
    aside = (7, 6 if kind == upper else -6)
    axes.annotate(text, (x, y), aside, textcoords="offset points", color=COLOURS[kind], va="center", fontsize=9)


if __name__ == "__main__":
    main()
