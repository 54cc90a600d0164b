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

if TYPE_CHECKING:
    from convlens.data.health import Health
    from convlens.data.sources import Source
    from convlens.run import Run
    from convlens.tasks.classify import Prediction
    from convlens.training.finder import RateCurve

WIDE = 240
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
        figures = {key: evaluation.get(key) for key in ("headline", "valid", "test", "best_epoch")}
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
        out.print(f"\n[bold]{part} {name} {interval(found['value'])}[/]  on {report['n']:,} images")
        _show_baseline(out, report["baseline"])
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
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "log_loss"):
        out.print(f"{name.replace('_', ' '):18} {interval(report[name])}")
    out.print(f"{'images':18} {report['n']:,}")
    _show_baseline(out, report["baseline"])
    table = Table("class", "images", "precision", "recall", "F1", box=None, header_style="bold", pad_edge=False)
    for row in report["per_class"]:
        figures = [interval(row[name]) for name in ("precision", "recall", "f1")]
        table.add_row(escape(row["name"]), f"{row['support']:,}", *figures)
    out.print(table)
    for bad in report.get("unreadable", []):
        out.print(f"[yellow]not scored[/]  {escape(bad['id'])}: {escape(bad['reason'])}")


def show_predictions(predictions: Iterable[Prediction], style: str, top: int) -> int:
    """Print predictions as they come; returns how many images could not be read."""
    failed = 0
    if style == "json":
        listed = [asdict(prediction) for prediction in predictions]
        _json(listed)
        return sum(row["error"] is not None for row in listed)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("image", "answer", "probability", "next"):
        table.add_column(column, overflow="fold")
    if style == "csv":
        columns = [f"{what}_{n}" for n in range(1, top + 1) for what in ("class", "probability")]
        writer.writerow(["image", "answer", *columns, "error"])
    for answer in predictions:
        failed += answer.error is not None
        label = "unsure" if answer.unsure else answer.label or ""
        if style == "csv":
            cells = [cell for name, p in answer.top for cell in (_inert(name), f"{p:.6f}")]
            cells += [""] * (2 * top - len(cells))
            writer.writerow([_inert(answer.name), _inert(label), *cells, _inert(answer.error or "")])
        elif answer.error is not None:
            table.add_row(escape(answer.name), f"[red]{escape(answer.error)}[/]", "", "")
        else:
            rest = ", ".join(f"{name} {p:.3f}" for name, p in answer.top[1:])
            table.add_row(escape(answer.name), escape(label), f"{answer.probability:.3f}", escape(rest))
    if style == "table":
        console().print(table)
    return failed


def show_health(source: Source, health: Health, *, as_json: bool) -> bool:
    """Everything that was noticed; returns whether training would be refused."""
    findings = [*source.findings, *health.findings]
    if as_json:
        _json([finding.to_json() for finding in findings])
    else:
        out = console()
        labels = {record.label for record in source.records if record.label is not None}
        out.print(f"{escape(source.name)}: {len(source.records):,} images in {len(labels)} classes")
        for finding in sorted(findings, key=lambda f: list(MARKS).index(f.severity)):
            out.print(f"{MARKS[finding.severity]}  {escape(finding.message)}")
            for record in finding.records[:10] if finding.severity != "note" else ():
                out.print(f"    {record}", markup=False)
            if finding.severity != "note" and len(finding.records) > 10:
                out.print(f"    and {len(finding.records) - 10} more; --json lists all", markup=False)
        if not findings:
            out.print("Nothing to remark.")
    return any(finding.severity == "error" for finding in findings)


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
    table = Table("network", "parameters", "input", "year", "what it is", box=None, header_style="bold", pad_edge=False)
    for row in rows:
        size = "x".join(str(n) for n in row["input"])
        table.add_row(row["name"], f"{row['parameters']:,}", size, str(row["year"]), escape(row["title"]))
    out = console()
    out.print(table)
    out.print("\ntimm:NAME builds any network of timm; layers builds your own list (docs/layers.md).", markup=False)


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
