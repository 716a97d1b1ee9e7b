"""Dense layers on pairs of objects, and sums over partners."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("nntrainer")
class PairDense(keras.layers.Layer):
    """A dense layer on each pair: on one object, the other, and what they are to one another.

    The same as a dense layer on the three put together, which is never written down.

    Args:
        units: of the layer.
        **options: of a Keras layer.
    """

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.units = units
        self.own = keras.layers.Dense(units, name="own", dtype=self.dtype_policy)
        self.other = keras.layers.Dense(units, use_bias=False, name="other", dtype=self.dtype_policy)
        self.pair = keras.layers.Dense(units, use_bias=False, name="pair", dtype=self.dtype_policy)

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Make the weights.

        Args:
            input_shape: shapes of objects and pairs.
        """
        self.own.build(input_shape[0])
        self.other.build(input_shape[0])
        self.pair.build(input_shape[1])

    def call(self, inputs: list[Any]) -> Any:
        """Return the pairs.

        Args:
            inputs: (None, N, width) objects and (None, N, N, features) pairs.

        Returns:
            A (None, N, N, units) tensor.
        """
        objects, pairs = inputs
        return self.own(objects)[:, :, None, :] + self.other(objects)[:, None, :, :] + self.pair(pairs)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return (None, N, N, units)."""
        return (*input_shape[1][:3], self.units)

    def get_config(self) -> dict[str, Any]:
        """Return the options."""
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("nntrainer")
class PairSum(keras.layers.Layer):
    """The weighted sum over each object's partners, itself left out."""

    def call(self, inputs: list[Any]) -> Any:
        """Return one row an object.

        Args:
            inputs: (None, N, N, width) pairs, their (None, N, N, 1) weights, and the (None, N) mask of objects.

        Returns:
            A (None, N, width) tensor.
        """
        pairs, weights, mask = inputs
        return keras.ops.sum(keras.ops.where(partners(mask)[..., None], pairs * weights, 0.0), axis=2)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return (None, N, width)."""
        events, slots, _, width = input_shape[0]
        return (events, slots, width)


def partners(mask: Any) -> Any:
    """Return whether two slots hold two objects: (None, N, N) bool from the (None, N) mask."""
    ops = keras.ops
    there = mask > 0
    other = ops.logical_not(ops.cast(ops.eye(mask.shape[1]), "bool"))
    return ops.logical_and(ops.logical_and(there[:, :, None], there[:, None, :]), other)
