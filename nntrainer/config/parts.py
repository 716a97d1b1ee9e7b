"""What a run can be cut into: parts that a job of its own can do, and what must be there before each.

This is the contract between `nntrainer run --part`, which does a part, and `deploy`, which sends parts to machines.
Paths are relative to the run directory, which is where a job starts; an absolute `data.directory` stays absolute.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nntrainer.config.models import Config
from nntrainer.errors import ConfigError, nearest, one_of
from nntrainer.files import expand

Stage = Literal["convert", "train", "evaluate", "inject", "tune"]
RECORDS = "parts"
"""Directory of the parts' records in the run directory."""
REST = "rest"
"""In place of a part's name: what follows the training, or the trials, for the job that ends last."""
BEST = "tune-best"
"""The part that makes the results of a search."""
_INJECT = re.compile(r"inject-(\d+)of(\d+)")
_TUNE = re.compile(r"tune-(share)?(\d+)of(\d+)")


@dataclass(frozen=True)
class Part:
    """A piece of a run.

    Attributes:
        name: ``convert-<sample>``, ``train-fold<i>``, ``evaluate`` or ``inject-<i>of<n>``; of a search
            ``tune-<i>of<n>``, ``tune-share<i>of<n>`` and ``tune-best``; names its record.
        stage: what it does; ``evaluate`` draws the inputs, exports and reports, too, or measures a search's trials.
        needs: names of the parts that must be done before.
        reads: files and directories of the run that it reads.
        writes: files and directories of the run that it makes, besides its record.
        ntuples: ntuples that it reads: paths, globs or addresses, as the configuration has them.
    """

    name: str
    stage: Stage
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    ntuples: tuple[str, ...] = ()

    @property
    def record(self) -> str:
        """The file that says how the part went, written last; ``deploy`` trusts what it lists."""
        return f"{RECORDS}/{self.name}.json"

    @property
    def sample(self) -> str:
        """The sample that a convert part converts."""
        return self.name.removeprefix("convert-")

    @property
    def fold(self) -> int:
        """The fold that a train part trains."""
        return int(self.name.removeprefix("train-fold"))


def ntuples_to_score(config: Config) -> list[str]:
    """Return the ntuples that are scored: paths as they are given, globs expanded.

    Args:
        config: the configuration.

    Returns:
        `inject.files`, or those of all samples, each once.

    Raises:
        InputError: a glob matches nothing.
    """
    patterns = config.inject.files or [pattern for sample in config.data.samples for pattern in sample.files]
    found = [path for each in patterns for path in (expand([each]) if glob.has_magic(each) else [each])]
    return list(dict.fromkeys(found))


def parts_of(config: Config, groups: int = 1, *, expanded: bool = True) -> list[Part]:
    """Return the parts of a run.

    Args:
        config: the configuration.
        groups: how many parts score the ntuples; part *i* of *n* takes every *n*-th ntuple from the *i*-th on.
        expanded: say which ntuples each of those takes, which only a machine that sees the ntuples can.

    Returns:
        The parts, each after those that it needs.
    """
    datasets = {sample.name: str(dataset_path(config, sample.name)) for sample in config.data.samples}
    convert = [
        Part(f"convert-{sample.name}", "convert", writes=(datasets[sample.name],), ntuples=sample.files)
        for sample in config.data.samples
    ]
    folds = range(config.preparation.k)
    trained = tuple(f"training/fold{fold}" for fold in folds)
    converted = tuple(datasets.values())
    train = [
        Part(f"train-fold{fold}", "train", tuple(part.name for part in convert), converted, (trained[fold],))
        for fold in folds
    ]
    evaluate = Part(
        "evaluate",
        "evaluate",
        tuple(part.name for part in train),
        (*converted, *trained),
        ("plots", "models", "metrics.json", "history.csv", "report.html"),
    )
    scored = str(config.inject.directory or "scored")
    ntuples = ntuples_to_score(config) if expanded else []
    inject = [
        Part(
            f"inject-{i}of{groups}",
            "inject",
            ("evaluate",),
            ("models",),
            (scored,),
            tuple(ntuples[i::groups]),
        )
        for i in range(groups)
    ]
    return [*convert, *train, evaluate, *inject]


def tune_parts(config: Config, jobs: int, *, shared: bool = True) -> list[Part]:
    """Return the parts of a search.

    Args:
        config: the configuration.
        jobs: how many parts do trials.
        shared: they share one journal, in a run directory that all of them see; else each has a share of the trials
            (every ``jobs``-th) and a journal of its own.

    Returns:
        The parts, each after those that it needs.
    """
    convert = of_stage(parts_of(config, expanded=False), "convert")
    converted = tuple(path for part in convert for path in part.writes)
    names = tuple(part.name for part in convert)
    word = "" if shared else "share"
    # Shared files are nobody's own: the last part lists them when they change no more.
    folders = [() if shared else (f"tune/share{i}",) for i in range(jobs)]
    tune = [Part(f"tune-{word}{i}of{jobs}", "tune", names, converted, folders[i]) for i in range(jobs)]
    reads = ("tune",) if shared else tuple(path for folder in folders for path in folder)
    return [*convert, *tune, Part(BEST, "evaluate", tuple(part.name for part in tune), reads, ("tune",))]


def share_of(part: Part) -> tuple[int, int] | None:
    """Return number and count of a tune part that has a journal of its own, None of others."""
    match = _TUNE.fullmatch(part.name)
    return (int(match[2]), int(match[3])) if match and match[1] else None


def part_named(config: Config, name: str) -> Part:
    """Return a part by its name.

    Args:
        config: the configuration.
        name: the name.

    Returns:
        The part.

    Raises:
        ConfigError: the configuration has no such part.
    """
    match = _INJECT.fullmatch(name)
    groups = int(match[2]) if match and 0 <= int(match[1]) < int(match[2]) else 1
    named = [*parts_of(config, groups), *(_of_search(config, name) if config.tune else ())]
    parts = {part.name: part for part in named}
    if name not in parts:
        raise ConfigError(f"there is no part '{name}'; parts are {one_of(parts)}.{nearest(name, parts)}")
    return parts[name]


def rest_of(config: Config, name: str | None) -> tuple[list[Part], list[Part]]:
    """Return what ``rest`` means after a part.

    Args:
        config: the configuration.
        name: the part that a job has done before, if any.

    Returns:
        The parts that must be done, which are all trainings or all of a search's workers, and those that then follow.
    """
    stage: Stage = "train"
    parts = parts_of(config)
    if name is not None and _TUNE.fullmatch(name):
        stage, parts = "tune", _of_search(config, name)
    return of_stage(parts, stage), [part for part in parts if part.stage in ("evaluate", "inject")]


def _of_search(config: Config, name: str) -> list[Part]:
    """Return the parts of the search that a part of this name belongs to, if it is one."""
    match = _TUNE.fullmatch(name)
    jobs = int(match[3]) if match and 0 <= int(match[2]) < int(match[3]) else 1
    return tune_parts(config, jobs, shared=not (match and match[1]))


def dataset_path(config: Config, sample: str) -> Path:
    """Return where the dataset file of a sample lies."""
    return config.data.directory / config.data_digest()[:12] / f"{sample}.h5"


def of_stage(parts: Sequence[Part], stage: Stage) -> list[Part]:
    """Return the parts of one stage."""
    return [part for part in parts if part.stage == stage]
