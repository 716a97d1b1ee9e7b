"""An average of the weights over the training, kept beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from nntrainer.config.training import EMA, SWA
from nntrainer.config.training import Averaging as Options
from nntrainer.errors import TrainingError
from nntrainer.networks.model import running_moments


class Averaging:
    """The averages of a model's trainable weights; without options there are none, and nothing happens.

    Args:
        options: the averaging block of the configuration.
        model: the Keras model, with the weights that training starts from.

    Raises:
        TrainingError: the network has batch normalisation, whose moments belong to other weights than the mean's.

    Attributes:
        variables: Keras variables, one for each trainable weight; part of the checkpoint.
    """

    def __init__(self, options: Options | None, model: Any) -> None:
        import keras

        if isinstance(options, SWA) and running_moments(model):
            raise TrainingError(
                f"training.averaging is 'swa', and the network '{model.name}' has batch normalisation, whose moments "
                "would not be those of the averaged weights; choose 'ema', or a network with layer_norm or none"
            )
        self._options = options
        self._weights = list(model.trainable_variables) if options is not None else []
        self.variables = [
            keras.Variable(np.asarray(weight.value), trainable=False, name=f"average_{index}")
            for index, weight in enumerate(self._weights)
        ]

    def after_update(self, updates: Any) -> None:
        """Take the weights into the moving average, inside a graph.

        Args:
            updates: how many updates there have been, a tensor.
        """
        if not isinstance(self._options, EMA):
            return
        import tensorflow as tf

        # As in tf.train.ExponentialMovingAverage: at first an average of few; the initial weights are soon gone.
        number = tf.cast(updates, tf.float32)
        part = 1 - tf.minimum(self._options.decay, (1 + number) / (10 + number))
        for average, weight in zip(self.variables, self._weights, strict=True):
            average.value.assign_add(part * (weight.value - average.value))

    def after_epoch(self, epoch: int) -> None:
        """Take the weights into the mean over epochs; before its first epoch the mean is the weights themselves.

        Args:
            epoch: the epoch that has ended, from 1.
        """
        if not isinstance(self._options, SWA):
            return
        number = max(epoch - self._options.start_epoch + 1, 1)
        for average, weight in zip(self.variables, self._weights, strict=True):
            mean = average.value + (weight.value - average.value) / number
            average.assign(weight.value if number == 1 else mean)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Have the averages in the model inside, and its own weights again afterwards."""
        own = [np.array(weight.value) for weight in self._weights]
        self.take()
        yield
        for weight, value in zip(self._weights, own, strict=True):
            weight.assign(value)

    def take(self) -> None:
        """Put the averages into the model for good."""
        for average, weight in zip(self.variables, self._weights, strict=True):
            weight.assign(average.value)
