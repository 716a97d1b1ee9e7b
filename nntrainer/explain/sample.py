"""The events that are explained: each by a model that never saw it, the classes in equal parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.dataset.dataset import Dataset
from nntrainer.dataset.inputs import Inputs, network_arrays
from nntrainer.dataset.schema import network_inputs
from nntrainer.dataset.split import masks
from nntrainer.errors import ExplainError
from nntrainer.evaluation.figures import reporting_weights
from nntrainer.training.tasks import target_columns, targets_of

READ_EVENTS = 32_768
"""Events read at a time."""


@dataclass(frozen=True)
class Columns:
    """The input values of an event, each a column with a name: ``HT_all``, or ``jets[0].pt`` of an object.

    Attributes:
        events: names of the event features, in order.
        objects: for each collection the names of an object's features, in order.
        slots: for each collection the number of its slots.
    """

    events: tuple[str, ...]
    objects: dict[str, tuple[str, ...]]
    slots: dict[str, int]

    @property
    def inputs(self) -> list[str]:
        """The inputs whose values are explained: ``events`` and the collections, not their masks."""
        return (["events"] if self.events else []) + list(self.objects)

    def names(self) -> list[str]:
        """Return the names of all columns: event features, then slot by slot each collection."""
        found = list(self.events)
        for name, features in self.objects.items():
            found += [f"{name}[{slot}].{feature}" for slot in range(self.slots[name]) for feature in features]
        return found

    def flat(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return what is given by input as one (n, columns) array."""
        parts = [np.asarray(values[name]) for name in self.inputs]
        return np.concatenate([each.reshape(len(each), -1) for each in parts], axis=1)

    def unflat(self, table: np.ndarray) -> dict[str, np.ndarray]:
        """Return a (n, columns) array by input, each in the input's shape; views."""
        found, start = {}, 0
        for name in self.inputs:
            shape = (len(self.events),) if name == "events" else (self.slots[name], len(self.objects[name]))
            stop = start + int(np.prod(shape))
            found[name] = table[:, start:stop].reshape(-1, *shape)
            start = stop
        return found

    def there(self, inputs: Inputs) -> np.ndarray:
        """Return which columns hold something, (n, columns) bool: those of empty slots do not."""
        return self.flat({name: np.broadcast_to(valid_of(inputs, name), inputs[name].shape) for name in self.inputs})


def valid_of(inputs: Inputs, name: str) -> np.ndarray:
    """Return where an input holds something: (n, 1) True for ``events``, (n, max, 1) bool for a collection."""
    if name == "events":
        return np.ones((len(inputs[name]), 1), bool)
    return np.asarray(inputs[f"{name}_valid"] > 0)[..., None]


def features(config: Config) -> Columns:
    """Return the columns of what a configuration's network is fed."""
    wanted = network_inputs(config)
    objects = {name: tuple(field.name for field in block.fields) for name, block in wanted.objects.items()}
    slots = {name: block.max for name, block in wanted.objects.items()}
    return Columns(tuple(field.name for field in wanted.events), objects, slots)


@dataclass(frozen=True)
class Sample:
    """Events to explain, in random order, so that the first ones are a fair sample, too.

    Attributes:
        columns: names of the input values.
        inputs: raw inputs of the network, as ``dataset.inputs`` arranges them: ``events`` (n, F), ``<collection>`` (n,
            max, F) and ``<collection>_valid`` (n, max), float32; and, where an assignment is explained, ``chosen``
            (n,) int32 (``explain.subject``). Masks and ``chosen`` are of the event and are never changed.
        label: (n,) int, the class of each event.
        weight: (n,) float64, signed reporting weights, scaled so that each class has the same sum and the mean is 1.
        fold: (n,) int, the model that never saw the event.
        event_number: (n,) uint64.
        truth: (n,) of each target besides the class, by name, as ``training.tasks.targets_of`` gives it.
        seed: seed of whatever is drawn at random to explain them.
    """

    columns: Columns
    inputs: Inputs
    label: np.ndarray
    weight: np.ndarray
    fold: np.ndarray
    event_number: np.ndarray
    truth: dict[str, np.ndarray]
    seed: int

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: Any) -> Sample:
        """Return some of the events: by indices, a mask or a slice."""
        inputs = {name: array[rows] for name, array in self.inputs.items()}
        truth = {name: array[rows] for name, array in self.truth.items()}
        label, weight, fold = self.label[rows], self.weight[rows], self.fold[rows]
        return Sample(self.columns, inputs, label, weight, fold, self.event_number[rows], truth, self.seed)


def draw(config: Config, dataset: Dataset, events: int, seed: int) -> Sample:
    """Draw events of which each has a model that never saw it, as many of each class as of the others.

    Args:
        config: the configuration.
        dataset: its events.
        events: how many; fewer where a class has not enough.
        seed: seed of the draw.

    Returns:
        The sample.

    Raises:
        ExplainError: a class has no such events, or its weights add up to nothing positive.
    """
    random = np.random.default_rng(seed)
    number, label = dataset.column("eventNumber"), dataset.column("label").astype(np.int64)
    weight, fold = reporting_weights(config, dataset), np.full(len(number), -1)
    for each in range(config.preparation.k):
        fold[masks(config, number, each).test] = each
    labels = config.data.labels
    chosen = []
    for index, name in enumerate(labels):
        mine = np.flatnonzero((fold >= 0) & (label == index))
        mine = random.permutation(mine)[: -(-events // len(labels))]
        total = weight[mine].sum()
        if not total > 0:
            raise ExplainError(
                f"the {len(mine)} events of class '{name}' that can be explained have weights that add up to "
                f"{total:g}, which must be positive; give more events (--events) or check data.weight"
            )
        weight[mine] /= total
        chosen.append(mine)
    rows = random.permutation(np.concatenate(chosen))
    inputs, truth = _read(config, dataset, np.sort(rows))
    order = np.searchsorted(np.sort(rows), rows)  # what was read stands in the order of the dataset
    inputs = {name: array[order] for name, array in inputs.items()}
    truth = {name: array[order] for name, array in truth.items()}
    scaled = weight[rows] * len(rows) / len(labels)
    return Sample(features(config), inputs, label[rows], scaled, fold[rows], number[rows], truth, seed)


def _read(config: Config, dataset: Dataset, rows: np.ndarray) -> tuple[Inputs, dict[str, np.ndarray]]:
    """Return inputs and truth of these events (rising), read piece by piece."""
    wanted = network_inputs(config)
    fields = ["eventNumber", *(field.name for field in wanted.events), *target_columns(config)]
    pieces, start = [], 0
    for _, events, objects in dataset.pieces(READ_EVENTS, fields, list(wanted.objects)):
        first, last = np.searchsorted(rows, (start, start + len(events)))
        take = rows[first:last] - start
        start += len(events)
        if len(take):
            events, objects = events[take], {name: slots[take] for name, slots in objects.items()}
            pieces.append((network_arrays(config, events, objects), targets_of(config, events)))
    inputs, truth = ({key: np.concatenate([piece[i][key] for piece in pieces]) for key in pieces[0][i]} for i in (0, 1))
    return inputs, truth
