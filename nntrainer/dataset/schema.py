"""What a dataset file holds, derived from the configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nntrainer.config import Config
from nntrainer.config.features import Feature
from nntrainer.config.targets import Regression
from nntrainer.errors import ConfigError


@dataclass(frozen=True)
class Field:
    """A column: name, NumPy dtype as text, unit and description."""

    name: str
    dtype: str = "f4"
    unit: str = ""
    description: str = ""


@dataclass(frozen=True)
class ObjectSchema:
    """A collection: slots for each event, and the fields of one object (``valid`` comes before them)."""

    max: int
    fields: tuple[Field, ...]

    def dtype(self) -> np.dtype:
        """Return the compound type of one object."""
        return np.dtype([("valid", "?"), *((field.name, field.dtype) for field in self.fields)])


@dataclass(frozen=True)
class Schema:
    """The columns of the events and of each collection."""

    events: tuple[Field, ...]
    objects: dict[str, ObjectSchema]

    def dtype(self) -> np.dtype:
        """Return the compound type of one event."""
        return np.dtype([(field.name, field.dtype) for field in self.events])


NetworkInputs = Schema
"""The columns a network sees, in order."""

BOOKKEEPING = (
    Field("eventNumber", "u8", "", "event id; decides the fold"),
    Field("entry", "i8", "", "entry in the source tree"),
    Field("source", "i4", "", "position in the file's list of sources"),
    Field("label", "i1", "", "class, as position in the list of labels"),
    Field("weight", "f4", "", "event weight with sign, luminosity included"),
)


def _fields(features: Iterable[Feature]) -> tuple[Field, ...]:
    return tuple(Field(each.name, "f4", each.unit, each.description) for each in features)


def _objects(config: Config) -> dict[str, ObjectSchema]:
    blocks = config.features.objects
    return {name: ObjectSchema(block.max, _fields(block.features)) for name, block in blocks.items()}


def made_fields(config: Config) -> tuple[Field, ...]:
    """Return the columns that feature makers add."""
    makers = config.preparation.feature_makers
    return tuple(Field(name, "f4", unit, text) for maker in makers for name, unit, text in maker.outputs())


def slot_fields(particle: str, ids: int) -> list[str]:
    """Return the columns with the slots of a particle's objects."""
    return [f"target_{particle}_{position}" for position in range(ids)]


def value_field(name: str) -> str:
    """Return the column with the truth of a regression."""
    return f"target_{name}"


def target_fields(config: Config) -> tuple[Field, ...]:
    """Return the columns of the truth: int8 slots of objects, -1 where there is none; float32 numbers, NaN for none."""
    fields: list[Field] = []
    for name, target in config.data.targets.items():
        if isinstance(target, Regression):
            fields.append(Field(value_field(name), "f4", target.unit, target.description))
            continue
        for particle, block in target.particles.items():
            for column, each in zip(slot_fields(particle, len(block.ids)), block.ids, strict=True):
                fields.append(Field(column, "i1", "", f"slot in {target.collection} with match {each}, -1 for none"))
    return tuple(fields)


def schema_of(config: Config) -> Schema:
    """Return the schema of a configuration's dataset files.

    Args:
        config: the configuration.

    Returns:
        The columns: bookkeeping, features, spectators, made features, targets; and the collections.

    Raises:
        ConfigError: two columns would have the same name.
    """
    features = config.features
    events = BOOKKEEPING + _fields(features.events) + _fields(features.spectators) + made_fields(config)
    events += target_fields(config)
    schema = Schema(events, _objects(config))
    if "events" in schema.objects:
        raise ConfigError("features.objects: no collection can be called 'events'; give it another name")
    tables = {
        "features.events, features.spectators, preparation.feature_makers and data.targets": [f.name for f in events]
    }
    tables |= {
        f"features.objects.{k}.features": ["valid", *(f.name for f in v.fields)] for k, v in schema.objects.items()
    }
    for where, names in tables.items():
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"{where}: the column '{name}' would be there twice; give one of them another name")
    return schema


def network_inputs(config: Config) -> NetworkInputs:
    """Return what the network sees, of this: event features, then made features; and the collections."""
    sees = config.model.sees
    events = _fields(config.features.events) + made_fields(config) if sees("events", config) else ()
    return Schema(events, {name: block for name, block in _objects(config).items() if sees(name, config)})
