"""The whole model: raw named inputs, scaling, network, probabilities."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.config.features import FourVector
from nntrainer.config.registry import NetworkOptions
from nntrainer.dataset.schema import ObjectSchema, network_inputs
from nntrainer.errors import ConfigError, one_of
from nntrainer.networks import heads, layers
from nntrainer.networks.inputs import ModelInputs, Range, Scaling

SCORES = "scores"
"""Name of the last layer, which turns logits into probabilities."""


def build_model(config: Config, scaling: Scaling, seed: int, precision: str = "float32") -> Any:
    """Build the network that a configuration asks for.

    Args:
        config: the configuration.
        scaling: the input scaling, stored in the model.
        seed: decides the initial weights and the dropout; sets the seeds of Python, NumPy and Keras.
        precision: what the network's layers compute in; scaling and heads compute in float32 whatever it is, and all
            weights are float32.

    Returns:
        A Keras model with float32 inputs ``events`` (F,) where there are event features, and ``<collection>``
        (max, F) and ``<collection>_valid`` (max,) for each collection. Its output ``scores`` is P(signal),
        shape (1,), for two labels, and the probabilities in label order for more. With more tasks than the class the
        outputs are a dictionary, see :mod:`nntrainer.networks.heads`.
    """
    import keras

    keras.utils.set_random_seed(seed)
    tensors, inputs = _inputs(config, scaling)
    with _computing_in(precision):
        encoded = config.model.encode(inputs)
    outputs: dict[str, Any] = {}
    if config.classifies:
        logits = encoded.logits
        if logits is None:
            logits = keras.layers.Dense(inputs.outputs, name="logits")(encoded.event)
        elif logits.dtype != "float32":  # losses are computed in it
            logits = keras.layers.Activation("linear", name="logits_float32")(logits)
        binary = len(config.data.labels) == 2
        outputs[SCORES] = keras.layers.Activation("sigmoid" if binary else "softmax", name=SCORES)(logits)
    outputs |= heads.add(config, inputs, encoded)
    model = keras.Model(tensors, outputs[SCORES] if [*outputs] == [SCORES] else outputs, name=config.model.name)
    heads.set_ranges(model, config, scaling)
    for layer in model.layers:  # some networks do not look at every scaled input
        if (name := layer.name.removesuffix("_scale")) != layer.name and name in scaling.ranges:
            layer.set_weights([scaling.ranges[name].mean, scaling.ranges[name].scale])
    return model


@contextmanager
def _computing_in(precision: str) -> Iterator[None]:
    """Have the layers that are made inside compute in this precision."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def logits_model(model: Any) -> Any:
    """Return a model that shares everything with the given one but ends at the logits, for a stable loss."""
    import keras

    return keras.Model(
        {tensor.name: tensor for tensor in model.inputs},
        model.get_layer(SCORES).input,
        name=f"{model.name}_logits",
    )


def event_of(model: Any) -> Any:
    """Return the tensor that holds what a network makes of an event; of one that scores the classes itself its logits.

    Args:
        model: what ``build_model`` returned for a network that learns the class.

    Returns:
        A symbolic (None, width) tensor.
    """
    import keras

    last = next((layer for layer in model.layers if layer.name == "logits"), None)
    return last.input if isinstance(last, keras.layers.Dense) else model.get_layer(SCORES).input


def running_moments(model: Any) -> list[Any]:
    """Return the variables of a Keras model that hold the running moments of its batch normalisation."""
    return [each for each in model.non_trainable_variables if "moving_" in each.path]


def named(outputs: Any) -> dict[str, Any]:
    """Return the outputs of a Keras model by name; where there is one, it is ``scores``."""
    return dict(outputs) if isinstance(outputs, dict) else {"scores": outputs}


def check_model(config: Config) -> None:
    """Build a network that people wrote themselves, with the shapes of the inputs, to see whether it can be.

    Args:
        config: the configuration; nothing is done for the networks of this package.

    Raises:
        ConfigError: it cannot; the message says which layer or line, and why.
    """
    if config.model.own:
        blank_model(config)


