"""ROOT ntuples to dataset files, streaming."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from nntrainer import __version__
from nntrainer.config import Config, Sample
from nntrainer.config.parts import dataset_path
from nntrainer.dataset.build import Rows, build, check_makers, required_branches
from nntrainer.dataset.event_ids import EventIds, event_ids
from nntrainer.dataset.schema import Schema, schema_of
from nntrainer.dataset.store import StoreWriter, open_store
from nntrainer.errors import InputError, StoreError, nearest, one_of
from nntrainer.files import expand
from nntrainer.ntuples.reader import FileIdentity, NtupleTree, identity, open_tree
from nntrainer.progress import Progress, silent
from nntrainer.provenance import git_commit
from nntrainer.threads import ahead


@dataclass(frozen=True)
class Converted:
    """One sample's dataset file.

    Attributes:
        sample: its name.
        path: the file.
        events: events selected.
        entries: entries read.
        sum_before: sum of weights of all entries.
        sum_after: sum of weights of the selected events.
        overflow: for each collection, events with more objects than are kept.
        skipped: whether the file was up to date.
        seconds: the time it took.
    """

    sample: str
    path: Path
    events: int
    entries: int
    sum_before: float
    sum_after: float
    overflow: dict[str, int]
    skipped: bool
    seconds: float


@dataclass(frozen=True)
class Conversion:
    """All samples, and how many event ids occur more than once in or across them."""

    samples: tuple[Converted, ...]
    duplicates: dict[str, int]

    @property
    def paths(self) -> list[Path]:
        """The dataset files."""
        return [each.path for each in self.samples]


def convert(
    config: Config,
    *,
    samples: Sequence[str] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Conversion:
    """Convert samples; those whose file is up to date are skipped.

    Args:
        config: the configuration.
        samples: names; all if absent.
        force: convert again in any case.
        progress: told how far the work has come.

    Returns:
        What was made, and the count of duplicate event ids.

    Raises:
        InputError: a file, tree or branch is missing or damaged, or no event is selected.
        ConfigError: a feature maker asks for what is not there.
    """
    names = [sample.name for sample in config.data.samples]
    for name in samples or ():
        if name not in names:
            raise InputError(f"there is no sample '{name}'; samples are {one_of(names)}.{nearest(name, names)}")
    check_makers(config)
    wanted = [sample for sample in config.data.samples if samples is None or sample.name in samples]
    with event_ids([sample.name for sample in wanted]) as ids:
        done = tuple(_sample(config, sample, force, progress or silent(), ids) for sample in wanted)
        return Conversion(done, ids.repeated())


def _sample(config: Config, sample: Sample, force: bool, progress: Progress, ids: EventIds) -> Converted:
    started = time.monotonic()
    path = dataset_path(config, sample.name)
    files = [identity(each) for each in expand(sample.files)]
    if not force and (there := _up_to_date(config, path, files, sample)) is not None:
        with open_store(path) as store:
            for start in range(0, store.events, config.data.chunk_events):
                stop = start + config.data.chunk_events
                ids.add(sample.name, store.read("events", ["eventNumber"], start, stop)["eventNumber"])
        return there
    counters = _Counters(files)
    schema = schema_of(config)
    with StoreWriter(path, schema) as writer:
        for source, start, chunk in ahead(chunks(config, sample, [file.path for file in files], progress)):
            counters.add(chunk, start, source)
            events, objects = _tables(schema, config, sample, chunk, start, source)
            writer.append(events, objects)
            ids.add(sample.name, events["eventNumber"])
        if counters.events == 0:
            selections = [text for text in (config.data.selection, sample.selection) if text]
            why = f"the selection '{' and '.join(selections)}' keeps none of" if counters.entries else "there are"
            raise InputError(
                f"sample '{sample.name}' has no event: {why} {counters.entries:,} entries in {files[0].path}"
                + (f" and {len(files) - 1} more files" if len(files) > 1 else "")
            )
        writer.attrs = _attributes(config, sample, counters)
    return _converted(sample.name, path, writer.attrs, False, time.monotonic() - started)


def chunks(
    config: Config, sample: Sample, files: Sequence[str], progress: Progress
) -> Generator[tuple[int, int, Rows], None, None]:
    """Read the files of a sample in chunks.

    Args:
        config: the configuration.
        sample: the sample.
        files: paths of its files.
        progress: told how far the work has come.

    Yields:
        Position of the file, first entry and rows of each chunk.

    Raises:
        InputError: a file, tree or branch is missing or damaged.
    """
    name = sample.tree or config.data.tree
    for source, file in enumerate(files):
        with open_tree(file, name) as tree:
            branches = required_branches(config, sample, tree.branches)
            tree.require(branches)
            progress.start(f"convert {sample.name}", tree.entries)
            try:
                for start, stop in tree.spans(config.data.chunk_events, branches):
                    yield source, start, _rows(config, sample, tree, branches, start, stop)
                    progress.advance(stop - start)
            finally:
                progress.finish()


def _rows(config: Config, sample: Sample, tree: NtupleTree, branches: Sequence[str], start: int, stop: int) -> Rows:
    arrays = tree.read(branches, start, stop)
    try:
        return build(config, arrays, sample=sample, start=start, entries=stop - start)
    except InputError as error:
        raise InputError(f"{tree.path}: tree '{tree.name}': {error}") from None


@dataclass
class _Counters:
    files: Sequence[FileIdentity]
    entries: int = 0
    events: int = 0
    before: float = 0.0
    after: float = 0.0
    overflow: dict[str, int] = field(default_factory=dict)
    non_finite: dict[str, int] = field(default_factory=dict)
    in_source: dict[int, int] = field(default_factory=dict)

    def add(self, rows: Rows, start: int, source: int) -> None:
        weight = rows.weight if rows.weight is not None else np.zeros(0)
        self.entries += len(rows.selected)
        self.in_source[source] = start + len(rows.selected)
        self.events += int(rows.selected.sum())
        self.before += float(weight[np.isfinite(weight)].sum())
        self.after += float(weight[rows.selected].sum())
        for mine, new in ((self.overflow, rows.overflow), (self.non_finite, rows.non_finite)):
            for name, count in new.items():
                mine[name] = mine.get(name, 0) + count

    def sources(self) -> list[dict[str, Any]]:
        """Return the files with their entries."""
        return [{**file.as_dict(), "entries": [0, self.in_source.get(n, 0)]} for n, file in enumerate(self.files)]


def _tables(
    schema: Schema, config: Config, sample: Sample, rows: Rows, start: int, source: int
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, np.ndarray]]]:
    """Return the columns of the selected rows."""
    take = np.flatnonzero(rows.selected)
    n = len(take)
    all_of_them = n == len(rows.selected)

    def chosen(column: np.ndarray) -> np.ndarray:
        return column if all_of_them else column[take]

    events = {
        "eventNumber": chosen(rows.event_number),
        "entry": take + start,
        "source": np.full(n, source),
        "label": np.full(n, config.data.labels.index(sample.label)),
        "weight": chosen(rows.weight) if rows.weight is not None else np.zeros(n),
        **{name: chosen(column) for name, column in rows.events.items()},
        **{name: chosen(column) for name, column in rows.targets.items()},
    }
    objects = {
        name: {column_name: chosen(rows.objects[name][column_name]) for column_name in block.dtype().names or ()}
        for name, block in schema.objects.items()
    }
    return events, objects


def _attributes(config: Config, sample: Sample, counters: _Counters) -> dict[str, Any]:
    return {
        "tool_version": __version__,
        "git_commit": git_commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config_digest": config.data_digest(),
        "sample": sample.name,
        "label": sample.label,
        "labels": list(config.data.labels),
        "signal": config.data.signal_label,
        "tree": sample.tree or config.data.tree,
        "selection": [text for text in (config.data.selection, sample.selection) if text],
        "luminosity_ipb": config.data.luminosity_ipb,
        "sources": counters.sources(),
        "entries": {"before": counters.entries, "after": counters.events},
        "sum_of_weights": {"before": counters.before, "after": counters.after},
        "overflow": counters.overflow,
        "non_finite": counters.non_finite,
    }


def _converted(sample: str, path: Path, attrs: dict[str, Any], skipped: bool, seconds: float) -> Converted:
    return Converted(
        sample,
        path,
        attrs["entries"]["after"],
        attrs["entries"]["before"],
        attrs["sum_of_weights"]["before"],
        attrs["sum_of_weights"]["after"],
        attrs["overflow"],
        skipped,
        seconds,
    )


def _up_to_date(config: Config, path: Path, files: list[FileIdentity], sample: Sample) -> Converted | None:
    if not path.exists():
        return None
    try:
        with open_store(path) as store:
            there = [f"{source['uuid']}:{source['size']}" for source in store.attrs["sources"]]
            if store.attrs["config_digest"] == config.data_digest() and there == [file.key() for file in files]:
                return _converted(sample.name, path, store.attrs, True, 0.0)
    except (StoreError, KeyError):
        pass  # an unreadable file is made again
    return None
