"""Four-vectors of objects from their features, inside the model."""

from __future__ import annotations

from typing import Any

import keras

LARGEST_ETA = 10.0
"""Beyond it, no object is; exp must stay finite for whatever a broken one holds."""


@keras.saving.register_keras_serializable("nntrainer")
class FourVectors(keras.layers.Layer):
    """E, px, py and pz in GeV from pT, η, φ and energy or mass.

    Args:
        pt: column of the transverse momentum.
        phi: column of the azimuth.
        gev: unit of momenta, energies and masses in GeV.
        eta: column of the pseudorapidity; 0 if absent.
        e: column of the energy.
        mass: column of the mass; without it and the energy, objects are massless.
        **options: of a Keras layer.
    """

    def __init__(
        self,
        pt: int,
        phi: int,
        gev: float,
        eta: int | None = None,
        e: int | None = None,
        mass: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.places = {"pt": pt, "phi": phi, "gev": gev, "eta": eta, "e": e, "mass": mass}

    def call(self, inputs: list[Any]) -> Any:
        """Return the four-vectors.

        Args:
            inputs: (None, N, features) raw objects and their (None, N) mask.

        Returns:
            A (None, N, 4) tensor, zero where there is no object.
        """
        ops, at = keras.ops, self.places
        objects, mask = inputs
        # What lies in empty slots goes before anything is computed of it, so that gradients stay finite, too.
        objects = ops.where(mask[..., None] > 0, objects, 0.0)
        pt, phi = objects[..., at["pt"]] * at["gev"], objects[..., at["phi"]]
        eta = ops.zeros_like(pt) if at["eta"] is None else ops.clip(objects[..., at["eta"]], -LARGEST_ETA, LARGEST_ETA)
        # ONNX Runtime has no hyperbolic functions in float64.
        growing, falling = ops.exp(eta), ops.exp(-eta)
        px, py, pz = pt * ops.cos(phi), pt * ops.sin(phi), pt * (growing - falling) / 2
        if at["e"] is not None:
            energy = objects[..., at["e"]] * at["gev"]
        else:
            mass = ops.zeros_like(pt) if at["mass"] is None else objects[..., at["mass"]] * at["gev"]
            # The derivative of a root at zero is infinite: empty slots take the root of one and are set to zero.
            square = ops.square(pt * (growing + falling) / 2) + ops.square(mass)
            energy = ops.where(square > 0, ops.sqrt(ops.where(square > 0, square, 1.0)), 0.0)
        return ops.stack([energy, px, py, pz], axis=-1)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return (None, N, 4)."""
        return (*input_shape[0][:-1], 4)

    def get_config(self) -> dict[str, Any]:
        """Return the options."""
        return {**super().get_config(), **self.places}
