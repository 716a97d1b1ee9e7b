"""From the output of a network back to its raw inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from nntrainer.explain.relevance.layers import bound, refuse
from nntrainer.explain.relevance.passing import Passing, Rules


@dataclass(frozen=True)
class Relevance:
    """What each input value contributes to the output of each event.

    Attributes:
        values: by input (``events`` and the collections) float32 in its shape; zero in empty slots.
        base: (n,) float64, the relevance of everything that is no input: biases, trained tokens, masks.
        output: (n,) float64; the sum of all relevance and of the base.
    """

    values: dict[str, np.ndarray]
    base: np.ndarray
    output: np.ndarray


class Propagation:
    """Propagates relevance through one network, in float64.

    A raw input is compared with the value that the network's scaling makes zero of, the mean for ``standard``: only its
    distance from there gets relevance.

    Args:
        network: a Keras model of float32 inputs by name, as ``networks.model.build_model`` makes them.
        scalar: from what the network gives, and the inputs, to the (n,) number whose relevance is asked for.
        rules: the rules.
    """

    def __init__(self, network: Any, scalar: Callable[[Any, Mapping[str, Any]], Any], rules: Rules) -> None:
        refuse(network)
        self._network, self._scalar, self._rules = in_double(network), scalar, rules
        self._zero = {}
        for layer in self._network.layers:
            name = layer.name.removesuffix("_scale")
            if name != layer.name and hasattr(layer, "mean"):
                self._zero[name] = layer.mean.numpy()

    def relevance(self, inputs: Mapping[str, np.ndarray]) -> Relevance:
        """Return the relevance of the raw inputs of some events.

        Args:
            inputs: ``events`` (n, F), ``<collection>`` (n, max, F) and ``<collection>_valid`` (n, max).

        Returns:
            The relevance.
        """
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            one = tf.ones(len(next(iter(inputs.values()))), tf.float64)
            tape.watch(one)
            passing = Passing(self._rules, tape, one)
            fed = [self._fed(passing, each.name, inputs) for each in self._network.inputs]
            made = self._network._run_through_graph(fed, operation_fn=lambda layer: bound(passing, layer))
            output = passing.expanded(self._scalar(made, inputs))
        values, base = passing.back(output)
        return Relevance(
            {name: each.numpy().astype(np.float32) for name, each in values.items()},
            base.numpy(),
            output.numpy(),
        )

    def _fed(self, passing: Passing, name: str, inputs: Mapping[str, np.ndarray]) -> Any:
        """Return an input as its distance from what counts as zero, times the ones that get its relevance."""
        given = np.asarray(inputs[name], np.float64)
        if name.endswith("_valid") and name.removesuffix("_valid") in inputs:
            return passing.constant(given)
        zero = np.asarray(self._zero.get(name, 0.0), np.float64)
        if (valid := inputs.get(f"{name}_valid")) is not None:
            given = np.where(valid[..., None] > 0, given, zero)
        share = tf.ones(given.shape, tf.float64)
        passing.tape.watch(share)
        passing.shares[name] = share
        return share * (given - zero) + passing.constant(np.broadcast_to(zero, given.shape))


def in_double(network: Any) -> Any:
    """Return a copy of a Keras model that computes in float64, whatever the model does."""
    copy = type(network).from_config(_in_double(network.get_config()))
    copy.set_weights(network.get_weights())
    return copy


def _in_double(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: "float64" if key == "dtype" else _in_double(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_in_double(each) for each in config)
    return config
