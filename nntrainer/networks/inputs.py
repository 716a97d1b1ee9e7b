"""What a network sees: scaled inputs with their masks, and the scaling itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

CHUNK_EVENTS = 65_536


@dataclass(frozen=True)
class Range:
    """Mean and scale of each feature; ``(x - mean) / scale`` is what the network sees.

    Attributes:
        mean: (features,) float32.
        scale: (features,) float32, never zero.
    """

    mean: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class Scaling:
    """The scaling of every input: ``events`` and each object collection, by name."""

    ranges: dict[str, Range]


@dataclass
class ModelInputs:
    """Scaled symbolic inputs of a network.

    Attributes:
        events: (None, features) tensor, or None without event features.
        objects: for each collection a (None, max, features) tensor, zero in invalid slots.
        masks: for each collection a (None, max) tensor, 1 where the slot holds an object.
    """

    events: Any = None
    objects: dict[str, Any] = field(default_factory=dict)
    masks: dict[str, Any] = field(default_factory=dict)

    def flat(self) -> Any:
        """Return everything as one (None, F) tensor: event features, then each collection and its mask."""
        import keras

        parts = [] if self.events is None else [self.events]
        for name, objects in self.objects.items():
            parts += [keras.layers.Flatten(name=f"{name}_flat")(objects), self.masks[name]]
        return parts[0] if len(parts) == 1 else keras.layers.Concatenate(name="flat")(parts)


def fit_scaling(
    kind: Literal["standard", "minmax", "none"], inputs: Mapping[str, np.ndarray], rows: np.ndarray
) -> Scaling:
    """Fit the input scaling, streaming over the events in float64; objects count in valid slots only.

    Args:
        kind: ``standard`` (mean 0, standard deviation 1), ``minmax`` (0 to 1) or ``none``.
        inputs: the network's inputs as in ``nntrainer.dataset.inputs``.
        rows: indices of the events to fit on, int64.

    Returns:
        The scaling; features that never change are only shifted.
    """
    ranges = {}
    for name, array in inputs.items():
        if not name.endswith("_valid") or name.removesuffix("_valid") not in inputs:
            ranges[name] = _fit(kind, array, inputs.get(f"{name}_valid"), rows)
    return Scaling(ranges)


def _fit(kind: str, array: np.ndarray, valid: np.ndarray | None, rows: np.ndarray) -> Range:
    features = array.shape[-1]
    count, total, squares = 0, np.zeros(features), np.zeros(features)
    low, high = np.full(features, np.inf), np.full(features, -np.inf)
    pivot: np.ndarray | None = None
    for start in range(0, len(rows), CHUNK_EVENTS):
        take = rows[start : start + CHUNK_EVENTS]
        values = array[take].astype(np.float64).reshape(-1, features)
        if valid is not None:
            values = values[valid[take].reshape(-1) > 0]
        if not len(values):
            continue
        low, high = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
        # Differences from the first chunk's mean, so that the squares do not cancel for large means.
        if pivot is None:
            pivot = values.mean(axis=0)
        values -= pivot
        count += len(values)
        total += values.sum(axis=0)
        squares += np.square(values).sum(axis=0)
    mean, scale = np.zeros(features), np.ones(features)
    if kind == "standard" and pivot is not None:
        mean = pivot + total / count
        scale = np.sqrt(np.maximum(squares / count - np.square(total / count), 0))
    elif kind == "minmax" and pivot is not None:
        mean, scale = low, high - low
    constant = (high <= low) | (scale == 0)
    return Range(mean.astype(np.float32), np.where(constant, 1, scale).astype(np.float32))
