"""A network written in the configuration: a list of layers."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue, field_validator

from nntrainer.config.registry import NETWORKS, NetworkOptions, NetworkType
from nntrainer.errors import ConfigError, nearest, one_of
from nntrainer.networks.inputs import Encoded, ModelInputs

OWN_LAYERS = {
    "Masked": "nntrainer.networks.layers.masked",
    "MaskedPool": "nntrainer.networks.layers.masked",
    "MaskedAttention": "nntrainer.networks.layers.attention",
}
MERGES = ("Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract")
LAYERS = tuple(
    sorted(
        {
            *OWN_LAYERS,
            *MERGES,
            *("Activation", "BatchNormalization", "Dense", "Dropout", "GaussianDropout", "GaussianNoise"),
            *("LayerNormalization", "SpatialDropout1D", "UnitNormalization", "ELU", "LeakyReLU", "PReLU", "ReLU"),
            *("Softmax", "Flatten", "Permute", "RepeatVector", "Reshape", "Conv1D", "AveragePooling1D"),
            *("GlobalAveragePooling1D", "GlobalMaxPooling1D", "MaxPooling1D"),
        }
    )
)
"""Layers of Keras, and this package's own, that a configuration may name: all can be written as ONNX."""

WORDS = ("layer", "name", "from")
"""Keys of an entry that are no arguments of its layer."""


@dataclass(frozen=True)
class Entry:
    """A layer of the list.

    Attributes:
        place: what it is called in messages.
        layer: the layer's class, one of ``LAYERS``.
        name: what later entries call it.
        sources: names of what it is applied to.
        arguments: of the layer.
    """

    place: str
    layer: str
    name: str
    sources: tuple[str, ...]
    arguments: dict[str, Any]


@NETWORKS.register("layers")
class Layers(NetworkOptions):
    """The layers that the configuration lists, with their arguments, branches and merges.

    Paper: your own. Inputs: ``flat`` (everything in one row), ``events``, and each collection by its name, (max,
    features), zero in empty slots, with ``<collection>_valid``, (max,). An entry is
    ``{layer: Dense, units: 64, activation: relu, name: a, from: [b, c]}``: ``layer`` is a Keras layer, or ``Masked``,
    ``MaskedPool`` or ``MaskedAttention`` of this package; ``from`` names inputs and earlier entries, and is the entry
    before if absent, ``flat`` for the first. The last entry makes one row of numbers an event; the classes' scores come
    after it.
    """

    network_types: ClassVar[tuple[NetworkType, ...]] = ("flat", "set", "graph")
    own: ClassVar[bool] = True

    name: Literal["layers"] = "layers"
    layers: tuple[dict[str, JsonValue], ...] = Field(
        min_length=1, description="The layers in order, each with its arguments and, if wanted, 'name' and 'from'."
    )

    @property
    def by_event(self) -> bool:
        """Whether what is computed of an event in training depends on it alone."""
        return all(entry.layer != "BatchNormalization" for entry in self.entries())

    @field_validator("layers")
    @classmethod
    def _known(cls, value: tuple[dict[str, JsonValue], ...]) -> tuple[dict[str, JsonValue], ...]:
        names: list[str] = []
        for entry in _entries(value):
            if entry.name in names:
                raise ValueError(f"{entry.place}: another entry is called '{entry.name}'; give each its own name")
            names.append(entry.name)
        return value

    def entries(self) -> list[Entry]:
        """Return the entries of the list."""
        return list(_entries(self.layers))

    def check(self, config: Any) -> None:
        """Check that every entry is applied to inputs and earlier entries.

        Args:
            config: the configuration.

        Raises:
            ValueError: it is not.
        """
        collections = config.features.objects
        known = ["flat", *collections, *(f"{name}_valid" for name in collections)]
        if config.features.events or config.preparation.feature_makers:
            known.insert(0, "events")
        entries = self.entries()
        for entry in entries:
            if entry.name in known:
                raise ValueError(f"model.layers: {entry.place}: '{entry.name}' is an input; take another name")
        for entry in entries:
            for source in entry.sources:
                if source not in known:
                    later = any(each.name == source for each in entries)
                    why = "which is not an earlier entry" if later else "and nothing is called so"
                    raise ValueError(
                        f"model.layers: {entry.place}: from names '{source}', {why}; there are {one_of(known)}."
                        f"{nearest(source, known)}"
                    )
            known.append(entry.name)

    def encode(self, inputs: ModelInputs) -> Encoded:
        """Return the event after the last entry.

        Args:
            inputs: the scaled inputs.

        Returns:
            The event.

        Raises:
            ConfigError: a layer refuses its arguments or what it is applied to.
        """
        tensors: dict[str, Any] = {**inputs.objects, **{f"{name}_valid": mask for name, mask in inputs.masks.items()}}
        if inputs.events is not None:
            tensors["events"] = inputs.events
        entries = self.entries()
        if any("flat" in entry.sources for entry in entries):
            tensors["flat"] = inputs.flat()
        for entry in entries:
            tensors[entry.name] = _applied(entry, [tensors[source] for source in entry.sources])
        last = tensors[entries[-1].name]
        if len(last.shape) != 2:
            raise ConfigError(
                f"model.layers: {entries[-1].place}, the last one, gives {_shape(last)} and must give one row "
                "an event, (None, numbers); pool or flatten it"
            )
        return Encoded(last)


