"""Raw branches to rows: the one place that computes selection, weights and features, for training and for scoring."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nntrainer.config import Config, Sample
from nntrainer.config.expressions import Expression
from nntrainer.config.features import Objects
from nntrainer.config.targets import Assignment, Regression
from nntrainer.dataset.schema import schema_of, slot_fields, value_field
from nntrainer.errors import ExpressionError, InputError

ENTRY = "entry"
"""Name of the entry number, usable in expressions where no branch is called so."""


@dataclass(frozen=True)
class Rows:
    """A chunk of n entries, computed.

    Attributes:
        selected: (n,) bool.
        event_number: (n,) uint64.
        weight: (n,) float64, or None when not asked for.
        events: (n,) float32 columns by name: features, spectators, made features.
        objects: for each collection (n, max) columns by name, float32, and ``valid``, bool.
        overflow: for each collection, how many selected events had more objects than are kept.
        non_finite: for each feature, how many NaN or infinite values were replaced.
        targets: (n,) columns of the truth by name; empty without weight, since ntuples that are scored may have none.
        places: for each collection with a selection, (n, max) int, where its objects stand among all of the ntuple.
    """

    selected: np.ndarray
    event_number: np.ndarray
    weight: np.ndarray | None
    events: dict[str, np.ndarray]
    objects: dict[str, dict[str, np.ndarray]]
    overflow: dict[str, int]
    non_finite: dict[str, int]
    targets: dict[str, np.ndarray] = field(default_factory=dict)
    places: dict[str, np.ndarray] = field(default_factory=dict)


def _formulas(config: Config, sample: Sample | None, with_weight: bool) -> list[str]:
    data, features = config.data, config.features
    formulas = [data.event_id]
    formulas += [each.formula for each in features.events + features.spectators]
    for block in features.objects.values():
        formulas += [each.formula for each in block.features] + ([block.selection] if block.selection else [])
    formulas += [data.selection] if data.selection else []
    if sample is not None and sample.selection:
        formulas.append(sample.selection)
    if with_weight:
        formulas.append(data.weight)
        if sample is not None and sample.weight:
            formulas.append(sample.weight)
        for target in data.targets.values():
            texts = (target.match,) if isinstance(target, Assignment) else (target.expression, target.selection)
            formulas += [text for text in texts if text]
    return formulas


def required_branches(
    config: Config, sample: Sample | None, available: Iterable[str], *, with_weight: bool = True
) -> list[str]:
    """Return the branches that the formulas of a configuration need, variables followed to their branches.

    Args:
        config: the configuration.
        sample: the sample whose own selection and weight count, too; None for scoring.
        available: the branches there are; a branch hides a variable's use of the entry number only.
        with_weight: whether the weight and the truth of data.targets are needed.

    Returns:
        Names of branches in order of first use; those missing in the tree are among them.

    Raises:
        ExpressionError: variables refer to one another in a circle.
    """
    return branches_of(config, _formulas(config, sample, with_weight), available)


def branches_of(config: Config, formulas: Iterable[str], available: Iterable[str]) -> list[str]:
    """Return the branches that formulas need, variables of the configuration followed to their branches.

    Args:
        config: the configuration.
        formulas: the formulas.
        available: the branches there are.

    Returns:
        Names of branches in order of first use; those missing in the tree are among them.

    Raises:
        ExpressionError: variables refer to one another in a circle.
    """
    there, variables = set(available), config.data.variables
    found: dict[str, None] = {}

    def follow(name: str, inside: tuple[str, ...]) -> None:
        if name in inside:
            circle = " → ".join([*inside, name])
            raise ExpressionError(f"data.variables refer to one another in a circle: {circle}")
        if name in variables:
            for each in sorted(Expression.parse(variables[name]).names):
                follow(each, (*inside, name))
        elif name != ENTRY or name in there:
            found[name] = None

    for formula in formulas:
        for name in sorted(Expression.parse(formula).names):
            follow(name, ())
    return list(found)


def evaluate(
    config: Config, formulas: Mapping[str, str], arrays: Mapping[str, Any], *, start: int, entries: int
) -> dict[str, np.ndarray]:
    """Compute formulas that are one number an event, for all entries of a chunk.

    Args:
        config: the configuration, for its variables.
        formulas: the formulas by what they are for.
        arrays: the branches by name.
        start: entry number of the first entry.
        entries: number of entries n.

    Returns:
        For each formula (n,); NaN and infinity are left as they are.

    Raises:
        InputError: a formula gives something else than a number an event.
    """
    values = _Values(config, arrays, start, entries)
    return {where: _flat(values, formula, where, entries) for where, formula in formulas.items()}


class _Values(Mapping[str, Any]):
    """Branches, and variables computed when first asked for."""

    def __init__(self, config: Config, arrays: Mapping[str, Any], start: int, n: int) -> None:
        self.arrays = dict(arrays)
        self.variables = config.data.variables
        self.start, self.n = start, n

    def __getitem__(self, name: str) -> Any:
        if name not in self.arrays:
            if name in self.variables:
                self.arrays[name] = Expression.parse(self.variables[name]).evaluate(self)
            elif name == ENTRY:
                self.arrays[name] = np.arange(self.start, self.start + self.n, dtype=np.int64)
        return self.arrays[name]

    def __iter__(self) -> Any:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


def build(
    config: Config,
    arrays: Mapping[str, Any],
    *,
    sample: Sample | None = None,
    with_weight: bool = True,
    start: int = 0,
    entries: int | None = None,
) -> Rows:
    """Compute all entries of a chunk.

    Args:
        config: the configuration.
        arrays: the branches by name, n entries each.
        sample: the sample whose own selection and weight apply, too; None for scoring.
        with_weight: whether to compute the weight and the truth of data.targets.
        start: entry number of the first entry.
        entries: n, where no branch is read.

    Returns:
        The rows, for all n entries, selected or not.

    Raises:
        InputError: a formula gives something else than its place needs, or values are NaN or infinite and the
            policy is to refuse them.
    """
    n = entries if entries is not None else len(next(iter(arrays.values())))
    values = _Values(config, arrays, start, n)
    selected = np.ones(n, bool)
    for where, formula in (
        ("data.selection", config.data.selection),
        ("selection", sample and sample.selection),
    ):
        if formula:
            chosen = _flat(values, formula, where, n)
            selected &= (chosen != 0) & (chosen == chosen)  # NaN selects nothing
    weight = None
    if with_weight:
        weight = _flat(values, config.data.weight, "data.weight", n).astype(np.float64)
        if sample is not None and sample.weight:
            weight = weight * _flat(values, sample.weight, f"weight of sample '{sample.name}'", n)
        weight = weight * config.data.luminosity_ipb
        _refuse_bad_weights(weight, selected, config.data.weight)
    events = {
        each.name: _single(_flat(values, each.formula, f"feature '{each.name}'", n))
        for each in config.features.events + config.features.spectators
    }
    objects, overflow = {}, {}
    targets: dict[str, np.ndarray] = {}
    places: dict[str, np.ndarray] = {}
    for name, block in config.features.objects.items():
        collection = _Collection(values, name, block, n)
        objects[name], overflow[name] = collection.columns, int(np.sum(collection.longer & selected))
        if block.selection:
            places[name] = collection.places()
        if with_weight:
            targets |= _slots(config, name, collection)
    if with_weight:
        targets |= _truths(config, values, n)
    non_finite = _mend(config, events, objects, selected)
    for maker in config.preparation.feature_makers:
        made = {key: _single(column) for key, column in maker.make(events, objects).items()}
        non_finite |= _mend(config, made, {}, selected)
        events.update(made)
    numbers = _event_number(values, config, n)
    return Rows(selected, numbers, weight, events, objects, overflow, non_finite, targets, places)


def _compute(values: _Values, formula: str, where: str) -> Any:
    try:
        return Expression.parse(formula).evaluate(values)
    except ExpressionError as error:
        raise InputError(f"{where}: {error}") from None


def _flat(values: _Values, formula: str, where: str, n: int) -> np.ndarray:
    """Return one number an event."""
    import awkward

    result = _compute(values, formula, where)
    if isinstance(result, awkward.Array):
        flat = result.ndim == 1 and not awkward.parameters(result) and not awkward.fields(result)
        if not flat:
            raise InputError(
                f"{where}: '{formula}' must give one number an event, and gives {_type(result)}; "
                "use sum, count, max, at(x, i, default) or list it under features.objects"
            )
        result = _numbers(result)
    result = np.asarray(result)
    if result.ndim == 0:
        result = np.broadcast_to(result, (n,))
    if result.shape != (n,) or result.dtype.kind not in "biuf":
        raise InputError(f"{where}: '{formula}' must give one number an event, and gives {result.dtype} {result.shape}")
    return result


def _numbers(array: Any) -> np.ndarray:
    """Return a one-dimensional awkward array as NumPy: what is missing becomes NaN, or false among truth values."""
    import awkward

    found = awkward.to_numpy(array)
    if not np.ma.is_masked(found):
        return np.ma.getdata(found)
    if found.dtype.kind == "b":
        return np.asarray(found.filled(False))
    return np.asarray(found.astype(np.float64).filled(np.nan)) if found.dtype.kind in "iuf" else np.ma.getdata(found)


def _single(values: Any) -> np.ndarray:
    """Return float32; what is too large becomes infinite and is counted as such."""
    with np.errstate(over="ignore"):
        return np.array(values, np.float32)


def _type(array: Any) -> str:
    text = str(array.type).partition(" * ")[2]
    return text if len(text) < 60 else text[:57] + "..."


class _Collection:
    """One collection padded to (n, max) columns.

    Args:
        values: the branches and variables.
        name: of the collection.
        block: its configuration.
        n: number of events.

    Attributes:
        columns: (n, max) float32 by name, and ``valid``, bool.
        longer: (n,) bool, events with more objects than are kept.
    """

    def __init__(self, values: _Values, name: str, block: Objects, n: int) -> None:
        import awkward

        self._values, self._name, self._block, self._n = values, name, block, n
        self._keep: Any = None
        self._slots: _Slots | None = None
        self._first = ""
        if block.selection:
            keep = awkward.fill_none(_jagged(values, block.selection, f"selection of '{name}'", n, block.max), False)
            self._keep = (keep != 0) & (keep == keep)  # numbers such as a tag of 0 or 1 are truth values, not indices
        self.columns = {each.name: self.padded(each.formula, f"feature '{each.name}'") for each in block.features}
        if self._slots is None:
            raise InputError(f"collection '{name}' has no features")
        self.columns["valid"] = self._slots.valid
        self.longer: np.ndarray = self._slots.counts > block.max

    def padded(self, formula: str, what: str) -> np.ndarray:
        """Return (n, max) float32 of a number of each object, zero in empty slots."""

        return self._padded(_jagged(self._values, formula, f"{what} of '{self._name}'", self._n, self._block.max), what)

    def places(self) -> np.ndarray:
        """Return (n, max) int64, the position of each object among those of the ntuple."""
        import awkward

        return self._padded(awkward.local_index(self._keep, axis=1), "the selection").astype(np.int64)

    def _padded(self, array: Any, what: str) -> np.ndarray:
        import awkward

        if self._keep is not None:
            try:
                array = array[self._keep]
            except (ValueError, IndexError):
                raise _unequal(self._name, what, "the selection") from None
        number = awkward.to_numpy(awkward.num(array, axis=1))
        if self._slots is None:
            self._slots, self._first = _Slots(number, self._block.max), what
        elif not np.array_equal(self._slots.counts, number):
            raise _unequal(self._name, what, self._first)
        return self._slots.fill(_single(_numbers(awkward.flatten(array, axis=1))))


def _slots(config: Config, name: str, collection: _Collection) -> dict[str, np.ndarray]:
    """Return (n,) int8 columns: where the objects of particles are; of several with the same id, the first one."""
    columns: dict[str, np.ndarray] = {}
    for title, target in config.data.targets.items():
        if not isinstance(target, Assignment) or target.collection != name:
            continue
        match, valid = collection.padded(target.match, f"match of target '{title}'"), collection.columns["valid"]
        for particle, block in target.particles.items():
            for column, each in zip(slot_fields(particle, len(block.ids)), block.ids, strict=True):
                found = (match == each) & valid
                columns[column] = np.where(found.any(axis=1), found.argmax(axis=1), -1).astype(np.int8)
    return columns


def _truths(config: Config, values: _Values, n: int) -> dict[str, np.ndarray]:
    """Return (n,) float32 columns with the numbers to learn, NaN where there is no truth."""
    columns: dict[str, np.ndarray] = {}
    for name, target in config.data.targets.items():
        if isinstance(target, Regression):
            truth = _single(_flat(values, target.expression, f"target '{name}'", n))
            there = np.isfinite(truth)
            if target.selection:
                chosen = _flat(values, target.selection, f"selection of target '{name}'", n)
                there &= (chosen != 0) & (chosen == chosen)
            columns[value_field(name)] = np.where(there, truth, np.float32(np.nan))
    return columns


def _unequal(name: str, what: str, other: str) -> InputError:
    what, other = (each.removeprefix("feature ") for each in (what, other))
    return InputError(f"collection '{name}': {what} has other numbers of objects in an event than {other}")


def _jagged(values: _Values, formula: str, where: str, n: int, slots: int) -> Any:
    """Return a list of numbers an event; of a collection with one slot, a number an event is its only object."""
    import awkward

    result = _compute(values, formula, where)
    if slots == 1 and getattr(result, "ndim", 0) == 1 and not awkward.fields(result):
        result = np.asarray(_numbers(awkward.Array(result)))[:, np.newaxis]
    if isinstance(result, np.ndarray) and result.ndim == 2:
        result = awkward.from_numpy(result)
    if not isinstance(result, awkward.Array) or result.ndim != 2 or awkward.fields(result):
        kind = _type(result) if isinstance(result, awkward.Array) else "one number an event"
        raise InputError(f"{where}: '{formula}' must give a list of numbers an event, and gives {kind}")
    if str(awkward.to_layout(result).purelist_parameter("__array__")) in ("string", "bytestring"):
        raise InputError(f"{where}: '{formula}' gives texts, not numbers")
    if len(result) != n:
        raise InputError(f"{where}: '{formula}' gives {len(result)} entries instead of {n}; slice objects by x[:, :2]")
    # A missing list is an empty one; lists of one length need not be so in other events.
    return awkward.from_regular(awkward.fill_none(result, [], axis=0), axis=1)


class _Slots:
    """Where the objects of n events go when each event keeps its first ones.

    Args:
        counts: (n,) objects of each event.
        slots: how many it keeps.

    Attributes:
        counts: (n,) objects of each event.
        valid: (n, slots) bool, where there are objects.
    """

    def __init__(self, counts: np.ndarray, slots: int) -> None:
        self.counts = counts
        self.valid = np.arange(slots)[None, :] < counts[:, None]
        self._there = np.flatnonzero(self.valid)
        in_event = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        self._kept = in_event < slots

    def fill(self, content: np.ndarray) -> np.ndarray:
        """Return (n, slots) float32 of the objects' values event after event, zero where there is none."""
        result = np.zeros(self.valid.shape, np.float32)
        result.reshape(-1)[self._there] = content[self._kept]
        return result


