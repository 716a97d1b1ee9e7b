"""How unlike the training events are the events of a sample, to a trained network and to its inputs.

``mahalanobis``: the Mahalanobis distance to the nearest class in the last hidden layer of the network, with one
covariance for all classes (arXiv 1807.03888), shrunk as by Ledoit and Wolf, because units that are nearly constant in
training leave it without an inverse.

``isolation_forest``: how few random cuts on the inputs isolate an event (Liu, Ting, Zhou, ICDM 2008; arXiv
1811.02141); it knows nothing of the network, and sees what the network has learnt to ignore.

Both learn from the training events of a fold and measure events of the fold, which neither they nor the network have
seen: events that a network was trained on look more typical than any new ones. Distances are given in units of the
one that 1 % of the reference exceed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.dataset.split import masks
from nntrainer.errors import InputError, RunError
from nntrainer.evaluation.predict import predictions
from nntrainer.networks.model import SCORES, load_model
from nntrainer.progress import Progress, silent
from nntrainer.rundir import RunDir
from nntrainer.validation.columns import table
from nntrainer.validation.estimates import area, cut_keeping, mean
from nntrainer.validation.samples import Events

QUANTILE = 0.99
FIT_EVENTS = 100_000
"""Training events of a fold, at most, that the measures learn from."""
FOREST_TREES = 200
LOGITS = "logits"

Measure = Callable[[Events], np.ndarray]


@dataclass(frozen=True)
class Distances:
    """How unlike training events n events that the models have not seen are.

    Attributes:
        values: float64 (n,), in units of the distance that 1 % of the reference exceed.
        weight: float64 (n,), signed.
    """

    values: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class Outliers:
    """What one measure finds.

    Attributes:
        auc: chance that an event of the other sample is more unlike the training events than one of the reference.
        auc_error: its statistical error.
        beyond: fraction of the other sample beyond what 1 % of the reference exceed.
        beyond_error: its statistical error.
        reference: distances of the reference.
        other: distances of the other sample.
    """

    auc: float
    auc_error: float
    beyond: float
    beyond_error: float
    reference: Distances
    other: Distances

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        names = ("auc", "auc_error", "beyond", "beyond_error")
        return {name: getattr(self, name) for name in names} | {
            "quantile": QUANTILE,
            "events": [len(self.reference.values), len(self.other.values)],
        }


class Detectors:
    """The measures of every fold, learnt from a run's training events.

    Args:
        config: the configuration.
        run: the run directory with the trained models.
        training: events of all samples; the training events among them are taken.
        progress: told how far the work has come.
    """

    def __init__(self, config: Config, run: RunDir, training: Events, progress: Progress | None = None) -> None:
        check_trained(config, run)
        self._config, self._progress = config, progress or silent()
        self._measures: list[dict[str, Measure]] = []
        self._progress.start("learn what is typical", config.preparation.k, unit="folds")
        for fold in range(config.preparation.k):
            rows = np.flatnonzero(masks(config, training.event, fold).train)
            rng = np.random.default_rng([config.seed, fold])
            chosen = np.sort(rng.choice(rows, min(len(rows), FIT_EVENTS), replace=False))
            model = load_model(run.fold(fold) / "model.keras", config.model)
            some = training.take(chosen)
            self._measures.append(
                {
                    "mahalanobis": _mahalanobis(_hidden(model), some),
                    "isolation_forest": _forest(config, some),
                }
            )
            self._progress.advance(1)
        self._progress.finish()

    def compare(self, reference: Events, other: Events) -> dict[str, Outliers]:
        """Compare events with training-like ones.

        Args:
            reference: events of the samples of the training.
            other: events of another sample.

        Returns:
            What each measure finds, by its name.

        Raises:
            InputError: a fold has no event of one side that its model has not seen.
        """
        names = list(self._measures[0])
        self._progress.start("unlike training events", len(names) * len(self._measures), unit="measures")
        found = {name: self._compare(name, reference, other) for name in names}
        self._progress.finish()
        return found

    def _compare(self, name: str, reference: Events, other: Events) -> Outliers:
        parts: list[list[Distances]] = []
        areas, beyond = [], []
        for fold, measures in enumerate(self._measures):
            unseen = [each.take(masks(self._config, each.event, fold).test) for each in (reference, other)]
            for each in unseen:
                if not (len(each) and each.weight.sum() > 0):
                    raise InputError(f"'{each.name}' has no events with a positive sum of weights in fold {fold}")
            distances = [measures[name](each) for each in unseen]
            cut = cut_keeping(distances[0], unseen[0].weight, 1 - QUANTILE)
            distances = [each / cut for each in distances]
            target = np.repeat([False, True], [len(each) for each in unseen])
            weight, event = (
                np.concatenate([getattr(each, column) for each in unseen]) for column in ("weight", "event")
            )
            areas.append(area(np.concatenate(distances), target, weight, event))
            beyond.append(mean(distances[1] > 1, unseen[1].weight, unseen[1].event))
            parts.append([Distances(values, each.weight) for values, each in zip(distances, unseen, strict=True)])
            self._progress.advance(1)
        folds = len(parts)
        values = [
            (float(np.mean([e.value for e in each])), float(np.sqrt(np.sum([e.error**2 for e in each]))) / folds)
            for each in (areas, beyond)
        ]
        sides = [_joined([part[side] for part in parts]) for side in (0, 1)]
        return Outliers(*values[0], *values[1], *sides)


def check_trained(config: Config, run: RunDir) -> None:
    """Check that the models of all folds are there, and that they score classes.

    Args:
        config: the configuration.
        run: the run directory.

    Raises:
        RunError: one is missing, or there is no class to score.
    """
    if not config.classifies:
        raise RunError(
            f"{run.path}: the network learns no class (training.tasks), so that it has no score to look at; "
            "--test inputs compares samples without it"
        )
    for fold in range(config.preparation.k):
        path = run.path / "training" / f"fold{fold}" / "model.keras"
        if not path.is_file():
            raise RunError(
                f"{run.path}: the network is not trained, {path.relative_to(run.path)} is missing; `nntrainer run` "
                "trains it, and --test inputs compares samples without it"
            )


def _hidden(model: Any) -> Callable[[Events], np.ndarray]:
    """Return what gives the layer before the logits, (n, width), or the logits where a network makes its own."""
    import keras

    named = {layer.name: layer for layer in model.layers}
    last = named.get(LOGITS, named[SCORES])
    inner = keras.Model({tensor.name: tensor for tensor in model.inputs}, last.input)

    def hidden(events: Events) -> np.ndarray:
        values = predictions(inner, events.inputs, np.arange(len(events)))["scores"]
        return np.asarray(values, np.float64).reshape(len(values), -1)

    return hidden


def _mahalanobis(hidden: Callable[[Events], np.ndarray], training: Events) -> Measure:
    from sklearn.covariance import ledoit_wolf

    values = hidden(training)
    classes = np.unique(training.label)
    means = np.stack([values[training.label == each].mean(axis=0) for each in classes])
    centred = values - means[np.searchsorted(classes, training.label)]
    variance, axes = np.linalg.eigh(ledoit_wolf(centred, assume_centered=True)[0])
    whiten = axes / np.sqrt(np.maximum(variance, 1e-12 * max(variance[-1], 1e-12)))

    def measure(events: Events) -> np.ndarray:
        there = hidden(events) @ whiten
        return np.asarray(np.min([np.linalg.norm(there - each @ whiten, axis=1) for each in means], axis=0))

    return measure


def _forest(config: Config, training: Events) -> Measure:
    from sklearn.ensemble import IsolationForest

    values = table(config, training.inputs)
    typical = np.nan_to_num(np.nanmean(values, axis=0))

    def filled(rows: np.ndarray) -> np.ndarray:
        return np.where(np.isfinite(rows), rows, typical)

    forest = IsolationForest(n_estimators=FOREST_TREES, random_state=config.seed).fit(filled(values))

    def measure(events: Events) -> np.ndarray:
        return -np.asarray(forest.score_samples(filled(table(config, events.inputs))), np.float64)

    return measure


def _joined(parts: list[Distances]) -> Distances:
    return Distances(np.concatenate([part.values for part in parts]), np.concatenate([part.weight for part in parts]))
