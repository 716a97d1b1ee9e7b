"""Score ntuples with exported models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from nntrainer.config import Config
from nntrainer.dataset.build import build, required_branches
from nntrainer.dataset.inputs import network_arrays
from nntrainer.errors import InjectError, InputError, one_of
from nntrainer.inject.models import Ensemble, load_models
from nntrainer.ntuples.reader import NtupleTree, list_trees, open_tree
from nntrainer.ntuples.writers import CopyWriter, FriendWriter, ScoreWriter
from nntrainer.progress import Progress, silent


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
    """

    file: str
    tree: str
    output: Path
    events: int
    scored: int
    defaulted: int
    seen: int
    seconds: float


@dataclass(frozen=True)
class _Options:
    """What the caller said, or else the configuration in the models."""

    mode: str
    branch: str
    suffix: str
    default: float
    with_seen: bool

    @property
    def fold_branch(self) -> str:
        return f"{self.branch}_fold"


def inject(
    models: Sequence[Path],
    files: Sequence[str],
    *,
    output: Path,
    trees: Sequence[str] | None = None,
    mode: Literal["friend", "copy"] | str | None = None,
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
        trees: names; ``*`` for all of a file; those of the configuration if absent.
        mode: ``friend`` or ``copy``; like the following ones, that of the configuration if absent.
        branch: prefix of the score branches ``<branch>_score``, or ``<branch>_<label>`` for several classes;
            ``<branch>_fold`` tells which model gave the score (-1: none).
        suffix: suffix of a friend tree's name.
        default: score of events outside the selection.
        threads: threads of ONNX Runtime; 0 for all cores.
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
    options = _Options(
        mode or block.mode,
        branch or block.branch,
        suffix or block.suffix,
        block.default if default is None else default,
        block.score_seen_events,
    )
    if options.mode not in ("friend", "copy"):
        raise InjectError(f"--mode '{options.mode}' is not known; allowed are 'friend' and 'copy'")
    targets = _targets(files, Path(output), options, overwrite)
    wanted = tuple(trees or block.trees or (ensemble.config.data.tree,))
    results = []
    for file, target in targets.items():
        results += _file(ensemble, file, target, wanted, options, progress or silent())
    return results


def _targets(files: Sequence[str], output: Path, options: _Options, overwrite: bool) -> dict[str, Path]:
    """Return the output of each file, all checked before anything is written."""
    targets: dict[str, Path] = {}
    for file in dict.fromkeys(files):
        name = Path(file.rsplit("/", 1)[-1])
        target = output / (f"{name.stem}.friend.root" if options.mode == "friend" else name.name)
        for other, theirs in targets.items():
            if theirs == target:
                raise InjectError(
                    f"{file} and {other} would both be scored into {target}; score them into two directories"
                )
        if "://" not in file and target.exists() and target.samefile(file):
            raise InjectError(f"{file}: --output {output} is where the ntuple itself lies; give another directory")
        if target.exists() and not overwrite:
            raise InjectError(f"{target}: exists already; remove it, give another --output, or say --overwrite")
        targets[file] = target
    return targets


def _file(
    ensemble: Ensemble, file: str, target: Path, wanted: Sequence[str], options: _Options, progress: Progress
) -> list[Injected]:
    names = _trees(file, wanted)
    if options.mode == "copy":
        lost = [name for name in list_trees(file) if name not in names]
        if lost:
            raise InjectError(
                f"{file}: a copy would lose the trees {one_of(lost)}; name them with --tree, or use --mode friend"
            )
    writer: ScoreWriter
    writer = FriendWriter(target, options.suffix) if options.mode == "friend" else CopyWriter(target)
    results = []
    with writer:
        for name in names:
            with open_tree(file, name) as tree:
                results.append(_tree(ensemble, tree, target, writer, options, progress))
    return results


def _trees(file: str, wanted: Sequence[str]) -> list[str]:
    if "*" in wanted:
        return list_trees(file)
    return list(dict.fromkeys(wanted))


def _tree(
    ensemble: Ensemble,
    tree: NtupleTree,
    target: Path,
    writer: ScoreWriter,
    options: _Options,
    progress: Progress,
) -> Injected:
    started = time.monotonic()
    config = ensemble.config
    names = required_branches(config, None, tree.branches, with_weight=False)
    tree.require(names)
    outputs = [f"{options.branch}_{name}" for name in ensemble.outputs]
    branches: dict[str, np.dtype] = {**{name: np.dtype("f4") for name in outputs}, options.fold_branch: np.dtype("i4")}
    if options.mode == "friend":
        branches = {"eventNumber": np.dtype("u8"), **branches}
    writer.begin(tree, branches)
    scored = seen = selected = 0
    progress.start(f"score {Path(tree.path).name}", tree.entries)
    for start in range(0, tree.entries, config.data.chunk_events):
        stop = min(start + config.data.chunk_events, tree.entries)
        chunk, counts = _chunk(ensemble, config, tree, names, start, stop, outputs, options)
        writer.extend(tree, start, stop, chunk)
        scored, seen, selected = scored + counts[0], seen + counts[1], selected + counts[2]
        progress.advance(stop - start)
    progress.finish()
    seconds = time.monotonic() - started
    return Injected(tree.path, tree.name, target, tree.entries, scored, tree.entries - selected, seen, seconds)


def _chunk(
    ensemble: Ensemble,
    config: Config,
    tree: NtupleTree,
    names: Sequence[str],
    start: int,
    stop: int,
    outputs: Sequence[str],
    options: _Options,
) -> tuple[dict[str, np.ndarray], tuple[int, int, int]]:
    """Score a chunk; return the new branches, and the numbers scored, left out as seen, and selected."""
    arrays = tree.read(names, start, stop)
    try:
        rows = build(config, arrays, with_weight=False, start=start, entries=stop - start)
    except InputError as error:
        raise InputError(f"{tree.path}: tree '{tree.name}': {error}") from None
    inputs = network_arrays(config, rows.events, rows.objects)
    scores, fold, left_out = ensemble.score(inputs, rows.event_number, rows.selected, options.with_seen)
    scores[fold < 0] = options.default
    chunk: dict[str, np.ndarray] = {"eventNumber": rows.event_number} if options.mode == "friend" else {}
    chunk |= {name: np.ascontiguousarray(scores[:, index]) for index, name in enumerate(outputs)}
    chunk[options.fold_branch] = fold
    return chunk, (int((fold >= 0).sum()), int(left_out.sum()), int(rows.selected.sum()))
