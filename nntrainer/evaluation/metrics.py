"""Numbers that say how good a classifier is: arrays in, numbers out.

Weights are signed everywhere. Negative ones (as NLO generators give) enter the sums as they are: nothing is
clipped, and a ROC curve that turns back because of them says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from nntrainer.errors import NNTrainerError


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it; what is not finite becomes None."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


class _Record:
    """What the results share: they turn into JSON."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields with lists in place of arrays and None where a number is not finite."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class Roc(_Record):
    """A ROC curve: efficiencies of ``score >= threshold``, from the tightest threshold (∞) to the loosest.

    ``monotonic`` is False where negative weights make the curve turn back. All numbers are NaN where the
    signal's or the background's sum of weights is not positive.
    """

    fpr: np.ndarray
    tpr: np.ndarray
    thresholds: np.ndarray
    auc: float
    monotonic: bool


@dataclass(frozen=True)
class Calibration(_Record):
    """Observed against predicted probability, in those bins that have a positive sum of weights."""

    centre: np.ndarray
    mean: np.ndarray
    fraction: np.ndarray
    error: np.ndarray


@dataclass(frozen=True)
class WorkingPoint(_Record):
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
class ThresholdScan(_Record):
    """What passes ``score >= threshold`` for each threshold; yields are sums of weights.

    ``rejection`` is 1/background efficiency, ``asimov`` the median expected significance, ``best`` the index
    of its largest value where enough background events are left to believe it (None where there is none).
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
    best: int | None

    def at(self, index: int) -> dict[str, float | None]:
        """Return all numbers at one threshold."""
        return {field.name: _plain(getattr(self, field.name)[index]) for field in fields(self)[:-1]}

    def as_dict(self) -> dict[str, Any]:
        """Return the arrays as lists, and ``best`` as the numbers at the best threshold."""
        return {**super().as_dict(), "best": None if self.best is None else self.at(self.best)}


def _ratio(over: np.ndarray | float, under: np.ndarray | float, empty: float = np.nan) -> np.ndarray:
    """Divide elementwise; where the denominator is zero the answer is ``empty``."""
    over, under = np.broadcast_arrays(np.asarray(over, np.float64), np.asarray(under, np.float64))
    return np.divide(over, under, out=np.full(over.shape, empty), where=under != 0)


def _arrays(target: Any, score: Any, weight: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    target, score, weight = np.asarray(target, bool), np.asarray(score), np.asarray(weight, np.float64)
    if not target.shape == score.shape == weight.shape or target.ndim != 1:
        raise NNTrainerError(
            f"targets {target.shape}, scores {score.shape} and weights {weight.shape} must be one number an event"
        )
    if bad := int(np.count_nonzero(~np.isfinite(score)) + np.count_nonzero(~np.isfinite(weight))):
        raise NNTrainerError(f"{bad} of {score.size} events have a score or a weight that is not finite")
    return target, score, weight


def _last_of_ties(ordered: np.ndarray) -> np.ndarray:
    """Return the index (int) of the last of each run of equal values of a sorted array."""
    if not ordered.size:
        return np.zeros(0, int)
    return np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), ordered.size - 1)


def roc(target: np.ndarray, score: np.ndarray, weight: np.ndarray) -> Roc:
    """Build the ROC curve and its area from weighted cumulative sums over the events by falling score.

    The area by trapezoids with signed weights equals the weighted rank sum: the chance that a signal event
    scores above a background event, a tie counting one half.

    Args:
        target: bool (N,), True for signal.
        score: float (N,), larger is more like signal.
        weight: float (N,), signed.

    Returns:
        The curve, one point a distinct score, and (0, 0) first.
    """
    target, score, weight = _arrays(target, score, weight)
    order = np.argsort(-score, kind="stable")
    last = _last_of_ties(score[order])
    passed = np.cumsum(np.where(target, weight, 0.0)[order])[last]
    mistaken = np.cumsum(np.where(target, 0.0, weight)[order])[last]
    if not last.size or passed[-1] <= 0 or mistaken[-1] <= 0:
        empty = np.full(last.size + 1, np.nan)
        return Roc(empty, empty, np.append(np.inf, score[order][last]), float("nan"), True)
    tpr = np.append(0.0, passed / passed[-1])
    fpr = np.append(0.0, mistaken / mistaken[-1])
    auc = float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1])) / 2)
    monotonic = bool(np.all(np.diff(tpr) >= 0) and np.all(np.diff(fpr) >= 0))
    return Roc(fpr, tpr, np.append(np.inf, score[order][last]), auc, monotonic)


def auc_bootstrap(
    target: np.ndarray, score: np.ndarray, weight: np.ndarray, *, replicas: int = 100, seed: int
) -> tuple[float, float]:
    """Measure the AUC and its statistical uncertainty by the Poisson bootstrap.

    Each replica counts every event k times, k drawn from a Poisson law of mean one. The events are sorted
    once, so a replica costs a few passes over the arrays.

    Args:
        target: bool (N,), True for signal.
        score: float (N,).
        weight: float (N,), signed.
        replicas: number of replicas.
        seed: seed of the draws.

    Returns:
        The AUC of the events as they are, and the standard deviation over the replicas; NaN where undefined.
    """
    target, score, weight = _arrays(target, score, weight)
    order = np.argsort(score, kind="stable")
    ordered, target = score[order], target[order]
    signal, background = weight[order] * target, weight[order] * ~target
    last = _last_of_ties(ordered)
    starts = np.append(0, last[:-1] + 1) if last.size else last

    def area(s: np.ndarray, b: np.ndarray) -> float:
        if not s.size:
            return float("nan")
        s, b = np.add.reduceat(s, starts), np.add.reduceat(b, starts)
        total_s, total_b = s.sum(), b.sum()
        if total_s <= 0 or total_b <= 0:
            return float("nan")
        return float(s @ (np.cumsum(b) - b / 2) / (total_s * total_b))

    rng = np.random.default_rng(seed)
    # P(k) in steps of 2⁻¹⁶: a table looked up with 16 random bits is ten times faster than Generator.poisson.
    cumulative = np.cumsum(np.exp(-1.0) / np.cumprod([1, 1, 2, 3, 4, 5, 6, 7]))
    table = np.searchsorted(cumulative, (np.arange(65536) + 0.5) / 65536).astype(np.float64)
    areas = np.empty(replicas)
    for i in range(replicas):
        times = table[rng.integers(0, 65536, size=score.size, dtype=np.uint16)]
        areas[i] = area(signal * times, background * times)
    areas = areas[np.isfinite(areas)]
    return area(signal, background), float(np.std(areas, ddof=1)) if areas.size > 1 else float("nan")


def confusion(
    truth: np.ndarray, predicted: np.ndarray, weight: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum the weights for each pair of true class (row) and predicted class (column).

    Args:
        truth: int (N,), class indices.
        predicted: int (N,), class indices.
        weight: float (N,), signed.
        n_classes: number of classes.

    Returns:
        Three float64 (n_classes, n_classes): the sums, the sums with each row divided by its total
        (efficiency), and with each column divided by its total (purity); zero where a total is zero.
    """
    truth, predicted = np.asarray(truth, np.int64), np.asarray(predicted, np.int64)
    for name, index in (("true", truth), ("predicted", predicted)):
        if index.size and (index.min() < 0 or index.max() >= n_classes):
            raise NNTrainerError(f"{name} classes run from {index.min()} to {index.max()}, with {n_classes} classes")
    flat = np.bincount(truth * n_classes + predicted, np.asarray(weight, np.float64), n_classes**2)
    counts = flat.reshape(n_classes, n_classes)
    rows, columns = counts.sum(axis=1, keepdims=True), counts.sum(axis=0, keepdims=True)
    return counts, _ratio(counts, rows, 0.0), _ratio(counts, columns, 0.0)


