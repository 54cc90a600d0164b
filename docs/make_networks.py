"""Writes what `convlens networks` shows, from the networks: `python docs/make_networks.py`; a test compares the two."""

from __future__ import annotations

import json
from pathlib import Path

from convlens.explain import listing

FILE = Path(listing.__file__).with_name("networks.json")


def main() -> None:
    """Measure every network of the catalog, one line each."""
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in listing.measure_networks())
    FILE.write_text(f"[\n{rows}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
