"""The weights that attention layers give, layer by layer, and their product over the layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nntrainer.dataset.inputs import Inputs
from nntrainer.errors import ExplainError
from nntrainer.explain.sample import Columns

TOKEN = "class token"


def attention_layers(network: Any, columns: Columns) -> list[Any]:
    """Return the attention layers of a network in the order of the data.

    Args:
        network: a Keras model.
        columns: names of its inputs.

    Returns:
        The layers.

    Raises:
        ExplainError: it has none, or one that is not between the network's objects.
    """
    kinds, objects = _kinds(), sum(columns.slots.values())
    found = [each for each in network.operations if type(each) in kinds]
    name = network.name.removesuffix("_head")
    if not found:
        raise ExplainError(
            f"attention: the network '{name}' has no attention layers; networks with some are transformer, "
            "particle_transformer, spanet and gatv2"
        )
    for each in found:
        query, key = _lengths(each)
        if key not in (objects, objects + 1) or query not in (1, key):
            raise ExplainError(
                f"attention: the layer '{each.name}' of the network '{name}' is attention of {query} things to {key}, "
                f"and this network has {objects} objects; its maps cannot be told by object"
            )
    return found


def names_of(length: int, columns: Columns) -> tuple[str, ...]:
    """Return what stands along an axis of attention: ``jets[0]`` …, the class token before them or alone."""
    objects = tuple(f"{name}[{slot}]" for name, slots in columns.slots.items() for slot in range(slots))
    return objects if length == len(objects) else (TOKEN, *objects)[:length]


def weights(network: Any, inputs: Inputs, columns: Columns) -> dict[str, np.ndarray]:
    """Return the attention of some events.

    Args:
        network: a Keras model.
        inputs: its raw inputs.
        columns: their names.

    Returns:
        By name of the layer (n, heads, queries, keys) float32: the share of each key. The shares of a query add up to
        one; they are zero for keys and queries where there is no object.
    """
    import tensorflow as tf

    kinds, found = _kinds(), {}

    def watched(layer: Any) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            found[layer.name] = kinds[type(layer)](layer, *args, **options)
            return layer(*args, **options)

        return call if type(layer) in kinds else layer

    given = [tf.constant(inputs[each.name]) for each in network.inputs]
    network._run_through_graph(given, operation_fn=watched)
    return {name: _masked(np.asarray(each, np.float32), inputs, columns) for name, each in found.items()}


def rollout(maps: Mapping[str, np.ndarray], there: np.ndarray) -> np.ndarray:
    """Return how much of each object arrives at the end of the attention layers (attention rollout, arXiv 2005.00928).

    A layer is A/2 + 1/2: half of what a query becomes is itself, by the connection around the layer, and half what it
    attends to, as the mean over heads. The product over the layers tells what each end is made of; the end is the class
    token where there is one, else the mean over the objects, which are pooled.

    Args:
        maps: (n, heads, queries, keys) weights by layer, in the order of the data.
        there: (n, N) bool, the objects.

    Returns:
        (n, N) float64, zero where there is no object; the sum of an event with objects is one.
    """
    events, objects = there.shape
    made = np.tile(np.eye(objects + 1), (events, 1, 1))  # the token first, also where there is none
    token = False
    for each in maps.values():
        mean = each.mean(axis=1, dtype=np.float64)
        queries, keys = mean.shape[1:]
        rows, columns = _places(queries, keys, objects), _places(keys, keys, objects)
        token |= rows.start == 0
        step = np.tile(np.eye(objects + 1), (events, 1, 1))
        step[:, rows, columns] += mean
        # A query without an object or without anything to look at stays what it is.
        step /= step.sum(axis=2, keepdims=True)
        made = step @ made
    share = made[:, 0, 1:] if token else (made[:, 1:, 1:] * there[:, :, None]).sum(axis=1)
    share = share * there
    total = share.sum(axis=1, keepdims=True)
    return share / np.where(total > 0, total, 1)


def there_of(inputs: Inputs, columns: Columns) -> np.ndarray:
    """Return where there are objects, (n, N) bool, collection after collection."""
    return np.concatenate([inputs[f"{name}_valid"] > 0 for name in columns.slots], axis=1)


def _places(length: int, keys: int, objects: int) -> slice:
    """Return where the queries or keys of a layer stand among the token and the objects."""
    if keys == objects:
        return slice(1, objects + 1)
    return slice(0, length)


def _masked(found: np.ndarray, inputs: Inputs, columns: Columns) -> np.ndarray:
    """Set to zero what empty slots attend to, and what is attended to them in events without any object."""
    there = there_of(inputs, columns)
    always = np.ones((len(there), 1), bool)
    keys = there if found.shape[3] == there.shape[1] else np.concatenate([always, there], axis=1)
    queries = keys if found.shape[2] == found.shape[3] else keys[:, : found.shape[2]]
    return np.where(queries[:, None, :, None] & keys[:, None, None, :], found, 0)


def _lengths(layer: Any) -> tuple[int, int]:
    """Return how many queries and keys an attention layer has."""
    given = layer.input
    if isinstance(given, list | tuple):
        if len(given) > 1 and len(given[1].shape) == 3:
            return given[0].shape[1], given[1].shape[1]
        given = given[0]
    return given.shape[1], given.shape[1]


def _kinds() -> dict[type, Callable[..., Any]]:
    """Return for each kind of attention layer what its weights are, from what it is called with."""
    import keras

    from nntrainer.networks.layers.attention import MaskedAttention
    from nntrainer.networks.layers.graph_attention import GraphAttention

    def masked(layer: Any, inputs: Any) -> Any:
        query, key, _, mask, *bias = inputs
        return layer.shares(layer.scores(query, key, *bias), mask)

    def graph(layer: Any, inputs: Any) -> Any:
        objects, mask, *edges = inputs
        target, source = layer.target(objects), layer.source(objects)
        return layer.shares(layer.scores(target, source, *(layer.edge(each) for each in edges)), mask)

    def multi_head(layer: Any, *args: Any, **options: Any) -> Any:
        return layer(*args, **{**options, "return_attention_scores": True})[1]

    return {MaskedAttention: masked, GraphAttention: graph, keras.layers.MultiHeadAttention: multi_head}
