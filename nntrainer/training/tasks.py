"""The losses of several tasks, and what is reported of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.config.targets import CLASS
from nntrainer.dataset.schema import slot_fields, value_field
from nntrainer.networks.candidates import candidates
from nntrainer.networks.heads import UNSCALE
from nntrainer.networks.layers.masked import LOWEST

NUISANCE = "decorrelation.nuisance"
"""What an adversary guesses, among the truth of a training; no target can be called so."""
HUBER = 1.0
"""Where the loss of a regression turns from a parabola to a line, in widths of the target."""


def target_names(config: Config) -> list[str]:
    """Return the truth that a training needs besides the class: a name for each particle and each regression.

    The nuisance of an adversary is the last one.
    """
    names = [name for target in config.assignments.values() for name in target.particles] + [*config.regressions]
    return names + [NUISANCE] * (config.training.decorrelation is not None)


def target_columns(config: Config) -> list[str]:
    """Return the columns of the events that ``targets_of`` reads."""
    columns = [
        column
        for target in config.assignments.values()
        for name, particle in target.particles.items()
        for column in slot_fields(name, len(particle.ids))
    ]
    columns += [value_field(name) for name in config.regressions]
    decorrelation = config.training.decorrelation
    return columns + ([decorrelation.nuisance] if decorrelation is not None else [])


def targets_of(config: Config, events: Any) -> dict[str, np.ndarray]:
    """Return the truth of events as losses take it.

    Args:
        config: the configuration.
        events: columns (n,) by name, those of ``target_columns``.

    Returns:
        For each particle (n,) int32, the number of the candidate that it is, -1 where an object is missing; for each
        regression (n,) float32, NaN where there is no truth; the nuisance of an adversary (n,) float32.
    """
    found: dict[str, np.ndarray] = {}
    for target in config.assignments.values():
        slots = config.features.objects[target.collection].max
        for name, particle in target.particles.items():
            columns = [events[column] for column in slot_fields(name, len(particle.ids))]
            found[name] = candidates(particle, slots).number(np.stack(columns, axis=-1))
    numbers = {name: value_field(name) for name in config.regressions}
    if config.training.decorrelation is not None:
        numbers[NUISANCE] = config.training.decorrelation.nuisance
    return found | {name: np.asarray(events[column], np.float32) for name, column in numbers.items()}


class Tasks:
    """The losses of all tasks of a training.

    The loss of an event is the sum over its tasks of factor times loss; a task of which it has no truth adds nothing.

    - class: as without other tasks.
    - assignment: for each particle of which all objects are there, the cross entropy of the joint distribution over its
      candidates. A candidate stands for all choices of slots that only exchange symmetric objects, which is the minimum
      over these permutations (arXiv 2010.09206, equations 6 and 7) but for the constant ln(number of permutations).
    - regression: Huber's loss of the difference in widths of the target.

    Args:
        config: the configuration.
        model: the Keras model.
        class_losses: from logits and target of the class to the (n,) losses.
        class_correct: from the same to (n,) bool, whether the most probable class is the true one.
    """

    def __init__(
        self, config: Config, model: Any, class_losses: Callable[[Any, Any], Any], class_correct: Callable[..., Any]
    ) -> None:
        self.factors = config.training.tasks
        self._classes = (class_losses, class_correct)
        self._particles = {name: list(target.particles) for name, target in config.assignments.items()}
        self._ranges = {name: model.get_layer(f"{name}{UNSCALE}") for name in config.regressions}

    @property
    def terms(self) -> int:
        """How many numbers are reported: weight·loss, weight·correct and weight, of all together, then of each task."""
        return 3 * (1 + len(self.factors))

    def losses(self, given: dict[str, Any], target: dict[str, Any]) -> dict[str, tuple[Any, Any, Any]]:
        """Return of each task its (n,) losses, how right it is in each event (0 to 1), and whether it has truth there.

        Args:
            given: what the task model gives.
            target: the class and what ``targets_of`` returned.

        Returns:
            Float32 tensors by the task.
        """
        import tensorflow as tf

        found = {}
        for name in self.factors:
            if name == CLASS:
                losses, correct = (each(given[name], target[name]) for each in self._classes)
                found[name] = losses, tf.cast(correct, tf.float32), tf.ones_like(losses)
            elif name in self._particles:
                parts = [_assigned(given[each], target[each]) for each in self._particles[name]]
                there = tf.maximum(tf.add_n([each for _, _, each in parts]), 1.0)
                right = tf.add_n([each for _, each, _ in parts]) / there
                some = tf.cast(tf.add_n([each for _, _, each in parts]) > 0, tf.float32)
                found[name] = tf.add_n([each for each, _, _ in parts]), right, some
            else:
                layer = self._ranges[name]
                found[name] = _regressed(given[name][:, 0], (target[name] - layer.mean.value) / layer.scale.value)
        return found

    def total(self, losses: dict[str, tuple[Any, Any, Any]]) -> Any:
        """Return the (n,) losses of the events, all tasks together."""
        import tensorflow as tf

        return tf.add_n([factor * losses[name][0] for name, factor in self.factors.items()])

    def report(self, losses: dict[str, tuple[Any, Any, Any]], weight: Any) -> Any:
        """Return the ``terms`` numbers, float64: sums over events."""
        import tensorflow as tf

        terms = [weight * self.total(losses), tf.zeros_like(weight), weight]
        for each, right, there in (losses[name] for name in self.factors):
            terms += [weight * each, weight * right * there, weight * there]
        return tf.reduce_sum(tf.cast(tf.stack(terms), tf.float64), axis=1)

    def columns(self, sums: np.ndarray, prefix: str) -> dict[str, float]:
        """Return the columns of the history that the sums give: the loss of each task, and how often it is right."""
        found = {}
        for place, name in enumerate(self.factors, start=1):
            loss, correct, weight = sums[3 * place : 3 * place + 3]
            if weight <= 0:
                continue  # no event has this truth
            found[f"{prefix}{name}_loss"] = float(loss / weight)
            if name == CLASS:
                found[f"{prefix}accuracy"] = float(correct / weight)
            elif name in self._particles:
                found[f"{prefix}{name}_accuracy"] = float(correct / weight)
        return found


def _assigned(logits: Any, target: Any) -> tuple[Any, Any, Any]:
    """Return losses, whether right and whether there is truth, (n,) float32, of a particle."""
    import tensorflow as tf

    place = tf.maximum(target, 0)
    # An augmentation may have dropped an object of the true candidate.
    there = (target >= 0) & (tf.gather(logits, place, batch_dims=1) > LOWEST / 2)
    # Without truth a loss may be anything, infinite too, and a product with zero would keep it: some candidate's is
    # computed of zeros instead.
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=place, logits=tf.where(there[:, None], logits, tf.zeros_like(logits))
    )
    right = there & tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), target)
    there = tf.cast(there, tf.float32)
    return losses * there, tf.cast(right, tf.float32), there


def _regressed(value: Any, target: Any) -> tuple[Any, Any, Any]:
    """Return losses, zeros and whether there is truth, (n,) float32, of a regression."""
    import tensorflow as tf

    there = tf.math.is_finite(target)
    size = tf.abs(value - tf.where(there, target, value))
    loss = tf.where(size < HUBER, 0.5 * tf.square(size), HUBER * (size - 0.5 * HUBER))
    return loss, tf.zeros_like(loss), tf.cast(there, tf.float32)
