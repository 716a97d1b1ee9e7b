"""What a run reports of decisions: binned significance of the score and of each discriminant, with their plots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.evaluation import metrics
from nntrainer.evaluation.decision import bin_index, binned_significance, discriminant, transfod
from nntrainer.plots import decision as plots
from nntrainer.plots import evaluation as score_plots
from nntrainer.plots.histograms import histogram, sensible_edges

Draw = Callable[..., None]
"""Draws a plot: gets the name of its files, the function that makes the figure, and what that gets."""


def edges_of(config: Config, target: np.ndarray, score: np.ndarray, weight: np.ndarray, *, own: bool) -> np.ndarray:
    """Return the bins of a score.

    Args:
        config: the configuration.
        target: bool (N,), True for signal.
        score: float (N,).
        weight: float (N,), signed.
        own: whether edges that the configuration gives are meant for this score.

    Returns:
        Edges, rising.
    """
    block = config.evaluation.binning
    if own and block.edges is not None:
        return np.array(block.edges)
    if block.method == "transfod":
        return transfod(target, score, weight, block.z_s, block.z_b)
    low, high = (0.0, 1.0) if own else np.quantile(score, (0.001, 0.999))
    return np.linspace(low, high, block.bins + 1)


def binned(
    config: Config,
    labels: list[str],
    of: int,
    label: np.ndarray,
    score: np.ndarray,
    weight: np.ndarray,
    draw: Draw,
    *,
    title: str = "",
    file: str = "",
) -> dict[str, Any]:
    """Measure and draw the significance of a class in the bins of a score.

    Args:
        config: the configuration.
        labels: the classes.
        of: the class that counts as signal.
        label: int (N,), the class of each event.
        score: float (N,).
        weight: float (N,), signed, its sums the yields of the whole sample.
        draw: draws a plot.
        title: title of the x axis.
        file: name of the plot after ``binned_``.

    Returns:
        Plain data for ``metrics.json``; a sentence under ``reason`` where there are no yields to bin.
    """
    target, block = label == of, config.evaluation.binning
    if not (weight[target].sum() > 0 and weight[~target].sum() > 0):
        return {"reason": "signal or background has no positive sum of weights"}
    edges = edges_of(config, target, score, weight, own=file == "score")
    found = binned_significance(
        target,
        score,
        weight,
        edges,
        sigma_rel=config.evaluation.background_uncertainty,
        statistical=block.statistical,
        min_background_events=block.min_background_events,
    )
    index = bin_index(score, edges)
    yields = {
        name: (
            np.bincount(index[label == c], weight[label == c], len(edges) - 1),
            np.sqrt(np.bincount(index[label == c], weight[label == c] ** 2, len(edges) - 1)),
        )
        for c, name in enumerate(labels)
    }
    draw(f"binned_{file}", plots.binned, found, yields, labels[of], title)
    numbers = {name: {"values": v.tolist(), "errors": e.tolist()} for name, (v, e) in yields.items()}
    return {**found.as_dict(), "method": block.method, "yields": numbers}


def discriminants(
    config: Config,
    labels: list[str],
    label: np.ndarray,
    probability: np.ndarray,
    weight: np.ndarray,
    draw: Draw,
) -> dict[str, Any]:
    """Measure and draw each configured discriminant.

    Args:
        config: the configuration.
        labels: the classes.
        label: int (N,), the class of each event.
        probability: float (N, classes), by models that never saw the event.
        weight: float (N,), signed, its sums the yields of the whole sample.
        draw: draws plots.

    Returns:
        Plain data for ``metrics.json``, by class.
    """
    result: dict[str, Any] = {}
    for name, fractions in config.evaluation.discriminants.items():
        of = labels.index(name)
        values = discriminant(probability, of, [fractions.get(each, 0.0) for each in labels])
        target = label == of
        edges = sensible_edges([values[label == c] for c in range(len(labels))], config.evaluation.bins)
        histograms = {each: histogram(values[label == c], weight[label == c], edges) for c, each in enumerate(labels)}
        shapes = {each: one.normalised() for each, one in histograms.items()}
        title = plots.discriminant_name(name, fractions)
        drawn = {class_name: shape for class_name, shape in shapes.items() if shape is not None}
        draw(f"discriminant_{name}", plots.shapes, drawn, title)
        scan = metrics.threshold_scan(
            target,
            values,
            weight,
            thresholds=np.linspace(edges[0], edges[-1], 101),
            sigma_rel=config.evaluation.background_uncertainty,
        )
        draw(f"threshold_scan_{name}", score_plots.threshold_scan, scan)
        points = metrics.working_points(target, values, weight, config.evaluation.working_points)
        result[name] = {
            "fractions": dict(fractions),
            "auc": metrics.roc(target, values, weight).thinned(2).as_dict()["auc"],
            "working_points": [point.as_dict() for point in points],
            "threshold_scan": scan.as_dict(),
            "binned": binned(config, labels, of, label, values, weight, draw, title=title, file=f"discriminant_{name}"),
            "histograms": {each: one.as_dict() for each, one in histograms.items()},
        }
    return result
