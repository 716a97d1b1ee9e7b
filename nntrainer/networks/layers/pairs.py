"""What two objects are to one another."""

from __future__ import annotations

from typing import Any

import keras

from nntrainer.networks.layers.masked import lowest

QUANTITIES = ("log ΔR", "log kT", "log z", "log m²")
SMALLEST = 1e-8
"""Under every logarithm and square root: two objects may lie upon one another."""


@keras.saving.register_keras_serializable("nntrainer")
class PairFeatures(keras.layers.Layer):
    """The logarithms of ΔR, kT, z and m² of each pair of objects (arXiv 2202.03772, equation 3).

    ΔR uses the rapidity; kT = min(pT) ΔR, z = min(pT) / (pT + pT'), m² = (E + E')² − (p + p')². They are the same when
    the two are exchanged. Zero where one of the two is not there, and for an object with itself. In float32 also where
    the network computes in less: squares of momenta are beyond float16.

    Args:
        **options: of a Keras layer.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"dtype": "float32", **options})

    def call(self, inputs: list[Any]) -> Any:
        """Return the features of all pairs.

        Args:
            inputs: (None, N, 4) four-vectors E, px, py, pz in GeV, and their (None, N) mask.

        Returns:
            A (None, N, N, 4) tensor.
        """
        ops = keras.ops
        vectors, mask = inputs
        energy, px, py, pz = (vectors[..., index] for index in range(4))
        pt = ops.sqrt(ops.square(px) + ops.square(py) + SMALLEST)
        # y = asinh(pz / mT), with mT² = E² − pz²; without the difference E − |pz|, which is nothing in float32.
        mt = ops.sqrt(ops.maximum(ops.square(energy) - ops.square(pz), ops.square(pt)))
        rapidity = ops.arcsinh(pz / mt)
        phi = ops.arctan2(py, px + SMALLEST)  # at (0, 0) it has no derivative
        dy = rapidity[:, :, None] - rapidity[:, None, :]
        dphi = phi[:, :, None] - phi[:, None, :]
        # ΔR² through cos Δφ has no jump where φ goes from π to −π.
        dphi = ops.arctan2(ops.sin(dphi), ops.cos(dphi))
        dr = ops.sqrt(ops.square(dy) + ops.square(dphi) + SMALLEST)
        softer = ops.minimum(pt[:, :, None], pt[:, None, :])
        total = vectors[:, :, None, :] + vectors[:, None, :, :]
        square = ops.square(total[..., 0]) - ops.sum(ops.square(total[..., 1:]), axis=-1)
        values = (
            ops.log(dr),
            ops.log(softer * dr),
            ops.log(softer / (pt[:, :, None] + pt[:, None, :])),
            ops.log(ops.maximum(square, SMALLEST)),
        )
        both = mask[:, :, None] * mask[:, None, :] > 0
        other = ops.logical_not(ops.cast(ops.eye(mask.shape[1]), "bool"))
        features = ops.stack(values, axis=-1)
        return ops.where(ops.logical_and(both, other)[..., None], features, 0.0)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return (None, N, N, 4)."""
        events, objects, _ = input_shape[0]
        return (events, objects, objects, len(QUANTITIES))


@keras.saving.register_keras_serializable("nntrainer")
class OfOthers(keras.layers.Layer):
    """The mean and the maximum over the second objects of pairs; zero where there is no other object."""

    def call(self, inputs: list[Any]) -> Any:
        """Return one row an object.

        Args:
            inputs: (None, N, N, width) pairs and the (None, N) mask of the objects.

        Returns:
            A (None, N, 2 width) tensor.
        """
        ops = keras.ops
        pairs, mask = inputs
        both = ops.logical_and(mask[:, :, None] > 0, mask[:, None, :] > 0)
        there = ops.logical_and(both, ops.logical_not(ops.cast(ops.eye(mask.shape[1]), "bool")))[..., None]
        number = ops.sum(ops.cast(there, pairs.dtype), axis=2)
        mean = ops.sum(ops.where(there, pairs, 0.0), axis=2) / ops.maximum(number, 1.0)
        largest = ops.where(number > 0, ops.max(ops.where(there, pairs, lowest(pairs)), axis=2), 0.0)
        return ops.concatenate([mean, largest], axis=-1)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return (None, N, 2 width)."""
        events, objects, _, width = input_shape[0]
        return (events, objects, None if width is None else 2 * width)
