"""What comes after a network for tasks other than the class: objects of particles, numbers of the event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.config.targets import Assignment, Particle
from nntrainer.errors import ConfigError
from nntrainer.networks.candidates import candidates
from nntrainer.networks.inputs import Encoded, ModelInputs, Range, Scaling

CANDIDATES = "_candidates"
STANDARDISED = "_standardised"
UNSCALE = "_unscale"
"""Ends of the names of layers that a loss is computed from."""
WIDTH = 64
"""Width of an object as an assignment looks at it, and of the layer before a regression."""


@dataclass(frozen=True)
class Output:
    """An output of a model beside ``scores``, as it is written into ntuples.

    Attributes:
        name: of the output.
        columns: the columns it has, by the ends of their names; one for a shape (n,), k for (n, k).
        dtype: of the columns.
        unit: of the values.
        description: what they are.
        collection: the collection whose slots they are, or empty.
    """

    name: str
    columns: tuple[str, ...]
    dtype: str
    unit: str
    description: str
    collection: str = ""


def outputs(config: Config) -> list[Output]:
    """Return what a configuration's model gives beside ``scores``, in order."""
    found: list[Output] = []
    for target in config.assignments.values():
        block = config.features.objects[target.collection]
        for name, particle in target.particles.items():
            k, where = len(particle.ids), f"in {target.collection}; -1: too few objects"
            slots = tuple(f"{name}_j{position}" for position in range(k))
            text = f"objects with match {', '.join(map(str, particle.ids))} of {name}, by position {where}"
            found.append(Output(f"{name}_indices", slots, "i4", "", text, target.collection))
            text = f"probability of this choice among all of {name}; -1: too few objects"
            found.append(Output(f"{name}_probability", (f"{name}_prob",), "f4", "", text))
            if block.four_vector is None:
                continue
            unit = next(each.unit for each in block.features if each.name == block.four_vector.pt)
            for end, what in (("m", "mass"), ("pt", "transverse momentum")):
                text = f"{what} of the sum of the objects of {name}; -1: too few objects"
                found.append(Output(f"{name}_{end}", (f"{name}_{end}",), "f4", unit, text))
    for name, regression in config.regressions.items():
        found.append(Output(name, (name,), "f4", regression.unit, regression.description))
    return found


def add(config: Config, inputs: ModelInputs, encoded: Encoded) -> dict[str, Any]:
    """Add the heads of all tasks but the class.

    Args:
        config: the configuration.
        inputs: what the network sees.
        encoded: what it makes of it.

    Returns:
        Tensors by the names of ``outputs``: ``<particle>_indices`` (None, k) int64, ``<particle>_probability``,
        ``<particle>_m`` and ``<particle>_pt`` (in the unit of the inputs) and ``<regression>``, (None,) float32.

    Raises:
        ConfigError: the network gives no objects.
    """
    tensors: dict[str, Any] = {}
    for name, target in config.assignments.items():
        if target.collection not in encoded.objects:
            raise ConfigError(
                f"training.tasks: '{name}' assigns objects of '{target.collection}', and the network "
                f"'{config.model.name}' gives none of them; choose a network that does, such as 'spanet'"
            )
        tensors |= _assignment(name, target, inputs, encoded)
    for name in config.regressions:
        tensors[name] = _regression(name, encoded)
    return {each.name: tensors[each.name] for each in outputs(config)}


def _assignment(name: str, target: Assignment, inputs: ModelInputs, encoded: Encoded) -> dict[str, Any]:
    from nntrainer.networks.layers.assignment import Decode, MassAndPt

    objects, mask = encoded.objects[target.collection], inputs.masks[target.collection]
    slots = int(objects.shape[1])
    vectors = inputs.four_vectors.get(target.collection)
    logits = [_logits(each, block, objects, mask, vectors) for each, block in target.particles.items()]
    chosen = [candidates(block, slots).slots.tolist() for block in target.particles.values()]
    decoded = Decode(chosen, slots, name=f"{name}_decoded")(logits)
    tensors = {}
    for position, particle in enumerate(target.particles):
        tensors[f"{particle}_indices"] = decoded[position]
        tensors[f"{particle}_probability"] = decoded[len(chosen) + position]
        if target.collection in inputs.four_vectors:
            vectors, gev = inputs.four_vectors[target.collection], inputs.gev[target.collection]
            tensors[f"{particle}_m"], tensors[f"{particle}_pt"] = MassAndPt(gev, name=f"{particle}_sum")(
                [decoded[position], vectors]
            )
    return tensors


