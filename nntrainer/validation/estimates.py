"""Weighted means, areas and their errors where two samples may share events: arrays in, numbers out.

An estimate comes with its influence function: what each event adds to it, to first order. The error is the root of
the sum of squares over the events, and events of the same number, such as those of a nominal and of a systematic
tree, count as one, so that what is common to both cancels in a difference. For the AUC this is DeLong's error
(Biometrics 44, 837) with signed weights. Events that share a number by chance do no harm, since their products
average to zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nntrainer.evaluation.weighted import ratio


@dataclass(frozen=True)
class Estimate:
    """A number, or several, and what each of n events adds to it.

    Attributes:
        value: float64 () or (F,).
        influence: float64 (n,) or (n, F); its sum is zero.
        event: uint64 (n,), event numbers.
    """

    value: np.ndarray
    influence: np.ndarray
    event: np.ndarray

    def __sub__(self, other: Estimate) -> Estimate:
        influence = np.concatenate([self.influence, -other.influence])
        return Estimate(self.value - other.value, influence, np.concatenate([self.event, other.event]))

    def by_event(self) -> np.ndarray:
        """Return the influence of each distinct event number, (events,) or (events, F)."""
        order = np.argsort(self.event, kind="stable")
        ordered = self.event[order]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(ordered) else np.zeros(0, int)
        if len(starts) == len(ordered):
            return self.influence
        return np.add.reduceat(self.influence[order], starts, axis=0)

    @property
    def error(self) -> np.ndarray:
        """The statistical error, () or (F,)."""
        return np.asarray(np.sqrt(np.sum(self.by_event() ** 2, axis=0)))


def mean(values: np.ndarray, weight: np.ndarray, event: np.ndarray) -> Estimate:
    """Return the weighted mean of each column.

    Args:
        values: float (n,) or (n, F); NaN is no value and is left out.
        weight: float (n,), signed.
        event: uint64 (n,).

    Returns:
        The mean; NaN where the sum of weights is not positive.
    """
    values = np.asarray(values, np.float64)
    there = np.isfinite(values)
    weights = np.where(there, weight if values.ndim == 1 else np.asarray(weight)[:, np.newaxis], 0.0)
    total = weights.sum(axis=0)
    total = np.where(total > 0, total, np.nan)
    filled = np.where(there, values, 0.0)
    value = np.sum(weights * filled, axis=0) / total
    return Estimate(value, weights * (filled - value) / total, event)


def area(score: np.ndarray, target: np.ndarray, weight: np.ndarray, event: np.ndarray) -> Estimate:
    """Return the area under the ROC curve: the chance that a target event scores above another, ties counting half.

    Args:
        score: float (n,).
        target: bool (n,).
        weight: float (n,), signed.
        event: uint64 (n,).

    Returns:
        The area; NaN where one of the two sums of weights is not positive.
    """
    score, weight = np.asarray(score, np.float64), np.asarray(weight, np.float64)
    sums = weight[target].sum(), weight[~target].sum()
    if not min(sums) > 0:
        return Estimate(np.asarray(np.nan), np.full(len(score), np.nan), event)
    below_target = _below(score[target], score[~target], weight[~target] / sums[1])
    above_other = 1 - _below(score[~target], score[target], weight[target] / sums[0])
    value = np.sum(weight[target] * below_target) / sums[0]
    influence = np.empty(len(score))
    influence[target] = weight[target] / sums[0] * (below_target - value)
    influence[~target] = weight[~target] / sums[1] * (above_other - value)
    return Estimate(np.asarray(value), influence, event)


def _below(score: np.ndarray, others: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return for each score the sum of weights of others that lie below it, those equal to it counting half."""
    order = np.argsort(others, kind="stable")
    ordered = others[order]
    sums = np.append(0.0, np.cumsum(weight[order]))
    return (sums[np.searchsorted(ordered, score, "left")] + sums[np.searchsorted(ordered, score, "right")]) / 2


def hotelling(difference: Estimate) -> tuple[float, int, float]:
    """Test whether all of several differences are zero, by Hotelling's T² with the covariance of the influences.

    Args:
        difference: (F,) numbers.

    Returns:
        T², its degrees of freedom (columns that depend linearly on others count once), and the p-value from the F
        distribution; NaN for the p-value where there are too few events.
    """
    from scipy.special import fdtrc

    influence = difference.by_event()
    covariance = influence.T @ influence
    sigma = np.sqrt(np.diag(covariance))
    used = sigma > 0
    if not used.any():
        return 0.0, 0, float("nan")
    pull = difference.value[used] / sigma[used]
    values, vectors = np.linalg.eigh(covariance[np.ix_(used, used)] / np.outer(sigma[used], sigma[used]))
    kept = values > 1e-10 * values[-1]
    square = float(np.sum((vectors[:, kept].T @ pull) ** 2 / values[kept]))
    free, events = int(kept.sum()), len(influence)
    if events <= free + 1:
        return square, free, float("nan")
    return square, free, float(fdtrc(free, events - free, square * (events - free) / (free * (events - 1))))


def effective(weight: np.ndarray) -> float:
    """Return the effective number of events (Σw)²/Σw², which negative weights shrink."""
    weight = np.asarray(weight, np.float64)
    return float(ratio(weight.sum() ** 2, np.sum(weight**2), 0.0))


def cut_keeping(score: np.ndarray, weight: np.ndarray, fraction: float) -> float:
    """Return the tightest cut ``score >= cut`` that keeps at least this fraction of the sum of weights.

    Args:
        score: float (n,).
        weight: float (n,), signed, its sum positive.
        fraction: in (0, 1].

    Returns:
        The cut, a score that occurs.
    """
    order = np.argsort(-np.asarray(score), kind="stable")
    kept = np.cumsum(np.asarray(weight, np.float64)[order]) / np.sum(weight)
    return float(score[order][np.argmax(kept >= fraction - 1e-12)])
