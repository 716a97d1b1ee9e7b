"""Curves that judge a classifier: ROC with its area, and calibration."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nntrainer.evaluation.weighted import Record, arrays, last_of_ties, ratio


@dataclass(frozen=True)
class Roc(Record):
    """A ROC curve: efficiencies of ``score >= threshold``, from the tightest threshold (∞) to the loosest.

    ``monotonic`` is False where negative weights make the curve turn back. All numbers are NaN where the
    signal's or the background's sum of weights is not positive.
    """

    fpr: np.ndarray
    tpr: np.ndarray
    thresholds: np.ndarray
    auc: float
    monotonic: bool

    def thinned(self, points: int = 500) -> Roc:
        """Return the curve with at most so many points, its first and last among them."""
        take = np.unique(np.linspace(0, len(self.fpr) - 1, points).astype(int))
        return replace(self, fpr=self.fpr[take], tpr=self.tpr[take], thresholds=self.thresholds[take])


@dataclass(frozen=True)
class Calibration(Record):
    """Observed against predicted probability, in those bins that have a positive sum of weights."""

    centre: np.ndarray
    mean: np.ndarray
    fraction: np.ndarray
    error: np.ndarray


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
    target, score, weight = arrays(target, score, weight)
    order = np.argsort(-score, kind="stable")
    last = last_of_ties(score[order])
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
    target, score, weight = arrays(target, score, weight)
    order = np.argsort(score, kind="stable")
    ordered, target = score[order], target[order]
    signal, background = weight[order] * target, weight[order] * ~target
    last = last_of_ties(ordered)
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


def calibration(target: np.ndarray, probability: np.ndarray, weight: np.ndarray, bins: int = 10) -> Calibration:
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
    target, probability, weight = arrays(target, probability, weight)
    index = np.clip((probability * bins).astype(int), 0, bins - 1)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(index, values, bins)

    sums = total(weight)
    fraction = ratio(total(weight * target), sums)
    spread = np.sqrt(total((weight * (target - fraction[index])) ** 2))
    mean, error, centre = (
        ratio(total(weight * probability), sums),
        ratio(spread, sums),
        (np.arange(bins) + 0.5) / bins,
    )
    kept = sums > 0
    return Calibration(centre[kept], mean[kept], fraction[kept], error[kept])
