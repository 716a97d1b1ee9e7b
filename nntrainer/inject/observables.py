"""CP observables into ntuples, by the writers that take scores; every entry has them, selected or not."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nntrainer.config import Config
from nntrainer.dataset.build import branches_of, evaluate
from nntrainer.dataset.observables import block_of, observables_of
from nntrainer.errors import InjectError, nearest, one_of
from nntrainer.inject.inject import MODES, originals, targets_of, trees_in
from nntrainer.ntuples.inplace.writer import InPlaceWriter
from nntrainer.ntuples.reader import NtupleTree, identity, open_tree
from nntrainer.ntuples.writers import CopyWriter, FriendWriter, ScoreWriter
from nntrainer.observables.compute import described, formulas
from nntrainer.progress import Progress, silent
from nntrainer.provenance import git_commit
from nntrainer.threads import ahead


@dataclass(frozen=True)
class Written:
    """One tree with its observables: ntuple, tree, output, entries and the time it took."""

    file: str
    tree: str
    output: Path
    events: int
    seconds: float


def inject_observables(
    config: Config,
    files: Sequence[str],
    *,
    output: Path,
    mode: str = "friend",
    overwrite: bool = False,
    replace: bool = False,
    progress: Progress | None = None,
) -> list[Written]:
    """Write the observables as branches ``<observables.branch>_<name>``, float32, NaN where they are not defined.

    Args:
        config: the configuration.
        files: the ntuples.
        output: directory of the files written.
        mode: ``friend``, ``copy`` or ``inplace``, as for scores.
        overwrite: replace outputs that exist.
        replace: in place: add the branches to the ntuples themselves.
        progress: told how far the work has come.

    Returns:
        One entry a tree.

    Raises:
        ConfigError: there is no block ``observables``.
        InjectError: the mode is unknown, or an output exists or cannot be written.
        InputError: a file, tree or branch is missing or damaged.
    """
    block = block_of(config)
    if mode not in MODES:
        raise InjectError(f"--mode '{mode}' is not known; allowed are {one_of(MODES)}.{nearest(mode, MODES)}")
    if replace and mode != "inplace":
        raise InjectError(f"--replace changes the ntuples themselves, which --mode {mode} never does")
    targets = originals(files) if replace else targets_of(files, Path(output), mode, overwrite)
    wanted = config.inject.trees or (config.data.tree,)
    types = {f"{block.branch}_{name}": np.dtype("f4") for name in block.names()}
    done: list[Written] = []
    for file, target in targets.items():
        with _writer(config, mode, file, target) as writer:
            for name in trees_in(file, wanted):
                with open_tree(file, name) as tree:
                    started = time.monotonic()
                    first = {"eventNumber": np.dtype("u8")} if writer.event_id else {}
                    writer.begin(tree, first | types)
                    (progress or silent()).start(f"observables {Path(file).name}", tree.entries)
                    for start, stop, columns in ahead(_columns(config, tree, writer.event_id)):
                        writer.extend(tree, start, stop, columns)
                        (progress or silent()).advance(stop - start)
                    (progress or silent()).finish()
                    done.append(Written(file, name, target, tree.entries, time.monotonic() - started))
            told = {"source": identity(file).as_dict(), "observables": described(block), "frame": block.frame}
            made = {"git_commit": git_commit(), "config_digest": config.digest(), "formulas": formulas(block)}
            writer.note(f"{block.branch}_provenance", json.dumps(told | made))
    return done


def _writer(config: Config, mode: str, file: str, target: Path) -> ScoreWriter:
    if mode == "friend":
        return FriendWriter(target, block_of(config).suffix)
    if mode == "inplace":
        return InPlaceWriter(target, file, config.inject.overwrite_branch)
    return CopyWriter(target, file, config.data.chunk_events)


def _columns(
    config: Config, tree: NtupleTree, event_id: bool
) -> Generator[tuple[int, int, dict[str, np.ndarray]], None, None]:
    """Yield first entry, entry after the last and the new branches of each chunk."""
    block = block_of(config)
    ids = {"data.event_id": config.data.event_id} if event_id else {}
    branches = branches_of(config, [*formulas(block).values(), *ids.values()], tree.branches)
    for start, stop in tree.spans(config.data.chunk_events, branches):
        found = observables_of(config, tree, start, stop)
        columns = {f"{block.branch}_{name}": values for name, values in found.items()}
        if ids:
            arrays = tree.read(branches_of(config, ids.values(), tree.branches), start, stop)
            numbers = evaluate(config, ids, arrays, start=start, entries=stop - start)["data.event_id"]
            columns["eventNumber"] = numbers.astype(np.uint64)
        yield start, stop, columns
