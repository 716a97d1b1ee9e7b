"""Changes of the inputs, within bounds, that make a network misjudge events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from nntrainer.config import Config
from nntrainer.config.adversarial import places

Kind = Literal["fgsm", "pgd"]
Losses = Callable[[dict[str, Any]], Any]
"""From the network's inputs to the (n,) losses of the events."""
STEP = 2.5
"""Total length of the steps of PGD in units of ε, so that every corner can be reached from every start."""


class Attack:
    """Move every feature by at most ε of its standard deviations so that the loss grows.

    FGSM takes the sign of the gradient once (arXiv 1412.6572, section 4). PGD begins anywhere within the bounds and
    goes on by steps, held within the bounds (arXiv 1706.06083, section 2.1). Objects are moved where there are any;
    masks and whatever lies in empty slots stay. A moved event need not be one that physics allows: energies do not
    follow momenta.

    Args:
        kind: which of them.
        widths: for each input that may change the most that ε = 1 allows, (features,) float32, zero for features
            that stay.
        steps: steps of PGD.
        step_size: a step of PGD in units of ε; 2.5 / steps if absent.
    """

    def __init__(
        self, kind: Kind, widths: Mapping[str, np.ndarray], *, steps: int = 1, step_size: float | None = None
    ) -> None:
        self._widths = dict(widths)
        self._random = kind == "pgd"
        self._steps = steps if self._random else 1
        self._step = (step_size or STEP / steps) if self._random else 1.0

    def __call__(self, inputs: dict[str, Any], losses: Losses, epsilon: Any, seed: Any) -> dict[str, Any]:
        """Return changed inputs, inside a graph.

        Args:
            inputs: the network's inputs by name, tensors.
            losses: what is to grow; each event's depends on it alone.
            epsilon: the largest change in standard deviations, a number or a tensor.
            seed: two integers, a tensor; decides where PGD begins.

        Returns:
            As many tensors.
        """
        import tensorflow as tf

        names = list(self._widths)
        room = {name: self._room(inputs, name) * epsilon for name in names}

        def moved(at: list[Any]) -> dict[str, Any]:
            return inputs | {name: inputs[name] + each * room[name] for name, each in zip(names, at, strict=True)}

        def step(number: Any, *at: Any) -> tuple[Any, ...]:
            events = moved(list(at))
            with tf.GradientTape() as tape:
                tape.watch([events[name] for name in names])
                loss = tf.reduce_sum(losses(events))
            slopes = tape.gradient(loss, [events[name] for name in names], unconnected_gradients="zero")
            found = [
                tf.clip_by_value(each + self._step * tf.sign(tf.where(tf.math.is_nan(slope), 0.0, slope)), -1.0, 1.0)
                for each, slope in zip(at, slopes, strict=True)
            ]
            return (number + 1, *found)

        start = [tf.zeros_like(inputs[name]) for name in names]
        if self._random:
            start = [
                tf.random.stateless_uniform(tf.shape(each), tf.random.fold_in(seed, place), -1.0, 1.0)
                for place, each in enumerate(start)
            ]
            for each, name in zip(start, names, strict=True):
                each.set_shape(inputs[name].shape)
        if self._steps == 1:
            return moved(list(step(0, *start)[1:]))
        state = (tf.constant(0), *start)
        return moved(list(tf.while_loop(lambda number, *_: number < self._steps, step, state)[1:]))

    def _room(self, inputs: dict[str, Any], name: str) -> Any:
        """Return how far each number may go for ε = 1; nowhere in empty slots."""
        import tensorflow as tf

        room = tf.zeros_like(inputs[name]) + self._widths[name]
        valid = inputs.get(f"{name}_valid")
        return room if valid is None else tf.where(valid[..., None] > 0, room, 0.0)


class Hardening:
    """What a training with ``training.robustness`` is fed: changed events, and the events as they are beside them.

    The loss is (1 − f) L(x) + f L(x′) with the fraction f (arXiv 1412.6572, section 6).

    Args:
        config: the configuration.
        deviations: for each input the standard deviations of its features.
    """

    def __init__(self, config: Config, deviations: Mapping[str, np.ndarray]) -> None:
        options = config.training.robustness
        if options is None:
            raise ValueError("no training.robustness")
        widths = widths_of(deviations, places("training.robustness.features", options.features, config.input_names))
        step_size = None if options.step_size is None else options.step_size / options.epsilon
        self._attack = Attack(options.attack, widths, steps=options.steps, step_size=step_size)
        self._options, self._seed = options, config.seed

    def __call__(self, inputs: dict[str, Any], losses: Losses, number: Any) -> list[tuple[float, dict[str, Any]]]:
        """Return the inputs to train on, each with its share of the loss.

        Args:
            inputs: the network's inputs by name, tensors.
            losses: what the attack makes grow.
            number: the update, a tensor; decides with the seed where PGD begins.

        Returns:
            The events as they are, where they have a share, and the changed ones.
        """
        import tensorflow as tf

        seed = tf.stack([tf.constant(self._seed, tf.int64), tf.cast(number, tf.int64)])
        changed = self._attack(inputs, losses, self._options.epsilon, seed)
        part = self._options.fraction
        return [(part, changed)] if part == 1.0 else [(1.0 - part, inputs), (part, changed)]


def shared(shares: Sequence[float], parts: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Return the sums over parts of share times each of their tensors; one part as it is."""
    if len(parts) == 1:
        return parts[0]
    columns = zip(*parts, strict=True)
    return tuple(sum(share * each for share, each in zip(shares, tensors, strict=True)) for tensors in columns)


def widths_of(deviations: Mapping[str, np.ndarray], flags: Mapping[str, list[bool]]) -> dict[str, np.ndarray]:
    """Return how far the features may go for ε = 1.

    Args:
        deviations: for each input the standard deviations of its features.
        flags: for each input which of its features may change, ``nntrainer.config.adversarial.places``.

    Returns:
        For each input where any may, (features,) float32.
    """
    found = {name: np.where(flags[name], each, 0.0).astype(np.float32) for name, each in deviations.items()}
    return {name: widths for name, widths in found.items() if widths.any()}
