"""Weighted measures of how much one number depends on another: distance correlation, Jensen–Shannon divergence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nntrainer.evaluation.weighted import Record

MOST = 20_000
"""Events that are compared, each with each; of more, evenly as many."""


@dataclass(frozen=True)
class DistanceCorrelation(Record):
    """A distance correlation, its uncertainty, and what as many events without any dependence would show.

    It is 0 for numbers that do not depend on one another in any way, 1 for a linear law, and never quite 0 for finitely
    many events.
    """

    value: float
    error: float
    independent: float
    events: int


def distance_correlation(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray, *, replicas: int = 20, seed: int
) -> DistanceCorrelation:
    """Measure the distance correlation (arXiv 0803.4101, definition 5; with weights as in arXiv 2001.05310).

    Expectations over pairs of events become sums over products of their weights; sorting computes them in N log²N steps
    (arXiv 1410.1503).

    Args:
        x: float (N,), finite.
        y: float (N,), finite.
        weight: float (N,), signed.
        replicas: of the Poisson bootstrap for the uncertainty, and a quarter as many random orders of ``y``, which have
            no dependence.
        seed: seed of the draws.

    Returns:
        The result; NaN where the sum of weights is not positive or one of the numbers never changes.
    """
    every = max(-(-len(x) // MOST), 1)
    x, y, weight = (np.asarray(each, np.float64)[::every] for each in (x, y, weight))
    if len(x) < 2 or not weight.sum() > 0:
        return DistanceCorrelation(float("nan"), float("nan"), float("nan"), len(x))
    order = np.argsort(x, kind="stable")
    x, y, weight = x[order], y[order], weight[order]
    rng = np.random.default_rng(seed)
    pairs = _Pairs(x, y)
    value = pairs.correlation(weight)
    found = np.array([pairs.correlation(weight * rng.poisson(1.0, len(x))) for _ in range(replicas)])
    found = found[np.isfinite(found)]
    error = float(np.std(found, ddof=1)) if len(found) > 1 else float("nan")
    moved = [_Pairs(x, rng.permutation(y)).correlation(weight) for _ in range(max(replicas // 4, 1))]
    return DistanceCorrelation(value, error, float(np.mean(moved)), len(x))


class _Pairs:
    """Sums over all pairs of events for any weights; what is sorted is sorted once.

    Args:
        x: float (N,), rising.
        y: float (N,).
    """

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self._x, self._y = x - x.mean(), y - y.mean()
        self._order_y = np.argsort(y, kind="stable")
        # Events are halved, and halves again: each pair is of both halves of one part, whose events are sorted by y.
        self._size = 1 << (len(x) - 1).bit_length()
        padded = np.append(self._y, np.full(self._size - len(y), np.inf))
        self._levels: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for level in range(self._size.bit_length() - 1):
            parts = padded.reshape(1 << level, -1)
            order = np.argsort(parts, axis=1, kind="stable")
            second = order >= parts.shape[1] // 2
            order = order + np.arange(len(parts))[:, None] * parts.shape[1]
            self._levels.append((order, second, order[second]))

    def correlation(self, weight: np.ndarray) -> float:
        """Return the distance correlation with these weights (N,)."""
        total = weight.sum()
        if not total > 0:
            return float("nan")
        w, x, y = weight / total, self._x, self._y
        near_x, near_y = _mean_distances(x, w), np.empty(len(y))
        near_y[self._order_y] = _mean_distances(y[self._order_y], w[self._order_y])

        def covariance(both: float, one: np.ndarray, other: np.ndarray) -> float:
            # dCov² = E|x−x′||y−y′| + E|x−x′| E|y−y′| − 2 E|x−x′||y−y″|, of independent events.
            return both + float((w @ one) * (w @ other) - 2 * (w @ (one * other)))

        xy = covariance(self._products(w), near_x, near_y)
        xx, yy = (covariance(2 * float(w @ v**2 - (w @ v) ** 2), near, near) for v, near in ((x, near_x), (y, near_y)))
        # Negative weights may take a square below zero: nothing is left of a dependence then.
        return float(np.sqrt(max(xy, 0.0) / np.sqrt(xx * yy))) if xx > 0 and yy > 0 else float("nan")

    def _products(self, w: np.ndarray) -> float:
        """Return Σ w w′ |x−x′||y−y′| over all ordered pairs."""
        x, y = self._x, self._y
        sums = np.stack([w, w * x, w * y, w * x * y])
        # Of each event's pairs with events of smaller x: those with smaller y count twice, and all count minus once.
        before = 2 * self._below(sums) - (np.cumsum(sums, axis=1) - sums)
        return float(2 * (w @ (x * y * before[0] - y * before[1] - x * before[2] + before[3])))

    def _below(self, sums: np.ndarray) -> np.ndarray:
        """Return for each event the sums (4, N) over events before it whose y is smaller."""
        padded = np.zeros((len(sums), self._size))
        padded[:, : sums.shape[1]] = sums
        found = np.zeros_like(padded)
        for order, second, places in self._levels:
            here = padded.take(order.ravel(), axis=1).reshape(len(sums), *order.shape)
            here[:, second] = 0.0
            found[:, places] += np.cumsum(here, axis=2, out=here)[:, second]
        return found[:, : sums.shape[1]]


def _mean_distances(ordered: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return Σ w′ |v−v′| for each of some rising numbers (N,), with weights (N,) that add up to 1."""
    below, moment = np.cumsum(w), np.cumsum(w * ordered)
    return np.asarray(ordered * (2 * below - 1) + moment[-1] - 2 * moment)


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Return the Jensen–Shannon divergence of two histograms in bits: 0 for equal shapes, 1 for separate ones.

    Args:
        p: float (bins,), contents; what negative weights took below zero counts as zero.
        q: float (bins,), the same of the other.

    Returns:
        The divergence; NaN where one is empty.
    """
    p, q = np.maximum(p, 0.0), np.maximum(q, 0.0)
    if not (p.sum() > 0 and q.sum() > 0):
        return float("nan")
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2

    def information(of: np.ndarray) -> float:
        some = of > 0
        return float(np.sum(of[some] * np.log2(of[some] / middle[some])))

    return (information(p) + information(q)) / 2
