"""Do the methods agree, and which features cannot be told apart?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nntrainer.evaluation.weighted import plain
from nntrainer.explain.attribution import Importance
from nntrainer.explain.sample import Sample
from nntrainer.plots.inputs import correlation_matrix

COPIES = 0.98
"""Features with a larger |correlation| are taken for copies of one another."""


def agreement(of: Mapping[str, Importance]) -> dict[str, Any]:
    """Compare the order in which methods put the features.

    Args:
        of: by method the importances of the features.

    Returns:
        ``methods``, and ``spearman``, for each pair the rank correlation over the features that both have; None where
        they are fewer than three or all alike.
    """
    methods = list(of)
    matrix = np.full((len(methods), len(methods)), np.nan)
    for i, one in enumerate(methods):
        for j, other in enumerate(methods):
            matrix[i, j] = rank_correlation(of[one], of[other])
    return {"methods": methods, "spearman": [plain(row) for row in matrix]}


def rank_correlation(one: Importance, other: Importance) -> float:
    """Return Spearman's rank correlation of two importances over the parts that both have, or NaN."""
    from scipy.stats import rankdata

    names = [name for name in one.names if name in other.names]
    if len(names) < 3:
        return float("nan")
    ranks = [rankdata([each.value[each.names.index(name)] for name in names]) for each in (one, other)]
    if any(np.ptp(each) == 0 for each in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def copies(sample: Sample) -> list[dict[str, Any]]:
    """Find features that tell (nearly) the same, of which a method may give the importance to either.

    Args:
        sample: the events.

    Returns:
        Groups of ``features`` in which each has |correlation| > 0.98 with another one, over the events, or over the
        objects of a collection, by |weight|; and the smallest such ``correlation``.
    """
    found = []
    columns, weight = sample.columns, np.abs(sample.weight)
    if columns.events:
        found += _groups(list(columns.events), sample.inputs["events"], weight)
    for name, features in columns.objects.items():
        valid = sample.inputs[f"{name}_valid"] > 0
        spread = np.broadcast_to(weight[:, np.newaxis], valid.shape)[valid]
        found += _groups([f"{name}.{each}" for each in features], sample.inputs[name][valid], spread)
    return found


def _groups(names: list[str], values: np.ndarray, weight: np.ndarray) -> list[dict[str, Any]]:
    if len(names) < 2 or not weight.sum() > 0:
        return []
    size = np.nan_to_num(np.abs(correlation_matrix(values, weight)))
    np.fill_diagonal(size, 0.0)
    alike = size > COPIES
    found, seen = [], set()
    for first in range(len(names)):
        if first in seen or not alike[first].any():
            continue
        group, waiting = {first}, [first]
        while waiting:
            new = set(np.flatnonzero(alike[waiting.pop()]).tolist()) - group
            group |= new
            waiting += new
        seen |= group
        members = sorted(group)
        some = size[np.ix_(members, members)]
        found.append({"features": [names[i] for i in members], "correlation": float(some[some > COPIES].min())})
    return found
