"""Pairs of objects: how far they are apart, whether they come from one particle, and how they attend to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.explain.sample import Sample
from nntrainer.networks.candidates import candidates

DR_EDGES = np.array([0.0, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 1.75, 2.0, 2.4, 2.8, 3.2, 3.8, 5.0])
OTHER = -1
FEWEST = 10
"""Events that the mean attention between two slots needs."""


@dataclass(frozen=True)
class Curve:
    """A mean in bins with its statistical uncertainty, NaN where there is nothing.

    Attributes:
        edges: (bins + 1,) float64.
        value: (bins,) float64.
        error: (bins,) float64.
    """

    edges: np.ndarray
    value: np.ndarray
    error: np.ndarray


def delta_r(config: Config, sample: Sample) -> np.ndarray:
    """Return ΔR of each pair of objects, η the pseudorapidity.

    Args:
        config: the configuration, which says where an object's η and φ are (``four_vector``).
        sample: the events.

    Returns:
        (n, N, N) float32, NaN where one of the two is not there or has no η and φ, and on the diagonal.
    """
    eta, phi = [], []
    for name, features in sample.columns.objects.items():
        vector, values = config.features.objects[name].four_vector, sample.inputs[name]
        there = sample.inputs[f"{name}_valid"] > 0
        if vector is None or vector.eta is None:
            eta.append(np.full(there.shape, np.nan))
            phi.append(np.full(there.shape, np.nan))
            continue
        for into, feature in ((eta, vector.eta), (phi, vector.phi)):
            into.append(np.where(there, values[..., features.index(feature)].astype(np.float64), np.nan))
    along, around = np.concatenate(eta, axis=1), np.concatenate(phi, axis=1)
    apart = around[:, :, None] - around[:, None, :]
    apart = np.arctan2(np.sin(apart), np.cos(apart))
    found = np.hypot(along[:, :, None] - along[:, None, :], apart)
    found[:, np.eye(found.shape[1], dtype=bool)] = np.nan
    return found.astype(np.float32)


def particles(config: Config, sample: Sample) -> tuple[list[str], np.ndarray]:
    """Return which particle both objects of each pair come from.

    Args:
        config: the configuration, with what objects are assigned to.
        sample: the events, with the truth.

    Returns:
        The particles of two objects or more, and (n, N, N) int8: the place of the particle among them, ``OTHER`` where
        they have none in common that is known (a particle is known where all of its objects are there).
    """
    slots = sample.columns.slots
    first = {name: sum(list(slots.values())[:place]) for place, name in enumerate(slots)}
    found = np.full((len(sample), sum(slots.values()), sum(slots.values())), OTHER, np.int8)
    names: list[str] = []
    for target in config.assignments.values():
        for name, particle in target.particles.items():
            if len(particle.ids) < 2 or target.collection not in slots:
                continue
            known = candidates(particle, slots[target.collection]).slots + first[target.collection]
            rows = np.flatnonzero(sample.truth[name] >= 0)
            chosen = known[sample.truth[name][rows]]
            found[rows[:, None, None], chosen[:, :, None], chosen[:, None, :]] = len(names)
            names.append(name)
    return names, found


def between_objects(weights: np.ndarray, apart: np.ndarray) -> np.ndarray | None:
    """Return the attention of objects to other objects in units of that to all keys alike, mean over heads.

    Args:
        weights: (n, heads, queries, keys) of a layer.
        apart: (n, N, N), only its shape counts.

    Returns:
        (n, N, N) float64, weights times the number of keys that are there; NaN where one of the two objects is not
        there and on the diagonal. None for a layer where only a class token looks.
    """
    objects = apart.shape[1]
    token = weights.shape[3] - objects
    if weights.shape[2] != weights.shape[3]:
        return None
    mean = weights.mean(axis=1, dtype=np.float64)
    looks = mean.sum(axis=2) > 0
    found = np.where(looks[:, :, None] & looks[:, None, :], mean * looks.sum(axis=1)[:, None, None], np.nan)
    found[:, np.eye(found.shape[1], dtype=bool)] = np.nan
    return np.asarray(found[:, token:, token:])


def mean_map(weights: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the mean attention over the events that have both the query and the key.

    Args:
        weights: (n, heads, queries, keys).
        weight: (n,) signed weights of the events.

    Returns:
        (heads, queries, keys) float64, NaN where fewer than ``FEWEST`` events have both.
    """
    looks = weights.sum(axis=(1, 3)) > 0
    keys = weights.sum(axis=(1, 2)) > 0
    number = looks.T.astype(np.int64) @ keys
    summed = np.where(number >= FEWEST, np.einsum("n,nq,nk->qk", weight, looks, keys), 0)
    total = np.einsum("n,nhqk->hqk", weight, weights)
    return np.asarray(np.where(summed > 0, total / np.where(summed > 0, summed, 1), np.nan))


def mean(value: np.ndarray, chosen: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Return the weighted mean over pairs, and its error from the spread of events, whose pairs belong together.

    Args:
        value: (n, …) float.
        chosen: (n, …) bool, the pairs that count.
        weight: (n,) signed weights of the events.

    Returns:
        Mean and error; NaN where nothing counts.
    """
    axes = tuple(range(1, value.ndim))
    total = np.where(chosen, value, 0).sum(axis=axes, dtype=np.float64)
    number = chosen.sum(axis=axes)
    summed = float(weight @ number)
    if not summed > 0:
        return np.nan, np.nan
    found = float(weight @ total) / summed
    return found, float(np.sqrt(np.square(weight * (total - found * number)).sum())) / summed


def curve(value: np.ndarray, apart: np.ndarray, chosen: np.ndarray, weight: np.ndarray) -> Curve:
    """Return the mean over pairs in bins of ΔR.

    Args:
        value: (n, N, N) float.
        apart: (n, N, N) ΔR, NaN where there is no pair.
        chosen: (n, N, N) bool, the pairs that count.
        weight: (n,) signed weights of the events.

    Returns:
        The means; pairs further apart than the last edge are left out.
    """
    bins = np.digitize(apart, DR_EDGES) - 1  # NaN is put after the last
    usable = chosen & np.isfinite(apart) & np.isfinite(value)
    made = [mean(value, usable & (bins == place), weight) for place in range(len(DR_EDGES) - 1)]
    values, errors = np.array(made).T
    return Curve(DR_EDGES, values, errors)


def plain(curves: dict[str, Any]) -> dict[str, Any]:
    """Return means with errors as plain data for JSON, None where there is nothing."""
    return {name: [float(each) if np.isfinite(each) else None for each in pair] for name, pair in curves.items()}
