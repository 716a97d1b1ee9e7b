"""Weighted histograms as the plots draw them: values, errors, nothing lost outside the range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import hist
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Histogram:
    """A histogram (n bins) with its errors √Σw²; ``outside`` counts the entries folded into its ends."""

    edges: np.ndarray
    values: np.ndarray
    errors: np.ndarray
    outside: int = 0

    @property
    def centres(self) -> np.ndarray:
        """The middle of each bin."""
        return (self.edges[1:] + self.edges[:-1]) / 2

    def normalised(self) -> Histogram | None:
        """Return it with unit sum, or None where the sum of weights is not positive."""
        total = self.values.sum()
        if not total > 0:
            return None
        return Histogram(self.edges, self.values / total, self.errors / total, self.outside)

    def as_dict(self) -> dict[str, list[float]]:
        """Return edges, values and errors as lists."""
        return {"edges": self.edges.tolist(), "values": self.values.tolist(), "errors": self.errors.tolist()}

    def draw(self, axes: Axes, colour: str, name: str, *, fill: bool = False) -> None:
        """Draw the outline, filled on request, and the errors as a band."""
        if fill:
            axes.stairs(self.values, self.edges, fill=True, color=colour, alpha=0.3)
        axes.stairs(self.values, self.edges, color=colour, linewidth=1.8, label=name, baseline=None if fill else 0)
        self.band(axes, colour)

    def band(self, axes: Axes, colour: str, alpha: float = 0.35) -> None:
        """Draw the errors as a band around the values."""
        axes.stairs(
            self.values + self.errors,
            self.edges,
            baseline=self.values - self.errors,
            fill=True,
            color=colour,
            alpha=alpha,
            linewidth=0,
        )


def histogram(values: np.ndarray, weights: np.ndarray, edges: np.ndarray) -> Histogram:
    """Fill a weighted histogram; what lies outside the range goes to the first and the last bin.

    Args:
        values: float (N,); what is not finite is left out.
        weights: float (N,), signed.
        edges: float (n + 1,), rising.

    Returns:
        The histogram, its errors √Σw².
    """
    values, weights = np.asarray(values, np.float64), np.asarray(weights, np.float64)
    finite = np.isfinite(values)
    filled = hist.Hist(hist.axis.Variable(edges), storage=hist.storage.Weight())
    filled.fill(values[finite], weight=weights[finite])
    content, variance = filled.values(flow=True), filled.variances(flow=True)
    for array in (content, variance):
        array[1] += array[0]
        array[-2] += array[-1]
    outside = int(np.count_nonzero((values[finite] < edges[0]) | (values[finite] > edges[-1])))
    return Histogram(np.asarray(edges, np.float64), content[1:-1], np.sqrt(variance[1:-1]), outside)


def sensible_edges(samples: Iterable[np.ndarray], bins: int) -> np.ndarray:
    """Choose edges that show most of every sample.

    Integers get bins around them. The range is the whole one where that is hardly wider than the range from
    the smallest 1 % quantile to the largest 99 % quantile of the samples (an angle), else the latter, with
    edges at round numbers.

    Args:
        samples: float (N,) each.
        bins: about how many bins.

    Returns:
        float (≤ bins + 2,), rising.
    """
    found = [np.asarray(sample, np.float64) for sample in samples]
    found = [kept for sample in found if (kept := sample[np.isfinite(sample)]).size]
    if not found:
        return np.linspace(0.0, 1.0, bins + 1)
    low, high = min(sample.min() for sample in found), max(sample.max() for sample in found)
    limits = [np.quantile(sample, (0.01, 0.99)) for sample in found]
    inner_low, inner_high = min(limit[0] for limit in limits), max(limit[1] for limit in limits)
    if all(np.all(sample == np.round(sample)) for sample in found):
        if high - low >= bins:
            low, high = np.floor(inner_low), np.ceil(inner_high)
        step = np.ceil((high - low + 1) / bins)
        return low - 0.5 + step * np.arange(np.ceil((high - low + 1) / step) + 1)
    if inner_high <= inner_low:
        margin = abs(inner_low) * 0.1 or 0.5
        return np.linspace(inner_low - margin, inner_low + margin, bins + 1)
    if high - low <= 1.15 * (inner_high - inner_low):
        return np.linspace(low, high, bins + 1)
    step = _round_up((inner_high - inner_low) / bins)
    first, last = np.floor(inner_low / step), np.ceil(inner_high / step)
    return step * np.arange(first, last + 1)


def _round_up(number: float) -> float:
    """Return the next larger number that people like to read as a bin width."""
    power = 10.0 ** np.floor(np.log10(number))
    return float(power * min(x for x in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12) if x * power >= number))
