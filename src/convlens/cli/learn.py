"""The commands to learn with: the worked examples of the lectures, an operation step by step, a kernel on a picture."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer

from convlens.errors import ConfigError, ShapeError

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")]
Matrix = "Rows, as in '1 2; 3 4', or a .csv or .txt file"


def examples(
    example: Annotated[str | None, typer.Argument(help="Show this one in full.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Compute all; exit code 1 if one comes out wrong.")] = False,
    json: AsJson = False,
) -> None:
    """List the worked examples of the lectures, what is printed and what is right; or show one."""
    from convlens.lectures import telling
    from convlens.lectures.examples import FAILS, check_one, find, load

    chosen = load() if example is None else (find(example),)
    outcomes = [check_one(one) for one in chosen]
    failed = [outcome for outcome in outcomes if outcome.verdict == FAILS]
    if json:
        listed = [telling.to_json(outcome) for outcome in outcomes]
        _json(listed if example is None else listed[0])
    elif example is not None:
        typer.echo(telling.in_full(outcomes[0]))
    else:
        if not check:
            _table(("example", "what it is", "printed", "computed", "verdict"), [telling.row(one) for one in outcomes])
            typer.echo()
        for outcome in failed if check else ():
            typer.echo(f"{outcome.example.id}  {outcome.verdict}: {outcome.why}")
        typer.echo(telling.summary(outcomes))
    if check and failed:
        raise typer.Exit(1)


def explain_op(
    operation: Annotated[str | None, typer.Argument(help="conv2d, max_pool2d, softmax, ...; all, if left out.")] = None,
    example: Annotated[str | None, typer.Option(help="Take the numbers of a worked example.")] = None,
    input: Annotated[str | None, typer.Option(help=f"{Matrix}.")] = None,
    kernel: Annotated[str | None, typer.Option(help=f"{Matrix}, or a kernel's name; the weights of dense.")] = None,
    bias: Annotated[str | None, typer.Option(help="A number for each filter or unit.")] = None,
    gradient: Annotated[str | None, typer.Option(help="dL/dO, for conv2d_backward.")] = None,
    target: Annotated[str | None, typer.Option(help="What a loss compares with.")] = None,
    stride: Annotated[str | None, typer.Option(help="Step of the window: 2, or 2,1.")] = None,
    padding: Annotated[str | None, typer.Option(help="valid, same, or zeros on each side: 1, or 1,0.")] = None,
    dilation: Annotated[str | None, typer.Option(help="Distance of the kernel's cells.")] = None,
    window: Annotated[str | None, typer.Option(help="Size of a pooling window.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Keep windows that run over the edge.")] = False,
    option: Annotated[list[str] | None, typer.Option("--set", metavar="OPTION=VALUE", help="Any other option.")] = None,
    out: Annotated[str | None, typer.Option(metavar="I,J", help="Only this number of the result.")] = None,
    json: AsJson = False,
) -> None:
    """Show how each number of an operation comes about: window, products, sum."""
    from convlens.lectures import layout, operations
    from convlens.lectures.examples import find

    if operation is None:
        _table(("operation", "takes", "options"), operations.rows())
        return
    matrices = {"input": input, "kernel": kernel, "bias": bias, "gradient": gradient, "target": target}
    inputs = {name: text for name, text in matrices.items() if text is not None}
    numbers = {"stride": stride, "padding": padding, "dilation": dilation, "window": window}
    options = {name: text for name, text in numbers.items() if text is not None}
    options |= {"partial": "true"} if partial else {}
    options |= dict(_assigned(text) for text in option or [])
    place = None if out is None else _index(out)
    if example is None:
        found = operations.typed(operation, inputs, options)
    elif inputs or options:
        raise ConfigError(
            f"The example has numbers of its own, so --{next(iter(inputs or options))} has no effect. "
            f"Give --example or numbers, not both."
        )
    else:
        found = operations.from_example(operation, find(example))
    found = layout.having(found, place)
    if json:
        _json([layout.to_json(working, place) for working in found])
    else:
        typer.echo("\n\n".join(layout.explained(working, place) for working in found))


def filter_picture(
    image: Annotated[Path | None, typer.Argument(help="A picture; with --list, one to try all kernels on.")] = None,
    kernel: Annotated[str | None, typer.Option(help=f"A name from --list. {Matrix}.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write the result, a .png.")] = None,
    signed: Annotated[Path | None, typer.Option(help="Where to write the numbers as they are, an .npy.")] = None,
    border: Annotated[
        str | None, typer.Option(help="Beyond the edge: reflect (if not given), replicate, zeros or circular.")
    ] = None,
    on: Annotated[str | None, typer.Option(help="channels (if not given) or luminance.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show all named kernels; with --out, as a picture.")] = False,
    json: AsJson = False,
) -> None:
    """Apply a kernel to a picture."""
    if list_:
        _list_kernels(image, out, json=json, **{"--kernel": kernel, "--signed": signed, "--border": border, "--on": on})
        return
    if image is None or kernel is None or out is None:
        raise ConfigError(
            "A picture, --kernel and --out are needed, as in: convlens filter photo.jpg --kernel sharpen --out "
            "sharp.png. See --list for the kernels."
        )
    from convlens.lectures.matrices import read_kernel
    from convlens.lectures.photo import filter_file

    how = {"border": border or "reflect", "on": on or "channels"}
    done = filter_file(image, read_kernel(kernel), out, signed=signed, **how)
    if json:
        counts = {"below": done.below, "above": done.above, "numbers": done.pixels.size}
        extremes = {"least": done.signed.min().item(), "most": done.signed.max().item()}
        kept = None if signed is None else str(signed)
        _json({"out": str(out), "signed": kept, **counts, **extremes, "notes": list(done.notes)})
        return
    for note in done.notes:
        typer.echo(f"{image}: {note}", err=True)
    if done.below or done.above:
        where = f"; {signed} has them as they are" if signed else "; --signed FILE.npy would keep them"
        typer.echo(
            f"Clamped to be shown: {done.below:,} numbers below 0 and {done.above:,} above 255 of "
            f"{done.pixels.size:,}{where}.",
            err=True,
        )
    typer.echo(str(out))


def _list_kernels(image: Path | None, out: Path | None, *, json: bool, **unused: Any) -> None:
    from convlens.lectures import layout
    from convlens.reference.kernels import KERNELS, MEANINGS

    for flag, value in unused.items():
        if value is not None:
            raise ConfigError(f"{flag} has no effect with --list, which shows all kernels. Leave one of them out.")
    if image is not None and out is None:
        raise ConfigError("--list with a picture needs --out: where to write all kernels on it, a .png.")
    if out is not None:
        from convlens.files import write_atomic
        from convlens.lectures.photo import read_picture, require_target, sheet

        require_target(out, ".png", image)
        pixels = None
        if image is not None:
            pixels, notes = read_picture(image)
            for note in notes:
                typer.echo(f"{image}: {note}", err=True)
        write_atomic(out, sheet(pixels))
        _json({"out": str(out)}) if json else typer.echo(str(out))
    elif json:
        facts = [(name, matrix.tolist(), matrix.sum().item()) for name, matrix in KERNELS.items()]
        _json([{"name": name, "matrix": rows, "sum": total, "does": MEANINGS[name]} for name, rows, total in facts])
    else:
        blocks = []
        for name, matrix in KERNELS.items():
            head = f"{name}: {MEANINGS[name]} (sum {round(matrix.sum().item(), 9):g})"
            blocks.append("\n".join([head, *(f"  {line}" for line in layout.grid(matrix))]))
        typer.echo("\n\n".join(blocks))


def _assigned(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"--set takes OPTION=VALUE, such as slope=0.1; got '{text}'.")
    return name.strip(), value.strip()


def _index(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ShapeError(f"--out takes whole numbers from 0, such as 0,1; got '{text}'.") from None


def _table(head: tuple[str, ...], rows: list[Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from convlens.cli.show import console

    table = Table(*head, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console().print(table)


def _json(value: Any) -> None:
    typer.echo(jsonlib.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))
