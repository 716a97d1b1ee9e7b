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
    """The scaling of every input: ``events`` and each object collection, by name; and of targets to regress."""

    ranges: dict[str, Range]
    targets: dict[str, Range] = field(default_factory=dict)


@dataclass(frozen=True)
class Tokens:
    """All objects of an event in one sequence, collection after collection.

    Attributes:
        values: (None, N, width) tensor, zero where there is no object.
        mask: (None, N) tensor, 1 where there is an object.
        four_vectors: (None, N, 4) tensor of E, px, py, pz in GeV, zero where there is no object; None unless every
            collection says what makes its four-vector.
        slots: for each collection the number of its slots.
    """

    values: Any
    mask: Any
    four_vectors: Any
    slots: dict[str, int]

    def split(self, values: Any) -> dict[str, Any]:
        """Return a (None, N, width) tensor as one (None, slots, width) for each collection."""
        parts, first = {}, 0
        for name, slots in self.slots.items():
            parts[name] = values[:, first : first + slots]
            first += slots
        return parts


@dataclass(frozen=True)
class Encoded:
    """What a network makes of an event; heads turn it into scores.

    Attributes:
        event: (None, width) tensor.
        objects: for each collection a (None, max, width) tensor; empty for networks that do not tell objects apart.
        logits: (None, outputs) tensor of a network that scores the classes itself; None for a dense layer on the event.
    """

    event: Any
    objects: dict[str, Any] = field(default_factory=dict)
    logits: Any = None


@dataclass
class ModelInputs:
    """Symbolic inputs of a network, scaled.

    Attributes:
        events: (None, features) tensor, or None without event features.
        objects: for each collection a (None, max, features) tensor, zero in invalid slots whatever lies there.
        masks: for each collection a (None, max) tensor, 1 where the slot holds an object.
        four_vectors: for each collection that says what makes them a (None, max, 4) float64 tensor of E, px, py,
            pz in GeV, not scaled, zero in invalid slots.
        names: for each collection the names of its features, in order.
        gev: for these the unit of their momenta in GeV.
        outputs: how many numbers score the classes: one for two, else one a class.
        config: the configuration.
    """

    events: Any = None
    objects: dict[str, Any] = field(default_factory=dict)
    masks: dict[str, Any] = field(default_factory=dict)
    four_vectors: dict[str, Any] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    gev: dict[str, float] = field(default_factory=dict)
    outputs: int = 1
    config: Any = None

    def flat(self) -> Any:
        """Return everything as one (None, F) tensor: event features, then each collection and its mask."""
        import keras

        parts = [] if self.events is None else [self.events]
        for name, objects in self.objects.items():
            parts += [keras.layers.Flatten(name=f"{name}_flat")(objects), self.masks[name]]
        return parts[0] if len(parts) == 1 else keras.layers.Concatenate(name="flat")(parts)

    def tokens(self, width: int) -> Tokens:
        """Return all objects as one sequence, each collection brought to the same width by a dense layer of its own.

        Args:
            width: numbers an object becomes.

        Returns:
            The sequence.
        """
        import keras

        from nntrainer.networks.layers.masked import Masked

        embedded = [
            Masked(name=f"{name}_token")(
                [keras.layers.Dense(width, name=f"{name}_embedding")(objects), self.masks[name]]
            )
            for name, objects in self.objects.items()
        ]
        vectors = [self.four_vectors[name] for name in self.objects if name in self.four_vectors]
        return Tokens(
            joined(embedded, "tokens"),
            joined(list(self.masks.values()), "tokens_valid"),
            joined(vectors, "tokens_four_vectors") if len(vectors) == len(self.objects) else None,
            {name: int(objects.shape[1]) for name, objects in self.objects.items()},
        )


def joined(tensors: list[Any], name: str, dtype: str | None = None) -> Any:
    """Return tensors one after another along the axis of objects; the layer computes in this dtype if given."""
    import keras

    return tensors[0] if len(tensors) == 1 else keras.layers.Concatenate(axis=1, dtype=dtype, name=name)(tensors)


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
    return _fitted(kind, inputs, rows).scaling()


def feature_widths(inputs: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return the standard deviation of each feature over some events, as ``ScalingFit.widths`` does.

    Args:
        inputs: the network's inputs as in ``nntrainer.dataset.inputs``.
        rows: indices of the events, int64.

    Returns:
        For each input (features,) float32.
    """
    return _fitted("standard", inputs, rows).widths()


def _fitted(kind: str, inputs: Mapping[str, np.ndarray], rows: np.ndarray) -> ScalingFit:
    fit = ScalingFit(kind)
    for start in range(0, len(rows), CHUNK_EVENTS):
        take = rows[start : start + CHUNK_EVENTS]
        fit.add({name: array[take] for name, array in inputs.items()})
    return fit


class ScalingFit:
    """The input scaling of events that come piece by piece.

    Args:
        kind: ``standard``, ``minmax`` or ``none``.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._fits: dict[str, _RangeFit] = {}

    def add(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Take the inputs of some events into account."""
        for name, array in inputs.items():
            if not name.endswith("_valid") or name.removesuffix("_valid") not in inputs:
                fit = self._fits.setdefault(name, _RangeFit(array.shape[-1]))
                fit.add(array, inputs.get(f"{name}_valid"))

    def scaling(self) -> Scaling:
        """Return the scaling; features that never change are only shifted."""
        return Scaling({name: fit.range(self._kind) for name, fit in self._fits.items()})

    def widths(self) -> dict[str, np.ndarray]:
        """Return for each input the standard deviations of its features, (features,) float32; zero where constant."""
        return {name: fit.deviation().astype(np.float32) for name, fit in self._fits.items()}


class _RangeFit:
    """Sums over the events of one input, in float64."""

    def __init__(self, features: int) -> None:
        self._count = 0
        self._total, self._squares = np.zeros(features), np.zeros(features)
        self._low, self._high = np.full(features, np.inf), np.full(features, -np.inf)
        self._pivot: np.ndarray | None = None

    def add(self, array: np.ndarray, valid: np.ndarray | None) -> None:
        values = array.reshape(-1, array.shape[-1])
        values = (values if valid is None else values[valid.reshape(-1) > 0]).astype(np.float64)
        if not len(values):
            return
        self._low = np.minimum(self._low, values.min(axis=0))
        self._high = np.maximum(self._high, values.max(axis=0))
        # Differences from the first piece's mean, so that the squares do not cancel for large means.
        if self._pivot is None:
            self._pivot = values.mean(axis=0)
        values -= self._pivot
        self._count += len(values)
        self._total += values.sum(axis=0)
        self._squares += np.square(values).sum(axis=0)

    def deviation(self) -> np.ndarray:
        if self._pivot is None:
            return np.zeros_like(self._total)
        variance = self._squares / self._count - np.square(self._total / self._count)
        return np.where(self._high > self._low, np.sqrt(np.maximum(variance, 0)), 0.0)

    def range(self, kind: str) -> Range:
        mean, scale = np.zeros_like(self._total), np.ones_like(self._total)
        if kind == "standard" and self._pivot is not None:
            mean = self._pivot + self._total / self._count
            scale = self.deviation()
        elif kind == "minmax" and self._pivot is not None:
            mean, scale = self._low, self._high - self._low
        constant = (self._high <= self._low) | (scale == 0)
        return Range(mean.astype(np.float32), np.where(constant, 1, scale).astype(np.float32))
