"""What an inspection finds, and how statistics are gathered chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nntrainer.errors import NNTrainerError, nearest, one_of

BINS = 50
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
# Quantiles are exact up to this many values, and taken from a random sample of as many beyond.
SAMPLE = 1_000_000
Number = float | int | None


@dataclass(frozen=True)
class FieldInfo:
    """A field or branch and its values.

    Attributes:
        name: its name.
        type: NumPy dtype or C++ type.
        unit: its unit, empty if unknown.
        description: what it is.
        count: values looked at; for objects those of valid slots.
        min: smallest finite value; None where there is none or the field is not numeric.
        max: largest finite value.
        mean: mean of the finite values, unweighted.
        nan: number of NaN.
        inf: number of infinities.
        valid: fraction of the slots that hold an object; None for one number an event.
        note: why there are no numbers.
    """

    name: str
    type: str
    unit: str = ""
    description: str = ""
    count: int = 0
    min: Number = None
    max: Number = None
    mean: float | None = None
    nan: int = 0
    inf: int = 0
    valid: float | None = None
    note: str = ""


@dataclass(frozen=True)
class GroupInfo:
    """A dataset of an HDF5 file or a tree of a ROOT file.

    Attributes:
        name: its name.
        kind: ``dataset``, ``TTree`` or ``RNTuple``.
        entries: events in it.
        slots: slots an event, for a collection.
        scanned: entries that the numbers of the fields are of.
        fields: its fields.
        head: the first rows, by field.
    """

    name: str
    kind: str
    entries: int
    slots: int | None
    scanned: int
    fields: tuple[FieldInfo, ...]
    head: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class WeightInfo:
    """The event weights: sum, how many are negative, and effective number of events (Σw)² / Σw²."""

    sum: float
    negative: int
    negative_fraction: float
    effective_events: float


@dataclass(frozen=True)
class ClassInfo:
    """A class: its label, events and sum of weights."""

    label: str
    events: int
    sum_of_weights: float


@dataclass(frozen=True)
class Detail:
    """One field in depth: quantiles by probability, and a histogram.

    Attributes:
        group: dataset or tree it is in.
        name: the field.
        unit: its unit.
        count: finite values.
        mean: their mean.
        std: their standard deviation.
        quantiles: values by probability, as text.
        quantile_values: how many values the quantiles are of: all, or a random sample.
        counts: entries of each bin.
        edges: edges of the bins, one more than bins.
    """

    group: str
    name: str
    unit: str
    count: int
    mean: float | None
    std: float | None
    quantiles: dict[str, float]
    quantile_values: int
    counts: tuple[int, ...]
    edges: tuple[float, ...]


@dataclass(frozen=True)
class Inspection:
    """What is in a file.

    Attributes:
        path: the file.
        format: ``HDF5`` or ``ROOT``.
        size: bytes.
        groups: datasets or trees.
        weights: the event weights, where the file is a dataset file.
        classes: the classes, where the file is a dataset file.
        attrs: attributes of the file: provenance.
        detail: the chosen field in depth.
    """

    path: str
    format: str
    size: int
    groups: tuple[GroupInfo, ...]
    weights: WeightInfo | None = None
    classes: tuple[ClassInfo, ...] = ()
    attrs: dict[str, Any] | None = None
    detail: Detail | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; what is not finite becomes text."""
        plain: dict[str, Any] = jsonable(asdict(self))
        return plain


def jsonable(value: Any) -> Any:
    """Return a value as what JSON knows."""
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, np.ndarray):
        return jsonable(value.tolist())
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


class Statistics:
    """Count, range, mean and spread of values that come in chunks."""

    def __init__(self) -> None:
        self.count = self.nan = self.inf = self.finite = 0
        self.min: Number = None
        self.max: Number = None
        self.mean = self._squares = 0.0

    def add(self, values: np.ndarray) -> None:
        """Add values, numbers or booleans of any shape."""
        values = np.asarray(values).ravel()
        self.count += len(values)
        if values.dtype.kind == "f":
            good = np.isfinite(values)
            if not good.all():
                self.nan += int(np.isnan(values).sum())
                self.inf += int(np.isinf(values).sum())
                values = values[good]
        if not len(values):
            return
        # Integers stay integers: an event number has more digits than a double.
        low, high = values.min().item(), values.max().item()
        low, high = (int(low), int(high)) if isinstance(low, bool) else (low, high)
        self.min = low if self.min is None else min(self.min, low)
        self.max = high if self.max is None else max(self.max, high)
        # Means and squares of chunks are merged as Chan et al. do (doi 10.2307/2683386).
        wide = values.astype(np.float64)
        mean = float(wide.mean())
        total = self.finite + len(wide)
        self._squares += float(((wide - mean) ** 2).sum())
        self._squares += (mean - self.mean) ** 2 * self.finite * len(wide) / total
        self.mean += (mean - self.mean) * len(wide) / total
        self.finite = total

    @property
    def std(self) -> float | None:
        """Standard deviation of the finite values."""
        return math.sqrt(self._squares / self.finite) if self.finite else None

    def info(
        self, name: str, kind: str, unit: str = "", description: str = "", valid: float | None = None
    ) -> FieldInfo:
        """Return what was gathered."""
        mean = self.mean if self.finite else None
        return FieldInfo(name, kind, unit, description, self.count, self.min, self.max, mean, self.nan, self.inf, valid)


