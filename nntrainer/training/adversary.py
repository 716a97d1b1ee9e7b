"""An adversary that guesses a nuisance from what the network gives, and the reversal of its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.config.targets import CLASS
from nntrainer.networks.model import event_of
from nntrainer.training.nuisance import Classes, counts
from nntrainer.training.optimizers import build_optimizer, clipped, update
from nntrainer.training.tasks import NUISANCE

COLUMN = "adversary_loss"


class Adversary:
    """A small network that is trained beside another one and is no part of it.

    It guesses in which class the nuisance of an event lies. Both minimise one loss, the class's plus the adversary's,
    but the gradients that the adversary hands on are multiplied by −λ (arXiv 1505.07818, equations 4 to 18): the
    adversary guesses as well as it can, and the network gives it as little to guess from as its own loss allows
    (arXiv 1611.01046, equation 3).

    Args:
        config: the configuration, with ``training.decorrelation``.
        logits: the Keras model from inputs to logits.
        model: the whole Keras model.
        classes: the classes of the nuisance.

    Attributes:
        forward: a Keras model from inputs to what ``logits`` gives and what the adversary sees.
        trained: its weights, Keras variables.
        terms: how many numbers are reported: weight·loss and weight, of the events that count.
    """

    terms = 2

    def __init__(self, config: Config, logits: Any, model: Any, classes: Classes) -> None:
        import keras

        options = config.training.decorrelation
        if options is None:
            raise ValueError("no training.decorrelation")
        self._options, self._classes = options, classes
        self._labels = config.data.labels
        self._signal = self._labels.index(config.data.signal_label)
        inputs, given = {tensor.name: tensor for tensor in model.inputs}, logits.output
        score = given[CLASS] if isinstance(given, dict) else given
        seen = event_of(model) if options.sees == "event" else score
        self.forward = keras.Model(inputs, (given, seen), name=f"{logits.name}_seen")
        # Not ReLU, whose units may die while the network runs away from them.
        layers = [keras.layers.Dense(units, activation="gelu") for units in options.layers]
        self._guess = keras.Sequential(
            [keras.Input((seen.shape[-1],)), *layers, keras.layers.Dense(classes.number)], name="adversary"
        )
        self.trained = list(self._guess.trainable_variables)
        self._clipping = config.training.gradient_clipping
        self._optimizer = build_optimizer(config.training.optimizer)
        self._optimizer.build(self.trained)

    @property
    def variables(self) -> list[Any]:
        """All Keras variables that training changes: weights and those of the adversary's own optimizer."""
        return [*self.trained, *self._optimizer.variables]

    def update(self, gradients: list[Any], rate: Any) -> None:
        """Learn from gradients, inside a graph.

        Args:
            gradients: one tensor for each of ``trained``.
            rate: the network's learning rate.
        """
        self._optimizer.learning_rate.assign(rate * self._options.learning_rate_factor)
        update(self._optimizer, clipped(self._clipping, gradients), self.trained)

    def join(self, seen: Any, target: dict[str, Any], weight: Any, losses: Any, report: Any) -> tuple[Any, Any]:
        """Join the adversary's losses to those of the network.

        Args:
            seen: what ``forward`` gives for the adversary.
            target: class and nuisance of the events.
            weight: (n,) weights of the events.
            losses: (n,) losses of the network.
            report: what the events add to the sums.

        Returns:
            The (n,) losses of both, and the report with the adversary's ``terms`` numbers at its end.
        """
        import tensorflow as tf

        guessed, there = self._losses(seen, target)
        terms = tf.stack([weight * guessed, weight * there])
        more = tf.reduce_sum(tf.cast(terms, tf.float64), axis=1)
        return losses + guessed, tf.concat([report, more], axis=0)

    def _losses(self, seen: Any, target: dict[str, Any]) -> tuple[Any, Any]:
        """Return cross-entropies of the guesses, zero for events that do not count; and which do, as 0 and 1."""
        import tensorflow as tf

        seen = tf.cast(seen, tf.float32)
        if self._options.sees == "score" and len(self._labels) > 2:
            seen = tf.nn.log_softmax(seen)  # what all logits have in common changes no score
        values = target[NUISANCE]
        guesses = self._guess(reverse(seen, self._options.strength))
        truth = tf.searchsorted(self._classes.edges, values, side="right")
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=truth, logits=guesses)
        label = target[CLASS]
        if len(self._labels) <= 2:  # 1 is signal
            label = tf.where(label > 0.5, self._signal, 1 - self._signal)
        there = tf.cast(counts(self._options, label, self._signal) & tf.math.is_finite(values), tf.float32)
        return losses * there, there

    def columns(self, sums: np.ndarray, prefix: str = "") -> dict[str, float]:
        """Return the column of the history that the sums of an epoch give."""
        loss, weight = sums[-self.terms :]
        return {f"{prefix}{COLUMN}": float(loss / weight)} if weight > 0 else {}

    def penalty(self, sums: np.ndarray) -> float:
        """Return what is added to the loss where epochs are compared: λ times what the adversary knows.

        Args:
            sums: the sums of an epoch.

        Returns:
            λ times the entropy of the nuisance less the adversary's loss, as a mean over all events; never less than
            zero, which an adversary that guesses wrongly would give.
        """
        loss, weight = sums[-self.terms :]
        return float(self._options.strength * max(weight * self._classes.entropy - loss, 0.0) / sums[2])


def reverse(tensor: Any, strength: float) -> Any:
    """Return a tensor as it is, whose gradients are multiplied by −strength (arXiv 1505.07818, equations 17 and 18)."""
    import tensorflow as tf

    @tf.custom_gradient
    def reversal(given: Any) -> Any:
        return tf.identity(given), lambda gradient: -strength * gradient

    return reversal(tensor)
