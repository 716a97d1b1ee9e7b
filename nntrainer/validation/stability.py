"""How stable a trained network's score is: the same events in another tree, or other events, beside the reference.

Events that both sides have are known by sample and event number; their fluctuations are the same and cancel in every
difference, so that errors are those of the difference, often far smaller than those of the two numbers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nntrainer.errors import RunError
from nntrainer.evaluation.metrics import weighted_ks
from nntrainer.evaluation.weighted import plain, ratio
from nntrainer.inject.models import Ensemble, load_ensembles
from nntrainer.inject.score import NO_FOLD, score
from nntrainer.plots.histograms import Histogram, histogram
from nntrainer.rundir import RunDir
from nntrainer.validation.estimates import area, cut_keeping, mean
from nntrainer.validation.samples import Events


@dataclass(frozen=True)
class Scored:
    """The events of a side that a model has never seen, with its score.

    Attributes:
        events: n events.
        score: float64 (n,), P(signal).
    """

    events: Events
    score: np.ndarray

    def of(self, label: int) -> Scored:
        """Return the events of a class."""
        mine = self.events.label == label
        return Scored(self.events.take(mine), self.score[mine])


def models_of(run: RunDir, folds: int) -> Ensemble:
    """Load the exported models of a run.

    Args:
        run: the run directory.
        folds: how many models there should be.

    Returns:
        The models.

    Raises:
        RunError: one is missing.
    """
    paths: list[Path] = [run.path / "models" / f"fold{fold}.onnx" for fold in range(folds)]
    for path in paths:
        if not path.is_file():
            raise RunError(
                f"{run.path}: the network is not trained and exported, {path.relative_to(run.path)} is missing; "
                "`nntrainer run` makes it"
            )
    return load_ensembles(paths)[0]


def scored(ensemble: Ensemble, events: Events) -> Scored:
    """Score events, each by the model that never saw it; those that the only model has seen are left out.

    Args:
        ensemble: the models.
        events: the events.

    Returns:
        The scored ones.
    """
    data = ensemble.config.data
    found = score(ensemble, events.inputs, events.event, np.ones(len(events), bool))
    column = 0 if len(ensemble.outputs) == 1 else data.labels.index(data.signal_label)
    kept = found.fold != NO_FOLD
    return Scored(events.take(kept), found.values[kept, column].astype(np.float64))


def cuts_of(run: RunDir, reference: Scored, signal: int, efficiencies: Sequence[float]) -> list[float]:
    """Return the cuts on the score that stand for the working points.

    Args:
        run: the run directory; if the run has been evaluated, its working points are taken.
        reference: else, cuts that keep these fractions of its signal, or of all its events where it has none.
        signal: the class that counts as signal.
        efficiencies: the fractions.

    Returns:
        The cuts, rising.
    """
    there = json.loads(run.metrics.read_text(encoding="utf-8")) if run.metrics.exists() else {}
    if measured := there.get("working_points"):
        return sorted({float(point["threshold"]) for point in measured})
    chosen = reference.of(signal) if (reference.events.label == signal).any() else reference
    return sorted({cut_keeping(chosen.score, chosen.events.weight, each) for each in efficiencies})


def compare(
    reference: Scored, other: Scored, labels: Sequence[str], signal: int, cuts: Sequence[float]
) -> dict[str, Any]:
    """Measure what becomes of the score.

    Args:
        reference: the one side.
        other: the other.
        labels: the classes.
        signal: which of them counts as signal.
        cuts: thresholds of the score, rising.

    Returns:
        Plain data: for each class yields, mean shift, Kolmogorov–Smirnov distance, what each cut keeps and where events
        go; the AUC of both and its change, where both have signal and background.
    """
    classes = {
        name: _class(reference.of(number), other.of(number), cuts)
        for number, name in enumerate(labels)
        if (reference.events.label == number).any() and (other.events.label == number).any()
    }
    areas = [
        area(each.score, each.events.label == signal, each.events.weight, _keys(each)) for each in (reference, other)
    ]
    result: dict[str, Any] = {"thresholds": list(cuts), "classes": classes}
    if all(np.isfinite(each.value) for each in areas):
        change = areas[1] - areas[0]
        result["auc"] = {
            "reference": float(areas[0].value),
            "reference_error": float(areas[0].error),
            "other": float(areas[1].value),
            "other_error": float(areas[1].error),
            "change": float(change.value),
            "change_error": float(change.error),
        }
    return result


def _keys(scored: Scored) -> np.ndarray:
    """Return numbers that tell an event of any sample: event ids are unique in a sample only."""
    return scored.events.event ^ (scored.events.sample.astype(np.uint64) << np.uint64(56))


def _class(reference: Scored, other: Scored, cuts: Sequence[float]) -> dict[str, Any]:
    keys, weights = (_keys(reference), _keys(other)), (reference.events.weight, other.events.weight)
    shift = mean(other.score, weights[1], keys[1]) - mean(reference.score, weights[0], keys[0])
    distance, p_value = weighted_ks(reference.score, weights[0], other.score, weights[1])
    passed = [
        mean(np.asarray(each.score)[:, np.newaxis] >= np.asarray(cuts), weight, key)
        for each, weight, key in zip((reference, other), weights, keys, strict=True)
    ]
    change = passed[1] - passed[0]
    _, here, there = np.intersect1d(*keys, return_indices=True)
    return {
        "events": [len(reference.score), len(other.score)],
        "common_events": len(here),
        "yield": [float(each.sum()) for each in weights],
        "yield_ratio": plain(float(ratio(weights[1].sum(), weights[0].sum()))),
        "mean_shift": plain(float(shift.value)),
        "mean_shift_error": plain(float(shift.error)),
        "ks_distance": plain(distance),
        "ks_p_value": plain(p_value),
        "working_points": [
            {
                "threshold": float(cut),
                "reference": plain(float(passed[0].value[i])),
                "other": plain(float(passed[1].value[i])),
                "change": plain(float(change.value[i])),
                "change_error": plain(float(change.error[i])),
            }
            for i, cut in enumerate(cuts)
        ],
        "migration": _migration(reference.score[here], other.score[there], weights[0][here], cuts),
    }


def _migration(before: np.ndarray, after: np.ndarray, weight: np.ndarray, cuts: Sequence[float]) -> Any:
    """Return what fraction of the common events of each bin between the cuts (row) is in each (column) after."""
    bins = len(cuts) + 1
    place = np.searchsorted(cuts, before, "right") * bins + np.searchsorted(cuts, after, "right")
    sums = np.bincount(place, weight, bins**2).reshape(bins, bins)
    return plain(ratio(sums, sums.sum(axis=1, keepdims=True)))


def histograms(
    reference: Scored, others: dict[str, Scored], edges: np.ndarray
) -> tuple[dict[str, Histogram], dict[str, Histogram]]:
    """Return the score's distributions as fractions of the reference's yield, and their ratios to the reference.

    The error of a ratio is that of the two together: where an event is in the same bin of both, it cancels.

    Args:
        reference: the reference.
        others: the others by name.
        edges: float (bins + 1,).

    Returns:
        Histograms by name, the reference first, and ratios of the others.
    """
    unit = reference.events.weight.sum()
    all_of = {reference.events.name: reference, **others}
    filled = {name: histogram(each.score, each.events.weight / unit, edges) for name, each in all_of.items()}
    first = filled[reference.events.name]
    ratios = {}
    for name, each in others.items():
        value = ratio(filled[name].values, first.values)
        common = _common(reference, each, edges) / unit**2
        variance = filled[name].errors ** 2 + value**2 * first.errors**2 - 2 * value * common
        error = ratio(np.sqrt(np.maximum(variance, 0.0)), np.abs(first.values))
        ratios[name] = Histogram(edges, value, error)
    return filled, ratios


def _common(reference: Scored, other: Scored, edges: np.ndarray) -> np.ndarray:
    """Return for each bin the sum of products of both weights of the events that are in it on both sides."""
    _, here, there = np.intersect1d(_keys(reference), _keys(other), return_indices=True)
    bins = len(edges) - 1
    before, after = (
        np.clip(np.searchsorted(edges, values, "right") - 1, 0, bins - 1)
        for values in (reference.score[here], other.score[there])
    )
    same = before == after
    return np.bincount(before[same], (reference.events.weight[here] * other.events.weight[there])[same], bins)