def _refuse_bad_weights(weight: np.ndarray, selected: np.ndarray, formula: str) -> None:
    bad = int(np.sum(~np.isfinite(weight) & selected))
    if bad:
        raise InputError(f"data.weight: '{formula}' is NaN or infinite for {bad:,} selected events")


def _mend(
    config: Config,
    events: dict[str, np.ndarray],
    objects: dict[str, dict[str, np.ndarray]],
    selected: np.ndarray,
) -> dict[str, int]:
    """Count NaN and infinities of selected events, and refuse or replace them; replace those of the others."""
    policy, counted = config.data.non_finite, {}
    tables = [("", events)] + [(f"{name}.", columns) for name, columns in objects.items()]
    for prefix, columns in tables:
        for name, column in columns.items():
            bad = ~np.isfinite(column)
            if bad.any():
                counted[prefix + name] = int(bad[selected].sum())
                column[bad] = policy.value
    counted = {name: count for name, count in counted.items() if count}
    if counted and policy.policy == "error":
        listed = ", ".join(f"'{name}' ({count:,} values)" for name, count in counted.items())
        raise InputError(
            f"NaN or infinity in feature {listed} of {int(selected.sum()):,} selected events; "
            "mend the expression, or set data.non_finite to {policy: replace, value: 0}"
        )
    return counted


def _event_number(values: _Values, config: Config, n: int) -> np.ndarray:
    numbers = _flat(values, config.data.event_id, "data.event_id", n)
    if numbers.dtype.kind not in "iu":
        raise InputError(f"data.event_id: '{config.data.event_id}' must give integers, and gives {numbers.dtype}")
    if numbers.dtype.kind == "i" and n and numbers.min() < 0:
        raise InputError(f"data.event_id: '{config.data.event_id}' is negative ({numbers.min()}) for some events")
    return numbers.astype(np.uint64)


def check_makers(config: Config) -> None:
    """Check that every feature maker finds the columns that it reads.

    Args:
        config: the configuration.

    Raises:
        ConfigError: one does not.
    """
    events = [each.name for each in config.features.events + config.features.spectators]
    objects = {name: [f.name for f in block.fields] for name, block in schema_of(config).objects.items()}
    for maker in config.preparation.feature_makers:
        maker.check(events, objects)
        events += [name for name, _, _ in maker.outputs()]
