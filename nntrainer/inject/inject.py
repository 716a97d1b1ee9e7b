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
from nntrainer.files import is_remote
from nntrainer.inject.models import Ensemble, load_ensembles
from nntrainer.inject.score import NO_FOLD, score
from nntrainer.ntuples.inplace.writer import InPlaceWriter, recover
from nntrainer.ntuples.reader import NtupleTree, identity, list_trees, open_tree
from nntrainer.ntuples.writers import CopyWriter, FriendWriter, ScoreWriter
from nntrainer.progress import Progress, silent
from nntrainer.provenance import git_commit
from nntrainer.threads import ahead

MODES = ("friend", "copy", "inplace")
FILES_AT_ONCE = 2


@dataclass(frozen=True)
class Injected:
    """One tree scored by the models of one training.

    Attributes:
        file: the ntuple.
        tree: its tree.
        output: the file written.
        branch: prefix of the score branches.
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
    branch: str
    events: int
    scored: int
    defaulted: int
    seen: int
    seconds: float
    skipped: str = ""


@dataclass(frozen=True)
class _Scorer:
    """The models of one training, how their branches are called, and the score of events without one."""

    ensemble: Ensemble
    branch: str
    default: float

    @property
    def scores(self) -> list[str]:
        """The score branches."""
        return [f"{self.branch}_{name}" for name in self.ensemble.outputs]

    @property
    def fold(self) -> str:
        """The branch that tells which model gave the score."""
        return f"{self.branch}_fold"

    def branches(self) -> dict[str, np.dtype[Any]]:
        """The new branches with their types."""
        return {name: np.dtype("f4") for name in self.scores} | {self.fold: np.dtype("i4")}

    def required(self, tree: NtupleTree) -> list[str]:
        """Return the branches that the features need."""
        return required_branches(self.ensemble.config, None, tree.branches, with_weight=False)

    def rows(self, tree: NtupleTree, arrays: dict[str, Any], start: int, stop: int) -> Rows:
        """Return what the features say of some entries."""
        try:
            return build(self.ensemble.config, arrays, with_weight=False, start=start, entries=stop - start)
        except InputError as error:
            raise InputError(f"{tree.path}: tree '{tree.name}': {error}") from None

    def columns(self, rows: Rows, count: _Count) -> dict[str, np.ndarray]:
        """Return the new branches of some entries."""
        config = self.ensemble.config
        inputs = network_arrays(config, rows.events, rows.objects)
        with_seen = config.inject.score_seen_events
        scores = score(self.ensemble, inputs, rows.event_number, rows.selected, with_seen=with_seen)
        scores.values[scores.fold == NO_FOLD] = self.default
        count.scored += int((scores.fold != NO_FOLD).sum())
        count.seen += int(scores.left_out.sum())
        new = dict(zip(self.scores, np.ascontiguousarray(scores.values.T), strict=True))
        return new | {self.fold: scores.fold}


@dataclass
class _Count:
    """Entries of a tree with a score, and those left out because the only model has seen them."""

    scored: int = 0
    seen: int = 0


@dataclass(frozen=True)
class _Job:
    """The models, and what the caller said or else their configuration says."""

    scorers: tuple[_Scorer, ...]
    mode: str
    suffix: str
    overwrite_branch: bool
    progress: Progress

    @property
    def chunk_events(self) -> int:
        """Entries read at a time."""
        return min(scorer.ensemble.config.data.chunk_events for scorer in self.scorers)

    def branches(self, event_id: bool) -> dict[str, np.dtype[Any]]:
        """The new branches with their types."""
        types: dict[str, np.dtype[Any]] = {"eventNumber": np.dtype("u8")} if event_id else {}
        for scorer in self.scorers:
            types |= scorer.branches()
        return types

    def writer(self, file: str, target: Path) -> ScoreWriter:
        """Return what writes the scores of a file."""
        if self.mode == "friend":
            return FriendWriter(target, self.suffix)
        if self.mode == "inplace":
            return InPlaceWriter(target, file, self.overwrite_branch)
        return CopyWriter(target, file, self.chunk_events)


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
    replace: bool = False,
    overwrite_branch: bool | None = None,
    progress: Progress | None = None,
) -> list[Injected]:
    """Score ntuples; each event by the model that never saw it, in memory bounded by the chunk.

    Args:
        models: the ONNX files, one for each fold or the one of all folds; also of several trainings, whose scores
            are written in one pass.
        files: the ntuples; they are only read, unless they are to be replaced.
        output: directory of the scored files: ``<stem>.friend.root``, or ``<name>`` for copies.
        trees: names or patterns such as ``*``; those of the configuration if absent. A tree that only a pattern
            names and that lacks a branch the features need is not scored, and reported as skipped.
        mode: ``friend``, ``copy`` (everything is written again) or ``inplace`` (branches are added to a copy of the
            bytes); like the following ones, that of the configuration if absent.
        branch: prefix of the score branches ``<branch>_score``, or ``<branch>_<label>`` for several classes;
            ``<branch>_fold`` tells which model gave the score (-1: none).
        suffix: suffix of a friend tree's name.
        default: score of events outside the selection, and with fractions of events that the model has seen.
        threads: threads that score; 0 for all cores.
        overwrite: replace outputs that exist.
        replace: in place: add the branches to the ntuples themselves.
        overwrite_branch: in place: unhook branches of the new names.
        progress: told how far the work has come.

    Returns:
        One entry for each tree and training.

    Raises:
        InjectError: models do not fit together, or an output exists or cannot be written.
        InputError: a file, tree or branch is missing or damaged.
    """
    ensembles = load_ensembles([Path(path) for path in models], threads)
    block = ensembles[0].config.inject
    mode = mode or block.mode
    if mode not in MODES:
        raise InjectError(f"--mode '{mode}' is not known; allowed are {one_of(MODES)}.{nearest(mode, MODES)}")
    if replace and mode != "inplace":
        raise InjectError(
            f"--replace changes the ntuples themselves, which --mode {mode} never does; say --mode inplace"
        )
    job = _Job(
        _scorers(ensembles, branch, default),
        mode,
        block.suffix if suffix is None else suffix,
        block.overwrite_branch if overwrite_branch is None else overwrite_branch,
        progress or silent(),
    )
    targets = _originals(files) if replace else _targets(files, Path(output), mode, overwrite)
    wanted = tuple(trees or block.trees or (ensembles[0].config.data.tree,))
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


def _scorers(ensembles: Sequence[Ensemble], branch: str | None, default: float | None) -> tuple[_Scorer, ...]:
    """Return the trainings with the names of their branches, which must differ."""
    scorers: list[_Scorer] = []
    for ensemble in ensembles:
        block = ensemble.config.inject
        scorer = _Scorer(ensemble, branch or block.branch, block.default if default is None else default)
        if scorer.fold in scorer.scores:
            raise InjectError(
                f"the label 'fold' would give the branch '{scorer.fold}' twice; call the label something else"
            )
        for other in scorers:
            if set(other.branches()) & set(scorer.branches()):
                raise InjectError(
                    f"{ensemble.models[0].path} and {other.ensemble.models[0].path} would both write branches "
                    f"'{scorer.branch}_...'; give the trainings different inject.branch, or score with one at a time"
                )
        scorers.append(scorer)
    return tuple(scorers)


def _originals(files: Sequence[str]) -> dict[str, Path]:
    """Return the files themselves as outputs; a change that was interrupted is taken back first."""
    for file in files:
        if not is_remote(file):
            recover(file)
    return {file: Path(file) for file in dict.fromkeys(files)}


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
            hint = ", or say --replace" if mode == "inplace" else ""
            raise InjectError(
                f"{file}: --output {output} is where the ntuple itself lies; give another directory{hint}"
            )
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
                branches = list(dict.fromkeys(name for scorer in job.scorers for name in scorer.required(tree)))
                try:
                    tree.require(branches)
                except InputError as error:
                    if named:
                        raise
                    results += _injected(job, tree, target, [_Count() for _ in job.scorers], 0.0, str(error))
                else:
                    results += _tree(job, tree, branches, target, writer)
        if all(result.skipped for result in results):
            raise InputError(results[0].skipped)
        for scorer in job.scorers:
            writer.note(f"{scorer.branch}_provenance", json.dumps(_provenance(scorer, file)))
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


def _tree(job: _Job, tree: NtupleTree, names: Sequence[str], target: Path, writer: ScoreWriter) -> list[Injected]:
    started = time.monotonic()
    writer.begin(tree, job.branches(writer.event_id))
    counts = [_Count() for _ in job.scorers]
    job.progress.start(f"score {Path(tree.path).name}", tree.entries)
    for start, stop, columns in ahead(_scored(job, counts, ahead(_read(job, tree, names)))):
        if not writer.event_id:
            columns.pop("eventNumber")
        writer.extend(tree, start, stop, columns)
        job.progress.advance(stop - start)
    job.progress.finish()
    return _injected(job, tree, target, counts, time.monotonic() - started)


def _injected(
    job: _Job, tree: NtupleTree, target: Path, counts: Sequence[_Count], seconds: float, skipped: str = ""
) -> list[Injected]:
    """Return what to tell of a tree: one entry a training."""
    results = []
    for scorer, count in zip(job.scorers, counts, strict=True):
        left = 0 if skipped else tree.entries - count.scored - count.seen
        outcome = (tree.entries, count.scored, left, count.seen, seconds, skipped)
        results.append(Injected(tree.path, tree.name, target, scorer.branch, *outcome))
    return results


def _read(job: _Job, tree: NtupleTree, names: Sequence[str]) -> Generator[tuple[int, int, list[Rows]], None, None]:
    """Yield first entry, entry after the last and the rows of each training, chunk by chunk."""
    for start, stop in tree.spans(job.chunk_events, names):
        arrays = tree.read(names, start, stop)
        yield start, stop, [scorer.rows(tree, arrays, start, stop) for scorer in job.scorers]


def _scored(
    job: _Job, counts: Sequence[_Count], chunks: Iterator[tuple[int, int, list[Rows]]]
) -> Generator[tuple[int, int, dict[str, np.ndarray]], None, None]:
    """Yield first entry, entry after the last and the columns of each chunk: event numbers, scores and folds."""
    for start, stop, several in chunks:
        columns = {"eventNumber": several[0].event_number}
        for scorer, rows, count in zip(job.scorers, several, counts, strict=True):
            columns |= scorer.columns(rows, count)
        yield start, stop, columns


def _provenance(scorer: _Scorer, file: str) -> dict[str, Any]:
    """Return what made the scores, as plain data."""
    first = scorer.ensemble.models[0].metadata
    return {
        "source": identity(file).as_dict(),
        "models": [str(model.path) for model in scorer.ensemble.models],
        "config_digest": first["config_digest"],
        "model_version": first.get("version"),
        "git_commit": git_commit(),
        "default": scorer.default,
    }
