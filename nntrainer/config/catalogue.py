"""The networks and feature makers as the code describes them, for ``nntrainer models`` and docs/catalogue.md."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

from pydantic_core import PydanticUndefined

from nntrainer.config.registry import MAKERS, NETWORKS, MakerOptions, NetworkOptions, Part, Registry

DISCRIMINATORS = ("name", "maker")


def description(part: type[Part]) -> str:
    """Return the docstring of a part: a line, and what it is in full."""
    return inspect.cleandoc(part.__doc__ or "")


def summary(part: type[Part]) -> str:
    """Return the first sentence of a part's docstring."""
    return description(part).split("\n\n")[0].replace("\n", " ")


def network_types(part: type[Part]) -> str:
    """Return what ``network_type`` may be for a network."""
    return ", ".join(part.network_types) if issubclass(part, NetworkOptions) else ""


def options(part: type[Part]) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, type, default and description of each option."""
    schema = part.model_json_schema()
    fields = part.model_fields
    for name in sorted(fields, key=lambda each: each not in part.__annotations__):  # its own first
        field = fields[name]
        # A network is asked for by its name; a network's options are what comes beside it.
        if name in DISCRIMINATORS and name in schema["properties"] and "const" in schema["properties"][name]:
            continue
        default = "required" if field.default is PydanticUndefined else _plain(field.default)
        yield name, kind(schema["properties"][name], schema.get("$defs", {})), default, field.description or ""


def kind(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Return a JSON schema in words, such as ``list of integer > 0``."""
    if "$ref" in schema:
        return kind(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind(each, definitions) for each in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(str(each) for each in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        of = kind(schema["items"], definitions) if schema.get("items") else "value"
        return f"list of {of}"
    words = {"string": "text", "number": "number", "integer": "integer", "boolean": "true, false", "null": "null"}
    word = words.get(schema.get("type", ""), "mapping")
    signs = (("exclusiveMinimum", ">"), ("minimum", "≥"), ("exclusiveMaximum", "<"), ("maximum", "≤"))
    limits = [f"{sign} {schema[key]:.10g}" for key, sign in signs if key in schema]
    return " ".join([word, ", ".join(limits)]) if limits else word


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def page() -> str:
    """Return docs/catalogue.md."""
    lines = [
        "# Catalogue",
        "Written from the code by `make catalogue`; `nntrainer models --verbose` prints the same of the networks.",
        "",
        "## Networks",
        "A network is chosen by `model.name` and sees events as `network_type` says. "
        "[How they compare](networks.md) on the toy.",
        "",
        *_table(NETWORKS),
        *_sections(NETWORKS),
        "## Feature makers",
        "A maker is an entry of `preparation.feature_makers`, chosen by `maker`; what it makes is an event feature.",
        "",
        *_table(MAKERS),
        *_sections(MAKERS),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _table(registry: Registry[NetworkOptions] | Registry[MakerOptions]) -> list[str]:
    networks = registry.kind == NETWORKS.kind
    head = (
        ["| name | network_type | what it is |", "|---|---|---|"]
        if networks
        else ["| name | what it is |", "|---|---|"]
    )
    rows = []
    for name in registry.names():
        part = registry.get(name)
        types = f" {network_types(part)} |" if networks else ""
        rows.append(f"| [`{name}`](#{name}) |{types} {_cell(summary(part))} |")
    return [*head, *rows, ""]


def _sections(registry: Registry[NetworkOptions] | Registry[MakerOptions]) -> list[str]:
    lines = []
    for name in registry.names():
        part = registry.get(name)
        lines += [f"### `{name}`", description(part), ""]
        lines += ["| option | type | default | what it does |", "|---|---|---|---|"]
        for option, of, default, text in options(part):
            lines.append(f"| `{option}` | {_cell(of)} | `{_cell(default)}` | {_cell(text)} |")
        lines.append("")
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
