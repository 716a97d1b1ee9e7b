"""``nntrainer run``: the stages in order, each skipped when its output is up to date; or parts of a run, one a job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nntrainer.config import Config
from nntrainer.config.models import digest
from nntrainer.config.parts import BEST, REST, Part, of_stage, part_named, rest_of, share_of, tune_parts
from nntrainer.errors import Interrupted, RunError, nearest, one_of
from nntrainer.files import expand, sha256
from nntrainer.progress import Progress, silent
from nntrainer.record import Record, StageResult, Work, read_record
from nntrainer.rundir import RunDir, find_or_create, run_digest
from nntrainer.stages import STAGES, best, convert, inject, train, tune


@dataclass(frozen=True)
class RunResult:
    """A finished run, or finished parts of one: its directory and what each stage did."""

    run: RunDir
    stages: tuple[StageResult, ...]


def run(
    config: Config,
    *,
    run_dir: Path | None = None,
    root: Path = Path("runs"),
    stages: Sequence[str] | None = None,
    new: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> RunResult:
    """Run the stages in order in one run directory.

    Args:
        config: the configuration.
        run_dir: the run directory; by default the latest of this configuration and these inputs, or a new one.
        root: where run directories are made.
        stages: the stages to run; all by default.
        new: make a new run directory in any case.
        force: run stages whose outputs are up to date, too.
        progress: told how far the work has come.

    Returns:
        The run directory and what each stage did.

    Raises:
        NNTrainerError: something the user gave is wrong.
        Interrupted: stopped on request with the state saved.
    """
    wanted = list(STAGES) if stages is None else list(stages)
    for name in wanted:
        if name not in STAGES:
            raise RunError(f"there is no stage '{name}'; stages are {one_of(STAGES)}.{nearest(name, STAGES)}")
    directory = RunDir(run_dir) if run_dir is not None else find_or_create(config, root, new=new)
    with directory.lock():
        directory.claim(config)
        record = Record(directory, config, directory.run_json, run_digest(config))
        with _closing(record):
            chosen = [(name, STAGES[name]) for name in STAGES if name in wanted]
            results = [record.stage(name, work, progress or silent(), force) for name, work in chosen]
            directory.write_manifest()
        record.close("done")
    return RunResult(directory, tuple(results))


def run_parts(
    config: Config, names: Sequence[str], *, run_dir: Path, force: bool = False, progress: Progress | None = None
) -> RunResult:
    """Do parts of a run, which other processes and machines may do other parts of at the same time.

    A part that another process is doing is waited for, and then found up to date. The record of a part is
    ``parts/<name>.json``; it lists the part's files in the run directory and is written last.

    Args:
        config: the configuration.
        names: the parts, in order; ``rest`` evaluates and injects if all folds are trained by then, or after a part of
            a search makes its results if all trials are done.
        run_dir: the run directory, or as much of it as the parts read.
        force: do parts whose outputs are up to date, too.
        progress: told how far the work has come.

    Returns:
        The run directory and what each stage of the parts did.

    Raises:
        NNTrainerError: something the user gave is wrong.
        Interrupted: stopped on request with the state saved.
    """
    for name in names:
        if name != REST:
            part_named(config, name)
    directory = RunDir(run_dir)
    directory.claim(config)
    results: list[StageResult] = []
    before: str | None = None
    for name in names:
        for part in _rest(config, directory, before) if name == REST else [part_named(config, name)]:
            results += _part(config, directory, part, force, progress or silent())
        before = name
    return RunResult(directory, tuple(results))


def search(
    config: Config,
    *,
    run_dir: Path | None = None,
    root: Path = Path("runs"),
    jobs: int = 1,
    new: bool = False,
    progress: Progress | None = None,
) -> RunResult:
    """Search the best values of the keys in the tune block; what was searched before counts.

    Args:
        config: the configuration.
        run_dir: the run directory; by default the latest of this configuration and these inputs, or a new one.
        root: where run directories are made.
        jobs: processes on this machine that do trials at the same time.
        new: make a new run directory in any case.
        progress: told how far the work has come.

    Returns:
        The run directory and what each stage did.

    Raises:
        NNTrainerError: something the user gave is wrong.
        Interrupted: stopped on request with the state saved.
    """
    from nntrainer.tuning.beside import run_beside
    from nntrainer.tuning.engine import require
    from nntrainer.tuning.search import search_of

    options = search_of(config)
    require(options.engine)
    if jobs > 1 and options.engine == "hyperopt":
        raise RunError("tune.engine 'hyperopt' keeps a search in one process; take the engine optuna, or one job")
    directory = RunDir(run_dir) if run_dir is not None else find_or_create(config, root, new=new)
    with directory.lock():
        directory.claim(config)
        parts = tune_parts(config, jobs)
        first = [part.name for part in parts if part.stage == "convert"]
        middle = [part.name for part in of_stage(parts, "tune")]
        results: list[StageResult] = []
        if jobs > 1:
            results += run_parts(config, first, run_dir=directory.path, progress=progress).stages
            run_beside(config, middle, directory)
            first, middle = [], []
        names = [*first, *middle, BEST]
        results += run_parts(config, names, run_dir=directory.path, progress=progress).stages
        directory.write_manifest()
    return RunResult(directory, tuple(results))


def _rest(config: Config, run: RunDir, before: str | None) -> list[Part]:
    """Return what follows the training or the trials, or nothing while some are not done: their jobs will do it."""
    needed, rest = rest_of(config, before)
    return rest if all(_done(config, run, part) for part in needed) else []


def _done(config: Config, run: RunDir, part: Part) -> bool:
    record = read_record(run.path / part.record)
    return record.get("state") == "done" and record.get("config_digest") == config.digest()


def _part(config: Config, run: RunDir, part: Part, force: bool, progress: Progress) -> list[StageResult]:
    with run.lock(part.name, wait=True):
        record = Record(run, config, run.path / part.record, _key(config, run, part), part.name)
        # A search goes on where it was, and knows itself when it has enough.
        force = force or part.name.startswith("tune-")
        with _closing(record):
            results = [record.stage(name, work, progress, force) for name, work in _work(part).items()]
            files = run.results(part.writes)
        record.close("done", files=files)
    return results


def _work(part: Part) -> dict[str, Work]:
    """Return what a part does, by stage."""
    if part.name == BEST:
        return {"best": best}
    match part.stage:
        case "tune":
            return {"tune": partial(tune, worker=part.name, share=share_of(part))}
        case "convert":
            return {"convert": partial(convert, samples=[part.sample])}
        case "train":
            return {"train": partial(train, folds=[part.fold])}
        case "evaluate":
            return {name: STAGES[name] for name in ("inputs", "evaluate", "export", "report")}
    return {"inject": partial(inject, files=part.ntuples)}


def _key(config: Config, run: RunDir, part: Part) -> str:
    """Return the digest of the configuration and of all that a part reads."""
    from nntrainer.dataset.store import open_store
    from nntrainer.ntuples.reader import identity

    keys: list[object] = [config.digest(), part.name]
    for each in part.reads if part.name != BEST else ():
        path = run.path / each
        if path.suffix == ".h5":
            with open_store(each) as store:
                keys.append([each, store.attrs["sources"], store.attrs["config_digest"]])
        else:
            models = [path / "model.keras"] if part.stage == "evaluate" else sorted(path.glob("*.onnx"))
            keys += [[model.name, sha256(model)] for model in models]
    if part.ntuples:
        keys += [identity(path).key() for path in expand(part.ntuples)]
    return digest(keys)


@contextmanager
def _closing(record: Record) -> Iterator[None]:
    """Note in the record how the work was cut off, if it is."""
    try:
        yield
    except Interrupted:
        record.close("interrupted")
        raise
    except BaseException as error:
        record.close("failed", error=str(error))
        raise
