"""Results as a person, a spreadsheet or a program wants them."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from convlens.data.boxes import read_boxes
from convlens.data.video import VideoFrame

if TYPE_CHECKING:
    from convlens.data.health import Health
    from convlens.data.sources import Source
    from convlens.report.sections import Table as ReportTable
    from convlens.run import Run
    from convlens.tasks.classify import Prediction
    from convlens.tasks.regress import Estimate, Number
    from convlens.training.finder import RateCurve

WIDE = 240
TIME = ("time_s",)  # the column of videos
MARKS = {"error": "[red]error[/]", "warning": "[yellow]warning[/]", "note": "note"}


def interval(data: dict[str, Any], scale: float = 1.0) -> str:
    """`0.981 [0.961, 0.991]`, or why there is none."""
    if data.get("value") is None:
        return f"undefined ({data.get('note') or 'no samples'})"
    low, high = data.get("low"), data.get("high")
    bounds = "" if low is None or high is None else f" [{low * scale:.3f}, {high * scale:.3f}]"
    return f"{data['value'] * scale:.3f}{bounds}"


def console() -> Console:
    """Where results go; not folded at 80 characters when a file or a program reads them."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)


def show_run(run: Run, *, quiet: bool, as_json: bool) -> None:
    """How the run ended and where everything is."""
    evaluation = run.evaluation
    paths = {"run": str(run.directory), "model": str(run.model_path), "report": str(run.report_path)}
    if as_json:
        figures = {key: evaluation.get(key) for key in ("headline", "valid", "test", "linear_probe", "best_epoch")}
        _json({**paths, **figures, "warnings": [warning for _, warning in _warnings(run)]})
        return
    out = console()
    if quiet:
        out.print(paths["report"], markup=False)
        return
    for severity, message in _warnings(run):
        out.print(f"{MARKS[severity]}  {escape(message)}")
    found = evaluation.get("headline")
    if found:
        report = evaluation[found["part"]]
        name, part = found["name"].replace("_", " "), "test" if found["part"] == "test" else "validation"
        scored = f"{part} {name} {interval(found['value'])}"
        if found["value"].get("value") is None:
            scored = f"No score ({found['value'].get('note') or 'no samples'})"
        out.print(f"\n[bold]{scored}[/]  on {report['n']:,} images")
        if found["against"]:
            out.print(f"  {escape(found['against']['words'])}: {interval(found['against']['value'])}")
        if probe := found.get("linear_probe"):
            out.print(f"  a linear classifier on the starting weights: {interval(probe)}")
        out.print(f"  weights of epoch {evaluation['best_epoch']} of {len(run.history)}")
    else:
        out.print("\nNo score: no image was held out.")
    for name, path in paths.items():
        out.print(f"  {name:7}{escape(path)}")


def show_evaluation(report: dict[str, Any], *, as_json: bool) -> None:
    """The scores of a model on one set of images."""
    if as_json:
        _json(report)
        return
    out = console()
    if "per_target" in report:
        _show_errors(out, report)
        return
    if "accuracy" not in report:
        from convlens.report.tables import tables_of

        for table in tables_of(report):
            _show_table(out, table)
        _show_unscored(out, report)
        return
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "log_loss"):
        out.print(f"{name.replace('_', ' '):18} {interval(report[name])}")
    out.print(f"{'images':18} {report['n']:,}")
    _show_baseline(out, report["baseline"])
    table = Table("class", "images", "precision", "recall", "F1", box=None, header_style="bold", pad_edge=False)
    for row in report["per_class"]:
        figures = [interval(row[name]) for name in ("precision", "recall", "f1")]
        table.add_row(escape(row["name"]), f"{row['support']:,}", *figures)
    out.print(table)
    _show_unscored(out, report)


def _show_table(out: Console, table: ReportTable) -> None:
    drawn = Table(*map(escape, table.head), box=None, header_style="bold", pad_edge=False)
    for row in table.rows:
        drawn.add_row(*map(escape, row))
    out.print(f"[bold]{escape(table.title)}[/]")
    out.print(drawn)


