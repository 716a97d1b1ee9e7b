"""Accuracy and AUC of a trained network on events that were changed, within bounds, to be misjudged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.config.adversarial import RobustnessEvaluation, places
from nntrainer.dataset.dataset import Dataset
from nntrainer.dataset.inputs import Inputs, dataset_inputs
from nntrainer.dataset.split import masks
from nntrainer.evaluation import metrics
from nntrainer.evaluation.decide import Draw
from nntrainer.evaluation.predict import BATCH, probabilities
from nntrainer.evaluation.weighted import plain
from nntrainer.networks.inputs import feature_widths
from nntrainer.networks.model import load_model, logits_model
from nntrainer.plots import robustness as plots
from nntrainer.rundir import RunDir
from nntrainer.training.attack import Attack, Kind, widths_of
from nntrainer.training.losses import cross_entropy

KINDS: tuple[Kind, ...] = ("fgsm", "pgd")


def measure_robustness(
    config: Config, run: RunDir, dataset: Dataset, label: np.ndarray, weight: np.ndarray, draw: Draw
) -> dict[str, Any]:
    """Measure and draw accuracy and AUC against ε, by the models that never saw the events.

    The attacks know the network, and the true class of each event.

    Args:
        config: the configuration, with ``evaluation.robustness``.
        run: the run directory with the trained models.
        dataset: the events.
        label: int (N,), the class of each event.
        weight: float (N,), signed.
        draw: draws plots.

    Returns:
        Plain data for ``metrics.json``: for each attack lists over ε, which begins with 0.
    """
    block = config.evaluation.robustness
    if block is None:
        return {}
    epsilons = [0.0, *sorted(set(block.epsilons))]
    rows, given = _attacked(config, block, run, dataset, label, epsilons)
    signal, classes = dataset.labels.index(config.data.signal_label), len(dataset.labels)
    result: dict[str, Any] = {"events": len(rows), "epsilon": epsilons}
    for kind in KINDS:
        columns: dict[str, list[float]] = {}
        for probability in given[kind]:
            for name, value in _numbers(config, label[rows], probability, weight[rows], signal, classes).items():
                columns.setdefault(name, []).append(value)
        result[kind] = {name: plain(np.array(values)) for name, values in columns.items()}
    draw("robustness", plots.robustness, epsilons, {kind.upper(): result[kind] for kind in KINDS}, classes)
    return result


def _numbers(
    config: Config, label: np.ndarray, probability: np.ndarray, weight: np.ndarray, signal: int, classes: int
) -> dict[str, float]:
    predicted = probability.argmax(axis=1)
    balanced, error = balanced_accuracy(label, predicted, weight, classes)
    auc, auc_error = metrics.auc_bootstrap(
        label == signal, probability[:, signal], weight, replicas=config.evaluation.bootstrap, seed=config.seed
    )
    return {
        "accuracy": metrics.accuracy(label, predicted, weight),
        "balanced_accuracy": balanced,
        "balanced_accuracy_error": error,
        "auc": auc,
        "auc_error": auc_error,
    }


def balanced_accuracy(
    truth: np.ndarray, predicted: np.ndarray, weight: np.ndarray, classes: int
) -> tuple[float, float]:
    """Return the mean over classes of the weighted fraction of right predictions, and its uncertainty.

    Args:
        truth: int (N,), class indices.
        predicted: int (N,), class indices.
        weight: float (N,), signed.
        classes: number of classes.

    Returns:
        The mean, and √Σw²(right − fraction)² / Σw of each class in quadrature, over the classes.
    """
    fractions, variances = [], []
    for c in range(classes):
        w, right = weight[truth == c], (predicted == truth)[truth == c]
        total = w.sum()
        fraction = float(w[right].sum() / total) if total > 0 else float("nan")
        fractions.append(fraction)
        variances.append(float(np.sum(w**2 * (right - fraction) ** 2)) / total**2 if total > 0 else float("nan"))
    return float(np.mean(fractions)), float(np.sqrt(np.sum(variances)) / classes)


def _attacked(
    config: Config, block: RobustnessEvaluation, run: RunDir, dataset: Dataset, label: np.ndarray, epsilons: list[float]
) -> tuple[np.ndarray, dict[Kind, list[np.ndarray]]]:
    """Return the events that are measured, and for each attack and ε their class probabilities, (rows, classes)."""
    inputs, number = dataset_inputs(config, dataset), dataset.column("eventNumber")
    flags = places("evaluation.robustness.features", block.features, config.input_names)
    signal, classes = dataset.labels.index(config.data.signal_label), len(dataset.labels)
    found: dict[Kind, list[list[np.ndarray]]] = {kind: [[] for _ in epsilons] for kind in KINDS}
    chosen = []
    for fold in range(config.preparation.k):
        model = logits_model(load_model(run.fold(fold) / "model.keras", config.model))
        split = masks(config, number, fold)
        widths = widths_of(feature_widths(inputs, np.flatnonzero(split.train)), flags)
        rows = np.flatnonzero(split.test)
        rows = rows[:: max(-(-len(rows) * config.preparation.k // block.events), 1)]
        chosen.append(rows)
        target = label[rows].astype(np.int32) if classes > 2 else (label[rows] == signal).astype(np.float32)
        for kind in KINDS:
            graph = _graph(model, Attack(kind, widths, steps=block.steps), config.seed)
            for place, epsilon in enumerate(epsilons if len(rows) else ()):
                given = {"scores": _scores(graph, inputs, rows, target, epsilon)}
                found[kind][place].append(probabilities(given, signal, classes))
    return np.concatenate(chosen), {kind: [np.concatenate(each) for each in found[kind]] for kind in KINDS}


Scores = Callable[[dict[str, Any], Any, Any], Any]


def _graph(model: Any, attack: Attack, seed: int) -> Scores:
    """Return the function from inputs, target and ε to the scores of the changed events."""
    import tensorflow as tf

    @tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]
    def scores(inputs: dict[str, Any], target: Any, epsilon: Any) -> Any:
        def losses(changed: dict[str, Any]) -> Any:
            return cross_entropy(model(changed, training=False), target)

        changed = attack(inputs, losses, epsilon, tf.constant([seed, 0], tf.int64))
        logits = model(changed, training=False)
        return tf.sigmoid(logits) if logits.shape[-1] == 1 else tf.nn.softmax(logits)

    return scores  # type: ignore[no-any-return]


def _scores(graph: Scores, inputs: Inputs, rows: np.ndarray, target: np.ndarray, epsilon: float) -> np.ndarray:
    import tensorflow as tf

    pieces = []
    for start in range(0, len(rows), BATCH):
        take = rows[start : start + BATCH]
        events = {name: tf.constant(array[take]) for name, array in inputs.items()}
        pieces.append(np.asarray(graph(events, tf.constant(target[start : start + BATCH]), tf.constant(epsilon))))
    return np.concatenate(pieces)
