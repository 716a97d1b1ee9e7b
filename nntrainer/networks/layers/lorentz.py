"""Minkowski products of four-vectors, and four-vectors that move along one another.

Use these layers in float64: the products of the four-vectors of jets cancel down to the square of a mass.
"""

from __future__ import annotations

from typing import Any

import keras

from nntrainer.networks.layers.pair_dense import partners


def squashed(value: Any) -> Any:
    """Return sign(z) log(1 + |z|), ψ of arXiv 2201.08187: products range over many orders of magnitude.

    The logarithm of an ONNX file is of float32, in which 1 + |z| has forgotten the digits of a small z. Its logarithm
    and its distance from 1 have forgotten the same ones, and their quotient times |z| is right (Kahan's formula), so
    that a light jet keeps its mass.
    """
    ops = keras.ops
    size = ops.cast(ops.abs(value), "float32")
    whole = 1 + size
    lost = ops.equal(whole, 1)
    logarithm = ops.where(lost, size, size * ops.log(whole) / ops.where(lost, 1.0, whole - 1))
    return ops.sign(value) * ops.cast(logarithm, value.dtype)


def lowered(vectors: Any) -> Any:
    """Return (…, 4) four-vectors with the index lowered: E, −px, −py, −pz."""
    return keras.ops.concatenate([vectors[..., :1], -vectors[..., 1:]], axis=-1)


@keras.saving.register_keras_serializable("nntrainer")
class Norms(keras.layers.Layer):
    """ψ(E² − p²) of each four-vector."""

    def call(self, inputs: Any) -> Any:
        """Return the norms, (None, N, 1), of (None, N, 4) four-vectors E, px, py, pz."""
        return squashed(keras.ops.sum(inputs * lowered(inputs), axis=-1, keepdims=True))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (None, N, 1)."""
        return (*input_shape[:-1], 1)


@keras.saving.register_keras_serializable("nntrainer")
class Products(keras.layers.Layer):
    """ψ(‖x_i − x_j‖²) and ψ(⟨x_i, x_j⟩) of each pair of four-vectors."""

    def call(self, inputs: Any) -> Any:
        """Return the products.

        Args:
            inputs: (None, N, 4) four-vectors E, px, py, pz.

        Returns:
            A (None, N, N, 2) tensor.
        """
        ops = keras.ops
        apart = inputs[:, :, None, :] - inputs[:, None, :, :]
        distance = ops.sum(apart * lowered(apart), axis=-1)
        product = ops.matmul(inputs, ops.transpose(lowered(inputs), (0, 2, 1)))
        return squashed(ops.stack([distance, product], axis=-1))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (None, N, N, 2)."""
        return (input_shape[0], input_shape[1], input_shape[1], 2)


@keras.saving.register_keras_serializable("nntrainer")
class Update(keras.layers.Layer):
    """x_i + c Σ_j a_ij x_j over the other objects (arXiv 2201.08187, equation 3.3).

    Args:
        weight: c.
        **options: of a Keras layer.
    """

    def __init__(self, weight: float, **options: Any) -> None:
        super().__init__(**options)
        self.weight = weight

    def call(self, inputs: list[Any]) -> Any:
        """Return the four-vectors, (None, N, 4).

        Args:
            inputs: (None, N, 4) four-vectors, (None, N, N, 1) coefficients a, and the (None, N) mask of objects.

        Returns:
            As many.
        """
        ops = keras.ops
        vectors, along, mask = inputs
        return vectors + self.weight * ops.matmul(ops.where(partners(mask), along[..., 0], 0.0), vectors)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return (None, N, 4)."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        """Return the options."""
        return {**super().get_config(), "weight": self.weight}