def _logits(name: str, particle: Particle, objects: Any, mask: Any, vectors: Any) -> Any:
    """Return (None, C) logits of the candidates: symmetric tensor attention (arXiv 2010.09206, equations 3 to 5).

    The tensor of weights is a sum of products of one embedding for each object, of full rank for pairs. Its symmetric
    part is taken by averaging the choices that are one candidate. Beside it, not in the paper: where objects have
    four-vectors, dense layers on mass and momentum of each candidate, and of its exchangeable objects (the W boson in a
    top quark), which attention learns only slowly.
    """
    import keras

    from nntrainer.networks.layers.assignment import Candidates, Choices, Kinematics

    known = candidates(particle, int(objects.shape[1]))
    hidden = keras.layers.Dense(WIDTH, activation="gelu", name=f"{name}_objects")(objects)
    embedded = [keras.layers.Dense(WIDTH, name=f"{name}_{position}")(hidden) for position in range(len(particle.ids))]
    choices = Choices(name=f"{name}_choices")(embedded)
    inputs = [choices, mask]
    if vectors is not None:
        made = Kinematics([each.tolist() for each in known.sums(particle)], name=f"{name}_kinematics")(vectors)
        made = keras.layers.Dense(WIDTH // 2, activation="gelu", name=f"{name}_kinematics_dense")(made)
        scored = keras.layers.Dense(1, name=f"{name}_kinematics_score")(made)
        inputs.append(keras.layers.Reshape((-1,), name=f"{name}_kinematics_out")(scored))
    return Candidates(known.places.tolist(), known.members.tolist(), name=f"{name}{CANDIDATES}")(inputs)


def _regression(name: str, encoded: Encoded) -> Any:
    import keras

    from nntrainer.networks.layers.scale import Unscale

    hidden = keras.layers.Dense(WIDTH, activation="gelu", name=f"{name}_dense")(encoded.event)
    standardised = keras.layers.Dense(1, name=f"{name}{STANDARDISED}")(hidden)
    return keras.layers.Reshape((), name=f"{name}_value")(Unscale(name=f"{name}{UNSCALE}")(standardised))


def set_ranges(model: Any, config: Config, scaling: Scaling) -> None:
    """Store mean and width of the targets of regressions in the model; 0 and 1 where the scaling has none."""
    for name in config.regressions:
        fitted = scaling.targets.get(name, Range(np.zeros(1, np.float32), np.ones(1, np.float32)))
        model.get_layer(f"{name}{UNSCALE}").set_weights([fitted.mean, fitted.scale])


def task_model(config: Config, model: Any) -> Any:
    """Return a model that shares everything with the given one but gives what losses are computed from.

    Args:
        config: the configuration.
        model: what ``build_model`` returned.

    Returns:
        A Keras model with a dictionary of outputs: ``class`` the logits, ``<particle>`` (None, C) the logits of its
        candidates, ``<regression>`` (None, 1) the standardised value.
    """
    import keras

    tensors = {}
    if config.classifies:
        tensors["class"] = model.get_layer("logits").output
    for target in config.assignments.values():
        tensors |= {name: model.get_layer(f"{name}{CANDIDATES}").output for name in target.particles}
    for name in config.regressions:
        tensors[name] = model.get_layer(f"{name}{STANDARDISED}").output
    return keras.Model({each.name: each for each in model.inputs}, tensors, name=f"{model.name}_tasks")
