"""The command line: parse, call, print. What a command does is decided on the floors below.

Exit codes: 0 done, 1 training failed or a check found errors, 2 something was asked that cannot be done, 130 Ctrl-C,
143 SIGTERM. Nothing heavy is imported until a command needs it.
"""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from convlens import __version__
from convlens.cli import learn
from convlens.cli.cross import cross_validate
from convlens.cli.describe import describe
from convlens.errors import ConvlensError


class Commands(TyperGroup):
    """Turns every error into one line and an exit code; `--debug` shows the traceback instead."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (ConvlensError, OSError) as error:
            if isinstance(error, BrokenPipeError) or ctx.params.get("debug"):
                raise
            typer.echo(f"convlens: {_sentence(error)}", err=True)
            raise SystemExit(error.exit_code if isinstance(error, ConvlensError) else 1) from None
        except KeyboardInterrupt:
            typer.echo("convlens: stopped", err=True)
            raise SystemExit(130) from None


def _sentence(error: ConvlensError | OSError) -> str:
    if isinstance(error, ConvlensError):
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)


app = typer.Typer(
    cls=Commands,
    name="convlens",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train, open up and ship convolutional neural networks.",
    epilog="Any option of a run can be given as --set section.option=value; 'convlens options' lists them all.",
)

SOURCE = typer.Argument(help="A folder per class, a .csv or .parquet table, idx files, or a built-in set.")
Source = Annotated[str, SOURCE]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors and the result's path.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")]
Column = Annotated[str | None, typer.Option(help="A column of the table.")]
Written = Annotated[str | None, typer.Option("--format", help="detect: how boxes are written: voc, coco, yolo, csv.")]


class Format(enum.StrEnum):
    """How predictions are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    COCO = "coco"


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        typer.echo(f"convlens {__version__}")
        raise typer.Exit


