"""The report: one self-contained HTML page of a run, made from plain data.

`RunSummary` is everything the page shows; it holds numbers, words and PNG bytes, no tensors and no objects of the
floors below, so that it can be filled from the files of a run directory alone. The page makes no request, runs no
script, and follows the reader's light or dark mode. Every word that came from the user is escaped.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import shlex
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from convlens.files import write_atomic
from convlens.report import figures, numbers, reading, views
from convlens.report.sections import Section

SMALL_PX, SHEET_PX, SHEET_SCALE = 64, 1094, 6
PANELS = {"rate": "learning rate", "images_per_s": "images per second", "gradient_norm": "gradient norm"}


@dataclass(frozen=True)
class Headline:
    """The one number.

    Attributes:
        name: `accuracy`, `balanced_accuracy` or `macro_f1`.
        value: an interval as a dict: `value`, `low`, `high`, `n`.
        baseline: `value` and `class`: what always answering one class reaches.
        part: `test`, or `valid` where there is no test.
        reading: one sentence; made from the numbers when empty.
        probe: an interval: what a linear classifier on the features of the starting weights reaches.
    """

    name: str
    value: Mapping[str, Any]
    baseline: Mapping[str, Any] | None = None
    part: str = "test"
    reading: str = ""
    probe: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, report: Mapping[str, Any], name: str = "accuracy", part: str = "test") -> Self:
        """The headline of a report of `metrics.classification`."""
        stored = report["baseline"]
        reached = stored.get(name) if stored["class"] is not None else None
        reached = reached["value"] if isinstance(reached, Mapping) else reached
        baseline = None if reached is None else {"class": stored["class"], "value": reached}
        return cls(name, {**report[name], "level": report["level"]}, baseline, part)


@dataclass(frozen=True)
class Confidence:
    """What was fitted on validation so that probabilities can be believed, and what it did.

    Attributes:
        temperature: the logits are divided by it.
        before: the `calibration` part of a report made without the temperature, on the same images.
        threshold: `metrics.decision.Threshold` as JSON, two classes only.
        abstain: `metrics.decision.AbstainRule` as JSON.
        risk_coverage: what `metrics.decision.risk_coverage` returned for the images of the report that is shown.
    """

    temperature: float | None = None
    before: Mapping[str, Any] | None = None
    threshold: Mapping[str, Any] | None = None
    abstain: Mapping[str, Any] | None = None
    risk_coverage: Mapping[str, Sequence[float]] | None = None


@dataclass(frozen=True)
class DataSummary:
    """What the network learned from.

    Attributes:
        counts: part (`train`, `valid`, `test`) -> class -> images.
        findings: dicts of `kind`, `severity`, `message`, `records`.
        split: one sentence: how the parts were made.
    """

    source: str
    counts: Mapping[str, Mapping[str, int]]
    size_px: tuple[int, int] | None = None
    channels: int | None = None
    fingerprint: str = ""
    findings: Sequence[Mapping[str, Any]] = ()
    split: str = ""


@dataclass(frozen=True)
class Layer:
    """One row of the network's table."""

    name: str
    kind: str
    output: str
    parameters: int


@dataclass(frozen=True)
class NetworkSummary:
    """Which network, from which weights.

    Attributes:
        weights: where the starting weights came from, in words.
        licence: the licence of those weights.
    """

    name: str
    parameters: int
    layers: Sequence[Layer] = ()
    weights: str = "random"
    licence: str | None = None


@dataclass(frozen=True)
class Mistake:
    """One wrong answer with its picture."""

    png: bytes
    true: str
    predicted: str
    probability: float
    id: str


@dataclass(frozen=True)
class Timing:
    """Where the time went.

    Attributes:
        parts: words -> seconds, such as `decoding the images`, `training steps`, `evaluation`.
        data_bound: share of training spent waiting for images.
    """

    parts: Mapping[str, float] = field(default_factory=dict)
    data_bound: float | None = None


@dataclass(frozen=True)
class RunSummary:
    """Everything the page shows. Only the first three are needed; a part that is missing is left out.

    Attributes:
        created: date and time, as it shall be read.
        test_opened: how often this run directory has looked at its test set.
        history: one dict for each epoch, as in `history.jsonl`.
        best_epoch: the epoch whose weights were kept.
        epochs_planned: how many epochs were asked for.
        valid, test: reports of `metrics.classification`; the page shows the test where there is one.
        confidence: calibration, threshold and abstaining.
        mistakes: the most confident first.
        contact_sheet: PNG; first row as stored, the rows below augmented.
        sheet_words: under it, where that is not what it shows.
        before: what is shown first, whatever the task.
        sections: what is shown of the answers, for every task but classification, which has its own parts.
        figure: history name of the figure beside the loss, where it is not the accuracy.
        config: rows of (option, value, origin).
        events: dicts of `kind` and `message`.
        hardware, versions: name -> words.
        model_file: path of the model file, as the commands shall name it; empty where there is none to use.
    """

    title: str
    task: str
    created: str
    duration_s: float | None = None
    headline: Headline | None = None
    test_opened: int = 0
    data: DataSummary | None = None
    network: NetworkSummary | None = None
    history: Sequence[Mapping[str, Any]] = ()
    best_epoch: int | None = None
    epochs_planned: int | None = None
    valid: Mapping[str, Any] | None = None
    test: Mapping[str, Any] | None = None
    confidence: Confidence = Confidence()
    mistakes: Sequence[Mistake] = ()
    contact_sheet: bytes | None = None
    sheet_words: str = ""
    before: Sequence[Section] = ()
    sections: Sequence[Section] = ()
    figure: str = ""
    config: Sequence[tuple[str, Any, str]] = ()
    events: Sequence[Mapping[str, Any]] = ()
    timing: Timing = Timing()
    hardware: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    model_file: str = "model.safetensors"


