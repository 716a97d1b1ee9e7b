"""Numbers that say how good a classifier is: arrays in, numbers out.

Weights are signed everywhere. Negative ones (as NLO generators give) enter the sums as they are: nothing is
clipped, and a ROC curve that turns back because of them says so.
"""

from __future__ import annotations

import numpy as np

from nntrainer.errors import NNTrainerError
from nntrainer.evaluation.curves import Calibration, Roc, auc_bootstrap, calibration, roc
from nntrainer.evaluation.decision import BinnedSignificance, binned_significance, discriminant, transfod
from nntrainer.evaluation.significance import (
    ThresholdScan,
    WorkingPoint,
    asimov,
    threshold_scan,
    working_points,
)
from nntrainer.evaluation.weighted import last_of_ties, ratio

__all__ = [
    "BinnedSignificance",
    "Calibration",
    "Roc",
    "ThresholdScan",
    "WorkingPoint",
    "accuracy",
    "asimov",
    "auc_bootstrap",
    "binned_significance",
    "calibration",
    "confusion",
    "discriminant",
    "roc",
    "threshold_scan",
    "transfod",
    "weighted_ks",
    "working_points",
]


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
    return counts, ratio(counts, rows, 0.0), ratio(counts, columns, 0.0)


def accuracy(truth: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> float:
    """Return the weighted fraction of events whose predicted class (N,) is the true one, or NaN."""
    weight = np.asarray(weight, np.float64)
    return float(ratio(weight[np.asarray(truth) == np.asarray(predicted)].sum(), weight.sum()))


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
    distance = float(np.abs(np.cumsum(step)[last_of_ties(values[order])]).max())
    size_a, size_b = wa.sum() ** 2 / np.sum(wa**2), wb.sum() ** 2 / np.sum(wb**2)
    return distance, float(kolmogorov(distance * np.sqrt(size_a * size_b / (size_a + size_b))))
