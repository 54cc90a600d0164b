"""Writes the tables of `docs/config.md` from the code: `python docs/make_options.py`; a test compares the two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convlens.config import Config, describe_options
from convlens.data.augment import PRESETS

PAGE = Path(__file__).parent / "config.md"
HEAD = "| option | default | accepts | what it does |\n|---|---|---|---|"


def main() -> None:
    """Replace what stands between the markers of the page."""
    text = PAGE.read_text(encoding="utf-8")
    for name, table in (("options", options()), ("presets", presets())):
        text = replaced(text, name, table)
    PAGE.write_text(text, encoding="utf-8")


def replaced(text: str, name: str, table: str) -> str:
    """The page with one of its tables replaced."""
    begin, end = f"<!-- {name}: written by make_options.py -->\n", f"<!-- end of {name} -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{table}\n{end}{after}"


def options() -> str:
    """Every option: a heading for each section, and a table under it."""
    schema = Config.model_json_schema()
    parts: list[str] = []
    section = None
    for name, default, meaning in describe_options():
        group, _, key = name.rpartition(".")
        if group != section:
            section = group
            parts += [f"### {group or 'At the top'}\n", HEAD]
        properties = schema["properties"]
        if group:
            properties = schema["$defs"][properties[group]["$ref"].rpartition("/")[2]]["properties"]
        cells = (f"`{name}`", shown(default), accepts(properties[key]), meaning.replace("|", "\\|"))
        parts.append(f"| {' | '.join(cells)} |")
    return "\n".join(parts).replace("|\n### ", "|\n\n### ") + "\n"


def presets() -> str:
    """What each preset of augmentation sets."""
    names = list(next(iter(PRESETS.values())))
    values = {name: [shown(preset[name]) for preset in PRESETS.values()] for name in names}
    rows = [f"| `augment.{name}` | {' | '.join(cells)} |" for name, cells in values.items()]
    head = f"| option | {' | '.join(PRESETS)} |\n|---|{'---|' * len(PRESETS)}"
    return "\n".join([head, *rows]) + "\n"


def shown(value: Any) -> str:
    """A default as it is written in TOML."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return "empty"
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def accepts(schema: dict[str, Any]) -> str:
    """What an option accepts, in a few words."""
    if "anyOf" in schema:
        return ", ".join(filter(None, map(accepts, schema["anyOf"])))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{word}`" for word in schema.get("enum", [schema.get("const")]))
    kind = schema["type"]
    if kind in ("integer", "number"):
        return f"{'whole number' if kind == 'integer' else 'number'}{bounds(schema)}"
    if kind == "array":
        if "prefixItems" in schema:
            return f"{accepts(schema['prefixItems'][0])}s"
        return "list of names" if schema["items"].get("type") == "string" else "list of tables"
    return {"string": "text", "boolean": "true, false", "object": "table", "null": ""}[kind]


def bounds(schema: dict[str, Any]) -> str:
    """The limits of a number."""
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    found = {word: schema[key] for key, word in words.items() if key in schema and schema[key] < 2**62}
    return " and".join(f" {word} {value:,g}" for word, value in found.items())


if __name__ == "__main__":
    main()
