"""The computation of many steps at once, inside TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from nntrainer.augmentation.batch import Augmenter
from nntrainer.config import Config
from nntrainer.config.targets import CLASS
from nntrainer.networks.heads import task_model
from nntrainer.networks.model import logits_model, running_moments
from nntrainer.threads import cores
from nntrainer.training.adversary import Adversary
from nntrainer.training.attack import Hardening, shared
from nntrainer.training.averaging import Averaging
from nntrainer.training.distributed import Workers
from nntrainer.training.events import ALIGNMENT, Events, TrainingData
from nntrainer.training.losses import class_loss, cross_entropy
from nntrainer.training.nuisance import Classes
from nntrainer.training.optimizers import build_optimizer, clipped, update
from nntrainer.training.precision import LossScale, check_precision
from nntrainer.training.tasks import NUISANCE, Tasks, target_names

EVALUATION_BATCH = 8192
SLICE_EVENTS = 64
"""Fewer events of a batch are not worth a core of their own."""


class Steps:
    """The graph of training steps and of the evaluation.

    A Python call runs many steps: the loop over steps, the choice of events, gradients, their average over
    workers and the update are one graph, so that Python costs nothing per batch.

    Args:
        config: the configuration.
        model: the Keras model.
        workers: this process among all.
        batch: events of an update, a multiple of ``training.accumulate``.
        widths: standard deviations of the features by input, for ``training.robustness``.
        classes: of the nuisance, for ``training.decorrelation``.

    Attributes:
        model: the model.
        optimizer: its Keras optimizer.
        averaging: the average of its weights.
    """

    def __init__(
        self,
        config: Config,
        model: Any,
        workers: Workers,
        batch: int,
        widths: Mapping[str, np.ndarray] | None = None,
        classes: Classes | None = None,
    ) -> None:
        import tensorflow as tf

        check_precision(config.training.precision)
        self.model = model
        self.optimizer = build_optimizer(config.training.optimizer)
        self.optimizer.build(model.trainable_variables)
        self.averaging = Averaging(config.training.averaging, model)
        only_class = config.training.only_class
        self._moments = running_moments(model)
        self._logits = logits_model(model) if only_class else task_model(config, model)
        self._tasks = None if only_class else Tasks(config, model, cross_entropy, self._correct)
        self.terms = self._tasks.terms if self._tasks else 3
        self._adversary = Adversary(config, self._logits, model, classes) if classes is not None else None
        if self._adversary is not None:
            self._logits, self.terms = self._adversary.forward, self.terms + self._adversary.terms
        self._trained = [*model.trainable_variables, *(self._adversary.trained if self._adversary else ())]
        self._hardening = Hardening(config, widths or {}) if config.training.robustness is not None else None
        self._binary = len(config.data.labels) == 2
        self._loss = class_loss(config.training.loss, len(config.data.labels))
        self._loss_scale = LossScale(config.training.precision == "mixed_float16")
        self._accumulate = config.training.accumulate
        self._clipping = config.training.gradient_clipping
        self._workers = workers
        self._augmenter = Augmenter(config, workers.rank)
        self._bounds = _slices(model, batch // self._accumulate)
        self._held: tuple[TrainingData | None, Any] = None, None
        data = _specifications(model, config)
        rates, sums = tf.TensorSpec([None], tf.float32), tf.TensorSpec([self.terms], tf.float64)
        self._run = tf.function(
            self._steps, input_signature=[data, tf.TensorSpec([None, batch], tf.int64), rates, sums], autograph=False
        )
        self._measure = tf.function(
            self._sums, input_signature=[data, tf.TensorSpec([None, None], tf.int64), sums], autograph=False
        )

    @property
    def variables(self) -> list[Any]:
        """All Keras variables that training changes: the model's (dropout's seeds, too), the optimizer's, averages."""
        more = [*self._augmenter.variables, *self.averaging.variables, *self._loss_scale.variables]
        more += self._adversary.variables if self._adversary else ()
        return [*self.model.variables, *self.optimizer.variables, *more]

    def train(self, data: TrainingData, order: np.ndarray, rates: np.ndarray, sums: Sequence[float]) -> list[float]:
        """Train on some batches.

        Args:
            data: events.
            order: (steps, batch) positions in them.
            rates: (steps,) learning rates.
            sums: what the epoch has added up so far.

        Returns:
            The sums with these batches: weight·loss, weight·correct and weight. The loss of the class is the
            cross-entropy, whatever is minimised, and penalties on kernels do not count. With several tasks the same
            three of each follow, and then weight·loss and weight of an adversary.
        """
        return list(self._run(self._tensors(data), order, rates.astype(np.float32), np.array(sums)).numpy().tolist())

    def validate(self, events: Events) -> np.ndarray:
        """Return the same sums over validation events."""
        sums = np.zeros(self.terms)
        for data in events.pieces():
            rows = np.arange(data.events)
            full = len(rows) // EVALUATION_BATCH * EVALUATION_BATCH
            for order in (rows[:full].reshape(-1, EVALUATION_BATCH), rows[np.newaxis, full:]):
                if order.size:
                    sums = self._measure(_tensors(data), order, sums).numpy()
        return np.asarray(sums)

    def _tensors(self, data: TrainingData) -> Any:
        """Return events as tensors, those of the call before as they are."""
        if self._held[0] is not data:
            self._held = None, None  # the memory of the last ones is free before the next ones take theirs
            self._held = data, _tensors(data)
        return self._held[1]

    def synchronise(self) -> None:
        """Average over workers what they keep for themselves: the running moments of batch normalisation."""
        self._workers.average_variables(self._moments)

    def moments(self) -> list[float]:
        """Return the running moments of batch normalisation, which are this worker's own within an epoch."""
        return [float(number) for each in self._moments for number in np.ravel(each.value)]

    def set_moments(self, numbers: Sequence[float]) -> None:
        """Set what ``moments`` returned."""
        rest = iter(numbers)
        for variable in self._moments:
            values = np.fromiter(rest, np.float64, math.prod(variable.shape))
            variable.assign(values.reshape(variable.shape))

    def separate_seeds(self) -> None:
        """Give this worker its own dropout: move the seeds, which are equal on all, by its rank."""
        weights = {id(each) for each in self.model.weights}
        for variable in self.model.variables:
            if id(variable) not in weights and self._workers.rank:
                state = np.array(variable.value)
                state[0] += np.asarray(1_000_003 * self._workers.rank, state.dtype)
                variable.assign(state)

    def _steps(self, data: Any, order: Any, rates: Any, sums: Any) -> Any:
        import tensorflow as tf

        def body(step: Any, sums: Any) -> Any:
            return step + 1, sums + self._step(data, order[step], rates[step])

        # One step after the other: every step starts from the variables that the one before has left.
        start = (tf.constant(0), sums)
        return tf.while_loop(lambda step, _: step < tf.shape(rates)[0], body, start, parallel_iterations=1)[1]

    def _step(self, data: Any, rows: Any, rate: Any) -> Any:
        gradients, sums = self._gathered(data, rows)
        self._loss_scale.update(self._workers.average(gradients), lambda found: self._update(found, rate))
        self.averaging.after_update(self.optimizer.iterations.value)
        return sums

    def _update(self, gradients: list[Any], rate: Any) -> None:
        own = len(self.model.trainable_variables)
        self.optimizer.learning_rate.assign(rate)
        update(self.optimizer, clipped(self._clipping, gradients[:own]), self.model.trainable_variables)
        if self._adversary is not None:
            self._adversary.update(gradients[own:], rate)

    def _gathered(self, data: Any, rows: Any) -> tuple[list[Any], Any]:
        """Return gradients and sums over the events of an update, of one batch after another."""
        if self._accumulate == 1:
            return self._batch(data, rows)
        import tensorflow as tf

        batches = tf.reshape(rows, [self._accumulate, -1])
        batches.set_shape([self._accumulate, rows.shape[0] // self._accumulate])

        def body(number: Any, *so_far: Any) -> tuple[Any, ...]:
            gradients, sums = self._batch(data, batches[number])
            return number + 1, *(a + b for a, b in zip(so_far, [*gradients, sums], strict=True))

        zeros = [tf.zeros(each.shape) for each in self._trained]
        start = (tf.constant(0), *zeros, tf.zeros(self.terms, tf.float64))
        # One at a time: that only one batch is in memory is what batches are gathered for.
        found = tf.while_loop(lambda number, *_: number < self._accumulate, body, start, parallel_iterations=1)
        return list(found[1:-1]), found[-1]

    def _batch(self, data: Any, rows: Any) -> tuple[list[Any], Any]:
        """Return what a batch adds to the gradients of an update and to the sums."""
        import tensorflow as tf

        data, rows = self._augmented(data, rows)
        # The slices of a batch do not depend on one another, and TensorFlow computes them on several cores at once.
        found = [
            self._gradients(_gather(data, rows[first:last]), rows.shape[0], penalties=first == 0)
            for first, last in self._bounds
        ]
        gradients = [tf.add_n(each) for each in zip(*(gradients for gradients, _ in found), strict=True)]
        return gradients, tf.add_n([sums for _, sums in found])

    def _augmented(self, data: Any, rows: Any) -> tuple[Any, Any]:
        """Return events and the positions of a batch in them, after what the configuration changes in its events."""
        if not self._augmenter:
            return data, rows
        import tensorflow as tf

        inputs, *rest = _gather(data, rows)
        return (self._augmenter(inputs), *rest), tf.range(rows.shape[0])

    def _gradients(self, events: tuple[Any, Any, Any], batch: int, penalties: bool) -> tuple[list[Any], Any]:
        """Return what some events of a batch add to its gradients and to the sums."""
        import tensorflow as tf

        inputs, target, weight = events
        parts = self._changed(inputs, target, weight)
        with tf.GradientTape() as tape:
            judged = [self._judged(self._logits(each, training=True), target, weight) for _, each in parts]
            losses, report = shared([share for share, _ in parts], judged)
            # Over the number of events, not the sum of weights: the average of the gradients of N workers is
            # then the gradient of the N batches taken as one.
            loss = tf.reduce_sum(weight * losses) / batch
            if penalties and self._logits.losses:
                loss += tf.add_n(self._logits.losses)
            loss = self._loss_scale.scaled(loss / self._accumulate if self._accumulate > 1 else loss)
        return tape.gradient(loss, [variable.value for variable in self._trained]), report

    def _changed(self, inputs: dict[str, Any], target: Any, weight: Any) -> list[tuple[float, dict[str, Any]]]:
        """Return the inputs that are trained on, each with its share of the loss."""
        if self._hardening is None:
            return [(1.0, inputs)]

        def losses(changed: dict[str, Any]) -> Any:
            found = self._logits(changed, training=False)
            return self._judged_tasks(found if self._adversary is None else found[0], target, weight)[0]

        return self._hardening(inputs, losses, self.optimizer.iterations.value)

    def _sums(self, data: Any, order: Any, sums: Any) -> Any:
        import tensorflow as tf

        def body(step: Any, sums: Any) -> Any:
            inputs, target, weight = _gather(data, order[step])
            found = self._logits(inputs, training=False)
            return step + 1, sums + self._judged(found, target, weight)[1]

        return tf.while_loop(lambda step, _: step < tf.shape(order)[0], body, (tf.constant(0), sums))[1]

    def columns(self, sums: np.ndarray, prefix: str = "") -> dict[str, float]:
        """Return what the sums say of each of several tasks, and of an adversary, as columns of the history."""
        columns = self._tasks.columns(sums, prefix) if self._tasks else {}
        return columns | (self._adversary.columns(sums, prefix) if self._adversary else {})

    def penalty(self, sums: np.ndarray) -> float:
        """Return what the sums say that an epoch's loss is worse by than it looks: what an adversary knows."""
        return self._adversary.penalty(sums) if self._adversary else 0.0

    def _judged(self, found: Any, target: Any, weight: Any) -> tuple[Any, Any]:
        """Return the (n,) losses of events that are minimised, and what the events add to the sums."""
        if self._adversary is None:
            return self._judged_tasks(found, target, weight)
        losses, report = self._judged_tasks(found[0], target, weight)
        return self._adversary.join(found[1], target, weight, losses, report)

    def _judged_tasks(self, logits: Any, target: Any, weight: Any) -> tuple[Any, Any]:
        """Return the same without an adversary."""
        if self._tasks:
            of_tasks = self._tasks.losses(logits, target)
            report = self._tasks.report(of_tasks, weight)
            if self._loss is not cross_entropy and CLASS in of_tasks:
                of_tasks[CLASS] = (self._loss(logits[CLASS], target[CLASS]), *of_tasks[CLASS][1:])
            return self._tasks.total(of_tasks), report
        target = target[CLASS] if self._adversary else target
        entropy = cross_entropy(logits, target)
        report = self._report(logits, entropy, target, weight)
        return entropy if self._loss is cross_entropy else self._loss(logits, target), report

    def _correct(self, logits: Any, target: Any) -> Any:
        import tensorflow as tf

        if self._binary:
            return tf.equal(logits[:, 0] > 0, target > 0.5)
        return tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), target)

    def _report(self, logits: Any, losses: Any, target: Any, weight: Any) -> Any:
        import tensorflow as tf

        correct = self._correct(logits, target)
        terms = tf.stack([weight * losses, weight * tf.cast(correct, tf.float32), weight])
        return tf.reduce_sum(tf.cast(terms, tf.float64), axis=1)


