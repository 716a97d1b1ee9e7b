"""Score ntuples with exported models."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from nntrainer.dataset.build import Rows, build, required_branches
from nntrainer.dataset.inputs import network_arrays
from nntrainer.errors import InjectError, InputError, nearest, one_of
from nntrainer.inject.models import Ensemble, load_models
from nntrainer.inject.score import NO_FOLD, Scores, score
from nntrainer.ntuples.reader import NtupleTree, identity, list_trees, open_tree
from nntrainer.ntuples.writers import CopyWriter, FriendWriter, ScoreWriter
from nntrainer.progress import Progress, silent
from nntrainer.provenance import git_commit
from nntrainer.threads import ahead

MODES = ("friend", "copy")
FILES_AT_ONCE = 2


@dataclass(frozen=True)
class Injected:
    """One scored tree.

    Attributes:
        file: the ntuple.
        tree: its tree.
        output: the file written.
        events: entries.
        scored: entries with a score.
        defaulted: entries with the default, because the selection leaves them out.
        seen: entries with the default, because the only model has seen them.
        seconds: the time it took.
        skipped: why a tree that only a pattern named was not scored, such as a missing branch; else empty.
    """

    file: str
    tree: str
    output: Path
    events: int
    scored: int
    defaulted: int
    seen: int
    seconds: float
    skipped: str = ""


@dataclass(frozen=True)
class _Job:
    """The models, and what the caller said or else their configuration says."""

    ensemble: Ensemble
    mode: str
    branch: str
    suffix: str
    default: float
    progress: Progress

    @property
    def scores(self) -> list[str]:
        """The score branches."""
        return [f"{self.branch}_{name}" for name in self.ensemble.outputs]

    @property
    def fold(self) -> str:
        """The branch that tells which model gave the score."""
        return f"{self.branch}_fold"

    def branches(self, event_id: bool) -> dict[str, np.dtype[Any]]:
        """The new branches with their types."""
        types: dict[str, np.dtype[Any]] = {"eventNumber": np.dtype("u8")} if event_id else {}
        return types | {name: np.dtype("f4") for name in self.scores} | {self.fold: np.dtype("i4")}

    def writer(self, file: str, target: Path) -> ScoreWriter:
        """Return what writes the scores of a file."""
        if self.mode == "friend":
            return FriendWriter(target, self.suffix)
        return CopyWriter(target, file, self.ensemble.config.data.chunk_events)


def inject(
    models: Sequence[Path],
    files: Sequence[str],
    *,
    output: Path,
    trees: Sequence[str] | None = None,
    mode: str | None = None,
    branch: str | None = None,
    suffix: str | None = None,
    default: float | None = None,
    threads: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Injected]:
    """Score ntuples; each event by the model that never saw it, in memory bounded by the chunk.

    Args:
        models: the ONNX files, one for each fold.
        files: the ntuples; they are only read.
        output: directory of the scored files: ``<stem>.friend.root``, or ``<name>`` for copies.
        trees: names or patterns such as ``*``; those of the configuration if absent. A tree that only a pattern
            names and that lacks a branch the features need is not scored, and reported as skipped.
        mode: ``friend`` or ``copy``; like the following ones, that of the configuration if absent.
        branch: prefix of the score branches ``<branch>_score``, or ``<branch>_<label>`` for several classes;
            ``<branch>_fold`` tells which model gave the score (-1: none).
        suffix: suffix of a friend tree's name.
        default: score of events outside the selection, and with fractions of events that the model has seen.
        threads: threads that score; 0 for all cores.
        overwrite: replace outputs that exist.
        progress: told how far the work has come.

    Returns:
        One entry a tree.

    Raises:
        InjectError: models do not fit together, or an output exists or cannot be written.
        InputError: a file, tree or branch is missing or damaged.
    """
    ensemble = load_models([Path(path) for path in models], threads)
    block = ensemble.config.inject
    mode = mode or block.mode
    if mode not in MODES:
        raise InjectError(f"--mode '{mode}' is not known; allowed are {one_of(MODES)}.{nearest(mode, MODES)}")
    job = _Job(
        ensemble,
        mode,
        branch or block.branch,
        block.suffix if suffix is None else suffix,
        block.default if default is None else default,
        progress or silent(),
    )
    if job.fold in job.scores:
        raise InjectError(f"the label 'fold' would give the branch '{job.fold}' twice; call the label something else")
    targets = _targets(files, Path(output), mode, overwrite)
    wanted = tuple(trees or block.trees or (ensemble.config.data.tree,))
    return _files(job, targets, wanted)


def _files(job: _Job, targets: Mapping[str, Path], wanted: Sequence[str]) -> list[Injected]:
    """Score several files at once: while one is opened or finished, others are read."""
    if len(targets) == 1:
        return [result for file, target in targets.items() for result in _file(job, file, target, wanted)]
    quiet = replace(job, progress=silent())
    results: list[Injected] = []
    job.progress.start("score", len(targets), "files")
    with ThreadPoolExecutor(FILES_AT_ONCE) as threads:
        running = [threads.submit(_file, quiet, file, target, wanted) for file, target in targets.items()]
        try:
            for each in running:
                results += each.result()
                job.progress.advance(1)
        finally:
            threads.shutdown(cancel_futures=True)
            job.progress.finish()
    return results


def _targets(files: Sequence[str], output: Path, mode: str, overwrite: bool) -> dict[str, Path]:
    """Return the output of each file, all checked before anything is written."""
    if output.exists() and not output.is_dir():
        raise InjectError(f"{output}: --output must be a directory, and this is a file")
    targets: dict[str, Path] = {}
    for file in dict.fromkeys(files):
        name = Path(file.rsplit("/", 1)[-1])
        target = output / (f"{name.stem}.friend.root" if mode == "friend" else name.name)
        for other, theirs in targets.items():
            if theirs == target:
                raise InjectError(
                    f"{other} and {file} would both be scored into {target}; score them into two directories"
                )
        if "://" not in file and Path(file).exists() and target.exists() and target.samefile(file):
            raise InjectError(f"{file}: --output {output} is where the ntuple itself lies; give another directory")
        if target.exists() and not overwrite:
            raise InjectError(f"{target}: exists already; remove it, give another --output, or say --overwrite")
        targets[file] = target
    return targets


def _file(job: _Job, file: str, target: Path, wanted: Sequence[str]) -> list[Injected]:
    trees = _trees(file, wanted)
    results: list[Injected] = []
    with job.writer(file, target) as writer:
        for name, named in trees.items():
            with open_tree(file, name) as tree:
                branches = required_branches(job.ensemble.config, None, tree.branches, with_weight=False)
                try:
                    tree.require(branches)
                except InputError as error:
                    if named:
                        raise
                    results.append(Injected(file, name, target, tree.entries, 0, 0, 0, 0.0, str(error)))
                else:
                    results.append(_tree(job, tree, branches, target, writer))
        if all(result.skipped for result in results):
            raise InputError(results[0].skipped)
        writer.note(f"{job.branch}_provenance", json.dumps(_provenance(job, file)))
    return results


def _trees(file: str, wanted: Sequence[str]) -> dict[str, bool]:
    """Return the trees that are wanted, each with whether it is named and not only found by a pattern."""
    there = list_trees(file)
    names: dict[str, bool] = {}
    for pattern in wanted:
        named = pattern in there or not any(sign in pattern for sign in "*?[")
        found = [pattern] if named else [name for name in there if fnmatchcase(name, pattern)]
        if not found:
            raise InputError(f"{file}: no tree fits '{pattern}'; it has {one_of(there) if there else 'none'}")
        names |= {name: named or names.get(name, False) for name in found}
    return names


def _tree(job: _Job, tree: NtupleTree, names: Sequence[str], target: Path, writer: ScoreWriter) -> Injected:
    started = time.monotonic()
    writer.begin(tree, job.branches(writer.event_id))
    scored = seen = 0
    job.progress.start(f"score {Path(tree.path).name}", tree.entries)
    for start, stop, event_number, scores in ahead(_scored(job, ahead(_read(job, tree, names)))):
        scores.values[scores.fold == NO_FOLD] = job.default
        columns = dict(zip(job.scores, np.ascontiguousarray(scores.values.T), strict=True))
        columns[job.fold] = scores.fold
        if writer.event_id:
            columns["eventNumber"] = event_number
        writer.extend(tree, start, stop, columns)
        scored += int((scores.fold != NO_FOLD).sum())
        seen += int(scores.left_out.sum())
        job.progress.advance(stop - start)
    job.progress.finish()
    seconds = time.monotonic() - started
    defaulted = tree.entries - scored - seen
    return Injected(tree.path, tree.name, target, tree.entries, scored, defaulted, seen, seconds)


def _read(job: _Job, tree: NtupleTree, names: Sequence[str]) -> Generator[tuple[int, int, Rows], None, None]:
    """Yield first entry, entry after the last and rows of each chunk."""
    config = job.ensemble.config
    for start, stop in tree.spans(config.data.chunk_events, names):
        arrays = tree.read(names, start, stop)
        try:
            rows = build(config, arrays, with_weight=False, start=start, entries=stop - start)
        except InputError as error:
            raise InputError(f"{tree.path}: tree '{tree.name}': {error}") from None
        yield start, stop, rows


def _scored(
    job: _Job, chunks: Iterator[tuple[int, int, Rows]]
) -> Generator[tuple[int, int, np.ndarray, Scores], None, None]:
    """Yield first entry, entry after the last, event numbers and scores of each chunk."""
    config = job.ensemble.config
    for start, stop, rows in chunks:
        inputs = network_arrays(config, rows.events, rows.objects)
        with_seen = config.inject.score_seen_events
        scores = score(job.ensemble, inputs, rows.event_number, rows.selected, with_seen=with_seen)
        yield start, stop, rows.event_number, scores


def _provenance(job: _Job, file: str) -> dict[str, Any]:
    """Return what made the scores, as plain data."""
    first = job.ensemble.models[0].metadata
    return {
        "source": identity(file).as_dict(),
        "models": [str(model.path) for model in job.ensemble.models],
        "config_digest": first["config_digest"],
        "model_version": first.get("version"),
        "git_commit": git_commit(),
        "default": job.default,
    }
