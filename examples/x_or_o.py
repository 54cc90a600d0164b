"""X or O: a lecture's toy network as a story, the same network learned, and how far each can be trusted.

    python examples/x_or_o.py

Prints the story step by step and draws it into x_or_o.png; half a minute on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import convlens as cl
from convlens.data.builtin import draw_xo
from convlens.lectures import xo
from convlens.metrics.interval import Interval, wilson
from convlens.models import layered

PICTURES = {"X": xo.X, "deformed X": xo.DEFORMED_X, "O": xo.O}
SIZE_PX = 9
MIDDLE: dict[str, Any] = {"rotate_deg": 0, "shift": 0, "scale": 0.9, "thickness": 0.1, "noise": 0}
VARIED: dict[str, Any] = {"rotate_deg": (-45, 45), "shift": (-0.3, 0.3), "scale": (0.4, 1.3), "thickness": (0.03, 0.3)}
CHANGES: dict[str, tuple[float, ...]] = {
    "rotate_deg": (0, 10, 20, 30, 45),
    "shift": (0, 0.05, 0.1, 0.2, 0.3),
    "scale": (0.4, 0.55, 0.7, 0.9, 1.1, 1.3),
    "thickness": (0.03, 0.06, 0.1, 0.14, 0.2, 0.3),
}
SEEN = {"rotate_deg": (-20, 20), "shift": (-0.1, 0.1), "scale": (0.7, 1.1), "thickness": (0.06, 0.14)}  # by default
Letters = tuple[np.ndarray, tuple[str, ...]]
Table = dict[tuple[str, float], dict[str, Interval]]


def main(letters: int = 1000, epochs: int = 20, tested: int = 500, figure: str | Path = "x_or_o.png") -> Table:
    """Tell the story, train, print the table, draw; returns {(what is changed, to what): {who: accuracy}}."""
    tell_the_lecture()
    models, start = train(letters, epochs)
    open_the_learned(models["learned features"], start)
    table = measure(models, varied(letters), tested)
    print_table(table)
    draw(table, start, features_of(models["learned features"]), Path(figure))
    print(f"\nDrawn: {figure}")
    return table


# the lecture ----------------------------------------------------------------------------------------------------------


def tell_the_lecture() -> None:
    """Pictures, comparison, features, maps, pooling and vote, with the lecture's own numbers."""
    heading("1. Two pictures of an X, and one of an O")
    print(beside(pixels(xo.X), pixels(xo.DEFORMED_X), pixels(xo.O)))
    heading("2. Compared as wholes, the two X are different pictures")
    compared = xo.compare(xo.X, xo.DEFORMED_X)
    print(compared)
    equal, different = compared.differs.size - compared.different, compared.different
    print(f"\n{different} pixels differ (X), {equal} are equal: ({equal} - {different}) / 81 = {compared.score}.")
    print(f"That is {float(compared.score):.2f}; the same picture would have 1.")
    heading("3. Three small features")
    print(beside(*(pixels(feature) for feature in xo.FEATURES), titles=xo.NAMES))
    heading("4. Filtering: line up, multiply, add, divide by the number of pixels. The / on the centre of the X:")
    maps = xo.match(xo.X, xo.FEATURES)
    print(maps.trace((1, 3, 3)))
    heading("5. Every place: a map for each feature (cut to two decimals, as on the slides)")
    print(beside(*map(decimals, maps.value), titles=xo.NAMES))
    network = xo.of_lecture()
    stages = network.stages(xo.X)
    heading("6. ReLU, then the largest of every 2x2 window, the last row and column in windows of their own")
    print(beside(*map(decimals, stages["pool1"].value), titles=xo.NAMES))
    negative = int((maps.value < 0).sum())
    print(f"\n{negative} of {maps.value.size} numbers were negative and became 0. The corner of the first map:\n")
    print(stages["pool1"].trace((0, 3, 3)))
    heading("7. The three maps lined up: 48 values, each with a vote for X and one for O")
    for name, image in PICTURES.items():
        made = network.stages(image)
        votes, chance = made["vote"].value, made["softmax"].value[0]
        to_x, to_o = (float(xo.compare(image, letter).score) for letter in (xo.X, xo.O))
        print(f"{name:<11} votes {votes[0]:.2f} : {votes[1]:.2f}, an X with {chance:4.0%};", end="  ")
        print(f"as a whole it is like the X by {to_x:.2f}, like the O by {to_o:.2f}")
    with torch.no_grad():
        twin = network.twin()(torch.tensor(np.stack([*PICTURES.values()])[:, None], dtype=torch.float64)).numpy()
    ours = np.stack([network.stages(image)["vote"].value for image in PICTURES.values()])
    print(f"\nThe same network in torch: its votes differ {by_how_much(twin, ours)}.")


