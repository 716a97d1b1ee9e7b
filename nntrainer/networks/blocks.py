"""Options and pieces that several networks share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

Activation = Literal["relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid", "linear"]
Normalisation = Literal["none", "batch_norm", "layer_norm"]
KernelInitializer = Literal[
    "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal"
]
Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]


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


def regularizer(l1: float, l2: float) -> Any:
    """Return the Keras regularizer of kernels, or None when both factors are zero."""
    import keras

    return keras.regularizers.L1L2(l1=l1, l2=l2) if l1 or l2 else None
