"""The computation of many steps at once, inside TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.networks.model import logits_model
from nntrainer.training.batches import TrainingData, batches
from nntrainer.training.distributed import Workers
from nntrainer.training.optimizers import build_optimizer, clipped

EVALUATION_BATCH = 8192


class Steps:
    """The graph of training steps and of the evaluation, over data held as tensors.

    A Python call runs many steps: the loop over steps, the choice of events, gradients, their average over
    workers and the update are one graph, so that Python costs nothing per batch.

    Args:
        config: the configuration.
        model: the Keras model.
        workers: this process among all.
        train: this worker's training events.
        validation: this worker's validation events.
    """

    def __init__(
        self, config: Config, model: Any, workers: Workers, train: TrainingData, validation: TrainingData
    ) -> None:
        import tensorflow as tf

        self.model = model
        self.optimizer = build_optimizer(config.training.optimizer)
        self.optimizer.build(model.trainable_variables)
        self._logits = logits_model(model)
        self._binary = len(config.data.labels) == 2
        self._clipping = config.training.gradient_clipping
        self._workers = workers
        self._train, self._validation = _tensors(train), _tensors(validation)
        self._validation_events = validation.events
        orders = tf.TensorSpec([None, None], tf.int64)
        self._run = tf.function(
            self._steps, input_signature=[orders, tf.TensorSpec([None], tf.float32)], autograph=False
        )
        self._measure = tf.function(self._sums, input_signature=[orders], autograph=False)

    @property
    def variables(self) -> list[Any]:
        """All Keras variables that training changes: the model's (dropout's seeds, too), the optimizer's."""
        return [*self.model.variables, *self.optimizer.variables]

    def train(self, order: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """Train on some batches.

        Args:
            order: (steps, batch) positions of events.
            rates: (steps,) learning rates.

        Returns:
            Sums of weight·loss, weight·correct and weight, float64; the loss without penalties on kernels.
        """
        return np.asarray(self._run(order, rates.astype(np.float32)))

    def validate(self) -> np.ndarray:
        """Return the same sums over this worker's validation events."""
        rows = np.arange(self._validation_events)
        full = len(rows) // EVALUATION_BATCH * EVALUATION_BATCH
        sums = np.zeros(3)
        for order in (rows[:full].reshape(-1, EVALUATION_BATCH), rows[np.newaxis, full:]):
            if order.size:
                sums += np.asarray(self._measure(order))
        return sums

    def synchronise(self) -> None:
        """Average over workers what they keep for themselves: the running moments of batch normalisation."""
        self._workers.average_variables([each for each in self.model.non_trainable_variables if "moving_" in each.path])

    def separate_seeds(self) -> None:
        """Give this worker its own dropout: move the seeds, which are equal on all, by its rank."""
        weights = {id(each) for each in self.model.weights}
        for variable in self.model.variables:
            if id(variable) not in weights and self._workers.rank:
                state = np.array(variable.value)
                state[0] += np.asarray(1_000_003 * self._workers.rank, state.dtype)
                variable.assign(state)

    def _steps(self, order: Any, rates: Any) -> Any:
        import tensorflow as tf

        def body(step: Any, sums: Any) -> Any:
            return step + 1, sums + self._step(order[step], rates[step])

        start = (tf.constant(0), tf.zeros(3, tf.float64))
        # One step after the other: every step starts from the variables that the one before has left.
        return tf.while_loop(lambda step, _: step < tf.shape(rates)[0], body, start, parallel_iterations=1)[1]

    def _step(self, rows: Any, rate: Any) -> Any:
        import tensorflow as tf

        inputs, target, weight = _gather(self._train, rows)
        with tf.GradientTape() as tape:
            logits = self._logits(inputs, training=True)
            losses = self._losses(logits, target)
            # Over the number of events, not the sum of weights: the average of the gradients of N workers is
            # then the gradient of the N batches taken as one.
            loss = tf.reduce_mean(weight * losses)
            if self._logits.losses:
                loss += tf.add_n(self._logits.losses)
        variables = self.model.trainable_variables
        gradients = self._workers.average(tape.gradient(loss, [variable.value for variable in variables]))
        self.optimizer.learning_rate.assign(rate)
        self.optimizer.apply(clipped(self._clipping, gradients), variables)
        return self._report(logits, losses, target, weight)

    def _sums(self, order: Any) -> Any:
        import tensorflow as tf

        def body(step: Any, sums: Any) -> Any:
            inputs, target, weight = _gather(self._validation, order[step])
            logits = self._logits(inputs, training=False)
            return step + 1, sums + self._report(logits, self._losses(logits, target), target, weight)

        start = (tf.constant(0), tf.zeros(3, tf.float64))
        return tf.while_loop(lambda step, _: step < tf.shape(order)[0], body, start, parallel_iterations=1)[1]

    def _losses(self, logits: Any, target: Any) -> Any:
        import tensorflow as tf

        if self._binary:
            return tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits[:, 0])
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=target, logits=logits)

    def _report(self, logits: Any, losses: Any, target: Any, weight: Any) -> Any:
        import tensorflow as tf

        if self._binary:
            correct = tf.equal(logits[:, 0] > 0, target > 0.5)
        else:
            correct = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), target)
        weight = tf.cast(weight, tf.float64)
        terms = (weight * tf.cast(losses, tf.float64), weight * tf.cast(correct, tf.float64), weight)
        return tf.stack([tf.reduce_sum(term) for term in terms])


def steps_per_epoch(events: int, batch_size: int) -> int:
    """Return the number of steps in an epoch over a shard of so many events."""
    return len(batches(np.arange(events), batch_size))


def _tensors(data: TrainingData) -> tuple[dict[str, Any], Any, Any]:
    import tensorflow as tf

    inputs = {name: tf.constant(array) for name, array in data.inputs.items()}
    return inputs, tf.constant(data.target), tf.constant(data.weight)


def _gather(data: tuple[dict[str, Any], Any, Any], rows: Any) -> tuple[dict[str, Any], Any, Any]:
    import tensorflow as tf

    inputs, target, weight = data
    taken = {name: tf.gather(array, rows) for name, array in inputs.items()}
    return taken, tf.gather(target, rows), tf.gather(weight, rows)
