"""Which events go into which batch, on which worker.

One base permutation of the training events belongs to a fold. Worker ``r`` of ``N`` keeps the base
positions ``r, r + N, …`` and shuffles them anew every epoch, every worker in the same way, so that the
batches of all workers taken together are groups of ``N`` consecutive base positions. One worker with
``group=N`` goes through the events in the same order: N workers with batch b equal one with batch N·b.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TrainingData:
    """Events to train or validate on.

    Attributes:
        inputs: the network's inputs by name, float32, first axis the events.
        target: (n,) float32 1 for signal and 0 else with two labels, int32 class index with more.
        weight: (n,) float32 with mean 1 over all events of the set.
    """

    inputs: dict[str, np.ndarray]
    target: np.ndarray
    weight: np.ndarray

    @property
    def events(self) -> int:
        """Number of events."""
        return len(self.target)

    def take(self, rows: np.ndarray) -> TrainingData:
        """Return some of the events, copied.

        Args:
            rows: indices, int64.

        Returns:
            The events in this order.
        """
        inputs = {name: array[rows] for name, array in self.inputs.items()}
        return TrainingData(inputs, self.target[rows], self.weight[rows])


def base_order(events: int, seed: int, fold: int) -> np.ndarray:
    """Return the permutation that spreads the training events of a fold over workers, int64."""
    return np.random.default_rng([seed, fold]).permutation(events)


def shard(order: np.ndarray, rank: int, size: int) -> np.ndarray:
    """Return the part of one worker; all parts have the same length, the last few events are left out.

    Args:
        order: the base permutation.
        rank: the worker.
        size: the number of workers.

    Returns:
        Every ``size``-th entry from ``rank`` on.
    """
    return order[: len(order) // size * size][rank::size]


def epoch_order(events: int, seed: int, fold: int, epoch: int, group: int = 1) -> np.ndarray:
    """Return the order in which a worker goes through its shard in an epoch, int64.

    Args:
        events: length of the shard.
        seed: seed of the configuration.
        fold: the fold.
        epoch: the epoch, from 0.
        group: events that stay together; N reproduces, on one worker, the order of N workers.

    Returns:
        Positions in the shard.
    """
    groups = np.random.default_rng([seed, fold, epoch]).permutation(events // group)
    return (groups[:, np.newaxis] * group + np.arange(group)).ravel()


def batches(order: np.ndarray, batch_size: int) -> np.ndarray:
    """Cut an order into batches; the last, partial one is left out unless it is the only one.

    Args:
        order: positions, (n,).
        batch_size: events in a batch.

    Returns:
        (steps, batch) positions.
    """
    size = min(batch_size, len(order))
    return order[: len(order) // size * size].reshape(-1, size)
