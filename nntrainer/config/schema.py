"""The configuration as JSON Schema, for editors and other tools; what `nntrainer schema` prints."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from nntrainer.config.models import Config
from nntrainer.config.registry import (
    AUGMENTATIONS,
    MAKERS,
    NETWORKS,
    AugmentationOptions,
    MakerOptions,
    NetworkOptions,
    Part,
    Registry,
)

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


def schema() -> Schema:
    """Return the JSON Schema of a configuration, with the options of every network, feature maker and augmentation."""
    kinds: list[tuple[type[Part], Registry[Any], str, bool]] = [
        (NetworkOptions, NETWORKS, "name", True),
        (AugmentationOptions, AUGMENTATIONS, "name", True),
        (MakerOptions, MAKERS, "maker", False),
    ]
    parts = {base: [registry.get(name) for name in registry.names()] for base, registry, _, _ in kinds}
    models: list[type[BaseModel]] = [Config, *parts, *(part for found in parts.values() for part in found)]
    references, made = models_json_schema([(model, "validation") for model in models])
    definitions = made["$defs"]

    def definition(model: type[BaseModel]) -> str:
        return str(references[model, "validation"]["$ref"]).rsplit("/", 1)[1]

    for base, registry, word, by_name in kinds:
        for part in parts[base]:
            options = definitions[definition(part)]
            options["required"] = [word, *(key for key in options.get("required", ()) if key != word)]
        # A network and an augmentation may be given by their name alone, with all options as they are by default.
        names = [{"enum": registry.names()}] if by_name else []
        whole = [{"$ref": f"#/$defs/{definition(part)}"} for part in parts[base]]
        definitions[definition(base)] = {"oneOf": [*names, *whole]}
    top = definitions.pop(definition(Config))
    return finished("Configuration of nntrainer", {**top, "$defs": definitions})


def schema_of(title: str, adapter: TypeAdapter[Any]) -> Schema:
    """Return the JSON Schema of anything else that pydantic checks."""
    return finished(title, adapter.json_schema())


def finished(title: str, made: Schema) -> Schema:
    """Return a schema with its dialect and title, and without the titles that pydantic makes of the keys' names."""
    return {"$schema": DIALECT, "title": title, **_untitled(made)}


def page(made: Schema) -> str:
    """Return a schema as the text of a file."""
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _untitled(value: Any, names: bool = False) -> Any:
    """Return the same without titles; under ``properties`` and ``$defs`` a title is a name like others."""
    if isinstance(value, list):
        return [_untitled(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _untitled(each, key in ("properties", "$defs") and not names)
        for key, each in value.items()
        if names or key != "title"
    }
