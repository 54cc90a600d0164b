"""`convlens describe`: the anatomy of a network as a table or as JSON."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from convlens.errors import ConfigError

if TYPE_CHECKING:
    from convlens.explain.anatomy import Anatomy

STYLES = {"head": "bold", "note": "dim", "row": "", "sum": ""}


def describe(
    network: Annotated[str, typer.Argument(help="A name of 'convlens networks', timm:NAME, a model file, or a .toml.")],
    input: Annotated[
        str | None, typer.Option(metavar="CxHxW", help="Shape of one image, such as 3x224x224; else the usual one.")
    ] = None,
    outputs: Annotated[
        int | None, typer.Option(min=1, help="Outputs of a network built by its name; else the usual number.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")] = False,
) -> None:
    """List a network's layers: what each gives, its size by the formula, parameters, cost, memory, receptive field."""
    shape = _shape(input) if input else None

    from convlens.explain.anatomy import describe as take_apart

    show(take_apart(network, shape, outputs=outputs), as_json=json)


def show(anatomy: Anatomy, *, as_json: bool) -> None:
    """Print it for whoever reads: a program, a file, or a person at a terminal of some width."""
    if as_json:
        import json

        print(json.dumps(anatomy.to_json(), indent=1))
    elif not sys.stdout.isatty():
        print(anatomy.table())
    else:
        from rich.console import Console

        from convlens.explain.table import table

        out = Console(highlight=False)
        for kind, line in table(anatomy, out.width):
            out.print(line, style=STYLES[kind], markup=False, no_wrap=True, crop=False, overflow="ignore")


def _shape(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9]\d{0,5}(x[1-9]\d{0,5}){0,3}", text):
        raise ConfigError(f"--input is the shape of one image, channels x height x width, as in 3x64x64; got '{text}'.")
    return tuple(map(int, text.split("x")))
