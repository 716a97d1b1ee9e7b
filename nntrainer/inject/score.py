"""Score events, each by the model that never saw it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from nntrainer.dataset.inputs import EVENT_NUMBER
from nntrainer.dataset.split import fold_of, seen
from nntrainer.inject.models import Ensemble, Model

BATCH = 4096
"""Events at a time: enough that calls cost nothing, few enough that what is between two layers stays in the cache."""
NO_FOLD = -1


@dataclass(frozen=True)
class Scores:
    """The scores of n entries.

    Attributes:
        values: (n, outputs) float32; NaN where there is no score.
        fold: (n,) int32, the fold of the model that gave the score; -1 where there is none.
        left_out: (n,) bool, selected entries without a score because the model has seen them.
    """

    values: np.ndarray
    fold: np.ndarray
    left_out: np.ndarray


def score(
    ensemble: Ensemble,
    inputs: Mapping[str, np.ndarray],
    event_number: np.ndarray,
    selected: np.ndarray,
    *,
    with_seen: bool = False,
) -> Scores:
    """Score each selected event with the model that never saw it.

    With folds, that is the model of the event's own fold, and each event has one. With fractions, there is one
    model, and the events that it trained or validated on have no score unless asked for.

    Args:
        ensemble: the models.
        inputs: the network's inputs, n entries.
        event_number: (n,) uint64.
        selected: (n,) bool.
        with_seen: with fractions, score the events that the model has seen, too.

    Returns:
        The scores.
    """
    n = len(event_number)
    values = np.full((n, len(ensemble.outputs)), np.nan, np.float32)
    fold = np.full(n, NO_FOLD, np.int32)
    for model in ensemble.models:
        if model.holds_all:
            inputs = {**inputs, EVENT_NUMBER: event_number.astype(np.int64)}
            mine = selected
        else:
            mine = selected & ~seen(model.rule, event_number)
        if with_seen and model.rule["kind"] == "fractions":
            mine = selected
        rows = np.flatnonzero(mine)
        batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
        scored = ensemble.workers.map(partial(_batch, model, inputs), batches)
        for take, result in zip(batches, scored, strict=True):
            values[take] = result
        fold[rows] = fold_of(event_number[rows], model.rule["k"]) if model.holds_all else model.rule["fold"]
    return Scores(values, fold, selected & (fold == NO_FOLD))


def _batch(model: Model, inputs: Mapping[str, np.ndarray], take: np.ndarray) -> np.ndarray:
    """Return the scores of some entries, (n, outputs)."""
    return np.asarray(model.session.run(["scores"], {name: array[take] for name, array in inputs.items()})[0])
