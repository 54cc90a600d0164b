"""The anatomy of a network: what each of its layers gives, how large it is, what it costs and what it sees.

A layer is a module that calls no other, or a step outside of any: a functional ReLU, the addition of a shortcut. Rows
are in the order of execution and come from what really ran (`record.py`, `rows.py`), not from a list of modules.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from convlens.errors import ShapeError
from convlens.explain.receptive_field import ReceptiveField, ReceptiveFields
from convlens.explain.record import record
from convlens.explain.rows import Row, Totals, read_rows
from convlens.explain.steps import Record, Value, values_in
from convlens.explain.subject import Subject, open_subject
from convlens.explain.table import table

if TYPE_CHECKING:
    from convlens.model import Model

LARGE_WEIGHTS, LARGE_INPUT = 40_000_000, 600_000


@dataclass(frozen=True)
class Anatomy:
    """A network taken apart; `print` it, or read its rows.

    Attributes:
        run: the record it was read from.
    """

    name: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    rows: tuple[Row, ...]
    totals: Totals
    run: Record = field(repr=False, compare=False)
    _values: dict[tuple[str, int], Value] = field(repr=False, compare=False)
    _fields: ReceptiveFields = field(repr=False, compare=False)

    def unit(self, layer: str, at: Sequence[int | None], use: int = 1) -> ReceptiveField | None:
        """What one unit of a layer sees of the image, exactly; None if that is unknown.

        Args:
            layer: the name of a row.
            at: the unit's index along every axis of the layer's output, or along all but the batch and the channels.
            use: 2 for the second time the layer runs.

        Raises:
            ShapeError: there is no such layer or unit.
        """
        value = self._values.get((layer, use))
        if value is None:
            raise ShapeError(f"There is no layer '{layer}' with an output (use {use}) in {self.name}.")
        full = (0, None, *at) if len(at) == len(value.shape) - 2 else tuple(at)
        return self._fields.unit(value, full)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists, dicts and numbers."""
        rows = [
            {**asdict(row), "fields": [f and f._asdict() for f in row.fields], "unknown": list(row.unknown)}
            for row in self.rows
        ]
        return {
            "name": self.name,
            "input_shape": list(self.input_shape),
            "output_shape": list(self.output_shape),
            "layers": rows,
            "totals": asdict(self.totals),
        }

    def table(self, width: int | None = None) -> str:
        """The rows and totals as text; formulas go to lines of their own where the width is too small for them."""
        return "\n".join(line for _, line in table(self, width))

    def __str__(self) -> str:
        return self.table()


def describe(
    network: nn.Module | Model | str | Path, input_shape: Sequence[int] | None = None, *, outputs: int | None = None
) -> Anatomy:
    """Take a network apart.

    Args:
        network: a catalog name, `timm:NAME`, a model file, a TOML file of options, a `Model`, or a module; it stays as
            it is.
        input_shape: of one image, without the batch: (C, H, W). Needed for a module; else the usual one.
        outputs: of a network built by its name. Unless given 10, or 1,000 for timm's; for pixels 2, for boxes 20, and
            for a picture its channels.

    Example:
        >>> anatomy = describe("lenet5", (1, 32, 32))
        >>> anatomy.rows[0].formula, anatomy.totals.trainable, anatomy.totals.macs
        ('(32 + 2*0 - 5)/1 + 1 = 28', 61706, 416520)
        >>> anatomy.unit("pool2", (2, 2)).hull
        ((8, 23), (8, 23))

    Raises:
        ConvlensError: there is no such network, or a step does not fit what reaches it.
    """
    subject = open_subject(network, input_shape, outputs)
    run = _record(subject)
    fields = ReceptiveFields(run)
    rows, values, totals = read_rows(run, fields)
    output = next((value.shape for value in values_in(run.output)), ())
    return Anatomy(subject.name, run.input.shape, output, tuple(rows), totals, run, values, fields)


def _record(subject: Subject) -> Record:
    """Without memory, unless the network looks at values; or with zeros, where that is sooner done.

    Without memory torch needs its compiler, and takes a second to import it; what comes out is the same.
    """
    network, shape = subject.network, (1, *subject.shape)
    like = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))
    large = sum(p.numel() for p in network.parameters()) > LARGE_WEIGHTS or math.prod(shape) > LARGE_INPUT
    if large or "torch._dynamo" in sys.modules or like.device.type not in ("cpu", "meta"):
        try:
            return record(network, torch.zeros(shape, device="meta", dtype=like.dtype))
        except ShapeError:
            pass  # zeros decide
    if like.is_meta and subject.again:
        network, like = subject.again(), like.new_empty(0, device="cpu")
    return record(network, torch.zeros(shape, device=like.device, dtype=like.dtype))
