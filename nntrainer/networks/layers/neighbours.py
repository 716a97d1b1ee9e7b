"""The nearest neighbours of each object and the edges to them."""

from __future__ import annotations

from typing import Any

import keras

FARTHEST = 1e9
"""Farther away than any object: what is not there, and an object from itself."""

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable("nntrainer")
class Neighbours(keras.layers.Layer):
    """Which k other objects are nearest to each; where there are fewer, the rest is marked as not there.

    Args:
        k: neighbours; at most as many as there are other slots.
        **options: of a Keras layer.
    """

    def __init__(self, k: int, **options: Any) -> None:
        super().__init__(**options)
        self.k = k

    def call(self, inputs: list[Any]) -> tuple[Any, Any]:
        """Choose neighbours.

        Args:
            inputs: (None, N, N) squared distances and the (None, N) mask of objects.

        Returns:
            (None, N, k, N) one where the last axis' object is the k-th neighbour and else zero, and (None, N, k) one
            where there is a neighbour.
        """
        ops = keras.ops
        distance, mask = inputs
        slots = distance.shape[1]
        near = ops.logical_and(mask[:, None, :] > 0, ops.cast(1 - ops.eye(slots), "bool"))
        _, places = ops.top_k(-ops.where(near, distance, FARTHEST), _number(self.k, slots))
        # Products with ones and zeros pick the neighbours: exact, the same everywhere, and with a repeatable gradient.
        choice = ops.one_hot(places, slots, dtype=distance.dtype)
        there = ops.sum(choice * ops.cast(near, distance.dtype)[:, :, None, :], axis=-1)
        return choice, there

    def compute_output_shape(self, input_shape: list[Shape]) -> tuple[Shape, Shape]:
        """Return (None, N, k, N) and (None, N, k)."""
        events, slots, _ = input_shape[0]
        k = _number(self.k, slots or 1)
        return (events, slots, k, slots), (events, slots, k)

    def get_config(self) -> dict[str, Any]:
        """Return the options."""
        return {**super().get_config(), "k": self.k}


def _number(k: int, slots: int) -> int:
    return min(k, max(slots - 1, 1))


@keras.saving.register_keras_serializable("nntrainer")
class Edges(keras.layers.Layer):
    """What an object holds, and how each of its neighbours differs from it."""

    def call(self, inputs: list[Any]) -> Any:
        """Return the edges.

        Args:
            inputs: (None, N, width) objects, zero where there is none, and the choice of ``Neighbours``.

        Returns:
            A (None, N, k, 2 width) tensor.
        """
        ops = keras.ops
        objects, choice = inputs
        _, slots, k, _ = choice.shape
        width = objects.shape[-1]
        others = ops.matmul(ops.reshape(choice, (-1, slots * k, slots)), objects)
        others = ops.reshape(others, (-1, slots, k, width))
        own = ops.broadcast_to(objects[:, :, None, :], ops.shape(others))
        return ops.concatenate([own, others - own], axis=-1)

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        """Return (None, N, k, 2 width)."""
        return (*input_shape[1][:3], 2 * (input_shape[0][-1] or 0))


@keras.saving.register_keras_serializable("nntrainer")
class EdgeMean(keras.layers.Layer):
    """The mean over the edges of each object; zero where it has none."""

    def call(self, inputs: list[Any]) -> Any:
        """Return one row an object.

        Args:
            inputs: (None, N, k, width) edges, and (None, N, k) one where there is an edge.

        Returns:
            A (None, N, width) tensor.
        """
        ops = keras.ops
        edges, there = inputs
        total = ops.sum(ops.where(there[..., None] > 0, edges, 0.0), axis=2)
        return total / ops.maximum(ops.sum(there, axis=2), 1.0)[..., None]

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        """Return (None, N, width)."""
        events, slots, _, width = input_shape[0]
        return (events, slots, width)
