"""The catalog as a table: every network with its size, its cost and what it sees, read off the networks themselves.

To read it off takes seconds and needs torch, so what was read lies beside this file, written by
`docs/make_networks.py`; a test compares the two.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convlens.explain.rows import Row


def list_networks() -> list[dict[str, Any]]:
    """One row for each network, at the input and with the outputs it was published with."""
    return json.loads(files("convlens.explain").joinpath("networks.json").read_text(encoding="utf-8"))


def measure_networks() -> list[dict[str, Any]]:
    """The rows of `list_networks`, from the networks themselves; nothing is allocated."""
    from convlens.explain.anatomy import describe
    from convlens.models.catalog import NETWORKS

    table = []
    for name, entry in NETWORKS.items():
        anatomy = describe(name, entry.input, outputs=entry.outputs)
        table.append(
            {
                "name": name,
                "title": entry.title,
                "year": entry.year,
                "source": entry.source,
                "parameters": anatomy.totals.trainable,
                "macs": anatomy.totals.macs,
                "receptive_field_px": _field(anatomy.rows),
                "input": list(entry.input),
                "outputs": entry.outputs,
                "smallest_px": entry.smallest_px,
                "weights": entry.weights,
                "licence": entry.licence,
            }
        )
    return table


def _field(rows: tuple[Row, ...]) -> int | None:
    """Side of what a unit of the last map sees, by the textbook, or exactly and at most where units do not see alike.

    None where it sees all of the image, or no map is.
    """
    maps = [row for row in rows if len(row.output_shape) == 4 and max(row.output_shape[2:]) > 1]
    if not maps:
        return None
    fields, last = [field for field in maps[-1].fields if field], maps[-1]
    if fields and len(fields) == len(last.fields):
        return max(int(field.size) for field in fields)
    return max(last.sees) if last.sees and not last.whole else None
