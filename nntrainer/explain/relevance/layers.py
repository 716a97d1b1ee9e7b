"""The rule of each layer: what it gives, as a function that is linear in what it is given."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from nntrainer.errors import ExplainError
from nntrainer.explain.relevance.passing import Passing, elementwise, linear, shared
from nntrainer.networks.layers.adjacency import Adjacency
from nntrainer.networks.layers.assignment import Candidates, Choices, Kinematics
from nntrainer.networks.layers.attention import ClassToken, MaskedAttention
from nntrainer.networks.layers.distances import AngularDistance, FeatureDistance
from nntrainer.networks.layers.four_vectors import FourVectors
from nntrainer.networks.layers.graph_attention import GraphAttention
from nntrainer.networks.layers.masked import Masked, MaskedPool
from nntrainer.networks.layers.neighbours import EdgeMean, Edges, Neighbours
from nntrainer.networks.layers.pairs import OfOthers, PairFeatures
from nntrainer.networks.layers.scale import Scale, Unscale

L = keras.layers

AS_THEY_ARE: tuple[type, ...] = (
    *(L.Add, L.Average, L.Concatenate, L.Maximum, L.Minimum, L.Subtract, L.PReLU),
    *(L.Flatten, L.Permute, L.RepeatVector, L.Reshape, L.Dropout, L.SpatialDropout1D, L.GaussianDropout),
    *(L.GaussianNoise, L.AveragePooling1D, L.GlobalAveragePooling1D, L.GlobalMaxPooling1D, L.MaxPooling1D),
    *(Masked, MaskedPool, OfOthers, Edges, EdgeMean, Candidates),
)
"""Layers without a constant that are linear, or linear for each choice of a largest: the largest takes all."""
OPERATIONS = ("GetItem", "Reshape", "Transpose", "Concatenate", "Add", "Subtract", "Squeeze", "ExpandDims", "Negative")
"""The same for functions of Keras that stand in a network's graph like layers."""
ACTIVATIONS = frozenset(
    [
        "relu",
        "relu6",
        "leaky_relu",
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "swish",
        "tanh",
        "sigmoid",
        "hard_sigmoid",
        "hard_silu",
        "softplus",
        "softsign",
        "exponential",
        "mish",
        "linear",
    ]
)


def rule_of(operation: Any) -> Callable[..., Any] | None:
    """Return the rule of a layer, a function of the pass, the layer and what it is called with; None if none."""
    if not isinstance(operation, L.Layer):
        kind = type(operation).__name__
        return _as_it_is if kind in OPERATIONS else _ones if kind == "OnesLike" else None
    if isinstance(operation, AS_THEY_ARE):
        return _as_it_is
    rule = RULES.get(type(operation))
    return rule if rule is not None and _fits(operation) else None


def refuse(network: Any) -> None:
    """Refuse a network with a layer that has no rule.

    Args:
        network: a Keras model; only layers that its output depends on count.

    Raises:
        ExplainError: a layer has none; the sentence names it.
    """
    for each in network.operations:
        if not isinstance(each, L.InputLayer) and rule_of(each) is None:
            raise ExplainError(
                f"lrp: there is no rule for the layer '{each.name}' ({type(each).__name__}) of the network "
                f"'{network.name.removesuffix('_head')}'; take another method, such as shap or permutation"
            )


def bound(passing: Passing, operation: Any) -> Callable[..., Any]:
    """Return what stands for a layer in this pass."""
    rule = rule_of(operation)
    if rule is None:
        raise ValueError(f"no rule for {operation.name}")

    def call(*args: Any, **options: Any) -> Any:
        return rule(passing, operation, *args, **{key: each for key, each in options.items() if each is not None})

    return call


def _fits(layer: Any) -> bool:
    """Return whether a layer's options are what its rule knows."""
    activation = getattr(layer, "activation", None)
    if activation is not None and getattr(activation, "__name__", "") not in ACTIVATIONS:
        return False
    if isinstance(layer, L.LayerNormalization | L.BatchNormalization):
        axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
        last = len(layer.input.shape) - 1
        return [each % (last + 1) for each in axes] == [last] and not getattr(layer, "rms_scaling", False)
    if isinstance(layer, L.MultiHeadAttention):
        return len(layer.query_dense.kernel.shape) == 3 and not getattr(layer, "_use_gate", False)
    return True


def _as_it_is(passing: Passing, layer: Any, *args: Any, **options: Any) -> Any:
    return layer(*args, **options)


def _ones(passing: Passing, layer: Any, inputs: Any, **options: Any) -> Any:
    return passing.constant(layer(inputs, **options))


def _expanded(passing: Passing, layer: Any, inputs: Any) -> Any:
    return passing.expanded(layer(inputs))


def _given(passing: Passing, layer: Any, inputs: Any) -> Any:
    return passing.given(layer(inputs))


def _constant(passing: Passing, layer: Any, inputs: Any) -> Any:
    return passing.constant(layer(inputs))


def _elementwise(passing: Passing, layer: Any, inputs: Any) -> Any:
    return elementwise(passing, layer, inputs)


def _dense(passing: Passing, layer: Any, inputs: Any) -> Any:
    made = linear(passing, keras.ops.matmul, inputs, layer.kernel, layer.bias)
    return made if layer.activation is keras.activations.linear else elementwise(passing, layer.activation, made)