def _entries(layers: Iterable[dict[str, Any]]) -> Iterator[Entry]:
    """Return the entries of a list of layers, checked as far as this goes without Keras."""
    before = "flat"
    for number, given in enumerate(layers):
        layer, name = given.get("layer"), given.get("name", f"layer_{number}")
        place = f"entry {number} ({layer} '{name}')" if "name" in given else f"entry {number} ({layer})"
        if not isinstance(layer, str) or layer not in LAYERS:
            said = f"there is no layer '{layer}'" if "layer" in given else "the key 'layer' is missing"
            hint = nearest(str(layer), LAYERS)
            raise ValueError(f"entry {number}: {said}; allowed are {', '.join(LAYERS)}.{hint}")
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"{place}: 'name' is made of letters, digits and underscores, not {name!r}")
        sources = given.get("from", before)
        sources = [sources] if isinstance(sources, str) else sources
        if not isinstance(sources, list | tuple) or not sources or not all(isinstance(one, str) for one in sources):
            raise ValueError(f"{place}: 'from' is a name or a list of names, not {given['from']!r}")
        for key, argument in given.items():
            if isinstance(argument, dict):
                raise ValueError(f"{place}: '{key}' is a number, a word or a list of them, not a mapping")
        arguments = {key: argument for key, argument in given.items() if key not in WORDS}
        yield Entry(place, layer, name, tuple(sources), arguments)
        before = name


def _applied(entry: Entry, tensors: list[Any]) -> Any:
    """Return what an entry's layer makes of tensors, or say in one sentence why it does not."""
    import importlib

    import keras

    module = importlib.import_module(OWN_LAYERS[entry.layer]) if entry.layer in OWN_LAYERS else keras.layers
    made = getattr(module, entry.layer)
    allowed = [
        each.name
        for each in inspect.signature(made.__init__).parameters.values()
        if each.kind is each.POSITIONAL_OR_KEYWORD and each.name != "self"
    ]
    for key in entry.arguments:
        if key not in allowed:
            raise ConfigError(
                f"model.layers: {entry.place}: {entry.layer} has no argument '{key}'; it has "
                f"{one_of(allowed) or 'none'}.{nearest(key, allowed)}"
            )
    several = entry.layer in MERGES or entry.layer in OWN_LAYERS
    if several != (len(tensors) > 1):
        wanted = "several tensors" if several else "one tensor"
        raise ConfigError(
            f"model.layers: {entry.place}: {entry.layer} is applied to {wanted}, "
            f"and 'from' names {len(tensors)}: {one_of(entry.sources)}"
        )
    try:
        return made(**entry.arguments, name=f"layer_{entry.name}")(tensors if several else tensors[0])
    except Exception as error:  # Keras and its backend raise many kinds
        shapes = ", ".join(f"'{name}' {_shape(each)}" for name, each in zip(entry.sources, tensors, strict=True))
        reason = " ".join(str(error).split("\n\n")[0].split())[:300].rstrip(".")
        raise ConfigError(f"model.layers: {entry.place} cannot be applied to {shapes}: {reason}") from error


def _shape(tensor: Any) -> str:
    return f"({', '.join(str(length) for length in tensor.shape)})"
