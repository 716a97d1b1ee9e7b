"""Options and pieces that several networks share."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from nntrainer.config.registry import NetworkOptions, NetworkType
from nntrainer.networks.inputs import ModelInputs

Activation = Literal["relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid", "linear"]
Normalisation = Literal["none", "batch_norm", "layer_norm"]
KernelInitializer = Literal[
    "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal"
]
Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]


class DenseNetwork(NetworkOptions):
    """What networks of dense layers share: how each layer's kernel starts and is held small."""

    l1: NonNegativeFloat = Field(0.0, description="L1 penalty on the kernels.")
    l2: NonNegativeFloat = Field(0.0, description="L2 penalty on the kernels.")
    kernel_initializer: KernelInitializer = Field("glorot_uniform", description="Start of the kernels.")

    def dense(self, units: PositiveInt, tensor: Any, name: str) -> Any:
        """Return the (None, units) tensor after a dense layer of this name, without activation."""
        import keras

        return keras.layers.Dense(
            units,
            kernel_initializer=self.kernel_initializer,
            kernel_regularizer=keras.regularizers.L1L2(l1=self.l1, l2=self.l2) if self.l1 or self.l2 else None,
            name=name,
        )(tensor)


class ObjectNetwork(NetworkOptions):
    """What networks of objects share: how what they make of the objects is joined with the event features."""

    network_types: ClassVar[tuple[NetworkType, ...]] = ("set",)

    activation: Activation = Field("gelu", description="Activation between dense layers.")
    dropout: Dropout = Field(0.0, description="Fraction of units dropped after each layer.")
    head: tuple[PositiveInt, ...] = Field((64,), description="Units of the dense layers on the whole event.")

    def event(self, inputs: ModelInputs, pooled: Any) -> Any:
        """Return the event: what was made of its objects, joined with its own features, after dense layers.

        Args:
            inputs: the scaled inputs.
            pooled: (None, width) tensor.

        Returns:
            A (None, units) tensor.
        """
        import keras

        if inputs.events is not None:
            pooled = keras.layers.Concatenate(name="with_event")([pooled, inputs.events])
        return self.layers_on(pooled, self.head, "head")

    def layers_on(self, tensor: Any, units: tuple[PositiveInt, ...], name: str) -> Any:
        """Return the tensor after dense layers with activation and dropout on its last axis.

        Args:
            tensor: (None, ..., width) tensor.
            units: of each layer.
            name: what the layers' names begin with.

        Returns:
            The (None, ..., last units) tensor.
        """
        import keras

        for index, width in enumerate(units):
            tensor = keras.layers.Dense(width, name=f"{name}_dense_{index}")(tensor)
            tensor = keras.layers.Activation(self.activation, name=f"{name}_activation_{index}")(tensor)
            tensor = dropped(self.dropout, tensor, f"{name}_dropout_{index}")
        return tensor


def normalised(kind: Normalisation, tensor: Any, name: str) -> Any:
    """Return the tensor after the normalisation layer asked for.

    Args:
        kind: which normalisation.
        tensor: (None, features) tensor.
        name: name of the layer.

    Returns:
        The (None, features) tensor.
    """
    import keras

    if kind == "batch_norm":
        return keras.layers.BatchNormalization(name=name)(tensor)
    if kind == "layer_norm":
        return keras.layers.LayerNormalization(name=name)(tensor)
    return tensor


def dropped(rate: float, tensor: Any, name: str) -> Any:
    """Return the tensor after dropout at this rate, or as it is for a rate of zero."""
    import keras

    return keras.layers.Dropout(rate, name=name)(tensor) if rate else tensor
