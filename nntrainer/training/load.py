"""From the dataset files to what a worker trains a fold on, in two passes of bounded memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from nntrainer.config import Config
from nntrainer.dataset.dataset import Dataset, open_dataset
from nntrainer.dataset.inputs import Inputs, network_arrays
from nntrainer.dataset.schema import network_inputs
from nntrainer.dataset.split import masks
from nntrainer.dataset.weights import WeightSums
from nntrainer.errors import TrainingError
from nntrainer.networks.inputs import Scaling, ScalingFit
from nntrainer.training.events import Events, InMemory, OnDisk, TrainingData
from nntrainer.training.nuisance import Classes, ClassesFit, counts
from nntrainer.training.tasks import NUISANCE, target_columns, target_names, targets_of

READ_EVENTS = 32_768
"""Events read at a time."""
DECIDES = ("eventNumber", "label", "weight")
"""Fields that decide the role and the weight of an event."""
BUFFERS = 4
"""Buffers that the memory given must hold: one that is trained on, one that is read, and room between them."""


@dataclass(frozen=True)
class FoldData:
    """What one worker trains a fold on.

    Attributes:
        train: its training events by part, as in ``nntrainer.training.batches``.
        validation: its validation events.
        scaling: fitted on the training events of all workers.
        identity: says which data these are, the same on all workers and at every start.
        buffer_events: training events to shuffle at a time; None for all, which then are in memory.
        widths: standard deviations of the features by input, over the same events as the scaling.
        classes: of an adversary's nuisance, over the same events; None without an adversary.
    """

    train: dict[int, Events]
    validation: Events
    scaling: Scaling
    identity: str
    buffer_events: int | None = None
    widths: dict[str, np.ndarray] = field(default_factory=dict)
    classes: Classes | None = None


def load_training_data(config: Config, fold: int, rank: int = 0, size: int = 1, group: int = 1) -> FoldData:
    """Read what one worker trains a fold on.

    The scaling and the weights come from all training events, whatever the worker; only its part is kept: in memory if
    it fits into ``training.memory_mib``, else in temporary files, unpacked, so that each epoch reads no more than it
    trains on.

    Args:
        config: the configuration; its samples must have been converted.
        fold: the fold.
        rank: the worker.
        size: the number of workers.
        group: on one worker, have the parts of so many.

    Returns:
        Its training and validation events.

    Raises:
        TrainingError: no events to train or validate on, or a class without training events.
    """
    parts, count = ([rank], size) if size > 1 else (list(range(group)), group)
    with open_dataset(config) as dataset:
        sums, identity = _survey(config, fold, dataset)
        length = int(sums["train"].events.sum()) // count
        validated = len(range(rank, int(sums["validation"].events.sum()), size))
        memory, event = config.training.memory_mib * 2**20, _event_bytes(config)
        fits = (length * len(parts) + validated) * event <= memory
        train: dict[int, Events] = {part: InMemory(length) if fits else OnDisk() for part in parts}
        validation: Events = InMemory(validated) if fits else OnDisk()
        fit, fit_targets = ScalingFit(config.preparation.scaling), ScalingFit("standard")
        seen = {"train": 0, "validation": 0}
        fit_nuisance = ClassesFit(config.training.decorrelation) if config.training.decorrelation else None
        fields = [*DECIDES, *(each.name for each in network_inputs(config).events), *target_columns(config)]
        fields = list(dict.fromkeys(fields))  # a nuisance may be a feature, too
        for sample, events, objects in dataset.pieces(READ_EVENTS, fields, list(config.features.objects)):
            inputs, more = network_arrays(config, events, objects), targets_of(config, events)
            for role, rows in _roles(config, fold, events).items():
                if role == "train":
                    fit.add({name: array[rows] for name, array in inputs.items()})
                    fit_targets.add(_numbers(config, more, rows))
                    if fit_nuisance is not None:
                        _fit_nuisance(config, fit_nuisance, sums[role], sample, events[rows], more[NUISANCE][rows])
                    places = [(part, count, store, length) for part, store in train.items()]
                else:
                    places = [(rank, size, validation, validated)]
                for part, every, store, most in places:
                    take = rows[(part - seen[role]) % every :: every][: most - store.events]
                    store.append(_data(config, sums[role], sample, inputs, more, events, take))
                seen[role] += len(rows)
    scaling = Scaling(fit.scaling().ranges, fit_targets.scaling().ranges)
    classes = fit_nuisance.classes() if fit_nuisance is not None else None
    buffer = None if fits else memory // BUFFERS // event
    return FoldData(train, validation, scaling, identity, buffer, fit.widths(), classes)


def data_identity(dataset: Dataset) -> str:
    """Return a SHA-256 (hex) over the event ids, labels and weights: it changes when the data are others."""
    found = _Identity()
    for _, events, _ in dataset.pieces(READ_EVENTS, DECIDES):
        found.add(events)
    return found.hexdigest()


class _Identity:
    def __init__(self) -> None:
        self._found = {name: hashlib.sha256() for name in DECIDES}

    def add(self, events: np.ndarray) -> None:
        for name, found in self._found.items():
            found.update(np.ascontiguousarray(events[name]).tobytes())

    def hexdigest(self) -> str:
        return hashlib.sha256("".join(each.hexdigest() for each in self._found.values()).encode()).hexdigest()


def _survey(config: Config, fold: int, dataset: Dataset) -> tuple[dict[str, WeightSums], str]:
    """Return what must be known of all events before the first is kept: sums of weights, and which data these are."""
    identity = _Identity()
    sums = {role: WeightSums(config, len(dataset.samples)) for role in ("train", "validation")}
    for sample, events, _ in dataset.pieces(READ_EVENTS, DECIDES):
        identity.add(events)
        for role, rows in _roles(config, fold, events).items():
            sums[role].add(events["weight"][rows], events["label"][rows], np.full(len(rows), sample))
    _check(config, fold, len(dataset), sums["train"].events.sum(axis=0), int(sums["validation"].events.sum()))
    return sums, identity.hexdigest()


def _roles(config: Config, fold: int, events: np.ndarray) -> dict[str, np.ndarray]:
    """Return the positions of the events that train and of those that validate."""
    split = masks(config, events["eventNumber"], fold)
    return {"train": np.flatnonzero(split.train), "validation": np.flatnonzero(split.validation)}


def _data(
    config: Config,
    sums: WeightSums,
    sample: int,
    inputs: Inputs,
    more: dict[str, np.ndarray],
    events: np.ndarray,
    rows: np.ndarray,
) -> TrainingData:
    label = events["label"][rows].astype(np.int64)
    weight = sums.weights(events["weight"][rows], label, np.full(len(rows), sample))
    if len(config.data.labels) > 2:
        target = label.astype(np.int32)
    else:
        target = (label == config.data.labels.index(config.data.signal_label)).astype(np.float32)
    inputs, more = ({name: array[rows] for name, array in each.items()} for each in (inputs, more))
    return TrainingData(inputs, target, weight.astype(np.float32), more)


def _numbers(config: Config, more: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return (events, 1) of each regression, those of the rows that have a truth."""
    values = {name: more[name][rows] for name in config.regressions}
    return {name: each[np.isfinite(each), np.newaxis] for name, each in values.items()}


def _fit_nuisance(
    config: Config, fit: ClassesFit, sums: WeightSums, sample: int, events: np.ndarray, values: np.ndarray
) -> None:
    """Take the nuisance of those of some training events into account that an adversary looks at."""
    label = events["label"].astype(np.int64)
    weight = sums.weights(events["weight"], label, np.full(len(label), sample))
    take = counts(fit.options, label, config.data.labels.index(config.data.signal_label))
    fit.add(values[take], weight[take])


def _event_bytes(config: Config) -> int:
    """Return the size of an event with its target and its weight."""
    wanted = network_inputs(config)
    numbers = len(wanted.events) + sum(block.max * (len(block.fields) + 1) for block in wanted.objects.values())
    return 4 * (numbers + len(target_names(config)) + 2)


def _check(config: Config, fold: int, events: int, train: np.ndarray, validation: int) -> None:
    config.require_classes()
    if not validation:
        raise TrainingError(
            f"fold {fold}: none of the {events} events is left for validation; lower "
            "preparation.validation_every or give more events"
        )
    for name, count in zip(config.data.labels, train, strict=True):
        if count < config.training.workers:
            raise TrainingError(
                f"fold {fold}: class '{name}' has {count} training events; loosen the selection or give more files"
            )
