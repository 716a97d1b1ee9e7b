"""What is explained: one number that the trained network of one fold gives for an event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np

from nntrainer.config import Config
from nntrainer.dataset.inputs import Inputs
from nntrainer.errors import ExplainError, RunError, nearest, one_of
from nntrainer.explain.sample import features, valid_of
from nntrainer.networks.candidates import candidates
from nntrainer.networks.heads import CANDIDATES, STANDARDISED
from nntrainer.networks.model import SCORES, load_model
from nntrainer.rundir import RunDir
from nntrainer.threads import cores

Kind = Literal["class", "assignment", "regression"]
CHOSEN = "chosen"
"""Beside the inputs of an event whose assignment is explained: the number of the candidate that is chosen."""
BATCH = 256
"""Events in a batch: derivatives of pairs of objects, for instance, then stay in the processor's cache."""
AT_A_TIME = 4
"""Batches at a time, at most: operations on one of them are too small to keep all cores busy."""


class Subject:
    """One fold's network, and the number that is explained.

    With a class to learn it is the logit of its probability p, ln p − ln(1 − p): what comes before the sigmoid of two
    classes, and of more than two z_c − ln Σ_{i≠c} exp z_i. Without one, it is the logarithm of the probability that the
    network gives to its choice of objects for the first particle; that choice stays what it is for the event as it is,
    and events with too few objects for one have the number 0. Without particles it is the first regression, in widths.

    Args:
        config: the configuration.
        model: the trained Keras model.
        label: the class; the signal if absent.

    Attributes:
        config: the configuration.
        model: the Keras model.
        columns: names of the inputs.
        kind: what is explained.
        name: the class, the particle or the regression.
        title: the number in words, for axes and reports.
        head: a Keras model that shares everything with the given one but ends at what ``scalar`` is computed from: the
            logits of the class, of the particle's candidates (None, C), or the standardised value (None, 1).

    Raises:
        ExplainError: there is no such class.
    """

    def __init__(self, config: Config, model: Any, label: str | None = None) -> None:
        import keras

        self.config, self.model, self.columns = config, model, features(config)
        self.kind, self.name = explained(config, label)
        if self.kind == "class":
            self.title, tensor = f"logit of P({self.name})", model.get_layer(SCORES).input
        elif self.kind == "assignment":
            self.title, tensor = f"ln P(choice for {self.name})", model.get_layer(f"{self.name}{CANDIDATES}").output
        else:
            self.title, tensor = f"{self.name} in widths", model.get_layer(f"{self.name}{STANDARDISED}").output
        self._inputs = {each.name: each for each in model.inputs}
        self.head = keras.Model(self._inputs, tensor, name=f"{model.name}_head")
        self._calls: dict[str, Any] = {}

    def scalar(self, head: Any, inputs: Mapping[str, Any]) -> Any:
        """Return the (n,) float32 tensor that is explained.

        Args:
            head: what ``head`` gives.
            inputs: the inputs; of them only ``chosen`` is read, where an assignment is explained.

        Returns:
            The tensor.
        """
        import tensorflow as tf

        if self.kind == "regression":
            return head[:, 0]
        if self.kind == "assignment":
            chosen = inputs[CHOSEN]
            taken = tf.gather(tf.nn.log_softmax(head), tf.maximum(chosen, 0), batch_dims=1)
            return tf.where(chosen >= 0, taken, 0.0)
        labels = self.config.data.labels
        if len(labels) == 2:
            return head[:, 0] if self.name == self.config.data.signal_label else -head[:, 0]
        of = labels.index(self.name)
        others = tf.concat([head[:, :of], head[:, of + 1 :]], axis=1)
        return head[:, of] - tf.reduce_logsumexp(others, axis=1)

    def function(self, inputs: Mapping[str, Any]) -> Any:
        """Return the (n,) float32 tensor that is explained, for a dictionary of tensors; gradients go through it."""
        return self.scalar(self.head({name: inputs[name] for name in self._inputs}, training=False), inputs)

    def prepared(self, inputs: Inputs) -> Inputs:
        """Return the inputs with ``chosen`` where an assignment is explained: what the network chooses for them."""
        return {**inputs, CHOSEN: self.choice(inputs)} if self.kind == "assignment" else dict(inputs)

    def target(self, inputs: Inputs) -> np.ndarray:
        """Return the number that is explained, (n,) float64.

        Args:
            inputs: raw inputs as in a sample, with ``chosen`` where an assignment is explained.

        Returns:
            The numbers.
        """
        return np.concatenate([each.numpy() for each in self._batched("target", self.function, inputs)]).astype(float)

    def gradients(self, inputs: Inputs) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the number that is explained and its derivatives with respect to the raw inputs.

        Args:
            inputs: raw inputs as in a sample, with ``chosen`` where an assignment is explained.

        Returns:
            (n,) float64, and by input (``events`` and the collections) float32 in its shape; zero in empty slots.
        """
        pieces = list(self._batched("gradients", self._gradients, inputs))
        output = np.concatenate([each.numpy() for each, _ in pieces]).astype(float)
        found = {name: np.concatenate([each[name].numpy() for _, each in pieces]) for name in self.columns.inputs}
        return output, {name: np.where(valid_of(inputs, name), each, 0) for name, each in found.items()}

    def choice(self, inputs: Inputs) -> np.ndarray:
        """Return which candidate (``networks.candidates``) is chosen for the particle, (n,) int32, -1 for none."""
        target = self._assignment()
        found = np.concatenate([each.numpy() for each in self._batched("choice", self._choice, inputs)])
        known = candidates(target.particles[self.name], self.config.features.objects[target.collection].max)
        return known.number(found)

    def _assignment(self) -> Any:
        return next(each for each in self.config.assignments.values() if self.name in each.particles)

    def _choice(self, inputs: Mapping[str, Any]) -> Any:
        given = self.model({name: inputs[name] for name in self._inputs}, training=False)
        return given[f"{self.name}_indices"]

    def _gradients(self, inputs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        import tensorflow as tf

        watched = {name: inputs[name] for name in self.columns.inputs}
        with tf.GradientTape() as tape:
            tape.watch(watched)
            output = self.function({**inputs, **watched})
        return output, tape.gradient(output, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def _batched(self, name: str, function: Callable[..., Any], inputs: Inputs) -> Any:
        """Yield what a function of tensors gives, batch by batch, several at a time; it is traced once."""
        import tensorflow as tf

        keys = [*self._inputs, *([CHOSEN] if self.kind == "assignment" and name != "choice" else [])]
        if name not in self._calls:
            spec = {key: tf.TensorSpec((None, *inputs[key].shape[1:]), inputs[key].dtype) for key in keys}
            self._calls[name] = tf.function(function, input_signature=[spec])

        def call(start: int) -> Any:
            return self._calls[name]({key: tf.constant(inputs[key][start : start + BATCH]) for key in keys})

        with ThreadPoolExecutor(min(cores(), AT_A_TIME)) as pool:
            yield from pool.map(call, range(0, len(inputs[keys[0]]), BATCH))


def explained(config: Config, label: str | None = None) -> tuple[Kind, str]:
    """Return what is explained: its kind, and the name of the class, particle or regression.

    Args:
        config: the configuration.
        label: the class that is asked for; the signal if absent.

    Returns:
        Kind and name.

    Raises:
        ExplainError: there is no such class.
    """
    labels = config.data.labels
    if label is not None and not config.classifies:
        raise ExplainError(
            f"--class {label}: this network learns no class (training.tasks has no 'class'); leave it out"
        )
    if label is not None and label not in labels:
        raise ExplainError(
            f"--class: there is no class '{label}'; classes are {one_of(labels)}.{nearest(label, labels)}"
        )
    if config.classifies:
        return "class", label or config.data.signal_label
    for target in config.assignments.values():
        return "assignment", next(iter(target.particles))
    return "regression", next(iter(config.regressions))


def load_subject(config: Config, run: RunDir, fold: int, label: str | None = None) -> Subject:
    """Load the model of a fold.

    Args:
        config: the configuration.
        run: the run directory.
        fold: the fold.
        label: the class; the signal if absent.

    Returns:
        The subject.

    Raises:
        RunError: the fold is not trained.
    """
    return Subject(config, load_model(model_path(run, fold), config.model), label)


def model_path(run: RunDir, fold: int) -> Any:
    """Return the path of a fold's trained model, or raise a RunError where there is none."""
    path = run.path / "training" / f"fold{fold}" / "model.keras"
    if not path.exists():
        raise RunError(
            f"{run.path}: fold {fold} is not trained, there is no {path.relative_to(run.path)}; "
            f"run `nntrainer train {run.config_file} --run-dir {run.path}` first"
        )
    return path
