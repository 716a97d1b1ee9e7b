"""Attention between the objects of an event as between the nodes of a graph."""

from __future__ import annotations

from typing import Any

import keras

from nntrainer.networks.layers.masked import LOWEST

SLOPE = 0.2
"""Of the leaky ReLU in the attention, as in arXiv 2105.14491."""


@keras.saving.register_keras_serializable("nntrainer")
class GraphAttention(keras.layers.Layer):
    """GATv2 (arXiv 2105.14491, equation 7): weights softmax_j a·LeakyReLU(W h_i + W' h_j + V e_ij), sum of W' h_j.

    Args:
        heads: attentions side by side.
        units: of each head.
        **options: of a Keras layer.
    """

    def __init__(self, heads: int, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.heads, self.units = heads, units
        self.target = keras.layers.Dense(heads * units, name="target", dtype=self.dtype_policy)
        self.source = keras.layers.Dense(heads * units, name="source", dtype=self.dtype_policy)
        self.edge = keras.layers.Dense(heads * units, use_bias=False, name="edge", dtype=self.dtype_policy)

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Make the weights.

        Args:
            input_shape: shapes of objects, mask, and edges if there are any.
        """
        self.target.build(input_shape[0])
        self.source.build(input_shape[0])
        if len(input_shape) > 2:
            self.edge.build(input_shape[2])
        self.attention = self.add_weight(shape=(self.heads, self.units), name="attention")

    def call(self, inputs: list[Any]) -> Any:
        """Return what each object takes from all.

        Args:
            inputs: (None, N, width) objects, their (None, N) mask, and (None, N, N, features) edges if there are any.

        Returns:
            A (None, N, heads · units) tensor.
        """
        objects, mask, *edges = inputs
        source = self.source(objects)
        scores = self.scores(self.target(objects), source, *(self.edge(each) for each in edges))
        return self.take(self.shares(scores, mask), source)

    def scores(self, target: Any, source: Any, edge: Any = None) -> Any:
        """Return how much each object attends to each, (None, N, N, heads) float32, before the softmax.

        Args:
            target: (None, N, heads · units) tensor, W h_i.
            source: (None, N, heads · units) tensor, W' h_j.
            edge: (None, N, N, heads · units) tensor, V e_ij.

        Returns:
            The scores.
        """
        ops = keras.ops
        slots = source.shape[1]
        pairs = target[:, :, None, :] + source[:, None, :, :]
        if edge is not None:
            pairs = pairs + edge
        pairs = ops.leaky_relu(ops.reshape(pairs, (-1, slots, slots, self.heads, self.units)), SLOPE)
        return ops.cast(ops.sum(pairs * self.attention, axis=-1), "float32")

    def shares(self, scores: Any, mask: Any) -> Any:
        """Return what share each object takes of each, (None, heads, N, N): the softmax over the objects there.

        Args:
            scores: (None, N, N, heads) tensor.
            mask: (None, N) mask of the objects.

        Returns:
            The weights; their sum over the last axis is one.
        """
        ops = keras.ops
        weights = ops.softmax(ops.where(mask[:, None, :, None] > 0, scores, LOWEST), axis=2)
        return ops.transpose(weights, (0, 3, 1, 2))

    def take(self, weights: Any, source: Any) -> Any:
        """Return the weighted sum over the objects, (None, N, heads · units).

        Args:
            weights: (None, heads, N, N) tensor.
            source: (None, N, heads · units) tensor.

        Returns:
            The sums, head after head.
        """
        ops = keras.ops
        slots = source.shape[1]
        values = ops.transpose(ops.reshape(source, (-1, slots, self.heads, self.units)), (0, 2, 1, 3))
        taken = ops.transpose(ops.matmul(ops.cast(weights, source.dtype), values), (0, 2, 1, 3))
        return ops.reshape(taken, (-1, slots, self.heads * self.units))

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return (None, N, heads · units)."""
        return (*input_shape[0][:2], self.heads * self.units)

    def get_config(self) -> dict[str, Any]:
        """Return the options."""
        return {**super().get_config(), "heads": self.heads, "units": self.units}
