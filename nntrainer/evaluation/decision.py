"""Discriminants of several classes, bins made for a fit, and the significance summed over bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nntrainer.errors import NNTrainerError
from nntrainer.evaluation.significance import asimov
from nntrainer.evaluation.weighted import Record, arrays, ratio

SMALLEST = 1e-10
"""Probabilities below this count as this: the logarithm of zero would put an event outside every histogram."""


@dataclass(frozen=True)
class BinnedSignificance(Record):
    """Yields and significance bin by bin.

    ``background_error`` is √Σw²; ``trusted`` says which bins have enough background events to count; ``total`` is
    √ΣZ² over those, which holds for bins of independent uncertainties.
    """

    edges: np.ndarray
    signal: np.ndarray
    background: np.ndarray
    background_error: np.ndarray
    significance: np.ndarray
    trusted: np.ndarray
    total: float


def discriminant(probability: np.ndarray, of: int, fractions: Sequence[float]) -> np.ndarray:
    """Return D_c = ln(p_c / Σ f_i p_i), the likelihood ratio of a class against a mixture of others.

    With Σ f_i = 1 this is the discriminant of ATLAS flavour tagging (2211.16345).

    Args:
        probability: float (N, classes), of each class.
        of: the class c.
        fractions: f_i for each class; that of c itself is taken as zero.

    Returns:
        float64 (N,); numerator and denominator are at least 1e-10.

    Raises:
        NNTrainerError: no other class has a fraction above zero.
    """
    p, f = np.asarray(probability, np.float64), np.array(fractions, np.float64)
    if f.shape != (p.shape[1],):
        raise NNTrainerError(f"a discriminant of {p.shape[1]} classes needs as many fractions, not {f.size}")
    f[of] = 0.0
    if not f.sum() > 0:
        raise NNTrainerError("a discriminant needs a fraction above zero for at least one other class")
    return np.asarray(np.log(np.maximum(p[:, of], SMALLEST)) - np.log(np.maximum(p @ f, SMALLEST)))


def transfod(target: np.ndarray, score: np.ndarray, weight: np.ndarray, z_s: float, z_b: float) -> np.ndarray:
    """Choose bins by TransfoD: few signal or few background events make a bin, whichever there are.

    From the largest score downwards a bin closes when z_s n_s/N_s + z_b n_b/N_b ≥ 1, where n are the sums of weights in
    the bin and N in all (the automatic binning of that name in TRExFitter). There are at most z_s + z_b bins. What
    is left over at the background's end and closes no bin joins the last one that closed.

    Args:
        target: bool (N,), True for signal.
        score: float (N,).
        weight: float (N,), signed.
        z_s: bins that the signal alone would give.
        z_b: bins that the background alone would give.

    Returns:
        Edges, rising, from the smallest to the largest score; events of one score stay in one bin, and an event at an
        edge belongs to the bin above it.

    Raises:
        NNTrainerError: signal or background has no positive sum of weights.
    """
    target, score, weight = arrays(target, score, weight)
    n_s, n_b = weight[target].sum(), weight[~target].sum()
    if not (n_s > 0 and n_b > 0):
        raise NNTrainerError(
            f"TransfoD needs positive sums of weights, and they are {n_s:g} of signal and {n_b:g} of background"
        )
    order = np.argsort(-score, kind="stable")
    share = np.where(target, z_s / n_s, z_b / n_b)[order] * weight[order]
    ordered = score[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), ordered.size - 1)
    filled, edges, before = np.cumsum(share)[last], [float(ordered[0])], 0.0
    here = 0
    while here < last.size:
        closed = np.flatnonzero(filled[here:] - before >= 1 - 1e-9)
        if not closed.size:
            break
        here += int(closed[0])
        edges.append(float(ordered[last[here]]))
        before, here = filled[here], here + 1
    low = float(ordered[-1])
    edges = [*edges[:-1], low] if len(edges) > 1 else [*edges, low]
    if edges[0] == edges[-1]:
        edges[0] += 1e-6 * max(abs(low), 1.0)
    elif len(edges) > 2 and edges[0] == edges[1]:  # a bin of one score alone
        edges[0] = float(np.nextafter(edges[0], np.inf))
    return np.array(edges[::-1])


def bin_index(score: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the bin (N,) int of each event; those outside belong to the first and the last."""
    return np.asarray(np.clip(np.searchsorted(edges, score, side="right") - 1, 0, len(edges) - 2))


def binned_significance(
    target: np.ndarray,
    score: np.ndarray,
    weight: np.ndarray,
    edges: np.ndarray,
    *,
    sigma_rel: float = 0.0,
    statistical: bool = False,
    min_background_events: float = 1.0,
) -> BinnedSignificance:
    """Count the events of each bin and add up their expected significances in quadrature.

    Args:
        target: bool (N,), True for signal.
        score: float (N,); what lies outside the edges belongs to the first and the last bin.
        weight: float (N,), signed; its sums are the yields.
        edges: float (bins + 1,), rising.
        sigma_rel: relative uncertainty of the background, independent from bin to bin.
        statistical: add the background's √Σw² to it in quadrature.
        min_background_events: effective background events (Σw)²/Σw² that a bin needs to count.

    Returns:
        The yields and significances.
    """
    target, score, weight = arrays(target, score, weight)
    edges = np.asarray(edges, np.float64)
    index, bins = bin_index(score, edges), len(edges) - 1

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(index, values, bins)

    s, b, variance = total(weight * target), total(weight * ~target), total(weight**2 * ~target)
    sigma = np.sqrt((sigma_rel * b) ** 2 + (variance if statistical else 0.0))
    z = asimov(s, b, sigma)
    trusted = (b > 0) & (ratio(b**2, variance, 0.0) >= min_background_events) & np.isfinite(z)
    return BinnedSignificance(edges, s, b, np.sqrt(variance), z, trusted, float(np.sqrt(np.sum(z[trusted] ** 2))))
