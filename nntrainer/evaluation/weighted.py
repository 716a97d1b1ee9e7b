"""What the metrics share: checks of arguments, sums with signed weights, results that turn into JSON."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from nntrainer.errors import NNTrainerError


def plain(value: Any) -> Any:
    """Return a value as JSON knows it; what is not finite becomes None."""
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


class Record:
    """What the results share: they turn into JSON."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields with lists in place of arrays and None where a number is not finite."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class Fraction(Record):
    """A fraction of events by weight with its uncertainty, and the number of events it is a fraction of."""

    value: float
    error: float
    events: int


def ratio(over: np.ndarray | float, under: np.ndarray | float, empty: float = np.nan) -> np.ndarray:
    """Divide elementwise; where the denominator is zero the answer is ``empty``."""
    over, under = np.broadcast_arrays(np.asarray(over, np.float64), np.asarray(under, np.float64))
    return np.divide(over, under, out=np.full(over.shape, empty), where=under != 0)


def arrays(target: Any, score: Any, weight: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return bool, float and float64 arrays (N,), or complain about shapes and values that are not finite."""
    target, score, weight = np.asarray(target, bool), np.asarray(score), np.asarray(weight, np.float64)
    if not target.shape == score.shape == weight.shape or target.ndim != 1:
        raise NNTrainerError(
            f"targets {target.shape}, scores {score.shape}, weights {weight.shape}: give one number an event"
        )
    if bad := int(np.count_nonzero(~np.isfinite(score)) + np.count_nonzero(~np.isfinite(weight))):
        raise NNTrainerError(f"{bad} of {score.size} events have a score or a weight that is not finite")
    return target, score, weight


def last_of_ties(ordered: np.ndarray) -> np.ndarray:
    """Return the index (int) of the last of each run of equal values of a sorted array."""
    if not ordered.size:
        return np.zeros(0, int)
    return np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), ordered.size - 1)