@app.command()
def train(
    source: Annotated[str | None, SOURCE] = None,
    task: Annotated[
        str | None,
        typer.Option(help="classify (the default), regress, segment, reconstruct, denoise, anomaly or detect."),
    ] = None,
    masks: Annotated[str | None, typer.Option(help="segment: the folder of masks, named as the images.")] = None,
    clean: Annotated[str | None, typer.Option(help="denoise: the folder of clean pictures, of the same names.")] = None,
    noise: Annotated[str | None, typer.Option(help="denoise: gaussian:0.1, poisson:30, salt-and-pepper:0.05.")] = None,
    normal: Annotated[str | None, typer.Option(help="anomaly: the class that is normal, if there are several.")] = None,
    code: Annotated[int | None, typer.Option(min=1, help="reconstruct, anomaly: numbers in the code.")] = None,
    format: Written = None,
    network: Annotated[str | None, typer.Option(help="A name from 'convlens networks', or timm:NAME.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    weights: Annotated[str | None, typer.Option(help="A .safetensors or .pth file of starting weights.")] = None,
    pretrained: Annotated[bool, typer.Option(help="Fetch the network's published weights by name.")] = False,
    freeze: Annotated[
        list[str] | None, typer.Option(help="none, backbone, or a layer by the beginning of its name; may be repeated.")
    ] = None,
    finetune: Annotated[str | None, typer.Option(help="all, gradual (from the head down), or head.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of options.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="OPTION=VALUE", help="Any option.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step.")] = None,
    rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    size_px: Annotated[int | None, typer.Option(help="Side of the network's input.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides every random draw.")] = None,
    valid: Annotated[str | None, typer.Option(help="A separate source for validation.")] = None,
    test: Annotated[str | None, typer.Option(help="A separate source for the test.")] = None,
    image_column: Column = None,
    label_column: Column = None,
    group_column: Column = None,
    split_column: Column = None,
    name: Annotated[str | None, typer.Option(help="Name of the run directory.")] = None,
    strict: Annotated[bool, typer.Option(help="A warning about the data becomes an error.")] = False,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard events.")] = False,
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Train a network on images; leaves a run directory with the model file and a report."""
    from convlens.cli.progress import watch
    from convlens.cli.show import show_run
    from convlens.config import Config
    from convlens.request import parse_assignment, read_toml

    flags = {
        "data.source": source,
        "task": task,
        "data.masks": masks,
        "data.clean": clean,
        "data.corruption": noise,
        "data.normal": normal,
        "data.format": format,
        "network.name": network,
        "train.epochs": epochs,
        "network.weights": weights,
        "network.pretrained": pretrained or None,
        "network.freeze": freeze[0] if freeze and len(freeze) == 1 else freeze or None,
        "train.finetune": finetune,
        "train.batch_size": batch_size,
        "train.rate": rate,
        "data.size_px": size_px,
        "seed": seed,
        "data.valid": valid,
        "data.test": test,
        "data.image_column": image_column,
        "data.label_column": label_column,
        "data.group_column": group_column,
        "data.split_column": split_column,
        "run.name": name,
        "run.strict": strict or None,
        "run.tensorboard": tensorboard or None,
    }
    layers: list[tuple[str, dict[str, Any]]] = []
    if config:
        layers.append((str(config), read_toml(config)))
    layers.append(("command line", {key: value for key, value in flags.items() if value is not None}))
    layers.append(("--set", dict(parse_assignment(text) for text in set_ or [])))
    if code is not None:
        options = next((layer["network.options"] for _, layer in reversed(layers) if "network.options" in layer), {})
        layers.append(("--code", {"network.options": {**options, "code": code}}))
    asked = Config.build(*(layer for _, layer in layers), origin=tuple(origin for origin, _ in layers))

    from convlens.experiment import train as train_run

    with watch(quiet=quiet or json) as (callbacks, progress):
        run = train_run(config=asked, callbacks=callbacks, progress=progress)
    show_run(run, quiet=quiet, as_json=json)


@app.command()
def resume(
    directory: Annotated[Path, typer.Argument(help="The run directory.")], quiet: Quiet = False, json: AsJson = False
) -> None:
    """Continue an interrupted run; the result is that of a run never interrupted."""
    from convlens.cli.progress import watch
    from convlens.cli.show import show_run
    from convlens.experiment import resume as resume_run

    with watch(quiet=quiet or json) as (callbacks, progress):
        run = resume_run(directory, callbacks=callbacks, progress=progress)
    show_run(run, quiet=quiet, as_json=json)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A model file.")],
    source: Source,
    split: Annotated[str | None, typer.Option(help="Only train, valid or test, as the source says.")] = None,
    image_column: Column = None,
    label_column: Column = None,
    split_column: Column = None,
    masks: Annotated[str | None, typer.Option(help="segment: the folder of masks, named as the images.")] = None,
    clean: Annotated[str | None, typer.Option(help="denoise: the folder of clean pictures, of the same names.")] = None,
    normal: Annotated[str | None, typer.Option(help="anomaly: the class that is normal, if training had none.")] = None,
    format: Written = None,
    json: AsJson = False,
) -> None:
    """Score a model file on labelled images it was not trained on."""
    from convlens.cli.show import show_evaluation
    from convlens.model import Model

    columns: dict[str, Any] = {
        "image_column": image_column,
        "label_column": label_column,
        "split_column": split_column,
        "masks": masks,
        "clean": clean,
        "normal": normal,
        "format": format,
    }
    loaded = Model.load(model)
    report = loaded.evaluate(source, split=split, **{key: value for key, value in columns.items() if value})
    show_evaluation(report, as_json=json)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A model file.")],
    images: Annotated[list[Path], typer.Argument(help="Images, folders of them, videos, or camera:0.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes to list.")] = 3,
    format: Annotated[Format, typer.Option(help="How to print; coco: boxes.")] = Format.TABLE,
    out: Annotated[Path | None, typer.Option(help="Folder for masks with overlays, pictures or heat maps.")] = None,
    heatmap: Annotated[Path | None, typer.Option(help="anomaly: file for the heat map of one image.")] = None,
    draw: Annotated[Path | None, typer.Option(help="detect: folder for images and videos with their boxes.")] = None,
    every: Annotated[int | None, typer.Option(min=1, help="Videos: answer each so many-th frame.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Videos: answer at most so many frames of each.")] = None,
    tiles: Annotated[bool, typer.Option("--tiles", help="Masks, pictures: at the image's scale, in tiles.")] = False,
    tile_px: Annotated[int | None, typer.Option(min=1, help="Side of the tiles, if not the stored size.")] = None,
) -> None:
    """Name what is in images: one row for every image or frame, in order, unreadable ones with the reason."""
    from convlens.cli.answers import Place, require_place, show_pictures
    from convlens.cli.asked import Asked
    from convlens.cli.found import require_draw, show_found
    from convlens.cli.show import show_estimates, show_predictions
    from convlens.model import Model
    from convlens.training.interrupt import Interrupt

    asked = Asked.of(images, every, frames)
    used, style, timed = Model.load(model), format.value, bool(asked.videos)
    require_place(used.task, out, heatmap, asked.files, timed)
    require_draw(used.task, draw, style, asked.files)
    with Interrupt() as interrupt:
        rows = style == "csv" and sys.stdout.isatty()  # which say themselves how far it is
        answers = asked.answered(used, interrupt, top=top, tiles=tile_px or tiles, quiet=rows)
        if used.task == "detect" and used.preprocess is not None:
            place = Place(draw, None, used.preprocess.policy)
            failed = show_found(answers, style, place, used.asks.names, timed)
        elif used.task not in ("classify", "regress") and used.preprocess is not None:
            failed = show_pictures(answers, style, Place(out, heatmap, used.preprocess.policy), timed)
        elif used.task == "regress":
            failed = show_estimates(answers, style, used.asks.names, timed)
        else:
            failed = show_predictions(answers, style, min(top, len(used.asks.names)), timed)
    asked.require_all(failed, interrupt)


@app.command()
def check(
    source: Source,
    task: Annotated[str | None, typer.Option(help="What it is for: classify (the default), detect, ...")] = None,
    masks: Annotated[str | None, typer.Option(help="segment: the folder of masks, named as the images.")] = None,
    format: Written = None,
    image_column: Column = None,
    label_column: Column = None,
    group_column: Column = None,
    split_column: Column = None,
    json: AsJson = False,
) -> None:
    """Look at the health of a data set before any training: reads everything, changes nothing."""
    from convlens.cli.progress import watch
    from convlens.cli.show import show_health
    from convlens.data.check import check as check_source

    columns: dict[str, Any] = {
        "task": task or ("segment" if masks else None),
        "masks": masks,
        "format": format,
        "image_column": image_column,
        "label_column": label_column,
        "group_column": group_column,
        "split_column": split_column,
    }
    with watch(quiet=json) as (_, progress):
        given = {key: value for key, value in columns.items() if value}
        opened, health = check_source(source, progress=progress, **given)
    if show_health(opened, health, as_json=json):
        raise typer.Exit(1)


@app.command("find-rate")
def find_rate(
    source: Annotated[str | None, SOURCE] = None,
    network: Annotated[str | None, typer.Option(help="A name from 'convlens networks', or timm:NAME.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of options.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="OPTION=VALUE", help="Any option.")] = None,
    json: AsJson = False,
) -> None:
    """Try learning rates from small to large, one batch each, and suggest one."""
    from convlens.cli.progress import watch
    from convlens.cli.show import show_rates
    from convlens.config import Config
    from convlens.experiment import find_rate as try_rates
    from convlens.request import parse_assignment, read_toml

    flags = {"data.source": source, "network.name": network}
    flags = {key: value for key, value in flags.items() if value is not None}
    assignments = dict(parse_assignment(text) for text in set_ or [])
    layers = (read_toml(config) if config else {}, flags, assignments)
    asked = Config.build(*layers, origin=(str(config), "command line", "--set"))
    with watch(quiet=json) as (_, progress):
        curve = try_rates(config=asked, progress=progress)
    show_rates(curve, as_json=json)


@app.command()
def networks(json: AsJson = False) -> None:
    """List the networks that can be trained by name."""
    from convlens.cli.show import show_networks
    from convlens.explain.listing import list_networks

    show_networks(list_networks(), as_json=json)


@app.command()
def options() -> None:
    """List every option of a run, its default and what it means."""
    from convlens.cli.show import show_options
    from convlens.config import describe_options

    show_options(describe_options())


app.command("cross-validate")(cross_validate)
app.command("examples")(learn.examples)
app.command("describe")(describe)
app.command("explain-op")(learn.explain_op)
app.command("filter")(learn.filter_picture)


def main() -> None:
    """The entry point of the command `convlens`; `--debug` may stand anywhere."""
    words = sys.argv[1:]
    if "--debug" in words:
        words = ["--debug", *(word for word in words if word != "--debug")]
    app(words)
