"""Squared distances between objects."""

from __future__ import annotations

import math
from typing import Any

import keras

SMALLEST = 1e-12
"""Added to pT² in GeV², so that empty slots have a direction."""


@keras.saving.register_keras_serializable("nntrainer")
class AngularDistance(keras.layers.Layer):
    """ΔR² = Δη² + Δφ² of each pair of objects, η the pseudorapidity."""

    def call(self, inputs: Any) -> Any:
        """Return the distances.

        Args:
            inputs: (None, N, 4) four-vectors E, px, py, pz.

        Returns:
            A (None, N, N) tensor.
        """
        ops = keras.ops
        px, py, pz = (inputs[..., index] for index in range(1, 4))
        eta = ops.arcsinh(pz / ops.sqrt(ops.square(px) + ops.square(py) + SMALLEST))
        phi = ops.arctan2(py, px)
        away = ops.abs(phi[:, :, None] - phi[:, None, :])
        away = ops.minimum(away, 2 * math.pi - away)
        return ops.square(eta[:, :, None] - eta[:, None, :]) + ops.square(away)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (None, N, N)."""
        return (input_shape[0], input_shape[1], input_shape[1])


@keras.saving.register_keras_serializable("nntrainer")
class FeatureDistance(keras.layers.Layer):
    """The squared Euclidean distance of what each pair of objects holds."""

    def call(self, inputs: Any) -> Any:
        """Return the distances.

        Args:
            inputs: (None, N, width) objects.

        Returns:
            A (None, N, N) tensor.
        """
        # Of differences: the sum of squares minus the product is wrong where two objects are near each other.
        return keras.ops.sum(keras.ops.square(inputs[:, :, None, :] - inputs[:, None, :, :]), axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (None, N, N)."""
        return (input_shape[0], input_shape[1], input_shape[1])
