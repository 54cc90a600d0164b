"""The paper figures are drawn on: colours that become the page's, type sizes, axes, and the way to SVG.

The only file that knows matplotlib. A figure is drawn once, in stand-in colours that become CSS variables of the page;
the same numbers give the same bytes.
"""

from __future__ import annotations

import contextlib
import html
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from convlens.report.numbers import last, short

# What each stand-in colour means to the page's style sheet.
INK, MUTED, LINE, ACCENT, PAPER = "#01a001", "#01a002", "#01a003", "#01a004", "#01a005"
VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", ACCENT: "accent", PAPER: "card"}

# One unit is one CSS pixel at natural size. A card is 296 to 460 px wide, so that letters stay between 11 and 17 px.
WIDTH, HEIGHT, TYPE = 350, 250, 13
LEFT, TOP, BOTTOM = 44, 30, 42
STYLE = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": TYPE,
    "figure.dpi": 72,
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": LINE,
    "axes.linewidth": 1,
    "axes.labelcolor": MUTED,
    "axes.labelsize": TYPE,
    "axes.labelpad": 5,
    "axes.titlelocation": "left",
    "axes.titlesize": TYPE,
    "axes.titlecolor": MUTED,
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 1,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": TYPE,
    "ytick.labelsize": TYPE,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "xtick.major.pad": 7,
    "ytick.major.pad": 7,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
}
GUIDE = {"color": MUTED, "linewidth": 1, "dashes": (3, 4)}
POINT = {"marker": "o", "markersize": 7.5, "color": ACCENT, "markeredgecolor": PAPER, "markeredgewidth": 1.2}


class Canvas:
    """One figure of the house style, measured in CSS pixels."""

    def __init__(self, height: int, right: int) -> None:
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        self.height, self.right = height, right
        self.figure = Figure(figsize=(WIDTH / 72, height / 72))
        FigureCanvasSVG(self.figure)
        self.margin = -LEFT / (WIDTH - LEFT - right)  # the left edge of the card, in widths of the axes

    def stack(self, count: int, gap: int, shares: Sequence[int] | None = None) -> list[Any]:
        """Axes one above the other, with heights in the given shares."""
        parts = shares or (1,) * count
        free = self.height - TOP - BOTTOM - gap * (count - 1)
        top, placed = float(self.height - TOP), []
        for part in parts:
            tall = free * part / sum(parts)
            box = (LEFT, top - tall, WIDTH - LEFT - self.right, tall)
            placed.append(self.figure.add_axes(self._share(box)))
            top -= tall + gap
        return placed

    def axes(self, title: str, xlabel: str) -> Any:
        """The one axes of a figure."""
        axes = self.stack(1, 0)[0]
        axes.set_title(title, x=self.margin)
        axes.set_xlabel(xlabel)
        return axes

    def _share(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        left, bottom, wide, tall = box
        return left / WIDTH, bottom / self.height, wide / WIDTH, tall / self.height

    def svg(self, described: str) -> str:
        """The figure as an `<svg>` element for a page that defines the colour variables."""
        text = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        self.figure.savefig(text, format="svg", metadata=nothing)
        body = text.getvalue()
        body = body[body.index("<svg") :]
        body = re.sub(r"<svg[^>]*>", "", body, count=1)
        body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.S)  # it would style the whole page
        body = re.sub(r"<g id=\"[^\"]*\"\s*/>", "", body)
        body = re.sub(r"<g id=\"[^\"]*\">", "<g>", body).replace("xlink:href", "href")
        body = re.sub(r"font-family: [^;\"]*;?\s?", "", body)
        body = re.sub(r" transform=\"rotate\(-0 [^\"]*\"", "", body)
        body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), body)  # coordinates, not labels
        body = re.sub(r"\s*\n\s*", " ", body).replace("> <", "><")
        for colour, name in VARIABLES.items():
            body = body.replace(colour, f"var(--{name})")
        label = html.escape(described, quote=True)
        return (
            f'<svg class="figure" role="img" aria-label="{label}" viewBox="0 0 {WIDTH} {self.height}">{body}'.rstrip()
        )


