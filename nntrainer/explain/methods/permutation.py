"""Permutation importance: how much worse the network gets when a part of the input is that of other events."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field, PositiveInt

from nntrainer.config.registry import EXPLAINERS, ExplainerOptions
from nntrainer.dataset.inputs import Inputs
from nntrainer.errors import ExplainError
from nntrainer.evaluation.weighted import ratio
from nntrainer.explain.attribution import COLLECTIONS, FEATURES, REPLICAS, Importance, Ranking
from nntrainer.explain.sample import Columns, Sample
from nntrainer.explain.subject import Subject
from nntrainer.networks.heads import UNSCALE
from nntrainer.progress import Progress

FEWEST = 100
"""However short the time, so many events are used."""
Shuffle = Callable[[Inputs, np.random.Generator], None]
UNITS = {"class": "drop of the AUC", "assignment": "drop of the fraction right", "regression": "rise of mean |error|"}


@EXPLAINERS.register("permutation")
class Permutation(ExplainerOptions):
    """Permutation importance (Breiman, Machine Learning 45, 5 (2001); arXiv 1801.01489).

    The values of a feature are shuffled among the events, those of an object's feature among all objects of its
    collection, and whole collections, with their number of objects, among the events. What counts is how much the
    weighted AUC of the class against all others falls; without a class to learn, the fraction of events in which the
    choice of objects is right; or how much the mean |error| of a regression rises, in widths. The uncertainty is that
    of the events (bootstrap) and of the shuffling. Of two features that tell the same, each can be missed: both look
    unimportant.
    """

    name: Literal["permutation"] = "permutation"
    repeats: PositiveInt = Field(3, description="How many times each part is shuffled; the mean counts.")

    def explain(self, subject: Subject, sample: Sample, progress: Progress, deadline: float) -> Ranking:
        """Return the importances.

        Args:
            subject: what is explained.
            sample: the events.
            progress: told of events as the work goes on.
            deadline: when to be done; fewer events are used where the time is too short.

        Returns:
            The importances of features and collections.
        """
        parts = _parts(sample.columns)
        work = self.repeats * sum(len(shuffles) for shuffles in parts.values()) + 1
        sample = sample.take(slice(_affordable(subject, sample, work, deadline)))
        quality = _quality(subject, sample)
        random = np.random.default_rng(sample.seed)
        # The first row are the events as they are.
        times = np.vstack([np.ones(len(sample)), random.poisson(1.0, (REPLICAS, len(sample)))])
        best, told = quality(sample.inputs, times * sample.weight), _Told(progress, len(sample), work)
        levels = {}
        for level, shuffles in parts.items():
            value, error = np.zeros(len(shuffles)), np.zeros(len(shuffles))
            for place, shuffle in enumerate(shuffles.values()):
                drops = []
                for _ in range(self.repeats):
                    inputs = dict(sample.inputs)
                    shuffle(inputs, random)
                    drops.append(best - quality(inputs, times * sample.weight))
                    told.once()
                value[place] = np.mean([each[0] for each in drops])
                replicas = np.mean(drops, axis=0)[1:]
                events = np.std(replicas[np.isfinite(replicas)], ddof=1)
                spread = np.std([each[0] for each in drops], ddof=1) if self.repeats > 1 else 0.0
                error[place] = np.hypot(events, spread / self.repeats**0.5)
            levels[level] = Importance(tuple(shuffles), value, error, UNITS[subject.kind])
        facts = {"quality": float(best[0]), "repeats": self.repeats}
        return Ranking(self.name, "permutation importance", levels, len(sample), facts)


class _Told:
    """Tell a progress of events while the work goes by parts of the input."""

    def __init__(self, progress: Progress, events: int, work: int) -> None:
        self._progress, self._events, self._work, self._done = progress, events, work, 0

    def once(self) -> None:
        """Count one evaluation of all events."""
        before, self._done = self._done * self._events // self._work, self._done + 1
        self._progress.advance(self._done * self._events // self._work - before)


def _affordable(subject: Subject, sample: Sample, work: int, deadline: float) -> int:
    """Return how many events can be evaluated so many times before the deadline."""
    some = {name: array[:FEWEST] for name, array in sample.inputs.items()}
    subject.target(some)  # traces
    start = time.monotonic()
    subject.target(some)
    each = (time.monotonic() - start) / min(FEWEST, len(sample))
    return int(np.clip((deadline - start) / (work * each), min(FEWEST, len(sample)), len(sample)))


def _parts(columns: Columns) -> dict[str, dict[str, Shuffle]]:
    """Return what shuffles each part of the input, by level and name."""
    features: dict[str, Shuffle] = {name: partial(_event, place) for place, name in enumerate(columns.events)}
    for collection, names in columns.objects.items():
        features |= {f"{collection}.{name}": partial(_object, collection, i) for i, name in enumerate(names)}
    return {FEATURES: features, COLLECTIONS: {name: partial(_whole, name) for name in columns.inputs}}


def _event(place: int, inputs: Inputs, random: np.random.Generator) -> None:
    table = inputs["events"].copy()
    table[:, place] = random.permutation(table[:, place])
    inputs["events"] = table


def _object(collection: str, place: int, inputs: Inputs, random: np.random.Generator) -> None:
    table, valid = inputs[collection].copy(), inputs[f"{collection}_valid"] > 0
    table[valid, place] = random.permutation(table[valid, place])
    inputs[collection] = table


def _whole(name: str, inputs: Inputs, random: np.random.Generator) -> None:
    order = random.permutation(len(inputs[name]))
    for key in (name, f"{name}_valid"):
        if key in inputs:
            inputs[key] = inputs[key][order]


def _quality(subject: Subject, sample: Sample) -> Callable[[Inputs, np.ndarray], np.ndarray]:
    """Return what tells from inputs and (R, n) weights how good the network is, (R,)."""
    if subject.kind == "class":
        target = sample.label == subject.config.data.labels.index(subject.name)
        return lambda inputs, weight: auc(target, subject.target(inputs), weight)
    truth = sample.truth[subject.name]
    if subject.kind == "assignment":
        known = truth >= 0
        if not known.any():
            raise ExplainError(
                f"in none of the {len(sample)} events are all objects of {subject.name} there, so that no choice is "
                "right; give more events (--events)"
            )
        return lambda inputs, weight: _mean((subject.choice(inputs) == truth) & known, weight * known)
    known = np.isfinite(truth)
    mean, width = (float(each[0]) for each in subject.model.get_layer(f"{subject.name}{UNSCALE}").get_weights())
    there = np.where(known, (truth - mean) / width, 0.0)
    return lambda inputs, weight: -_mean(np.abs(subject.target(inputs) - there), weight * known)


def _mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return ratio(weight @ values.astype(np.float64), weight.sum(axis=1))


def auc(target: np.ndarray, score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of the same events with different weights.

    Args:
        target: (n,) bool, True for what counts as signal.
        score: (n,) float.
        weight: (R, n) signed weights.

    Returns:
        (R,) float64; a tie counts one half; NaN where signal or background have no weight.
    """
    order = np.argsort(score, kind="stable")
    ordered, mine, weight = score[order], target[order], weight[:, order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    signal = np.add.reduceat(np.where(mine, weight, 0.0), starts, axis=1)
    background = np.add.reduceat(np.where(mine, 0.0, weight), starts, axis=1)
    below = np.cumsum(background, axis=1) - background / 2
    return ratio((signal * below).sum(axis=1), signal.sum(axis=1) * background.sum(axis=1))
