"""CP observables into the dataset files: a table ``observables`` with a row an event."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.config.models import digest
from nntrainer.config.observables import Observables
from nntrainer.config.parts import dataset_path
from nntrainer.dataset.build import branches_of, evaluate
from nntrainer.dataset.schema import Field
from nntrainer.dataset.store import Store, add_table, open_store
from nntrainer.errors import ConfigError, InputError, StoreError
from nntrainer.files import expand
from nntrainer.ntuples.reader import NtupleTree, identity, open_tree
from nntrainer.observables.compute import compute, described, formulas
from nntrainer.progress import Progress, silent

TABLE = "observables"


@dataclass(frozen=True)
class Added:
    """The observables of one sample.

    Attributes:
        sample: its name.
        path: the dataset file.
        names: the observables.
        events: its events.
        missing: for each observable, the events where it is NaN.
        skipped: whether they were up to date.
        seconds: the time it took.
    """

    sample: str
    path: Path
    names: tuple[str, ...]
    events: int
    missing: dict[str, int]
    skipped: bool
    seconds: float


def block_of(config: Config) -> Observables:
    """Return the block ``observables``, or raise a ConfigError where there is none."""
    if config.observables is None:
        raise ConfigError("the configuration has no block 'observables'; name the particles' four-vectors in it")
    return config.observables


def observables_of(config: Config, tree: NtupleTree, start: int, stop: int) -> dict[str, np.ndarray]:
    """Compute the observables of some entries of a tree, selected or not.

    Args:
        config: the configuration.
        tree: the open tree.
        start: first entry.
        stop: entry after the last.

    Returns:
        For each observable (n,) float32, NaN where it is not defined.

    Raises:
        InputError: a branch is missing, or an expression gives no number an event.
    """
    block = block_of(config)
    wanted = formulas(block)
    branches = branches_of(config, wanted.values(), tree.branches)
    try:
        tree.require(branches)
        arrays = tree.read(branches, start, stop)
        return compute(block, evaluate(config, wanted, arrays, start=start, entries=stop - start))
    except InputError as error:
        raise InputError(f"observables: {error}") from None


def add_observables(
    config: Config, *, samples: Sequence[str] | None = None, force: bool = False, progress: Progress | None = None
) -> list[Added]:
    """Add the observables to the converted samples; those that have them already are skipped.

    Args:
        config: the configuration.
        samples: names; all if absent.
        force: compute them again in any case.
        progress: told how far the work has come.

    Returns:
        What was added, by sample.

    Raises:
        ConfigError: there is no block ``observables``.
        StoreError: a sample is not converted, or its ntuples have changed since.
        InputError: a branch is missing, or an expression gives no number an event.
    """
    block_of(config)
    wanted = [sample for sample in config.data.samples if samples is None or sample.name in samples]
    return [_sample(config, sample.name, sample.files, force, progress or silent()) for sample in wanted]


def _digest(config: Config) -> str:
    """Return the digest of what decides the table's content beside the ntuples."""
    block = block_of(config)
    inside = block.model_dump(mode="json", exclude={"branch", "suffix", "compute"})
    return digest([inside, described(block), config.data.variables])


def _sample(config: Config, sample: str, patterns: Sequence[str], force: bool, progress: Progress) -> Added:
    started = time.monotonic()
    path, block = dataset_path(config, sample), block_of(config)
    names, key = block.names(), _digest(config)
    with open_store(path) as store:
        if not force and TABLE in store.tables and (told := store.told(TABLE)).get("digest") == key:
            return Added(sample, path, names, store.events, told["missing"], True, 0.0)
        _unchanged(store, patterns)
        missing = dict.fromkeys(names, 0)
        attrs: dict[str, Any] = {"digest": key, "frame": block.frame, "formulas": formulas(block), "missing": missing}
        fields = [Field(name, "f4", unit, formula) for name, unit, formula in described(block)]
        table = np.concatenate([*_pieces(config, store, sample, progress), np.zeros(0, _dtype(fields))])
        missing.update({name: int(np.isnan(table[name]).sum()) for name in names})
        events = store.events
    add_table(path, TABLE, fields, attrs, [table])
    return Added(sample, path, names, events, missing, False, time.monotonic() - started)


def _dtype(fields: Sequence[Field]) -> np.dtype:
    return np.dtype([(field.name, field.dtype) for field in fields])


def _unchanged(store: Store, patterns: Sequence[str]) -> None:
    there = [f"{source['uuid']}:{source['size']}" for source in store.attrs["sources"]]
    if there != [identity(each).key() for each in expand(patterns)]:
        raise StoreError(f"{store.path}: its ntuples have changed since it was converted; convert it again")


def _pieces(config: Config, store: Store, sample: str, progress: Progress) -> Generator[np.ndarray, None, None]:
    """Yield the rows of the table, the events in the order of the file."""
    rows = store.read("events", ["source", "entry"])
    for number, source in enumerate(store.attrs["sources"]):
        entries = rows["entry"][rows["source"] == number]
        with open_tree(source["path"], store.attrs["tree"]) as tree:
            branches = branches_of(config, formulas(block_of(config)).values(), tree.branches)
            progress.start(f"observables {sample}", tree.entries)
            for start, stop in tree.spans(config.data.chunk_events, branches):
                found = observables_of(config, tree, start, stop)
                mine = entries[(entries >= start) & (entries < stop)] - start
                piece = np.empty(len(mine), [(name, "f4") for name in found])
                for name, values in found.items():
                    piece[name] = values[mine]
                progress.advance(stop - start)
                yield piece
            progress.finish()
