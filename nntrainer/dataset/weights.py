"""Event weights for the loss and for reports: the policy for negative ones, class balance, normalisation.

Sources: TMVA's ``IgnoreNegWeightsInTraining``; arXiv 2007.11586; arXiv 2505.03724.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nntrainer.config import Config
from nntrainer.config.models import WeightPolicy
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
    weight = np.array(weight, np.float64)
    if policy == "absolute":
        return np.abs(weight)
    if policy == "keep":
        return weight
    kept = np.maximum(weight, 0.0)
    if policy == "drop" or not len(weight):
        return kept
    groups, index = np.unique(np.asarray(group), return_inverse=True)
    before = np.bincount(index, weight, len(groups))
    after = np.bincount(index, kept, len(groups))
    for number in np.flatnonzero((before <= 0) & (before < after)):
        raise TrainingError(
            f"the weights of sample number {groups[number]} add up to {before[number]:g}, which the policy "
            "'rescale' cannot keep with positive weights; choose 'keep', 'drop' or 'absolute'"
        )
    return np.asarray(kept * np.divide(before, after, out=np.ones_like(before), where=after > 0)[index])


def training_weights(config: Config, weight: ArrayLike, label: ArrayLike, sample: ArrayLike) -> np.ndarray:
    """Return the weights of the loss: policy, class balance, then a mean of one.

    Args:
        config: the configuration.
        weight: (n,) signed event weights.
        label: (n,) int, the class of each event.
        sample: (n,) int, the sample of each event.

    Returns:
        (n,) float64 with mean 1.

    Raises:
        TrainingError: a class, or everything, has no positive sum of weights.
    """
    result = apply_policy(weight, config.preparation.negative_weights.training, sample)
    if not len(result):
        return result
    if config.preparation.class_balance == "equal":
        classes, index = np.unique(np.asarray(label), return_inverse=True)
        sums = np.bincount(index, result, len(classes))
        for number in np.flatnonzero(~(sums > 0)):
            name = config.data.labels[int(classes[number])]
            raise TrainingError(
                f"the training weights of class '{name}' add up to {sums[number]:g}, so it cannot be "
                "balanced against the others; check data.weight and preparation.negative_weights.training"
            )
        result = result / sums[index]
    mean = result.mean()
    if not mean > 0:
        raise TrainingError(
            f"the training weights have a mean of {mean:g}; check data.weight and preparation.negative_weights.training"
        )
    return np.asarray(result / mean)
