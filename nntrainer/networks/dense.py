"""Fully connected network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from nntrainer.config.registry import NETWORKS
from nntrainer.networks.blocks import Activation, DenseNetwork, Dropout, Normalisation, dropped, normalised
from nntrainer.networks.inputs import Encoded, ModelInputs


@NETWORKS.register("dense")
class Dense(DenseNetwork):
    """Fully connected layers on all features in one row: dense, normalisation, activation, dropout.

    Paper: Learning representations by back-propagating errors (Nature 323, 533); batch and layer normalisation are
    arXiv 1502.03167 and 1607.06450, dropout is arXiv 1207.0580. Inputs: event features, and any number of collections,
    padded, with their masks, all side by side; the order of objects counts.
    """

    name: Literal["dense"] = "dense"
    layers: tuple[PositiveInt, ...] = Field((128, 128), min_length=1, description="Units of each layer.")
    activation: Activation = Field("relu", description="Activation after each layer.")
    dropout: Dropout = Field(0.0, description="Fraction of units dropped after each layer.")
    normalisation: Normalisation = Field("none", description="Normalisation before each activation.")

    def encode(self, inputs: ModelInputs) -> Encoded:
        """Return the last hidden layer.

        Args:
            inputs: the scaled inputs.

        Returns:
            The event as the network sees it.
        """
        import keras

        x = inputs.flat()
        for index, units in enumerate(self.layers):
            x = self.dense(units, x, f"dense_{index}")
            x = normalised(self.normalisation, x, f"norm_{index}")
            x = keras.layers.Activation(self.activation, name=f"activation_{index}")(x)
            x = dropped(self.dropout, x, f"dropout_{index}")
        return Encoded(x)
