"""Out-of-fold scores of a whole dataset."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.dataset.dataset import Dataset
from nntrainer.dataset.inputs import Inputs, dataset_inputs
from nntrainer.dataset.split import masks
from nntrainer.networks.model import load_model, named
from nntrainer.rundir import RunDir

BATCH = 8192


@dataclass(frozen=True)
class Scores:
    """Probabilities of the classes for events in a given role.

    Attributes:
        test: (n, classes) float64; each event scored by a model that never saw it, NaN where there is none.
        train: (n, classes) float64; each event scored by a model that trained on it, NaN where there is none.
        fold: (n,) int; the model that gave the test score, -1 where there is none.
        decoded: what the models give beside scores, by name, each event by a model that never saw it; (n,) or (n, k),
            -1 (integers) or NaN where there is none.
    """

    test: np.ndarray
    train: np.ndarray
    fold: np.ndarray
    decoded: dict[str, np.ndarray] = field(default_factory=dict)


def predictions(model: Any, inputs: Inputs, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs of a model for some events by name; nothing for no events."""
    pieces = []
    for start in range(0, len(rows), BATCH):
        take = rows[start : start + BATCH]
        pieces.append(named(model.predict_on_batch({key: array[take] for key, array in inputs.items()})))
    return {name: np.concatenate([np.asarray(each[name]) for each in pieces]) for name in (pieces or [{}])[0]}


def probabilities(given: dict[str, np.ndarray], signal: int, classes: int) -> np.ndarray:
    """Return class probabilities, (rows, classes) float64; a binary network's one output is P(signal)."""
    scores = given.get("scores", np.zeros((0, classes))).astype(np.float64)
    if scores.shape[1] == classes:
        return scores
    result = np.empty((len(scores), 2))
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
        given = predictions(model, inputs, rows)
        result.fold[rows] = fold
        for name, values in given.items():
            if name != "scores":
                nothing = -1 if values.dtype.kind == "i" else np.nan
                whole = np.full((len(event_number), *values.shape[1:]), nothing, values.dtype)
                result.decoded.setdefault(name, whole)[rows] = values
        if not config.classifies:
            continue
        result.test[rows] = probabilities(given, signal, classes)
        # With more than two folds an event is trained on by several models: the first one is taken.
        rows = np.flatnonzero(split.train & np.isnan(result.train[:, 0]))
        result.train[rows] = probabilities(predictions(model, inputs, rows), signal, classes)
    return result
