"""Out-of-fold scores of a whole dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.dataset.dataset import Dataset
from nntrainer.dataset.inputs import Inputs, dataset_inputs
from nntrainer.dataset.split import masks
from nntrainer.networks.model import load_model
from nntrainer.rundir import RunDir

BATCH = 8192


@dataclass(frozen=True)
class Scores:
    """Probabilities of the classes for events in a given role.

    Attributes:
        test: (n, classes) float64; each event scored by a model that never saw it, NaN where there is none.
        train: (n, classes) float64; each event scored by a model that trained on it, NaN where there is none.
        fold: (n,) int; the model that gave the test score, -1 where there is none.
    """

    test: np.ndarray
    train: np.ndarray
    fold: np.ndarray


def probabilities(model: Any, inputs: Inputs, rows: np.ndarray, signal: int, classes: int) -> np.ndarray:
    """Return class probabilities, (rows, classes) float64; a binary network's one output is P(signal)."""
    pieces = []
    for start in range(0, len(rows), BATCH):
        take = rows[start : start + BATCH]
        pieces.append(np.asarray(model.predict_on_batch({key: array[take] for key, array in inputs.items()})))
    scores = np.concatenate(pieces).astype(np.float64) if pieces else np.zeros((0, 1))
    if scores.shape[1] == classes:
        return scores
    result = np.empty((len(rows), 2))
    result[:, signal] = scores[:, 0]
    result[:, 1 - signal] = 1 - scores[:, 0]
    return result


def scores(config: Config, run: RunDir, dataset: Dataset) -> Scores:
    """Score every event once with a model that never saw it and once with one that trained on it.

    Args:
        config: the configuration.
        run: the run directory with the trained models.
        dataset: the events.

    Returns:
        The scores by role.
    """
    inputs = dataset_inputs(config, dataset)
    event_number = dataset.column("eventNumber")
    classes, signal = len(dataset.labels), dataset.labels.index(config.data.signal_label)
    shape = (len(event_number), classes)
    result = Scores(np.full(shape, np.nan), np.full(shape, np.nan), np.full(len(event_number), -1))
    for fold in range(config.preparation.k):
        model = load_model(run.fold(fold) / "model.keras", config.model)
        split = masks(config, event_number, fold)
        rows = np.flatnonzero(split.test)
        result.test[rows] = probabilities(model, inputs, rows, signal, classes)
        result.fold[rows] = fold
        # With more than two folds an event is trained on by several models: the first one is taken.
        rows = np.flatnonzero(split.train & np.isnan(result.train[:, 0]))
        result.train[rows] = probabilities(model, inputs, rows, signal, classes)
    return result
