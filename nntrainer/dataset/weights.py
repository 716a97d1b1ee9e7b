"""Event weights for the loss and for reports: the policy for negative ones, class balance, normalisation.

Sources: TMVA's ``IgnoreNegWeightsInTraining``; arXiv 2007.11586; arXiv 2505.03724.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nntrainer.config import Config
from nntrainer.config.preparation import WeightPolicy
from nntrainer.errors import TrainingError


def apply_policy(weight: ArrayLike, policy: WeightPolicy, group: ArrayLike) -> np.ndarray:
    """Apply a policy for negative weights.

    Args:
        weight: (n,) signed weights.
        policy: ``keep``; ``drop`` (negative ones become zero); ``absolute``; ``rescale`` (negative ones
            become zero and the others are scaled so that the sum of each group stays).
        group: (n,) int, the sample of each event.

    Returns:
        (n,) float64, a new array.

    Raises:
        TrainingError: a group's sum is not positive, so that it cannot be kept without negative weights.
    """
    kept = _kept(weight, policy)
    if policy != "rescale" or not len(kept):
        return kept
    groups, index = np.unique(np.asarray(group), return_inverse=True)
    before = np.bincount(index, np.asarray(weight, np.float64), len(groups))
    after = np.bincount(index, kept, len(groups))
    return np.asarray(kept * _rescaling(groups, before, after)[index])


def _kept(weight: ArrayLike, policy: WeightPolicy) -> np.ndarray:
    """Return what a policy makes of each weight by itself, float64."""
    weight = np.array(weight, np.float64)
    if policy == "absolute":
        return np.abs(weight)
    return weight if policy == "keep" else np.maximum(weight, 0.0)


def _rescaling(groups: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the factor of each group that gives the sum after the policy that before it."""
    for number in np.flatnonzero((before <= 0) & (before < after)):
        raise TrainingError(
            f"the weights of sample number {groups[number]} add up to {before[number]:g}, which the policy "
            "'rescale' cannot keep with positive weights; choose 'keep', 'drop' or 'absolute'"
        )
    return np.asarray(np.divide(before, after, out=np.ones_like(before), where=after > 0))


class WeightSums:
    """What the weights of the loss need to know of all events: sums by sample and class, added up piece by piece.

    Args:
        config: the configuration.
        samples: number of samples.

    Attributes:
        events: (samples, labels) events.
    """

    def __init__(self, config: Config, samples: int) -> None:
        self._config = config
        self._policy = config.preparation.negative_weights.training
        shape = (samples, len(config.data.labels))
        self.events = np.zeros(shape, np.int64)
        self._signed, self._kept = np.zeros(shape), np.zeros(shape)

    def add(self, weight: np.ndarray, label: np.ndarray, sample: np.ndarray) -> None:
        """Count events.

        Args:
            weight: (n,) signed event weights.
            label: (n,) int, the class of each event.
            sample: (n,) int, the sample of each event.
        """
        shape = self.events.shape
        cell = np.asarray(sample, np.int64) * shape[1] + label
        self.events += np.bincount(cell, minlength=self.events.size).reshape(shape)
        self._signed += np.bincount(cell, weight, self.events.size).reshape(shape)
        self._kept += np.bincount(cell, _kept(weight, self._policy), self.events.size).reshape(shape)

    def factors(self) -> np.ndarray:
        """Return what the weights of each sample and class are multiplied by after the policy.

        Returns:
            (samples, labels) float64.

        Raises:
            TrainingError: a class, or everything, has no positive sum of weights.
        """
        factor = np.ones(self.events.shape)
        if not self.events.any():
            return factor
        if self._policy == "rescale":
            samples = np.arange(len(factor))
            factor *= _rescaling(samples, self._signed.sum(axis=1), self._kept.sum(axis=1))[:, np.newaxis]
        shares = self._config.class_shares()
        if shares is not None:
            sums = (factor * self._kept).sum(axis=0)
            there = self.events.any(axis=0)
            for number in np.flatnonzero(there & ~(sums > 0)):
                raise TrainingError(
                    f"the training weights of class '{self._config.data.labels[number]}' add up to {sums[number]:g}, "
                    "so it cannot be balanced against the others; check data.weight and "
                    "preparation.negative_weights.training"
                )
            factor *= np.divide(shares, sums, out=np.ones_like(sums), where=there)
        mean = (factor * self._kept).sum() / self.events.sum()
        if not mean > 0:
            raise TrainingError(
                f"the training weights have a mean of {mean:g}; check data.weight and "
                "preparation.negative_weights.training"
            )
        return np.asarray(factor / mean)

    def weights(self, weight: np.ndarray, label: np.ndarray, sample: np.ndarray) -> np.ndarray:
        """Return the weights of the loss of some events, (n,) float64, once all have been added."""
        return np.asarray(_kept(weight, self._policy) * self.factors()[sample, label])