def _slices(model: Any, batch: int) -> list[tuple[int, int]]:
    """Return where a batch is cut, so that each core has a slice.

    A core is busier with the matrix products of a slice of its own than with a share of everyone's. A network that
    looks at other events of its batch needs the whole, and a GPU has its own ways.
    """
    import tensorflow as tf

    whole = bool(running_moments(model))
    at_once = tf.config.threading.get_inter_op_parallelism_threads() or cores()
    number = 1 if whole or tf.config.get_visible_devices("GPU") else min(at_once, max(batch // SLICE_EVENTS, 1))
    return list(pairwise(batch * index // number for index in range(number + 1)))


def _specifications(model: Any, config: Config) -> tuple[dict[str, Any], Any, Any]:
    """Return the types of what ``_tensors`` returns."""
    import tensorflow as tf

    inputs = {tensor.name: tf.TensorSpec(tensor.shape, tf.float32) for tensor in model.inputs}
    target: Any = tf.TensorSpec([None], tf.float32 if len(config.data.labels) <= 2 else tf.int32)
    floats = {*config.regressions, NUISANCE}
    if names := target_names(config):
        numbers = {name: tf.TensorSpec([None], tf.float32 if name in floats else tf.int32) for name in names}
        target = {CLASS: target, **numbers}
    return inputs, target, tf.TensorSpec([None], tf.float32)


def _tensors(data: TrainingData) -> tuple[dict[str, Any], Any, Any]:
    inputs = {name: _tensor(array) for name, array in data.inputs.items()}
    target = _tensor(data.target)
    if data.more:
        target = {CLASS: target, **{name: _tensor(array) for name, array in data.more.items()}}
    return inputs, target, _tensor(data.weight)


def _tensor(array: np.ndarray) -> Any:
    """Return an array, which nobody changes any more, as a tensor; on a CPU it keeps its memory if it may."""
    import tensorflow as tf

    fits = array.size and array.flags.c_contiguous and array.ctypes.data % ALIGNMENT == 0
    if fits and not tf.config.get_visible_devices("GPU"):
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.constant(array)


def _gather(data: tuple[dict[str, Any], Any, Any], rows: Any) -> tuple[dict[str, Any], Any, Any]:
    import tensorflow as tf

    inputs, target, weight = data
    taken = {name: tf.gather(array, rows) for name, array in inputs.items()}
    return taken, tf.nest.map_structure(lambda each: tf.gather(each, rows), target), tf.gather(weight, rows)