def _einsum(passing: Passing, layer: Any, inputs: Any) -> Any:
    return linear(passing, partial(tf.einsum, layer.equation), inputs, layer.kernel, layer.bias)


def _scale(passing: Passing, layer: Any, inputs: Any) -> Any:
    mean, scale = tf.convert_to_tensor(layer.mean), tf.convert_to_tensor(layer.scale)
    return inputs / scale - passing.constant(mean / scale, len(inputs.shape))


def _unscale(passing: Passing, layer: Any, inputs: Any) -> Any:
    mean, scale = tf.convert_to_tensor(layer.mean), tf.convert_to_tensor(layer.scale)
    return inputs * scale + passing.constant(mean, len(inputs.shape))


def _batch_norm(passing: Passing, layer: Any, inputs: Any) -> Any:
    slope = 1 / tf.sqrt(tf.convert_to_tensor(layer.moving_variance) + layer.epsilon)
    slope = slope if layer.gamma is None else slope * layer.gamma
    start = -slope * layer.moving_mean
    return inputs * slope + passing.constant(start if layer.beta is None else start + layer.beta, len(inputs.shape))


def _layer_norm(passing: Passing, layer: Any, inputs: Any) -> Any:
    """The width of what is normalised is taken as constant (arXiv 2202.07304)."""
    inputs = tf.cast(inputs, tf.float64)
    apart = inputs - tf.reduce_mean(inputs, axis=-1, keepdims=True)
    width = tf.sqrt(tf.reduce_mean(apart**2, axis=-1, keepdims=True) + layer.epsilon)
    slope = 1 / width if layer.gamma is None else tf.convert_to_tensor(layer.gamma) / width
    made = apart * tf.stop_gradient(slope)
    return made if layer.beta is None else made + passing.constant(layer.beta, len(inputs.shape))


def _product(passing: Passing, layer: Any, inputs: Any) -> Any:
    """Each factor gets the same share of the relevance, but for those that are given."""
    free = [place for place, each in enumerate(inputs) if not passing.is_given(each)]

    def product(*factors: Any) -> Any:
        filled = list(inputs)
        for place, factor in zip(free, factors, strict=True):
            filled[place] = factor
        return layer(filled)

    return shared(product, [inputs[place] for place in free])


def _masked_attention(passing: Passing, layer: Any, inputs: Any) -> Any:
    query, key, value, mask, *bias = inputs
    if passing.rules.attention == "constant":
        weights = layer.shares(layer.scores(query, key, *bias), mask)
        return layer.attend(tf.stop_gradient(weights), value)
    scores = shared(layer.scores, [query, key])
    scores = tf.add_n([scores, *(tf.cast(each, scores.dtype) for each in bias)])
    return shared(layer.attend, [passing.expanded(layer.shares(scores, mask)), value])


def _graph_attention(passing: Passing, layer: Any, inputs: Any) -> Any:
    objects, mask, *edges = inputs
    source = _dense(passing, layer.source, objects)
    target = _dense(passing, layer.target, objects)
    weights = layer.shares(layer.scores(target, source, *(_dense(passing, layer.edge, each) for each in edges)), mask)
    if passing.rules.attention == "constant":
        return layer.take(tf.stop_gradient(weights), source)
    return shared(layer.take, [passing.expanded(weights), source])


def _multi_head_attention(
    passing: Passing, layer: Any, query: Any, value: Any, key: Any = None, attention_mask: Any = None, **options: Any
) -> Any:
    """The attention of Keras, of (None, N, width) tensors."""
    key = value if key is None else key
    values = _einsum(passing, layer.value_dense, value)

    def taken(weights: Any, each: Any) -> Any:
        return tf.einsum("bhqk,bkhd->bqhd", weights, each)

    if passing.rules.attention == "constant":
        call = {"key": key, "attention_mask": attention_mask, "return_attention_scores": True, **options}
        found = taken(passing.given(layer(query, value, **call)[1]), values)
    else:
        queries, keys = _einsum(passing, layer.query_dense, query), _einsum(passing, layer.key_dense, key)
        scores = shared(partial(tf.einsum, "bqhd,bkhd->bhqk"), [queries / queries.shape[-1] ** 0.5, keys])
        if attention_mask is not None:
            scores = tf.where(tf.reshape(attention_mask, (-1, 1, *attention_mask.shape[1:])) > 0, scores, -1e9)
        found = shared(taken, [passing.expanded(tf.nn.softmax(scores)), values])
    return _einsum(passing, layer.output_dense, found)


RULES: dict[type, Callable[..., Any]] = {
    L.Dense: _dense,
    L.EinsumDense: _einsum,
    L.BatchNormalization: _batch_norm,
    L.LayerNormalization: _layer_norm,
    L.MultiHeadAttention: _multi_head_attention,
    L.Multiply: _product,
    L.Dot: _product,
    **dict.fromkeys((L.Activation, L.ReLU, L.LeakyReLU, L.ELU), _elementwise),
    Scale: _scale,
    Unscale: _unscale,
    ClassToken: _constant,
    MaskedAttention: _masked_attention,
    GraphAttention: _graph_attention,
    Choices: lambda passing, layer, inputs: shared(lambda *each: layer(list(each)), inputs),
    **dict.fromkeys((FourVectors, PairFeatures, Kinematics), _expanded),
    **dict.fromkeys((Adjacency, AngularDistance, FeatureDistance, Neighbours), _given),
}