@contextlib.contextmanager
def open_canvas(name: str, *, height: int = HEIGHT, right: int = 14) -> Iterator[Canvas]:
    import matplotlib

    style: dict[Any, Any] = {**STYLE, "svg.hashsalt": name}  # ids differ between figures, not between runs
    with matplotlib.rc_context(style):
        yield Canvas(height, right)


def line(axes: Any, x: np.ndarray, y: np.ndarray, colour: str, width: float = 2.0) -> None:
    marks = {"marker": "o", "markersize": 4.5} if np.isfinite(y).sum() <= 12 else {}
    axes.plot(x, y, color=colour, linewidth=width, clip_on=False, **marks)


def epoch_axis(axes: Any, epochs: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    first, final = float(epochs[0]), float(epochs[-1])
    if final <= first:
        axes.set_xlim(first - 0.5, first + 0.5)
        axes.set_xticks([first], [f"{first:.0f}"])
        return
    near = 0.09 * (final - first)
    inner = MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]).tick_values(first, final)
    ticks = [first, *(t for t in inner if first + near < t < final - near), final]
    axes.set_xlim(first, final)
    axes.set_xticks(ticks, [f"{t:.0f}" for t in ticks])


def name_ends(axes: Any, lines: list[tuple[str, np.ndarray, np.ndarray, str]], *, pointed: bool = False) -> None:
    """Write each line's name at the right edge, at the height where it ends or as near to that as there is room.

    Args:
        pointed: lead a broken line from each end to its name, for lines that end anywhere.
    """
    low, high = axes.get_ylim()
    place = np.log if axes.get_yscale() == "log" else np.asarray
    pixels = axes.get_position().height * axes.figure.get_figheight() * 72
    ends = [float((place(last(y)) - place(low)) / (place(high) - place(low)) * pixels) for _, _, y, _ in lines]
    for (name, x, y, colour), height in zip(lines, spread(ends, TYPE + 3, 0, pixels), strict=True):
        beside = (1, float(height) / pixels)
        if pointed:
            axes.annotate(
                "", (last(x), last(y)), beside, textcoords="axes fraction", annotation_clip=False,
                arrowprops={"arrowstyle": "-", "color": colour, "linestyle": (0, (2, 2)), "shrinkA": 0, "shrinkB": 0},
            )  # fmt: skip
        axes.annotate(
            name, beside, xycoords="axes fraction", xytext=(4 if pointed else 8, 0), textcoords="offset points",
            color=INK if pointed else colour, va="center", annotation_clip=False,
        )  # fmt: skip


def spread(heights: Sequence[float], apart: float, low: float, high: float) -> np.ndarray:
    """Heights moved as little as possible, in squares, until they are `apart` and all lie from `low` to `high`.

    Their order stays. Where there is no room for so many they share evenly what there is.

    Example:
        >>> spread([50, 52, 90, 20], 10, 0, 92).tolist()
        [46.0, 56.0, 90.0, 20.0]

    Source: with the steps taken off this is isotonic regression: neighbours in the wrong order are pooled (Ayer et al.
    1955, "An empirical distribution function for sampling with incomplete information").
    """
    if not len(heights):
        return np.empty(0)
    order = np.argsort(heights, kind="stable")
    steps = np.arange(len(order)) * min(apart, (high - low) / max(1, len(order) - 1))
    pools: list[list[float]] = []
    for wanted in np.asarray(heights, float)[order] - steps:
        pools.append([float(wanted)])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    level = np.repeat([np.mean(pool) for pool in pools], [len(pool) for pool in pools])
    found = np.empty(len(order))
    found[order] = np.clip(level, low, high - steps[-1]) + steps
    return found


def few_ticks(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: short(value))