# the same, learned ----------------------------------------------------------------------------------------------------


def varied(letters: int) -> Letters:
    """Twice as many letters, as different from one another as the table will ask for."""
    return draw_xo(2 * letters, SIZE_PX, **VARIED)


def train(letters: int, epochs: int) -> tuple[dict[str, cl.Model], np.ndarray]:
    """Three networks: the lecture's features with a learned vote, learned features, two layers of them.

    Returns the models by name, and the random filters that the second began with.
    """
    heading("8. Training: the features are no longer given")
    ordinary, wide = draw_xo(letters, SIZE_PX), varied(letters)
    plans: dict[str, tuple[tuple[int, ...], Letters, int]] = {
        "lecture's features": ((3,), ordinary, epochs),
        "learned features": ((3,), ordinary, epochs),
        "two layers, varied": ((8, 16), wide, 4 * epochs),
    }
    models, start = {}, np.zeros(0)
    for name, (filters, drawn, passes) in plans.items():
        torch.manual_seed(0)
        network = layered.build(xo.layers(*filters), in_channels=1, outputs=2, size_px=SIZE_PX)
        first = network[0]
        assert isinstance(first, torch.nn.Conv2d)
        if name == "lecture's features":
            first.weight.data[:, 0] = torch.tensor(xo.FEATURES / 9)
            first.requires_grad_(False)
        if name == "learned features":
            start = features_of(cl.Model(network))
        model = cl.Model(network)
        model.fit(drawn, epochs=passes, preset="none", test_fraction=0)
        score = model.evaluate(draw_xo(letters, SIZE_PX, seed=1))["accuracy"]
        learned = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
        print(f"{name:<20}{learned:>5,} numbers learned from {len(drawn[0]):,} letters,", end=" ")
        print(f"{passes} epochs: {cell(score['value'], score['low'], score['high'])} on {letters:,} new ones")
        models[name] = model
    return models, start


def features_of(model: cl.Model) -> np.ndarray:
    """The 3x3 filters of the first layer, (O, 3, 3)."""
    return xo.Network.of(model.network).filters[0][0][:, 0].copy()


def open_the_learned(model: cl.Model, start: np.ndarray) -> None:
    """Show what random filters became, and let NumPy say how the trained network comes to a number."""
    print("\nThe features of the second, from random to learned:\n")
    print(beside(*map(decimals, start), titles=["random"] * 3))
    print()
    print(beside(*map(decimals, features_of(model)), titles=["learned"] * 3))
    assert model.preprocess is not None
    images, _ = draw_xo(1, SIZE_PX, **MIDDLE)
    x = model.preprocess(images[0]).double()
    stages = xo.Network.of(model.network).stages(x[0, 0].numpy())
    print("\nThe definitions run it too. One number of its first map, for a drawn X:\n")
    print(stages["conv1"].trace((0, 4, 4)))
    with torch.no_grad():
        votes = model.network.double()(x).numpy()[0]
    model.network.float()
    print(f"\nIts votes in NumPy and in torch differ {by_how_much(votes, stages['vote'].value)}.")


# how far --------------------------------------------------------------------------------------------------------------


def measure(models: dict[str, cl.Model], stored: Letters, tested: int) -> Table:
    """One property at a time set to a value, the others drawn as usual; accuracy of everybody on the same letters."""
    one_of_each = draw_xo(2, SIZE_PX, **MIDDLE)
    table: Table = {}
    for what, values in CHANGES.items():
        for value in values:
            drawn = draw_xo(tested, SIZE_PX, seed=2, **{what: (-value, value) if what == "shift" else value})
            row = {"one picture each": by_pixels(drawn, one_of_each)}
            row[f"{len(stored[0]):,} pictures"] = by_pixels(drawn, stored)
            for name, model in models.items():
                score = model.evaluate(drawn)["accuracy"]
                row[name] = Interval(score["value"], score["low"], score["high"], tested)
            table[what, value] = row
    return table


def by_pixels(drawn: Letters, stored: Letters) -> Interval:
    """Accuracy of taking the letter of the nearest stored picture, pixel by pixel."""
    images, labels = drawn
    answers = np.array(stored[1])[xo.nearest(images, stored[0])]
    return wilson(int((answers == np.array(labels)).sum()), len(labels))


