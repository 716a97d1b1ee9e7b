"""Binned Poisson likelihoods of templates against expected data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nntrainer.evaluation.weighted import Record


@dataclass(frozen=True)
class Template:
    """Yields (bins,) of the signal and of what stays the same, with the variances Σw² of the signal."""

    signal: np.ndarray
    variance: np.ndarray
    background: np.ndarray


@dataclass(frozen=True)
class Comparison(Record):
    """One hypothesis against expected data.

    ``q`` is −2Δ ln L, ``strength`` the factor on the signal that was fitted (1 where the rate is fixed), ``noise`` what
    finite simulation alone is expected to add to ``q`` where both templates are of independent events.
    """

    q: float
    strength: float
    noise: float


def minus_two_log_ratio(data: np.ndarray, expected: np.ndarray) -> float:
    """Return −2 ln of the Poisson likelihood over that of the saturated model: 2 Σ [ν − n + n ln(n/ν)].

    Args:
        data: n (bins,), not negative, not necessarily whole.
        expected: ν (bins,).

    Returns:
        The value (1007.1727, eq. 7, summed over bins), ∞ where a bin has data and nothing is expected.
    """
    n, nu = np.asarray(data, np.float64), np.asarray(expected, np.float64)
    if np.any((nu <= 0) & (n > 0)):
        return float("inf")
    some = n > 0
    return float(2 * np.sum(nu - n) + 2 * np.sum(n[some] * np.log(n[some] / nu[some])))


def fitted_strength(data: np.ndarray, template: Template) -> float:
    """Return the factor on the signal, not negative, that makes the data most likely."""
    s, b = template.signal, template.background
    if not b.any():
        return float(data.sum() / s.sum())
    from scipy.optimize import brentq

    some = s != 0

    def slope(mu: float) -> float:
        nu = mu * s[some] + b[some]
        return float(np.sum(s[some] * (data[some] / np.maximum(nu, 1e-300) - 1)))

    high = 2.0
    while slope(high) > 0 and high < 1e6:
        high *= 2
    return 0.0 if slope(1e-12) <= 0 else float(brentq(slope, 1e-12, high, xtol=1e-12))


def compare(truth: Template, hypothesis: Template, *, floating: bool) -> Comparison:
    """Compare a hypothesis with the Asimov data of another: the data are what the truth expects (1007.1727).

    Args:
        truth: what the data are made of.
        hypothesis: what is to be excluded.
        floating: fit the signal's rate, so that only its shape counts.

    Returns:
        −2Δ ln L, zero where both are the same.
    """
    data = truth.signal + truth.background
    strength = fitted_strength(data, hypothesis) if floating else 1.0
    expected = strength * hypothesis.signal + hypothesis.background
    q = minus_two_log_ratio(data, expected)  # the truth itself, fitted to its own expectation, gives zero
    variance = truth.variance + strength**2 * hypothesis.variance
    noise = np.divide(variance, expected, out=np.zeros_like(expected), where=expected > 0)
    return Comparison(q, strength, float(noise.sum()))


def excluded_from(angle: np.ndarray, q: np.ndarray, noise: np.ndarray, threshold: float) -> float | None:
    """Return the smallest |angle| from which on all are excluded.

    What finite simulation is expected to add is taken off −2Δ ln L first. Between angles that were computed, its root
    is taken to be a straight line, as for a parabola.

    Args:
        angle: (n,) angles.
        q: (n,) −2Δ ln L.
        noise: (n,) what is taken off.
        threshold: the value that excludes.

    Returns:
        The angle, or None where the largest is not excluded; of two signs of an angle the less excluded counts.
    """
    sizes = np.unique(np.abs(angle))
    root = np.sqrt(np.maximum(q - noise, 0.0))
    least = np.array([root[np.abs(angle) == size].min() for size in sizes])
    wanted = float(np.sqrt(threshold))
    allowed = np.flatnonzero(least < wanted)
    if not allowed.size:
        return float(sizes[0])
    last = int(allowed[-1])
    if last == len(sizes) - 1:
        return None
    low, high = least[last], least[last + 1]
    if not np.isfinite(high):
        return float(sizes[last + 1])
    return float(sizes[last] + (wanted - low) / (high - low) * (sizes[last + 1] - sizes[last]))