class DetailBuilder:
    """Histogram and quantiles in bounded memory, once the range is known."""

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics
        self.edges = _edges(statistics)
        self.counts = np.zeros(len(self.edges) - 1, np.int64)
        self._rng = np.random.default_rng(0)
        self._keys = np.empty(0)
        self._values = np.empty(0)

    def add(self, values: np.ndarray) -> None:
        """Add values, the same ones as went into the statistics."""
        values = np.asarray(values).ravel().astype(np.float64)
        values = values[np.isfinite(values)]
        self.counts += np.histogram(values, self.edges)[0]
        self._keys = np.concatenate([self._keys, self._rng.random(len(values))])
        self._values = np.concatenate([self._values, values])
        if len(self._values) > SAMPLE:
            kept = np.argpartition(self._keys, SAMPLE)[:SAMPLE]
            self._keys, self._values = self._keys[kept], self._values[kept]

    def detail(self, group: str, name: str, unit: str) -> Detail:
        """Return what was gathered."""
        found = self._statistics
        points = np.quantile(self._values, QUANTILES).tolist() if len(self._values) else []
        quantiles = {f"{q:g}": value for q, value in zip(QUANTILES, points, strict=False)}
        if quantiles and found.min is not None and found.max is not None:
            quantiles["0"], quantiles["1"] = float(found.min), float(found.max)
        return Detail(
            group,
            name,
            unit,
            found.finite,
            found.mean if found.finite else None,
            found.std,
            quantiles,
            len(self._values),
            tuple(self.counts.tolist()),
            tuple(self.edges.tolist()),
        )


def detail_of(group: str, name: str, unit: str, values: Callable[[], Iterable[np.ndarray]]) -> Detail:
    """Go through a field twice: once for its range, once for its histogram.

    Args:
        group: dataset or tree it is in.
        name: the field.
        unit: its unit.
        values: gives all its values anew in chunks, each time it is called.

    Returns:
        The field in depth.
    """
    found = Statistics()
    for chunk in values():
        found.add(chunk)
    builder = DetailBuilder(found)
    for chunk in values():
        builder.add(chunk)
    return builder.detail(group, name, unit)


def _edges(found: Statistics) -> np.ndarray:
    """Choose bins: one an integer where these are few, else equal ones from smallest to largest."""
    if found.min is None or found.max is None:
        return np.array([0.0, 1.0])
    low, high = float(found.min), float(found.max)
    if isinstance(found.min, int) and high - low < 2 * BINS:
        return np.arange(low - 0.5, high + 1)
    edges = np.linspace(low, high, BINS + 1)
    if np.all(np.diff(edges) > 0):
        return edges
    # Too narrow for the bins to differ, as with one value only.
    return np.array([low - max(abs(low), 1.0), high + max(abs(high), 1.0)])


def choose(path: Path, asked: str, groups: Mapping[str, Sequence[str]], error: type[NNTrainerError]) -> tuple[str, str]:
    """Find a field by name.

    Args:
        path: the file, for the message.
        asked: ``name``, or ``group.name`` (a slash does, too) where several groups have it.
        groups: names of the fields of each group; the first group that has the name is taken.
        error: what to raise.

    Returns:
        Group and field.

    Raises:
        NNTrainerError: no group has such a field.
    """
    for group, names in groups.items():
        if asked in names:
            return group, asked
    for group, names in groups.items():
        rest = asked.removeprefix(group)
        if rest != asked and rest[:1] in (".", "/") and rest[1:] in names:
            return group, rest[1:]
    everything = list(dict.fromkeys(name for names in groups.values() for name in names))
    full = [f"{group}.{name}" for group, names in groups.items() for name in names]
    hint = nearest(asked, everything) or nearest(asked, full)
    raise error(f"{path}: there is no field '{asked}' in {one_of(groups)}; it has {one_of(everything)}.{hint}")
