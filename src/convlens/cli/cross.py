"""The command `cross-validate`: every image is tested once."""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from convlens.folds import CrossValidation


def cross_validate(
    source: Annotated[
        str | None, typer.Argument(help="A folder per class, a .csv or .parquet table, idx files, or a built-in set.")
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the images, each the test of one network.")] = 5,
    task: Annotated[str | None, typer.Option(help="classify (the default), regress, segment, ...")] = None,
    masks: Annotated[str | None, typer.Option(help="segment: the folder of masks, named as the images.")] = None,
    network: Annotated[str | None, typer.Option(help="A name from 'convlens networks', or timm:NAME.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    weights: Annotated[str | None, typer.Option(help="A .safetensors or .pth file of starting weights.")] = None,
    size_px: Annotated[int | None, typer.Option(help="Side of the network's input.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides every random draw, the folds too.")] = None,
    group_column: Annotated[str | None, typer.Option(help="Its equal values stay in one fold.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of options.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="OPTION=VALUE", help="Any option.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the folder of the runs; if it exists, go on with its folds.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors and the result's path.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")] = False,
) -> None:
    """Train a network for each of several folds, so that every image is tested once; go on where it stopped."""
    from convlens.cli.progress import watch
    from convlens.config import Config
    from convlens.folds import cross_validate as train_folds
    from convlens.request import parse_assignment, read_toml

    flags: dict[str, Any] = {
        "data.source": source,
        "task": task,
        "data.masks": masks,
        "network.name": network,
        "train.epochs": epochs,
        "network.weights": weights,
        "data.size_px": size_px,
        "seed": seed,
        "data.group_column": group_column,
        "run.name": name,
    }
    flags = {key: value for key, value in flags.items() if value is not None}
    assignments = dict(parse_assignment(text) for text in set_ or [])
    layers = (read_toml(config) if config else {}, flags, assignments)
    asked = Config.build(*layers, origin=(str(config), "command line", "--set"))

    def begin(fold: int, of: int) -> None:
        print(f"fold {fold} of {of}", file=sys.stderr, flush=True)

    with watch(quiet=quiet or json) as (callbacks, progress):
        say = None if quiet or json else begin
        found = train_folds(folds=folds, config=asked, callbacks=callbacks, progress=progress, begin=say)
    show_folds(found, quiet=quiet, as_json=json)


def show_folds(found: CrossValidation, *, quiet: bool, as_json: bool) -> None:
    """The score over all images, that of each fold, and where everything is."""
    from rich.markup import escape
    from rich.table import Table

    from convlens.cli.show import console, interval
    from convlens.report.folds_page import fold_table

    results = found.results
    if as_json:
        plain = {key: results[key] for key in ("folds", "headline", "mean", "spread", "by_fold", "warnings")}
        paths = {"run": str(found.directory), "report": str(found.report_path)}
        print(json_module.dumps({**paths, **plain, "images": found.report["n"]}, indent=1, ensure_ascii=False))
        return
    out, headline = console(), results["headline"]
    if quiet:
        out.print(str(found.report_path), markup=False)
        return
    for message in results["warnings"]:
        out.print(f"[yellow]warning[/]  {escape(message)}")
    listed = fold_table(results)
    table = Table(*listed.head, box=None, header_style="bold", pad_edge=False)
    for row in listed.rows:
        table.add_row(*map(escape, row))
    out.print(table)
    name = headline["name"].replace("_", " ")
    out.print(f"\n[bold]{name} {interval(headline['value'])}[/]  on {found.report['n']:,} images, each tested once")
    if headline["against"]:
        out.print(f"  {escape(headline['against']['words'])}: {interval(headline['against']['value'])}")
    if results["mean"] is not None and results["spread"] is not None:
        out.print(f"  over {results['folds']} folds: mean {results['mean']:.3f}, spread {results['spread']:.3f}")
    out.print(f"  run    {escape(str(found.directory))}")
    out.print(f"  report {escape(str(found.report_path))}")
