"""Which plots a comparison makes, and of what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nntrainer.evaluation.metrics import roc
from nntrainer.plots import comparison as plots
from nntrainer.plots.inputs import shown_unit
from nntrainer.validation.columns import Columns
from nntrainer.validation.outliers import Outliers
from nntrainer.validation.stability import Scored, histograms
from nntrainer.validation.two_sample import Table, TwoSample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOP = 6
BARS = 15
SCORE_BINS = 25
TITLES = {
    "mahalanobis": "Mahalanobis distance in the last hidden layer / its 99 % quantile",
    "isolation_forest": "Anomaly score of an isolation forest / its 99 % quantile",
}


def of_inputs(
    found: TwoSample, sides: Sequence[Table], columns: Columns, names: tuple[str, str], bins: int
) -> dict[str, Figure]:
    """Draw what a two-sample test found.

    Args:
        found: the result.
        sides: the reference and the other sample.
        columns: names of their columns.
        names: names of the two.
        bins: about how many bins the features get.

    Returns:
        Figures by name: ROC, classifier scores, importances, and the features that differ most.
    """
    weights = {name: side.weight for name, side in zip(names, sides, strict=True)}
    classifier = found.classifier
    target = np.repeat([False, True], [len(side.weight) for side in sides])
    curve = roc(target, np.concatenate(found.scores), np.concatenate([side.weight for side in sides])).thinned()
    text = f"AUC = {classifier.auc:.4f} ± {classifier.auc_error:.4f}, p = {classifier.p_value:.2g}"
    made = {"roc": plots.roc({"": (curve.fpr, curve.tpr, text)}, *names)}
    scores = plots.shapes(dict(zip(names, found.scores, strict=True)), weights, bins=bins)
    made["scores"] = plots.compared("Classifier score", "", scores, plots.ratios(scores), lines=[text])
    if np.isfinite(found.features[0].importance):
        ranked = sorted(found.features, key=lambda each: -each.importance)[:BARS]
        made["importances"] = plots.importances(
            [each.feature for each in ranked],
            [each.importance for each in ranked],
            [each.importance_error for each in ranked],
            "Fall of the AUC when shuffled",
        )
    for place, each in enumerate(found.features[:TOP], 1):
        scale, unit = shown_unit(columns.units[each.feature])
        values, spread = {}, {}
        for name, side in zip(names, sides, strict=True):
            table = side.values[:, columns.of(each.feature)] * scale
            there = np.isfinite(table)
            values[name] = table[there]
            spread[name] = np.broadcast_to(side.weight[:, np.newaxis], table.shape)[there]
        if any(not one.sum() > 0 for one in spread.values()):
            continue
        filled = plots.shapes(values, spread, bins=bins)
        where = "" if each.column == each.feature else f", most in {each.column}"
        lines = [f"mean {each.shift:+.3f} ± {each.shift_error:.3f} σ, KS distance {each.ks_distance:.3f}{where}"]
        made[f"feature{place}_{each.feature}"] = plots.compared(
            each.feature, unit, filled, plots.ratios(filled), lines=lines, entries="entries"
        )
    return made


def of_scores(
    reference: Scored, others: Mapping[str, Scored], labels: Sequence[str], signal: str, cuts: Sequence[float]
) -> dict[str, Figure]:
    """Draw the score of each class, the reference beside the others, as fractions of the reference's yield.

    Args:
        reference: the reference.
        others: the others, by name.
        labels: the classes.
        signal: the class whose probability the score is.
        cuts: the working points.

    Returns:
        Figures by class.
    """
    edges = np.linspace(0, 1, SCORE_BINS + 1)
    made = {}
    for number, label in enumerate(labels):
        first = reference.of(number)
        rest = {name: part for name, one in others.items() if len((part := one.of(number)).score)}
        if len(first.score) and rest:
            filled, below = histograms(first, rest, edges)
            lines = [f"{label}; dotted: working points"]
            made[label] = plots.compared(f"Score P({signal})", "", filled, below, lines=lines, cuts=cuts)
    return made


def of_outliers(name: str, found: Outliers, names: tuple[str, str]) -> Figure:
    """Draw the distances from what is typical.

    Args:
        name: of the measure.
        found: the result.
        names: names of reference and other sample.

    Returns:
        The figure.
    """
    sides = dict(zip(names, (found.reference, found.other), strict=True))
    top = 1.1 * max(float(np.quantile(one.values, 0.999)) for one in sides.values())
    low = min(float(one.values.min()) for one in sides.values())
    edges = np.linspace(low, max(top, 1.2), 41)
    filled = plots.shapes(
        {key: one.values for key, one in sides.items()}, {key: one.weight for key, one in sides.items()}, edges
    )
    lines = [
        f"AUC = {found.auc:.4f} ± {found.auc_error:.4f}",
        f"{100 * found.beyond:.2f} ± {100 * found.beyond_error:.2f} % of {names[1]} beyond",
    ]
    cut = (1.0, f"1 % of {names[0]} beyond")
    return plots.compared(TITLES[name], "", filled, plots.ratios(filled), lines=lines, log=True, cut=cut)
