"""What a cut on the score keeps, and what significance to expect of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from nntrainer.evaluation.curves import roc
from nntrainer.evaluation.weighted import Record, arrays, plain, ratio


@dataclass(frozen=True)
class WorkingPoint(Record):
    """A cut ``score >= threshold``; yields are sums of weights, ``rejection`` is 1/background efficiency."""

    wanted: float
    threshold: float
    efficiency: float
    background_efficiency: float
    rejection: float
    purity: float
    signal: float
    background: float


@dataclass(frozen=True)
class ThresholdScan(Record):
    """What passes ``score >= threshold`` for each threshold; yields are sums of weights.

    ``rejection`` is 1/background efficiency, ``asimov`` the median expected significance, ``trusted`` whether
    enough background events are left to believe it, ``best`` the index of its largest trusted value, or None.
    """

    threshold: np.ndarray
    signal: np.ndarray
    background: np.ndarray
    efficiency: np.ndarray
    background_efficiency: np.ndarray
    rejection: np.ndarray
    purity: np.ndarray
    s_over_sqrt_b: np.ndarray
    asimov: np.ndarray
    trusted: np.ndarray
    best: int | None

    def at(self, index: int) -> dict[str, float | None]:
        """Return all numbers at one threshold."""
        return {field.name: plain(getattr(self, field.name)[index]) for field in fields(self)[:-1]}

    def as_dict(self) -> dict[str, Any]:
        """Return the arrays as lists, and ``best`` as the numbers at the best threshold."""
        return {**super().as_dict(), "best": None if self.best is None else self.at(self.best)}


def asimov(s: Any, b: Any, sigma: Any = 0.0) -> np.ndarray:
    """Return the median discovery significance of ``s`` signal on ``b`` background events.

    Eqs. (97) of arXiv:1007.1727 for σ = 0 and its extension with a background uncertainty (Cowan 2012):
    Z² = 2{(s+b) ln[(s+b)(b+σ²)/(b²+(s+b)σ²)] − (b²/σ²) ln[1+σ²s/(b(b+σ²))]}.

    Args:
        s: expected signal events, any shape.
        b: expected background events.
        sigma: absolute uncertainty of ``b`` in events.

    Returns:
        float64 of the broadcast shape. Zero where ``s <= 0``; where ``b`` is zero, ∞ for σ = 0 and 0
        otherwise (the limits of the formula); NaN where ``b`` is negative.
    """
    s, b, sigma = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (s, b, sigma)))
    variance = sigma**2
    z = np.where(s > 0, np.where(b < 0, np.nan, np.where(variance > 0, 0.0, np.inf)), 0.0)
    usual = (s > 0) & (b > 0)
    s, b, variance = s[usual], b[usual], variance[usual]
    # (s+b)(b+σ²)/(b²+(s+b)σ²) = 1 + sb/(b²+(s+b)σ²): log1p keeps the digits where s ≪ b.
    first = (s + b) * np.log1p(s * b / (b**2 + (s + b) * variance))
    known = variance < 1e-12 * b**2 / (s + b)  # the second term's limit, s, is then exact in float64
    safe = np.where(known, 1.0, variance)
    second = np.where(known, s, b**2 / safe * np.log1p(safe * s / (b * (b + safe))))
    z[usual] = np.sqrt(2 * np.maximum(first - second, 0.0))
    return z


def threshold_scan(
    target: np.ndarray,
    score: np.ndarray,
    weight: np.ndarray,
    *,
    thresholds: int | np.ndarray = 101,
    sigma_rel: float = 0.0,
    min_background_events: float = 10.0,
) -> ThresholdScan:
    """Count what passes each threshold, and find the one of largest expected significance.

    Args:
        target: bool (N,), True for signal.
        score: float (N,).
        weight: float (N,), signed; its sums are the yields.
        thresholds: the thresholds, or how many, over [0, 1] or over the scores' range where that is wider.
        sigma_rel: relative uncertainty of the background in the significance.
        min_background_events: effective background events, (Σw)²/Σw², that the best threshold must leave,
            so that a fluctuation of the last few simulated events is not taken for the best.

    Returns:
        The scan.
    """
    target, score, weight = arrays(target, score, weight)
    if isinstance(thresholds, (int, np.integer)):
        low, high = (min(0.0, score.min()), max(1.0, score.max())) if score.size else (0.0, 1.0)
        thresholds = np.linspace(low, high, thresholds)
    cuts = np.asarray(thresholds, np.float64)
    order = np.argsort(score, kind="stable")
    first = np.searchsorted(score[order], cuts, side="left")

    def above(values: np.ndarray) -> np.ndarray:
        return np.append(np.cumsum(values[order][::-1])[::-1], 0.0)[first]

    signal, background = above(weight * target), above(weight * ~target)
    efficiency = ratio(signal, weight[target].sum())
    background_efficiency = ratio(background, weight[~target].sum())
    significance = asimov(signal, background, np.abs(sigma_rel * background))
    root = np.sqrt(np.where(background > 0, background, np.nan))
    trusted = ratio(background**2, above(weight**2 * ~target), 0.0) >= min_background_events
    usable = np.isfinite(significance) & trusted & (background > 0)
    return ThresholdScan(
        threshold=cuts,
        signal=signal,
        background=background,
        efficiency=efficiency,
        background_efficiency=background_efficiency,
        rejection=ratio(1.0, background_efficiency, np.inf),
        purity=ratio(signal, signal + background),
        s_over_sqrt_b=signal / root,
        asimov=significance,
        trusted=usable,
        best=int(np.argmax(np.where(usable, significance, -1.0))) if usable.any() else None,
    )


def working_points(
    target: np.ndarray,
    score: np.ndarray,
    weight: np.ndarray,
    efficiencies: Sequence[float] = (0.5, 0.6, 0.7, 0.8, 0.9),
) -> list[WorkingPoint]:
    """Find the tightest cut that keeps at least each of the given signal efficiencies.

    Args:
        target: bool (N,), True for signal.
        score: float (N,).
        weight: float (N,), signed.
        efficiencies: the signal efficiencies wanted, in (0, 1).

    Returns:
        One working point an efficiency; empty where signal or background have no positive sum of weights.
    """
    curve = roc(target, score, weight)
    if not np.isfinite(curve.auc):
        return []
    weight, target = np.asarray(weight, np.float64), np.asarray(target, bool)
    total_s, total_b = weight[target].sum(), weight[~target].sum()
    points = []
    for wanted in efficiencies:
        i = int(np.argmax(curve.tpr >= wanted - 1e-12))
        s, b = float(curve.tpr[i] * total_s), float(curve.fpr[i] * total_b)
        rejection, purity = float(ratio(1.0, curve.fpr[i], np.inf)), float(ratio(s, s + b))
        cut, found, mistaken = float(curve.thresholds[i]), float(curve.tpr[i]), float(curve.fpr[i])
        points.append(WorkingPoint(float(wanted), cut, found, mistaken, rejection, purity, s, b))
    return points