def accuracy(truth: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> float:
    """Return the weighted fraction of events whose predicted class (N,) is the true one; NaN without weight."""
    weight = np.asarray(weight, np.float64)
    return float(_ratio(weight[np.asarray(truth) == np.asarray(predicted)].sum(), weight.sum()))


def weighted_ks(a: np.ndarray, wa: np.ndarray, b: np.ndarray, wb: np.ndarray) -> tuple[float, float]:
    """Compare two weighted samples by the Kolmogorov–Smirnov distance.

    The p-value is asymptotic, with effective sample sizes (Σw)²/Σw², which negative weights shrink.

    Args:
        a: float (N,), the first sample.
        wa: float (N,), its signed weights.
        b: float (M,), the second sample.
        wb: float (M,), its signed weights.

    Returns:
        The largest distance of the cumulative distributions and its p-value; NaN where a sample is empty or
        its sum of weights is not positive.
    """
    from scipy.special import kolmogorov  # what scipy.stats.kstwobign.sf calls, without its slow import

    wa, wb = np.asarray(wa, np.float64), np.asarray(wb, np.float64)
    if wa.sum() <= 0 or wb.sum() <= 0:
        return float("nan"), float("nan")
    values = np.concatenate([a, b])
    order = np.argsort(values, kind="stable")
    step = np.concatenate([wa / wa.sum(), -wb / wb.sum()])[order]
    distance = float(np.abs(np.cumsum(step)[_last_of_ties(values[order])]).max())
    size_a, size_b = wa.sum() ** 2 / np.sum(wa**2), wb.sum() ** 2 / np.sum(wb**2)
    return distance, float(kolmogorov(distance * np.sqrt(size_a * size_b / (size_a + size_b))))


def calibration(
    target: np.ndarray, probability: np.ndarray, weight: np.ndarray, bins: int = 10
) -> Calibration:
    """Compare the predicted probability with the fraction of events that are of the class.

    Args:
        target: bool (N,), True where the event is of the class.
        probability: float (N,), in [0, 1].
        weight: float (N,), signed.
        bins: number of equal bins in [0, 1].

    Returns:
        In each bin the centre, the weighted mean probability, the weighted fraction and its error
        √(Σw²(t−f)²)/Σw.
    """
    target, probability, weight = _arrays(target, probability, weight)
    index = np.clip((probability * bins).astype(int), 0, bins - 1)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(index, values, bins)

    sums = total(weight)
    fraction = _ratio(total(weight * target), sums)
    spread = np.sqrt(total((weight * (target - fraction[index])) ** 2))
    mean, error, centre = _ratio(total(weight * probability), sums), _ratio(spread, sums), (np.arange(bins) + 0.5) / bins
    kept = sums > 0
    return Calibration(centre[kept], mean[kept], fraction[kept], error[kept])


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
    target, score, weight = _arrays(target, score, weight)
    if isinstance(thresholds, (int, np.integer)):
        low, high = (min(0.0, score.min()), max(1.0, score.max())) if score.size else (0.0, 1.0)
        thresholds = np.linspace(low, high, thresholds)
    cuts = np.asarray(thresholds, np.float64)
    order = np.argsort(score, kind="stable")
    first = np.searchsorted(score[order], cuts, side="left")

    def above(values: np.ndarray) -> np.ndarray:
        return np.append(np.cumsum(values[order][::-1])[::-1], 0.0)[first]

    signal, background = above(weight * target), above(weight * ~target)
    efficiency = _ratio(signal, weight[target].sum())
    background_efficiency = _ratio(background, weight[~target].sum())
    significance = asimov(signal, background, np.abs(sigma_rel * background))
    root = np.sqrt(np.where(background > 0, background, np.nan))
    trusted = _ratio(background**2, above(weight**2 * ~target), 0.0) >= min_background_events
    usable = np.isfinite(significance) & trusted & (background > 0)
    return ThresholdScan(
        threshold=cuts,
        signal=signal,
        background=background,
        efficiency=efficiency,
        background_efficiency=background_efficiency,
        rejection=_ratio(1.0, background_efficiency, np.inf),
        purity=_ratio(signal, signal + background),
        s_over_sqrt_b=signal / root,
        asimov=significance,
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
        rejection, purity = float(_ratio(1.0, curve.fpr[i], np.inf)), float(_ratio(s, s + b))
        cut, found, mistaken = float(curve.thresholds[i]), float(curve.tpr[i]), float(curve.fpr[i])
        points.append(WorkingPoint(float(wanted), cut, found, mistaken, rejection, purity, s, b))
    return points