def print_table(table: Table) -> None:
    """Accuracy with its 95 % interval; a star where the value lies within what the ordinary letters have."""
    heading("9. How far? One property at a time is changed, on letters that nobody has seen")
    names = list(next(iter(table.values())))
    print(" " * 18 + "".join(name.rjust(19) for name in names))
    before = ""
    for (what, value), row in table.items():
        if what != before:
            print()
        low, high = SEEN[what]
        label = f"{what if what != before else ''}"
        known = "*" if low <= value <= high else " "
        print(f"{label:<11}{value:>5g} {known}" + "".join(cell(s.value, s.low, s.high).rjust(19) for s in row.values()))
        before = what
    print("\n* within what the ordinary training letters have. The first two compare pixels and learn nothing.")


# on paper -------------------------------------------------------------------------------------------------------------


def heading(text: str) -> None:
    print(f"\n\n{text}\n{'-' * len(text)}\n", flush=True)


def short(value: float, digits: int) -> str:
    """A number without the zero before its point, as on the slides: .77, -.11."""
    return f"{value:.{digits}f}".removeprefix("0").replace("-0.", "-.")


def cell(value: float, low: float, high: float) -> str:
    """An accuracy with its interval, every number four characters wide: .998, 1.00."""
    return f"{short(value, 3)} [{short(low, 3)}, {short(high, 3)}]".replace("1.000", "1.00")


def by_how_much(one: np.ndarray, other: np.ndarray) -> str:
    largest = abs(one - other).max()
    return f"by at most {largest:.0e}" if largest else "in no digit"


def pixels(image: np.ndarray) -> list[str]:
    return [" ".join("#" if pixel > 0 else "." for pixel in row) for row in image]


def decimals(matrix: np.ndarray) -> list[str]:
    """Two decimals, cut off and not rounded."""
    return [" ".join(short(value, 2).rjust(4) for value in row) for row in xo.cut(matrix) + 0.0]  # + 0.0: no -0.00


def beside(*blocks: Sequence[str], titles: Sequence[str] = ()) -> str:
    """Blocks of lines side by side, each under its title."""
    columns = [[title, *block] for title, block in zip(titles, blocks, strict=True)] if titles else blocks
    wide = max(len(line) for block in blocks for line in block)
    return "\n".join("      ".join(line.ljust(wide) for line in lines).rstrip() for lines in zip(*columns, strict=True))


# the figure -----------------------------------------------------------------------------------------------------------

INK, MUTED, LINE, BLUE, ORANGE = "#16181d", "#5a606b", "#e3e3de", "#2250c4", "#a8480b"  # the report's, in light
WIDTH, HEIGHT = 9.6, 11.75
AXES = {
    "rotate_deg": "turned by, degrees",
    "shift": "moved up to, share of side",
    "scale": "size",
    "thickness": "stroke, share of side",
}
STYLES: list[dict[str, Any]] = [
    {"color": MUTED, "linestyle": (0, (1, 1.5)), "marker": "x"},
    {"color": MUTED, "linestyle": "-", "marker": "s", "markerfacecolor": "white"},
    {"color": ORANGE, "linestyle": (0, (4, 2)), "marker": "^"},
    {"color": BLUE, "linestyle": (0, (4, 2)), "marker": "o", "markerfacecolor": "white"},
    {"color": BLUE, "linestyle": "-", "marker": "o"},
]


