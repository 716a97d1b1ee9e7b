"""How strongly objects are joined."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("nntrainer")
class Adjacency(keras.layers.Layer):
    """The normalised adjacency D^-1/2 A D^-1/2 of the full graph of objects (arXiv 1609.02907).

    A is exp(-ΔR² / 2R²) with squared distances and else 1 between objects, 1 from each to itself, and 0 where there is
    none; D has the sums of its rows.

    Args:
        radius: R.
        **options: of a Keras layer.
    """

    def __init__(self, radius: float, **options: Any) -> None:
        super().__init__(**options)
        self.radius = radius

    def call(self, inputs: list[Any]) -> Any:
        """Return the adjacency.

        Args:
            inputs: (None, N) mask of objects, and (None, N, N) squared distances if they count.

        Returns:
            A (None, N, N) tensor.
        """
        ops = keras.ops
        mask, *distance = inputs
        there = ops.cast(mask > 0, self.compute_dtype)
        joined = there[:, :, None] * there[:, None, :]
        if distance:
            joined = joined * ops.exp(-distance[0] / (2 * self.radius**2))
        root = ops.sqrt(ops.maximum(ops.sum(joined, axis=-1), 1.0))  # an object is joined to itself: at least 1
        return joined / (root[:, :, None] * root[:, None, :])

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return (None, N, N)."""
        events, slots = input_shape[0]
        return (events, slots, slots)

    def get_config(self) -> dict[str, Any]:
        """Return the options."""
        return {**super().get_config(), "radius": self.radius}
