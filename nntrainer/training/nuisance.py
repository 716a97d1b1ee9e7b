"""The classes in which an adversary guesses a nuisance, found from events that come piece by piece."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nntrainer.config.adversarial import Decorrelation
from nntrainer.errors import TrainingError

KEPT = 1_048_576
"""Events that decide quantiles; of more, evenly every second, fourth, … one."""
MOST_LABELS = 100


@dataclass(frozen=True)
class Classes:
    """Intervals of a nuisance, one a class.

    Attributes:
        edges: (classes − 1,) float32, rising; a value that equals an edge is above it.
        entropy: of the classes among the events that count, by their training weights, in nats: the cross-entropy of
            the best guess of who knows nothing of an event.
    """

    edges: np.ndarray
    entropy: float

    @property
    def number(self) -> int:
        """Number of classes."""
        return len(self.edges) + 1

    def of(self, values: np.ndarray) -> np.ndarray:
        """Return the class of each value, (n,) int64."""
        return np.searchsorted(self.edges, np.asarray(values, np.float32), side="right")


def counts(options: Decorrelation, label: Any, signal: int) -> Any:
    """Return which events the adversary looks at.

    Args:
        options: the decorrelation block of the configuration.
        label: (n,) integers, class of each event; an array or a tensor.
        signal: the class that is signal.

    Returns:
        (n,) bool.
    """
    if options.events == "all":
        return label == label
    return label == signal if options.events == "signal" else label != signal


class ClassesFit:
    """Finds the classes from the training events of a fold, in bounded memory.

    Args:
        options: the decorrelation block of the configuration.

    Attributes:
        options: the same.
    """

    def __init__(self, options: Decorrelation) -> None:
        self.options = options
        self._values, self._weights = np.zeros(0, np.float32), np.zeros(0)
        self._every, self._seen = 1, 0

    def add(self, values: np.ndarray, weights: np.ndarray) -> None:
        """Take events that count into account.

        Args:
            values: (n,) float32, the nuisance; events without a finite one do not count.
            weights: (n,) training weights.
        """
        take = np.isfinite(values)
        values, weights = values[take], weights[take]
        first = -self._seen % self._every
        self._seen += len(values)
        self._values = np.append(self._values, values[first :: self._every])
        self._weights = np.append(self._weights, np.maximum(weights[first :: self._every], 0.0))
        while len(self._values) > KEPT:
            self._values, self._weights = self._values[::2], self._weights[::2]
            self._every *= 2

    def classes(self) -> Classes:
        """Return the classes.

        Returns:
            Intervals with equal sums of weights, or one for each value of a label.

        Raises:
            TrainingError: the nuisance is the same for all events, or a label has too many values.
        """
        name = self.options.nuisance
        distinct = np.unique(self._values)
        if len(distinct) < 2:
            raise TrainingError(
                f"training.decorrelation: '{name}' is the same for all {len(self._values)} training events that count "
                f"(events: {self.options.events}); there is nothing to decorrelate from, name another nuisance"
            )
        if self.options.kind == "label":
            if len(distinct) > MOST_LABELS:
                raise TrainingError(
                    f"training.decorrelation: the label '{name}' has {len(distinct)} values, and {MOST_LABELS} is the "
                    "most; say kind: number"
                )
            edges = distinct[1:]
        else:
            edges = weighted_quantiles(self._values, self._weights, self.options.bins)
        whole = Classes(edges, 0.0)
        shares = np.bincount(whole.of(self._values), self._weights, whole.number)
        shares = shares[shares > 0] / shares.sum()
        return Classes(edges, float(-(shares * np.log(shares)).sum()))


def weighted_quantiles(values: np.ndarray, weights: np.ndarray, number: int) -> np.ndarray:
    """Return the edges between intervals of equal sums of weights.

    Args:
        values: (n,) float32, n > 0.
        weights: (n,), not negative, their sum positive.
        number: how many intervals; there are fewer where many events have the same value.

    Returns:
        Inner edges, (at most number − 1,) float32, rising; each is a value, and the interval above it holds it.
    """
    order = np.argsort(values, kind="stable")
    ordered, passed = values[order], np.cumsum(weights[order])
    # An event that lies across a quantile belongs above it: its value is the edge.
    wanted = np.arange(1, number) / number * passed[-1]
    edges = np.unique(ordered[np.minimum(np.searchsorted(passed, wanted, side="right"), len(ordered) - 1)])
    return np.asarray(edges[edges > ordered[0]], np.float32)