def draw(table: Table, start: np.ndarray, learned: np.ndarray, path: Path) -> None:
    """The story on one page: pictures, features with their maps, learned features, and the table as curves."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    signed = LinearSegmentedColormap.from_list("signed", [ORANGE, "white", BLUE])
    style: dict[Any, Any] = {"font.size": 10, "text.color": INK, "axes.edgecolor": LINE, "axes.labelcolor": MUTED}
    style |= {"xtick.color": MUTED, "ytick.color": MUTED, "axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(WIDTH, HEIGHT), facecolor="white")
        FigureCanvasAgg(figure)

        def axes(left: float, top: float, wide: float, tall: float) -> Any:
            return figure.add_axes((left / WIDTH, 1 - (top + tall) / HEIGHT, wide / WIDTH, tall / HEIGHT))

        def say(left: float, top: float, text: str, **look: Any) -> None:
            figure.text(left / WIDTH, 1 - top / HEIGHT, text, va="top", **look)

        def grid(
            left: float, top: float, side: float, values: np.ndarray, most: float = 1, colours: Any = signed
        ) -> Any:
            part = axes(left, top, side, side)
            part.pcolormesh(values[::-1], cmap=colours, vmin=-most, vmax=most, edgecolors=LINE, linewidth=0.6)
            part.set(xticks=[], yticks=[], aspect="equal")
            part.spines[:].set_visible(False)
            return part

        title, small = {"fontsize": 12, "weight": "bold"}, {"color": MUTED}
        say(0.4, 0.25, "Compared as wholes, two pictures of an X differ in 16 of 81 pixels", **title)
        compared, paper = xo.compare(xo.X, xo.DEFORMED_X), LinearSegmentedColormap.from_list("paper", ["white", INK])
        for column, (name, image) in enumerate({"an X": xo.X, "another X": xo.DEFORMED_X, "an O": xo.O}.items()):
            say(0.4 + 2.1 * column, 0.65, name, **small)
            grid(0.4 + 2.1 * column, 0.9, 1.55, image, colours=paper)
        say(0.4 + 2.1 * 3, 0.65, "where the two X differ", **small)
        marks = grid(0.4 + 2.1 * 3, 0.9, 1.55, -np.ones((9, 9)), colours=paper)
        for i, j in np.argwhere(compared.differs):
            marks.plot(j + 0.5, 8.5 - i, "x", color=ORANGE, markersize=6, markeredgewidth=1.6)

        say(0.4, 2.8, "Compared in pieces, the features turn up in both", **title)
        say(6.75, 2.8, "Learned from random", **title)
        heads = {0.4: "feature", 1.45: "fit to the X", 3.1: "to the other X", 4.75: "the X, best of 2 x 2"}
        for left, name in {**heads, 6.75: "random", 7.8: "learned"}.items():
            say(left, 3.2, name, **small)
        pooled, most = xo.of_lecture().stages(xo.X)["pool1"].value, float(abs(learned).max())
        for row, feature in enumerate(xo.FEATURES):
            top = 3.5 + 1.55 * row
            grid(0.4, top + 0.26, 0.8, feature)
            grid(1.45, top, 1.35, xo.match(xo.X, feature).value)
            grid(3.1, top, 1.35, xo.match(xo.DEFORMED_X, feature).value)
            best = grid(4.75, top, 1.35, pooled[row])
            for (i, j), value in np.ndenumerate(pooled[row]):
                colour = "white" if value > 0.6 else INK
                best.text(j + 0.5, 3.5 - i, f"{xo.cut(value):.2f}", ha="center", va="center", color=colour, fontsize=8)
            grid(6.75, top + 0.26, 0.8, start[row], most)
            grid(7.8, top + 0.26, 0.8, learned[row], most)
        scale = axes(8.95, 3.76, 0.12, 3.9)
        scale.pcolormesh(np.linspace(-1, 1, 101)[:, None], cmap=signed)
        scale.set(xticks=[], yticks=[0, 50.5, 101], yticklabels=["-1", "0", "1"])
        scale.yaxis.tick_right()
        scale.tick_params(length=0)
        scale.spines[:].set_visible(False)
        say(6.75, 7.85, f"here 1 stands for {most:.2f}", **small)

        say(0.4, 8.35, "How far? Accuracy on new letters, one property changed at a time", **title)
        say(0.4, 8.68, "Shaded: what the ordinary training letters have. Bars: 95 % intervals.", **small)
        for column, (what, label) in enumerate(AXES.items()):
            part = axes(0.8 + 2.2 * column, 9.1, 1.9, 1.75)
            part.axvspan(*np.clip(SEEN[what], min(CHANGES[what]), max(CHANGES[what])), color=LINE, alpha=0.5, lw=0)
            points = [value for name, value in table if name == what]
            for name, look in zip(next(iter(table.values())), STYLES, strict=True):
                scores = [table[what, value][name] for value in points]
                part.plot(points, [s.value for s in scores], label=name, markersize=4.5, linewidth=1.5, **look)
                part.vlines(points, [s.low for s in scores], [s.high for s in scores], color=look["color"], lw=0.9)
            part.set(ylim=(0.43, 1.02), xlabel=label, yticks=[0.5, 0.6, 0.7, 0.8, 0.9, 1])
            part.tick_params(length=0, labelleft=column == 0)
            part.grid(axis="y", color=LINE)
            part.set_axisbelow(True)
            if column == 0:
                legend = {"loc": "lower center", "ncol": 5, "frameon": False, "handlelength": 2.6, "columnspacing": 1.3}
                figure.legend(*part.get_legend_handles_labels(), **legend)
        figure.savefig(path, dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    main()
