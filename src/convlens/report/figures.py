"""Figures of a run as inline SVG: they take the page's colours and font, light or dark, and their text stays text.

Every function returns "" where there is nothing to draw. No figure holds a name of the user's: names belong to the
page, which escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from convlens.data.pixels import encode_png
from convlens.errors import ShapeError
from convlens.report.canvas import (
    ACCENT,
    GUIDE,
    INK,
    LINE,
    MUTED,
    PAPER,
    POINT,
    epoch_axis,
    few_ticks,
    line,
    name_ends,
    open_canvas,
)
from convlens.report.numbers import column, last, short
from convlens.report.overlay import class_colour

SHEET_GREY = 40
MOST_POINTS = 2000
MOST_NUMBERED = 16  # curves whose numbers find room beside each other


def learning_curve(
    rows: Sequence[Mapping[str, Any]], name: str, best_epoch: int | None, unit: str = "", *, percent: bool = False
) -> str:
    """One figure of the history, training in grey and validation in the accent, the best epoch marked.

    Args:
        rows: history rows with `epoch`, `train_<name>` and perhaps `val_<name>`; a missing value leaves a gap.
        name: `loss`, `accuracy`, ...
        best_epoch: the epoch whose weights were kept.
        unit: words over the axis.
        percent: show 0..1 as percent.
    """
    scale = 100 if percent else 1
    columns = {"train": column(rows, f"train_{name}") * scale, "validation": column(rows, f"val_{name}") * scale}
    columns = {key: values for key, values in columns.items() if np.isfinite(values).any()}
    if not columns:
        return ""
    epochs = column(rows, "epoch")
    with open_canvas(f"curve-{name}", right=78) as canvas:
        axes = canvas.axes("", "epoch")
        for key, values in columns.items():
            line(axes, epochs, values, ACCENT if key == "validation" else MUTED)
        epoch_axis(axes, epochs)
        finite = np.concatenate([values[np.isfinite(values)] for values in columns.values()])
        logarithmic = not percent and finite.min() > 0 and finite.max() > 20 * np.median(finite)
        axes.set_title(f"{unit}, logarithmic" if logarithmic else unit, x=canvas.margin)
        if logarithmic:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda value, _: short(value))
        else:
            room = max(0.08 * float(np.ptp(finite)), 0.5 if percent else 1e-3)
            axes.set_ylim(max(0.0, finite.min() - room), min(100.0, finite.max() + room) if percent else None)
            few_ticks(axes)
        best = columns.get("validation", columns.get("train"))
        if best_epoch is not None and best is not None and best_epoch in epochs:
            at = int(np.flatnonzero(epochs == best_epoch)[0])
            axes.axvline(best_epoch, **GUIDE)
            if np.isfinite(best[at]):
                axes.plot(best_epoch, best[at], clip_on=False, zorder=5, **POINT)
        name_ends(
            axes, [(key, epochs, values, ACCENT if key == "validation" else MUTED) for key, values in columns.items()]
        )
        ends = ", ".join(f"{key} {short(last(v))}" for key, v in columns.items())
        return canvas.svg(f"{name}{' in percent' if percent else ''} over {len(epochs)} epochs. At the end: {ends}.")


def thin_panels(rows: Sequence[Mapping[str, Any]], panels: Mapping[str, str]) -> str:
    """A stack of small panels over the epochs, one for each history column that has values.

    Args:
        rows: history rows.
        panels: history column -> the words over its panel.
    """
    shown = {name: words for name, words in panels.items() if np.isfinite(column(rows, name)).any()}
    if not shown:
        return ""
    epochs = column(rows, "epoch")
    with open_canvas("panels", right=78) as canvas:
        stack = canvas.stack(len(shown), gap=38)
        for axes, (name, words) in zip(stack, shown.items(), strict=True):
            values = column(rows, name)
            line(axes, epochs, values, INK, 1.6)
            axes.set_title(words, x=canvas.margin)
            top = float(np.nanmax(values))
            axes.set_ylim(0, top * 1.05 if top > 0 else 1)
            axes.set_yticks([0, top], ["0", short(top, 2)])
            epoch_axis(axes, epochs)
            name_ends(axes, [(short(last(values)), epochs, values, INK)])
        for axes in stack[:-1]:
            axes.tick_params(labelbottom=False)
        stack[-1].set_xlabel("epoch")
        return canvas.svg(f"Over {len(epochs)} epochs: {', '.join(shown.values())}.")


def reliability(bins: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]] = ()) -> str:
    """Stated confidence against the share that was right, with intervals, over the number of images in each bin.

    Args:
        bins: `metrics.calibration.Bin` as JSON: `confidence`, `count`, and `accuracy` with its interval.
        before: the same before calibration, drawn as open rings.
    """
    bins, before = ([one for one in some if one["count"]] for some in (bins, before))
    if not bins:
        return ""
    with open_canvas("reliability", height=330) as canvas:
        upper, lower = canvas.stack(2, gap=12, shares=(5, 1))
        upper.set_title("were right, %", x=canvas.margin)
        upper.plot([0, 100], [0, 100], **GUIDE)
        for one in before:
            x, y = one["confidence"] * 100, one["accuracy"]["value"] * 100
            upper.plot(x, y, "o", markersize=6.5, mfc="none", mec=MUTED, mew=1.3)
        for one in bins:
            x, right = one["confidence"] * 100, one["accuracy"]
            upper.plot([x, x], [right["low"] * 100, right["high"] * 100], color=ACCENT, linewidth=1.6)
            upper.plot(x, right["value"] * 100, **POINT)
        upper.set_ylim(-1, 103)
        upper.set_yticks(range(0, 101, 20))
        counts = [one["count"] for one in bins]
        lower.bar([one["confidence"] * 100 for one in bins], counts, width=4, color=ACCENT, alpha=0.5, linewidth=0)
        lower.set_yticks([0, max(counts)], ["0", short(max(counts))])
        for axes in (upper, lower):
            axes.set_xlim(-1, 103)
            axes.set_xticks(range(0, 101, 20))
        upper.tick_params(labelbottom=False)
        lower.set_xlabel("stated confidence, %")
        told = (f"said {b['confidence']:.0%}: {b['accuracy']['value']:.0%} of {b['count']:,} right" for b in bins)
        return canvas.svg(f"Reliability. {'; '.join(told)}.")


def answered(coverage: Sequence[float], accuracy: Sequence[float], chosen: tuple[float, float] | None = None) -> str:
    """Share right among the answered images, as the least certain are left unanswered.

    Args:
        coverage: shares answered, 0..1.
        accuracy: share right among those.
        chosen: (coverage, accuracy) of the rule kept in the model file.
    """
    if len(coverage) < 2:
        return ""
    order = np.argsort(np.asarray(coverage, float), kind="stable")
    x, y = np.asarray(coverage, float)[order] * 100, np.asarray(accuracy, float)[order] * 100
    with open_canvas("answered", height=330) as canvas:
        axes = canvas.axes("right among the answered, %", "answered, %")
        axes.plot(x, y, color=ACCENT)
        low = min(y[x >= 5].min(initial=100.0), y[-1])
        room = max(0.06 * (100 - low), 0.25)
        axes.set_ylim(max(0, low - room), 100 + room / 2)
        axes.set_xlim(-1, 103)
        axes.set_xticks(range(0, 101, 20))
        few_ticks(axes)
        axes.plot(x[-1], y[-1], **{**POINT, "color": PAPER, "markeredgecolor": ACCENT, "markeredgewidth": 2})
        if chosen:
            axes.axvline(chosen[0] * 100, **GUIDE)
            axes.plot(chosen[0] * 100, chosen[1] * 100, **POINT)
        half = float(np.interp(50, x, y))
        return canvas.svg(f"Answering every image, {y[-1]:.1f} % are right; answering the surer half, {half:.1f} %.")


def roc(
    false_positive: Sequence[float],
    true_positive: Sequence[float],
    at: tuple[float, float] | None = None,
    words: tuple[str, str] = ("false positive rate", "true positive rate"),
) -> str:
    """True against false positive rate over all thresholds; `at` marks the one kept in the model file."""
    if len(false_positive) < 2:
        return ""
    with open_canvas("roc", height=330) as canvas:
        axes = canvas.axes(f"{words[1]}, %", f"{words[0]}, %")
        axes.plot([0, 100], [0, 100], **GUIDE)
        _rates(axes, false_positive, true_positive, at)
        return canvas.svg(f"ROC curve.{_at(at, *words)}")


def precision_recall(
    recall: Sequence[float], precision: Sequence[float], prevalence: float, at: tuple[float, float] | None = None
) -> str:
    """Precision against recall over all thresholds, above the precision of always answering positive."""
    if len(recall) < 2:
        return ""
    with open_canvas("precision-recall", height=330) as canvas:
        axes = canvas.axes("precision, %", "recall, %")
        axes.axhline(prevalence * 100, **GUIDE)
        _rates(axes, recall, precision, at)
        return canvas.svg(
            f"Precision over recall; always answering positive has precision {prevalence:.0%}."
            f"{_at(at, 'recall', 'precision')}"
        )


def precision_recall_of_classes(curves: Sequence[Mapping[str, Sequence[float]] | None]) -> str:
    """Precision against recall of each class over all thresholds, numbered from 1 in the colours of the classes.

    More than 16 curves have no numbers.

    Args:
        curves: `recall` and `precision` of each class; None where there is nothing to find or nothing was found.
    """
    if not any(curves):
        return ""
    with open_canvas("precision-recall-classes", height=330, right=34) as canvas:
        axes, ends = canvas.axes("precision, %", "recall, %"), []
        for number, curve in enumerate(curves, 1):
            if not curve:
                continue
            recall, precision = (100 * np.asarray(curve[name], float) for name in ("recall", "precision"))
            colour = "#{:02x}{:02x}{:02x}".format(*class_colour(number))
            axes.plot([0.0, *recall], [precision[0], *precision], color=colour, clip_on=False)
            ends.append((str(number), recall, precision, colour))
        axes.set_xlim(0, 102)
        axes.set_ylim(0, 102)
        axes.set_xticks(range(0, 101, 20))
        axes.set_yticks(range(0, 101, 20))
        if len(ends) <= MOST_NUMBERED:
            name_ends(axes, ends[::-1], pointed=True)  # of equals, the first on top
        return canvas.svg(f"Precision over recall at IoU 0.5 of {len(ends)} classes.")


def balance(counts: Sequence[int]) -> str:
    """Images per class, largest first, where there are too many classes to name."""
    values = np.sort(np.asarray(counts, float))[::-1]
    if len(values) < 2:
        return ""
    with open_canvas("balance", height=220) as canvas:
        axes = canvas.axes("images", f"{len(values)} classes, largest first")
        axes.fill_between(np.arange(len(values) + 1), [*values, values[-1]], step="post", color=ACCENT, alpha=0.3, lw=0)
        axes.step(np.arange(len(values) + 1), [*values, values[-1]], where="post", color=ACCENT, linewidth=1.6)
        axes.set_xlim(0, len(values))
        axes.set_ylim(0, values.max() * 1.06)
        axes.set_xticks([0, len(values)], ["1", str(len(values))])
        few_ticks(axes)
        return canvas.svg(
            f"Training images per class, from {values.max():.0f} down to {values.min():.0f}; "
            f"median {float(np.median(values)):g}."
        )


def contact_sheet(rows: Sequence[Sequence[np.ndarray]]) -> bytes:
    """Pictures in a grid as one PNG: the first row set apart, the others close together.

    Args:
        rows: uint8 images, for a run the stored images and, row by row, what augmentation made of them. Of images
            with other than 1 or 3 channels the first channel is shown.

    Shapes:
        each image (H, W, C)

    Raises:
        ShapeError: there is no image, or one is not uint8 (H, W, C).
    """
    pictures = [[_rgb(image) for image in row] for row in rows]
    flat = [picture for row in pictures for picture in row]
    if not flat:
        raise ShapeError("A contact sheet needs at least one image; got none.")
    tall, wide = (max(picture.shape[axis] for picture in flat) for axis in (0, 1))
    gap = max(1, wide // 24)
    tops = [i * (tall + gap) + (2 * gap if i else 0) for i in range(len(pictures))]
    across = max(len(row) for row in pictures)
    sheet = np.full((tops[-1] + tall, across * (wide + gap) - gap, 3), SHEET_GREY, np.uint8)
    for top, row in zip(tops, pictures, strict=True):
        for i, picture in enumerate(row):
            height, width = picture.shape[:2]
            y, x = top + (tall - height) // 2, i * (wide + gap) + (wide - width) // 2
            sheet[y : y + height, x : x + width] = picture
    return encode_png(sheet)


def mistakes_sheet(images: Sequence[np.ndarray], across: int = 8) -> bytes:
    """Wrongly answered images in a grid as one PNG, in the given order.

    Raises:
        ShapeError: there is no image, or one is not uint8 (H, W, C).
    """
    return contact_sheet([images[i : i + across] for i in range(0, len(images), across)])


def _rgb(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3:
        raise ShapeError(f"Expected a uint8 image (H, W, C); got {image.dtype} {image.shape}.")
    return image if image.shape[2] == 3 else np.repeat(image[:, :, :1], 3, axis=2)


def _rates(axes: Any, x: Sequence[float], y: Sequence[float], at: tuple[float, float] | None) -> None:
    axes.plot(np.asarray(x, float) * 100, np.asarray(y, float) * 100, color=ACCENT, clip_on=False)
    if at:
        axes.plot(at[0] * 100, at[1] * 100, clip_on=False, zorder=5, **POINT)
    axes.set_xlim(0, 102)
    axes.set_ylim(0, 102)
    axes.set_xticks(range(0, 101, 20))
    axes.set_yticks(range(0, 101, 20))


def _at(at: tuple[float, float] | None, x: str, y: str) -> str:
    return f" At the stored threshold: {x} {at[0]:.1%}, {y} {at[1]:.1%}." if at else ""


def predicted_against_true(true: Sequence[float], predicted: Sequence[float], half_width: float | None = None) -> str:
    """Every image as a point, what was answered over what is so; on the dotted line the two agree.

    Args:
        half_width: of the error bar, drawn as a band along the line.
    """
    if not len(true):
        return ""
    x, y = np.asarray(true, float), np.asarray(predicted, float)
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    room = 0.04 * (high - low) or 1.0
    ends = np.array([low - room, high + room])
    with open_canvas("predicted", height=330) as canvas:
        axes = canvas.axes("predicted", "true")
        if half_width is not None:
            axes.fill_between(ends, ends - half_width, ends + half_width, color=LINE, linewidth=0, zorder=1)
        axes.plot(ends, ends, **GUIDE)
        axes.plot(x, y, "o", markersize=4, color=ACCENT, alpha=0.55, markeredgewidth=0)
        axes.set_xlim(ends[0], ends[1])
        axes.set_ylim(ends[0], ends[1])
        few_ticks(axes)
        return canvas.svg(f"Predicted against true numbers of {len(x)} images, from {short(low)} to {short(high)}.")


def residuals(true: Sequence[float], predicted: Sequence[float], half_width: float | None = None) -> str:
    """By how much each image was over- or underestimated, over what is so."""
    if not len(true):
        return ""
    x = np.asarray(true, float)
    error = np.asarray(predicted, float) - x
    most = float(np.abs(error).max()) or 1.0
    with open_canvas("residuals", height=330) as canvas:
        axes = canvas.axes("predicted \u2212 true", "true")
        if half_width is not None:
            axes.axhspan(-half_width, half_width, color=LINE, linewidth=0, zorder=1)
        axes.axhline(0, **GUIDE)
        axes.plot(x, error, "o", markersize=4, color=ACCENT, alpha=0.55, markeredgewidth=0)
        axes.set_ylim(-1.08 * most, 1.08 * most)
        few_ticks(axes)
        return canvas.svg(f"Errors of {len(x)} images, the largest {short(most)}.")


def code_map(points: np.ndarray, groups: np.ndarray | None = None) -> str:
    """Codes in two dimensions, a point for each image; groups differ in colour, each with its number at its middle.

    Shapes:
        points (N, 2), groups (N,) int, -1 for none
    """
    if not len(points):
        return ""
    every = max(1, len(points) // MOST_POINTS)
    shown, of = points[::every], np.zeros(len(points), np.int64)[::every] if groups is None else groups[::every]
    found = np.unique(of)
    with open_canvas("codes", height=330) as canvas:
        axes = canvas.axes("", "")
        axes.grid(False)
        axes.set_xticks([])
        axes.set_yticks([])
        for group in found:
            red, green, blue = class_colour(int(group) + 1)
            colour = ACCENT if len(found) < 2 else f"#{red:02x}{green:02x}{blue:02x}"
            axes.plot(*shown[of == group].T, "o", markersize=3.2, color=colour, alpha=0.7, markeredgewidth=0)
        for group in found if len(found) > 1 else ():
            x, y = np.median(shown[of == group], axis=0)
            axes.text(x, y, str(int(group) + 1), ha="center", va="center", color=INK, fontweight="bold")
        return canvas.svg(f"The codes of {len(shown)} images in two dimensions.")
