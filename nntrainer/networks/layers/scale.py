"""Input scaling inside the model."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("nntrainer")
class Scale(keras.layers.Layer):
    """Subtract a mean and divide by a scale, feature by feature (the last axis).

    Both are non-trainable weights, not constants: Keras' own ``Normalization`` leaks its constants as extra
    inputs of the ONNX model.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights.

        Args:
            input_shape: shape of the input; the last entry is the number of features.
        """
        shape = (input_shape[-1],)
        self.mean = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="mean")
        self.scale = self.add_weight(shape=shape, initializer="ones", trainable=False, name="scale")

    def call(self, inputs: Any) -> Any:
        """Return the scaled inputs, same shape, float32.

        Args:
            inputs: (..., features) tensor of raw features.

        Returns:
            The tensor ``(inputs - mean) / scale``.
        """
        return (inputs - self.mean) / self.scale


@keras.saving.register_keras_serializable("nntrainer")
class Unscale(Scale):
    """The way back: multiply by the scale and add the mean."""

    def call(self, inputs: Any) -> Any:
        """Return ``inputs * scale + mean``, same shape, float32.

        Args:
            inputs: (..., features) tensor.

        Returns:
            The tensor.
        """
        return inputs * self.scale + self.mean
