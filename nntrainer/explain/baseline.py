"""What an input is compared with: the mean event, or events drawn from the sample; always with the event's own mask."""

from __future__ import annotations

import numpy as np

from nntrainer.dataset.inputs import Inputs
from nntrainer.explain.sample import Sample, valid_of


def mean_event(sample: Sample) -> dict[str, np.ndarray]:
    """Return the mean of each input by |weight|: (F,) of the event features, (features,) of a collection's objects."""
    found = {}
    for name in sample.columns.inputs:
        values = sample.inputs[name].astype(np.float64)
        there = valid_of(sample.inputs, name)
        weight = np.abs(sample.weight).reshape(-1, *[1] * (values.ndim - 1)) * there
        axes = tuple(range(values.ndim - 1))
        total = weight.sum(axis=axes)
        found[name] = np.divide((weight * np.where(there, values, 0)).sum(axis=axes), np.where(total > 0, total, 1))
    return found


def full_events(sample: Sample, count: int, seed: int | None = None) -> np.ndarray:
    """Draw events, by |weight|, of which every slot holds an object, whatever the event to compare with has.

    An empty slot gets an object that another event has in this slot, or, where none has one there, anywhere in the
    collection.

    Args:
        sample: the events.
        count: how many to draw, with replacement.
        seed: seed of the draw; the sample's if absent.

    Returns:
        (count, columns) float32, in the order of ``columns.names()``.
    """
    random = np.random.default_rng(sample.seed if seed is None else seed)
    share = np.abs(sample.weight) / np.abs(sample.weight).sum()
    rows = random.choice(len(sample), count, p=share)
    found = {name: sample.inputs[name][rows] for name in sample.columns.inputs}
    for name in sample.columns.objects:
        valid = sample.inputs[f"{name}_valid"] > 0
        objects, everywhere = sample.inputs[name], np.argwhere(valid)
        for slot in range(valid.shape[1]):
            empty = np.flatnonzero(~valid[rows, slot])
            events = np.flatnonzero(valid[:, slot])
            here = np.stack([events, np.full_like(events, slot)], axis=1)
            donors = here if len(here) else everywhere
            if not len(donors):
                continue  # never an object: the column explains nothing
            event, place = donors[random.integers(0, len(donors), len(empty))].T
            found[name][empty, slot] = objects[event, place]
    return np.asarray(sample.columns.flat(found), np.float32)


def fixed(sample: Sample, rows: np.ndarray) -> Inputs:
    """Return what is never changed of events, their masks and perhaps ``chosen``, for each of these rows."""
    return {name: array[rows] for name, array in sample.inputs.items() if name not in sample.columns.inputs}
