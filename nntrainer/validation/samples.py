"""The sides of a comparison: which files, trees and weights they are, and their events as the network sees them."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from nntrainer.config import Config, Sample
from nntrainer.dataset.build import required_branches
from nntrainer.dataset.conversion import chunks
from nntrainer.dataset.inputs import Inputs, network_arrays
from nntrainer.dataset.weights import apply_policy
from nntrainer.errors import InputError, nearest, one_of
from nntrainer.files import expand, is_remote
from nntrainer.ntuples.reader import list_trees, open_tree
from nntrainer.progress import Progress, silent

ALL = "nominal"
"""Name of all samples of a configuration together."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        name: how it is called in tables, plots and file names.
        config: the configuration to read with, its weight replaced where the caller gave another.
        samples: what is read, each with its files and its tree.
    """

    name: str
    config: Config
    samples: tuple[Sample, ...]

    def places(self) -> set[tuple[str, str]]:
        """Return every file with the tree that is read of it."""
        found = set()
        for sample in self.samples:
            tree = sample.tree or self.config.data.tree
            found |= {(path if is_remote(path) else str(Path(path).resolve()), tree) for path in expand(sample.files)}
        return found


@dataclass(frozen=True)
class Events:
    """The selected events of a side.

    Attributes:
        name: of the side.
        inputs: the network's inputs of n events, raw.
        weight: float64 (n,), signed, by the policy of reports.
        event: uint64 (n,), event numbers.
        label: int (n,), the class.
        sample: int (n,), position among the side's samples.
    """

    name: str
    inputs: Inputs
    weight: np.ndarray
    event: np.ndarray
    label: np.ndarray
    sample: np.ndarray

    def __len__(self) -> int:
        return len(self.weight)

    def take(self, rows: np.ndarray) -> Events:
        """Return some events, by a mask or by their positions."""
        inputs = {name: array[rows] for name, array in self.inputs.items()}
        return Events(self.name, inputs, self.weight[rows], self.event[rows], self.label[rows], self.sample[rows])


def reference_of(config: Config, sample: str | None) -> Side:
    """Return a sample of the configuration, or all of them.

    Args:
        config: the configuration.
        sample: its name; all samples if absent.

    Returns:
        The side.

    Raises:
        InputError: there is no such sample.
    """
    if sample is None:
        return Side(ALL, _plain(config), config.data.samples)
    return Side(sample, _plain(config), (_sample(config, sample),))


def others_of(
    config: Config,
    reference: Side,
    *,
    against: str | None = None,
    trees: Sequence[str] = (),
    weight: str | None = None,
) -> list[Side]:
    """Return what a reference is compared with.

    Args:
        config: the configuration.
        reference: the reference; its selection, weight and class hold for files, too.
        against: a sample of the configuration, or files, as path or glob, with ``:tree`` if it is another one; the
            reference's own files if absent.
        trees: names or patterns of trees of these files; each is compared by itself.
        weight: weight of the events in place of ``data.weight``; a formula.

    Returns:
        The other sides.

    Raises:
        InputError: there is no such sample, file or tree, or both sides are the same.
    """
    if against is None and not trees:
        raise InputError(
            "say what to compare with: --against takes a sample of the configuration or files (FILE or 'DIR/*.root', "
            "with :TREE for another tree), --against-tree other trees of the same files"
        )
    base = _against(config, reference, against)
    if weight is not None:
        base = replace(base, config=_weighted(base.config, weight))
        base = replace(base, samples=tuple(each.model_copy(update={"weight": None}) for each in base.samples))
    found = [_in_tree(base, tree, against is not None) for tree in _matching(base, trees)] if trees else [base]
    for side in found:
        if same := reference.places() & side.places():
            path, tree = min(same)
            hint = "" if reference.name != ALL or against is None else "; say with --sample what is compared with it"
            raise InputError(
                f"{path}: tree '{tree}' is on both sides, and a sample is not compared with itself; give another "
                f"--against or --against-tree{hint}"
            )
    return found


def check(side: Side) -> None:
    """Open every file and look up every branch.

    Args:
        side: the side.

    Raises:
        InputError: a file, tree or branch is missing.
    """
    for sample in side.samples:
        for path in expand(sample.files):
            with open_tree(path, sample.tree or side.config.data.tree) as tree:
                tree.require(required_branches(side.config, sample, tree.branches))


def read(side: Side, *, most: int | None = None, progress: Progress | None = None) -> Events:
    """Read the selected events of a side.

    Args:
        side: the side.
        most: keep about so many events; which, depends on the event number only, so that of two trees the same stay.
        progress: told how far the work has come.

    Returns:
        The events.

    Raises:
        InputError: a file, tree or branch is missing or damaged, or no event is selected.
    """
    config, parts = side.config, []
    for position, sample in enumerate(side.samples):
        label = config.data.labels.index(sample.label)
        for _, _, rows in chunks(config, sample, expand(sample.files), progress or silent()):
            chosen = np.flatnonzero(rows.selected)
            inputs = network_arrays(config, rows.events, rows.objects)
            weight = rows.weight if rows.weight is not None else np.ones(len(rows.selected))
            of_all = Events(
                side.name,
                inputs,
                weight,
                rows.event_number,
                np.full(len(weight), label),
                np.full(len(weight), position),
            )
            parts.append(of_all.take(chosen))
    events = _joined(parts)
    if not len(events):
        selections = [text for text in (config.data.selection, side.samples[0].selection) if text]
        why = f"the selection '{' and '.join(selections)}' keeps none" if selections else "its trees are empty"
        raise InputError(f"'{side.name}' has no event to compare: {why} ({one_of(_files(side))})")
    policy = config.preparation.negative_weights.reporting
    events = replace(events, weight=apply_policy(events.weight, policy, events.sample))
    if most is not None and len(events) > most:
        events = events.take(_hashed(events.event) < most / len(events))
    return events


def _files(side: Side) -> list[str]:
    return [pattern for sample in side.samples for pattern in sample.files]


def _joined(parts: Sequence[Events]) -> Events:
    inputs = {name: np.concatenate([part.inputs[name] for part in parts]) for name in parts[0].inputs}
    weight, event, label, sample = (
        np.concatenate([getattr(part, column) for part in parts]) for column in ("weight", "event", "label", "sample")
    )
    return Events(parts[0].name, inputs, weight, event, label, sample)


def _hashed(event: np.ndarray) -> np.ndarray:
    """Return numbers in [0, 1) that event numbers decide, evenly spread (the last steps of SplitMix64)."""
    x = event.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray((x >> np.uint64(11)) * 2.0**-53)


def _plain(config: Config) -> Config:
    """Return the configuration without truth to learn, which other ntuples need not have."""
    return config.model_copy(update={"data": config.data.model_copy(update={"targets": {}})})


def _weighted(config: Config, weight: str) -> Config:
    from pydantic import ValidationError

    from nntrainer.config.data import Data

    try:
        data = Data.model_validate(config.data.model_dump() | {"weight": weight})
    except ValidationError as error:
        reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise InputError(f"--against-weight '{weight}': {reason}") from None
    return config.model_copy(update={"data": data})


def _sample(config: Config, name: str) -> Sample:
    for sample in config.data.samples:
        if sample.name == name:
            return sample
    names = [sample.name for sample in config.data.samples]
    raise InputError(f"there is no sample '{name}'; samples are {one_of(names)}.{nearest(name, names)}")


def _against(config: Config, reference: Side, against: str | None) -> Side:
    names = [sample.name for sample in config.data.samples]
    if against is None:
        return reference
    if against in names:
        return Side(against, reference.config, (_sample(config, against),))
    files, tree = split_tree(against)
    if not (is_remote(files) or glob.has_magic(files) or "/" in files or Path(files).is_file()):
        near = nearest(against, names)
        raise InputError(f"there is no sample or file '{against}'; samples are {one_of(names)}.{near}")
    given: dict[str, object] = {"files": (files,)} | ({"tree": tree} if tree else {})
    like = reference.samples[0]
    if len(reference.samples) > 1:  # of several samples, none's own selection and weight can hold
        given |= {"name": "against", "weight": None, "selection": None, "tree": tree}
    name = Path(files).name.replace("*", "").removesuffix(".root").strip("_-.") or Path(files).parent.name
    if name in (reference.name, ""):
        name = f"{Path(files).parent.name}_{name}".strip("_")
    return Side(
        f"{name}_{tree.rsplit('/', 1)[-1]}" if tree else name, reference.config, (like.model_copy(update=given),)
    )


def split_tree(text: str) -> tuple[str, str | None]:
    """Return files and tree of ``FILES[:TREE]``; the colon of an address or in a file's name is no tree's."""
    files, colon, tree = text.rpartition(":")
    if not colon or "//" in tree or tree.endswith(".root") or not files or Path(text).is_file():
        return text, None
    return files, tree


def _matching(side: Side, patterns: Sequence[str]) -> list[str]:
    """Return the trees that fit names or patterns; the tree of the configuration fits a name only."""
    path = expand(side.samples[0].files)[0]
    there = list_trees(path)
    found: dict[str, None] = {}
    own = side.samples[0].tree or side.config.data.tree
    for pattern in patterns:
        fitting = [pattern] if pattern in there else [x for x in there if fnmatchcase(x, pattern) and x != own]
        if not fitting:
            raise InputError(f"{path}: no tree fits '{pattern}'; it has {one_of(there)}.{nearest(pattern, there)}")
        found |= dict.fromkeys(fitting)
    return list(found)


def _in_tree(side: Side, tree: str, named: bool) -> Side:
    name = tree.rsplit("/", 1)[-1]
    samples = tuple(sample.model_copy(update={"tree": tree}) for sample in side.samples)
    return Side(f"{side.name}_{name}" if named else name, side.config, samples)