def _show_errors(out: Console, report: dict[str, Any]) -> None:
    table = Table(
        "target", "MAE", "RMSE", "R2", "always the median: MAE", box=None, header_style="bold", pad_edge=False
    )
    for row in report["per_target"]:
        always = row["baseline"].get("mae") or {}
        table.add_row(escape(row["name"]), *(interval(row[name]) for name in ("mae", "rmse", "r2")), interval(always))
    out.print(table)
    out.print(f"on {report['n']:,} images")
    _show_unscored(out, report)


def _show_unscored(out: Console, report: dict[str, Any]) -> None:
    for message in report.get("noticed", []):
        out.print(f"{MARKS['warning']}  {escape(message)}")
    for bad in report.get("unreadable", []):
        out.print(f"[yellow]not scored[/]  {escape(bad['id'])}: {escape(bad['reason'])}")


def show_predictions(answered: Iterable[tuple[Prediction, Any]], style: str, top: int, timed: bool = False) -> int:
    """Print predictions as they come; returns how many images could not be read.

    Args:
        answered: predictions with the images that they are about.
        timed: there are frames of videos among them, so there is a column for their times.
    """
    failed, clock = 0, TIME if timed else ()
    if style == "json":
        listed = [json_row(answer, clock_of(image, timed)) for answer, image in answered]
        _json(listed)
        return sum(row["error"] is not None for row in listed)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("image", *clock, "answer", "probability", "next"):
        table.add_column(column, overflow="fold")
    if style == "csv":
        columns = [f"{what}_{n}" for n in range(1, top + 1) for what in ("class", "probability")]
        writer.writerow(["image", *clock, "answer", *columns, "error"])
    for answer, image in answered:
        failed += answer.error is not None
        clock = clock_cells(clock_of(image, timed))
        label = "unsure" if answer.unsure else answer.label or ""
        if style == "csv":
            cells = [cell for name, p in answer.top for cell in (_inert(name), f"{p:.6f}")]
            cells += [""] * (2 * top - len(cells))
            writer.writerow([_inert(answer.name), *clock, _inert(label), *cells, _inert(answer.error or "")])
        elif answer.error is not None:
            table.add_row(escape(answer.name), *clock, f"[red]{escape(answer.error)}[/]", "", "")
        else:
            rest = ", ".join(f"{name} {p:.3f}" for name, p in answer.top[1:])
            table.add_row(escape(answer.name), *clock, escape(label), f"{answer.probability:.3f}", escape(rest))
    if style == "table":
        console().print(table)
    return failed


def show_estimates(
    answered: Iterable[tuple[Estimate, Any]], style: str, targets: Sequence[str], timed: bool = False
) -> int:
    """Print answered numbers as they come, as `show_predictions` does; returns how many images could not be read."""
    failed, clock = 0, TIME if timed else ()
    if style == "json":
        listed = [json_row(answer, clock_of(image, timed)) for answer, image in answered]
        _json(listed)
        return sum(row["error"] is not None for row in listed)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    table = Table("image", *clock, *map(escape, targets), box=None, header_style="bold", pad_edge=False)
    if style == "csv":
        columns = [f"{name}{end}" for name in targets for end in ("", "_low", "_high")]
        writer.writerow(["image", *clock, *map(_inert, columns), "error"])
    for answer, image in answered:
        failed += answer.error is not None
        clock = clock_cells(clock_of(image, timed))
        if style == "csv":
            ends = [v for n in answer.numbers for v in (n.value, n.low, n.high)] or [None] * (3 * len(targets))
            cells = ["" if value is None else f"{value:.6g}" for value in ends]
            writer.writerow([_inert(answer.name), *clock, *cells, _inert(answer.error or "")])
        elif answer.error is not None:
            table.add_row(escape(answer.name), *clock, f"[red]{escape(answer.error)}[/]")
        else:
            table.add_row(escape(answer.name), *clock, *(_number(number) for number in answer.numbers))
    if style == "table":
        console().print(table)
    return failed


def clock_of(image: Any, timed: bool) -> dict[str, float | None]:
    """The time of a frame to the millisecond, None for an image or where its video does not tell; {} if not `timed`."""
    if not timed:
        return {}
    time_s = image.time_s if isinstance(image, VideoFrame) else None
    return {"time_s": None if time_s is None else round(time_s, 3)}


def clock_cells(clock: dict[str, float | None]) -> list[str]:
    """The same for a table: a cell, or none where there is no such column."""
    return ["" if time_s is None else f"{time_s:.3f}" for time_s in clock.values()]


