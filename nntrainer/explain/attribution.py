"""What methods find: contributions of each input value to the output, and importances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nntrainer.explain.sample import Columns, Sample

FEATURES, SLOTS, COLLECTIONS = "features", "slots", "collections"
"""Levels at which importances are told: each feature (of all objects of a collection together), each object, and the
event features and each collection as a whole."""
REPLICAS = 100


@dataclass(frozen=True)
class Importance:
    """How important parts of the input are, at one level.

    Attributes:
        names: the parts: ``HT_all`` or ``jets.pt``; ``jets[0]``; ``events`` or ``jets``.
        value: (k,) float64.
        error: (k,) float64, statistical uncertainty of the value.
        unit: what the value is.
    """

    names: tuple[str, ...]
    value: np.ndarray
    error: np.ndarray
    unit: str

    def order(self) -> np.ndarray:
        """Return the places of the parts, the most important one first."""
        return np.argsort(-self.value, kind="stable")


@dataclass(frozen=True)
class Attribution:
    """What each input value of each event contributed to the output, compared with a base.

    Attributes:
        method: name of the method.
        explainer: what computed it, by its name in the library or the literature.
        values: by input (``events`` and the collections) float32 in the input's shape, for the first m events of the
            sample; zero in empty slots.
        base: (m,) float64, the output that each event is compared with.
        output: (m,) float64, the output of the event.
        facts: what else is to be told, plain data for JSON.
        arrays: what else is to be kept of each event, (m, …) each.
    """

    method: str
    explainer: str
    values: dict[str, np.ndarray]
    base: np.ndarray
    output: np.ndarray
    facts: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def events(self) -> int:
        """Number of events explained."""
        return len(self.output)

    def missing(self) -> np.ndarray:
        """Return what the contributions of an event lack to output minus base, (m,) float64."""
        total = sum(each.reshape(self.events, -1).sum(axis=1, dtype=np.float64) for each in self.values.values())
        return np.asarray(self.output - self.base - total)


@dataclass(frozen=True)
class Ranking:
    """Importances found without contributions to single events.

    Attributes:
        method: name of the method.
        explainer: what computed it.
        levels: importances by level.
        events: number of events used: the first ones of the sample.
        facts: what else is to be told, plain data for JSON.
        arrays: what else is to be kept of each event, (events, …) each.
    """

    method: str
    explainer: str
    levels: dict[str, Importance]
    events: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


Found = Attribution | Ranking


def groups(columns: Columns) -> dict[str, dict[str, np.ndarray]]:
    """Return which columns (places in ``columns.names()``) make each part of each level."""
    place = np.arange(len(columns.names()))[np.newaxis]
    at = {name: each[0] for name, each in columns.unflat(place).items()}
    found: dict[str, dict[str, np.ndarray]] = {FEATURES: {}, SLOTS: {}, COLLECTIONS: {}}
    for position, name in enumerate(columns.events):
        found[FEATURES][name] = at["events"][[position]]
    for collection, names in columns.objects.items():
        found[FEATURES] |= {f"{collection}.{name}": at[collection][:, i] for i, name in enumerate(names)}
        found[SLOTS] |= {f"{collection}[{slot}]": each for slot, each in enumerate(at[collection])}
    found[COLLECTIONS] = {name: at[name].reshape(-1) for name in columns.inputs}
    return {level: parts for level, parts in found.items() if parts}


def importances(found: Attribution, sample: Sample) -> dict[str, Importance]:
    """Return the weighted mean over events of the sum of |contribution| of each part, at each level.

    Args:
        found: the contributions to the first events of the sample.
        sample: the events.

    Returns:
        The importances by level, in units of the output; uncertainties by the Poisson bootstrap.
    """
    size = np.abs(sample.columns.flat(found.values), dtype=np.float64)
    weight = sample.weight[: found.events]
    times = np.random.default_rng(sample.seed).poisson(1.0, (REPLICAS, found.events)) * weight
    levels = {}
    for level, parts in groups(sample.columns).items():
        each = np.stack([size[:, places].sum(axis=1) for places in parts.values()], axis=1)
        replicas = (times @ each) / times.sum(axis=1, keepdims=True)
        error = replicas.std(axis=0, ddof=1)
        levels[level] = Importance(tuple(parts), weight @ each / weight.sum(), error, "mean |contribution|")
    return levels


def joined(parts: Sequence[tuple[np.ndarray, Found]]) -> tuple[np.ndarray, Found]:
    """Put together what was found for the models of several folds.

    Args:
        parts: for each fold which events of the whole sample were explained, (m,) int, and what was found of them.

    Returns:
        All these events, and what was found: contributions one fold after the other; importances as the mean over
        folds by events, with independent uncertainties.
    """
    rows, first = np.concatenate([rows for rows, _ in parts]), parts[0][1]
    found = [each for _, each in parts]
    arrays = {name: np.concatenate([each.arrays[name] for each in found]) for name in first.arrays}
    facts = {"folds": [dict(each.facts) for each in found]} if first.facts else {}
    if isinstance(first, Attribution):
        some = [each for each in found if isinstance(each, Attribution)]
        values = {name: np.concatenate([each.values[name] for each in some]) for name in first.values}
        base, output = (np.concatenate([getattr(each, name) for each in some]) for name in ("base", "output"))
        return rows, replace(first, values=values, base=base, output=output, facts=facts, arrays=arrays)
    rankings = [each for each in found if isinstance(each, Ranking)]
    share = np.array([each.events for each in rankings]) / sum(each.events for each in rankings)
    levels = {}
    for level, one in first.levels.items():
        value = share @ np.stack([each.levels[level].value for each in rankings])
        error = np.sqrt(share**2 @ np.stack([each.levels[level].error for each in rankings]) ** 2)
        levels[level] = replace(one, value=value, error=error)
    return rows, replace(first, levels=levels, events=len(rows), facts=facts, arrays=arrays)