def blank_model(config: Config) -> Any:
    """Build the network that a configuration asks for, untrained and without scaling, to see what it is made of.

    Args:
        config: the configuration.

    Returns:
        The Keras model.
    """
    wanted = network_inputs(config)
    features = {"events": len(wanted.events)} if wanted.events else {}
    features |= {name: len(block.fields) for name, block in wanted.objects.items()}
    ranges = {name: Range(np.zeros(n, np.float32), np.ones(n, np.float32)) for name, n in features.items()}
    return build_model(config, Scaling(ranges), config.seed)


def load_model(path: Path, network: NetworkOptions | None = None) -> Any:
    """Load a saved model with the layers that this package adds to Keras.

    Args:
        path: a ``.keras`` file.
        network: the network that it is of, for layers that only it knows.

    Returns:
        The Keras model, not compiled.
    """
    import keras

    for module in pkgutil.iter_modules(layers.__path__):  # they tell Keras what they are called
        importlib.import_module(f"{layers.__name__}.{module.name}")
    if network is not None:
        network.prepare()
    return keras.saving.load_model(path, compile=False)


def _inputs(config: Config, scaling: Scaling) -> tuple[dict[str, Any], ModelInputs]:
    import keras

    from nntrainer.networks.layers.four_vectors import FourVectors
    from nntrainer.networks.layers.masked import Masked
    from nntrainer.networks.layers.scale import Scale

    wanted = network_inputs(config)
    tensors: dict[str, Any] = {}
    labels = len(config.data.labels)
    inputs = ModelInputs(outputs=1 if labels == 2 else labels, config=config)

    def add(name: str, shape: tuple[int, ...]) -> Any:
        tensors[name] = keras.Input(shape, dtype="float32", name=name)
        return tensors[name]

    def scaled(name: str, shape: tuple[int, ...]) -> Any:
        _check(name, scaling.ranges[name], shape[-1])
        return Scale(name=f"{name}_scale")(add(name, shape))

    if wanted.events:
        inputs.events = scaled("events", (len(wanted.events),))
    for name, block in wanted.objects.items():
        objects = scaled(name, (block.max, len(block.fields)))
        mask = add(f"{name}_valid", (block.max,))
        inputs.masks[name] = mask
        inputs.objects[name] = Masked(name=f"{name}_masked")([objects, mask])
        inputs.names[name] = tuple(field.name for field in block.fields)
        if (vector := config.features.objects[name].four_vector) is not None:
            columns = _columns(vector, name, block)
            # In float64: E² − p² is nothing in float32. Layers that take it in float32 cast it themselves.
            make = FourVectors(**columns, dtype="float64", name=f"{name}_four_vectors")
            inputs.gev[name] = columns["gev"]
            inputs.four_vectors[name] = make([tensors[name], mask])
    return tensors, inputs


GEV = {"MeV": 1e-3, "GeV": 1.0, "TeV": 1e3}


def _columns(vector: FourVector, collection: str, block: ObjectSchema) -> dict[str, Any]:
    """Return where the numbers of a four-vector stand among an object's features, and what their unit is in GeV."""
    places = {field.name: place for place, field in enumerate(block.fields)}
    unit = block.fields[places[vector.pt]].unit
    if unit not in GEV:
        raise ConfigError(
            f"features.objects.{collection}: '{vector.pt}' is part of a four-vector and needs a unit, "
            f"{one_of(GEV)}; given is '{unit}'"
        )
    given = vector.model_dump(exclude_none=True)
    return {"gev": GEV[unit], **{key: places[name] for key, name in given.items()}}


def _check(name: str, fitted: Range, features: int) -> None:
    if fitted.mean.shape != (features,) or fitted.scale.shape != (features,):
        raise ValueError(f"scaling of '{name}' has shape {fitted.mean.shape}, not ({features},)")
