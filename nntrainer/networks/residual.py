"""Fully connected network with residual connections."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from nntrainer.config.registry import NETWORKS
from nntrainer.networks.blocks import (
    Activation,
    DenseNetwork,
    Dropout,
    KernelInitializer,
    Normalisation,
    dropped,
    normalised,
)
from nntrainer.networks.inputs import Encoded, ModelInputs


@NETWORKS.register("residual")
class Residual(DenseNetwork):
    """Residual blocks of two dense layers on all features in one row, activated before each layer.

    Paper: Identity mappings in deep residual networks (arXiv 1603.05027), with dense layers for convolutions. Inputs:
    event features, and any number of collections, padded, with their masks, all side by side; the order of objects
    counts.
    """

    name: Literal["residual"] = "residual"
    width: PositiveInt = Field(128, description="Units of every layer.")
    blocks: PositiveInt = Field(3, description="Residual blocks.")
    activation: Activation = Field("relu", description="Activation before each dense layer of a block.")
    dropout: Dropout = Field(0.0, description="Fraction of units dropped at the end of each block.")
    normalisation: Normalisation = Field("layer_norm", description="Normalisation at the start of a block.")
    kernel_initializer: KernelInitializer = Field("he_normal", description="Start of the kernels.")

    def encode(self, inputs: ModelInputs) -> Encoded:
        """Return the last hidden layer.

        Args:
            inputs: the scaled inputs.

        Returns:
            The event as the network sees it.
        """
        import keras

        x = self.dense(self.width, inputs.flat(), "stem")
        for index in range(self.blocks):
            y = normalised(self.normalisation, x, f"norm_{index}")
            for part in ("a", "b"):
                y = keras.layers.Activation(self.activation, name=f"activation_{index}{part}")(y)
                y = self.dense(self.width, y, f"dense_{index}{part}")
            y = dropped(self.dropout, y, f"dropout_{index}")
            x = keras.layers.Add(name=f"add_{index}")([x, y])
        x = normalised(self.normalisation, x, "norm_last")
        x = keras.layers.Activation(self.activation, name="activation_last")(x)
        return Encoded(x)
