"""Objects that are there, and averages over them."""

from __future__ import annotations

from typing import Any, Literal

import keras

Pooling = Literal["mean", "sum", "max"]
LOWEST = -1e30
"""Less than anything an object holds."""


def lowest(tensor: Any) -> float:
    """Return ``LOWEST``, or what float16 has in its place."""
    return -6e4 if keras.backend.standardize_dtype(tensor.dtype) == "float16" else LOWEST


@keras.saving.register_keras_serializable("nntrainer")
class Masked(keras.layers.Layer):
    """Set invalid slots to zero, whatever lies there: NaN, too, which a product with zero would keep."""

    def call(self, inputs: list[Any]) -> Any:
        """Return the objects, same shape, zero in invalid slots.

        Args:
            inputs: (..., N, features) objects and their (..., N) mask.

        Returns:
            The objects.
        """
        objects, mask = inputs
        return keras.ops.where(mask[..., None] > 0, objects, 0.0)


@keras.saving.register_keras_serializable("nntrainer")
class MaskedPool(keras.layers.Layer):
    """The mean, sum or maximum of the valid objects; zero where there is none.

    Args:
        kind: which of them.
        **options: of a Keras layer.
    """

    def __init__(self, kind: Pooling, **options: Any) -> None:
        super().__init__(**options)
        self.kind = kind

    def call(self, inputs: list[Any]) -> Any:
        """Return one row an event.

        Args:
            inputs: (None, N, width) objects and their (None, N) mask.

        Returns:
            A (None, width) tensor.
        """
        objects, mask = inputs
        there = mask[..., None] > 0
        if self.kind == "max":
            largest = keras.ops.max(keras.ops.where(there, objects, lowest(objects)), axis=1)
            return keras.ops.where(keras.ops.any(there, axis=1), largest, 0.0)
        total = keras.ops.sum(keras.ops.where(there, objects, 0.0), axis=1)
        if self.kind == "sum":
            return total
        number = keras.ops.sum(keras.ops.cast(there, total.dtype), axis=1)
        return total / keras.ops.maximum(number, 1.0)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return (None, width)."""
        objects = input_shape[0]
        return (objects[0], objects[-1])

    def get_config(self) -> dict[str, Any]:
        """Return the options."""
        return {**super().get_config(), "kind": self.kind}