def json_row(answer: Any, clock: dict[str, float | None]) -> dict[str, Any]:
    """An answer as plain values."""
    return {"name": answer.name, **clock, **asdict(answer)}


def _number(number: Number) -> str:
    bar = "" if number.low is None or number.high is None else f" [{number.low:.4g}, {number.high:.4g}]"
    return escape(f"{number.value:.4g}{bar}")


def show_health(source: Source, health: Health, *, as_json: bool) -> bool:
    """Everything that was noticed; returns whether training would be refused."""
    findings = [*source.findings, *health.findings]
    if as_json:
        _json([finding.to_json() for finding in findings])
    else:
        out = console()
        out.print(f"{escape(source.name)}: {_content(source)}")
        for finding in sorted(findings, key=lambda f: list(MARKS).index(f.severity)):
            out.print(f"{MARKS[finding.severity]}  {escape(finding.message)}")
            for record in finding.records[:10] if finding.severity != "note" else ():
                out.print(f"    {record}", markup=False)
            if finding.severity != "note" and len(finding.records) > 10:
                out.print(f"    and {len(finding.records) - 10} more; --json lists all", markup=False)
        if not findings:
            out.print("Nothing to remark.")
    return any(finding.severity == "error" for finding in findings)


def _content(source: Source) -> str:
    """How many images there are, and of what."""
    images, labels = f"{len(source.records):,} images", [r.label for r in source.records if r.label is not None]
    if source.kind == "boxes":
        boxes = [box for label in labels for box in read_boxes(label)]
        return f"{images} with {len(boxes):,} boxes of {len({box.name for box in boxes})} classes"
    return f"{images} in {len(set(labels))} classes" if source.kind == "class" else images


def show_rates(curve: RateCurve, *, as_json: bool) -> None:
    """Loss against rate as bars, and the suggestion."""
    if as_json:
        _json(asdict(curve))
        return
    out = console()
    low, high = min(curve.losses), max(curve.losses[: len(curve.losses) * 3 // 4])
    for rate, loss in list(zip(curve.rates, curve.losses, strict=True))[::4]:
        share = min(max((loss - low) / max(high - low, 1e-9), 0.0), 1.0)
        out.print(f"{rate:9.2g}  {loss:7.3f}  {'#' * round(40 * share)}")
    out.print(f"\nThe loss falls fastest at [bold]{curve.suggestion:g}[/]. Use it: --rate {curve.suggestion:g}")


def show_networks(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """The catalog as a table."""
    if as_json:
        _json(list(rows))
        return
    columns = ("network", "year", "input", "parameters", "MACs", "sees", "trained weights", "what it is")
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        size, field = "x".join(str(n) for n in row["input"]), row["receptive_field_px"]
        sees = f"{field} px" if field else "all"
        cells = [str(row["year"]), size, f"{row['parameters']:,}", _short_count(row["macs"]), sees, row["weights"]]
        table.add_row(row["name"], *cells, escape(row["title"]))
    out = console()
    out.print(table)
    out.print("\nParameters and multiply-accumulates (MACs; FLOPs = 2 x MACs) of one image, with the outputs it was")
    out.print("published with; 'sees' is the receptive field of the last map.")
    out.print("timm:NAME builds any network of timm; layers builds your own list (docs/layers.md).", markup=False)


def _short_count(number: int) -> str:
    """`1.81 G`, `417 k`."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def show_options(rows: Sequence[tuple[str, Any, str]]) -> None:
    """Every option of a run."""
    table = Table("option", "default", "meaning", box=None, header_style="bold", pad_edge=False)
    for name, default, meaning in rows:
        table.add_row(name, escape(str(default)), escape(meaning))
    console().print(table)


def _warnings(run: Run) -> list[tuple[str, str]]:
    """What the data and the training gave cause to say, as (severity, message)."""
    noticed = [(f["severity"], f["message"]) for f in run.read("health") if f["severity"] != "note"]
    return noticed + [("warning", event["message"]) for event in run.events if event["kind"] == "warning"]


def _show_baseline(out: Console, baseline: dict[str, Any]) -> None:
    if baseline["class"] is not None:
        out.print(f"  always answering '{escape(baseline['class'])}': {interval(baseline['accuracy'])}")


def _json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))


def _inert(text: str) -> str:
    """Keep a spreadsheet from reading a name as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