def render(summary: RunSummary) -> str:
    """The whole page as one string."""
    environment = _environment()
    drawn = {name: Markup(svg) for name, svg in draw(summary).items()}
    page = environment.get_template("page.html.j2").render(
        run=summary,
        shown=summary.test or summary.valid,
        figures=drawn,
        css=Markup(environment.get_template("page.css").render()),
        views=views,
        reading=reading,
    )
    return page.encode("utf-8", "replace").decode("utf-8")  # a file name need not be text


def write(summary: RunSummary, path: str | Path) -> None:
    """Write the page, completely or not at all.

    Raises:
        OSError: the disk is full or the folder is not writable; an older page is untouched.
    """
    write_atomic(path, render(summary))


def draw(summary: RunSummary) -> dict[str, str]:
    """Every figure of the page by name, "" where there is nothing to draw."""
    rows, best, fitted = summary.history, summary.best_epoch, summary.confidence
    shown = {} if summary.sections else summary.test or summary.valid or {}
    drawn = {
        "loss": figures.learning_curve(rows, "loss", best, "" if summary.sections else "nats per image"),
        "figure": figures.learning_curve(rows, summary.figure, best) if summary.figure else "",
        "accuracy": figures.learning_curve(rows, "accuracy", best, "right, %", percent=True),
        "panels": figures.thin_panels(views.gradient_norms(rows), PANELS),
        "reliability": figures.reliability(
            shown.get("calibration", {}).get("bins", ()), (fitted.before or {}).get("bins", ())
        ),
        "answered": "",
        "roc": "",
        "precision_recall": "",
        "balance": "",
    }
    if curve := fitted.risk_coverage:
        kept = shown.get("abstain")
        at = (kept["coverage"]["value"], kept["accuracy"]["value"]) if kept and kept["accuracy"]["n"] else None
        drawn["answered"] = figures.answered(curve["coverage"], [1 - risk for risk in curve["risk"]], at)
    if shown.get("roc"):
        row = shown["per_class"][1]
        drawn["roc"] = figures.roc(
            shown["roc"]["false_positive_rate"],
            shown["roc"]["true_positive_rate"],
            views.rate_point(row),
        )
        curve = shown["precision_recall"]
        drawn["precision_recall"] = figures.precision_recall(
            curve["recall"], curve["precision"], row["support"] / shown["n"], views.precision_point(row)
        )
    if (
        not summary.sections
        and summary.data
        and len(train := next(iter(summary.data.counts.values()), {})) > views.MATRIX_CLASSES
    ):
        drawn["balance"] = figures.balance(list(train.values()))
    return drawn


def picture(png: bytes) -> Markup:
    """A PNG as a data address."""
    return Markup("data:image/png;base64," + base64.b64encode(png).decode())


def safe_svg(svg: str) -> Markup:
    """A figure of `report.figures`, which holds no word of the user's."""
    return Markup(svg)


def pixel_class(png: bytes, across: int = 1) -> str:
    """The style of a small picture, or of several side by side, whose pixels shall stay sharp when it is enlarged."""
    width, height = png_size(png)
    return "pixels" if max(height, width // across) <= SMALL_PX else ""


def sheet_width(png: bytes) -> int:
    """Width of a sheet in its own pixels."""
    return png_size(png)[0]


def sheet_scale(png: bytes) -> int:
    """How many times a sheet of small pictures is enlarged to fill the page."""
    return max(1, min(SHEET_SCALE, SHEET_PX // sheet_width(png)))


def breakable(words: Any) -> Markup:
    """Words in which a long name may be broken after `/`, `_` and `:`."""
    return Markup("<wbr>").join(re.split(r"(?<=[/_:])", str(words)))


def last_part(name: str) -> str:
    """The file's name without its folders."""
    return name.rsplit("/", 1)[-1]


def png_size(png: bytes) -> tuple[int, int]:
    """Width and height from the header of a PNG."""
    return struct.unpack(">II", png[16:24])


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("convlens.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    written = (reading.percent, reading.between, reading.count, reading.many, reading.duration, reading.times)
    seen = (
        numbers.short,
        views.value,
        views.along,
        picture,
        pixel_class,
        sheet_width,
        sheet_scale,
        breakable,
        safe_svg,
    )
    environment.filters |= {function.__name__: function for function in (*written, *seen, last_part)}
    environment.filters |= {"shell": shlex.quote, "python": json.dumps}
    return environment
