"""``nntrainer run``: the stages in order, each skipped when its output is up to date."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nntrainer.config import Config
from nntrainer.errors import Interrupted, RunError, nearest, one_of
from nntrainer.files import now, write_json
from nntrainer.progress import Progress, silent
from nntrainer.provenance import provenance
from nntrainer.rundir import RunDir, find_or_create, run_digest


@dataclass(frozen=True)
class StageResult:
    """What a stage did.

    Attributes:
        name: the stage.
        skipped: whether its outputs were up to date.
        seconds: the time it took, when it last ran.
        detail: one line for people.
        outputs: paths relative to the run directory, or absolute where they lie elsewhere.
    """

    name: str
    skipped: bool
    seconds: float
    detail: str
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class RunResult:
    """A finished run: its directory and what each stage did."""

    run: RunDir
    stages: tuple[StageResult, ...]


Stage = Callable[[Config, RunDir, Progress], tuple[str, list[Path]]]


def _convert(config: Config, run: RunDir, progress: Progress) -> tuple[str, list[Path]]:
    from nntrainer.dataset.conversion import convert

    done = convert(config, progress=progress)
    events = sum(sample.events for sample in done.samples)
    detail = f"{events:,} events of {len(done.samples)} samples"
    if sum(done.duplicates.values()):
        detail += f", {sum(done.duplicates.values()):,} duplicate event ids"
    return detail, list(done.paths)


def _inputs(config: Config, run: RunDir, progress: Progress) -> tuple[str, list[Path]]:
    from nntrainer.evaluation.figures import draw_inputs

    paths = draw_inputs(config, run, progress=progress)
    return f"{len(paths)} files in plots/Inputs", paths


def _train(config: Config, run: RunDir, progress: Progress) -> tuple[str, list[Path]]:
    from nntrainer.training.train import train

    folds = train(config, run, progress=progress)
    detail = ", ".join(f"fold {fold.fold}: {fold.epochs} epochs" for fold in folds)
    return detail, [fold.model for fold in folds]


def _evaluate(config: Config, run: RunDir, progress: Progress) -> tuple[str, list[Path]]:
    from nntrainer.evaluation.evaluate import evaluate

    metrics = evaluate(config, run, progress=progress)
    return f"test AUC {metrics['auc']['test']:.4f} ± {metrics['auc']['test_error']:.4f}", [
        run.metrics,
        run.history,
    ]


def _export(config: Config, run: RunDir, progress: Progress) -> tuple[str, list[Path]]:
    from nntrainer.export.onnx_export import export

    done = export(config, run, progress=progress)
    worst = max(each.difference for each in done)
    return f"{len(done)} ONNX files, largest difference to Keras {worst:.1e}", [each.path for each in done]


def _inject(config: Config, run: RunDir, progress: Progress) -> tuple[str, list[Path]]:
    from nntrainer.inject.inject import inject
    from nntrainer.ntuples.reader import expand

    block = config.inject
    patterns = block.files or tuple(pattern for sample in config.data.samples for pattern in sample.files)
    models = [run.models / f"fold{fold}.onnx" for fold in range(config.preparation.k)]
    done = inject(
        models,
        expand(patterns),
        trees=block.trees,
        mode=block.mode,
        output=block.directory or run.path / "scored",
        progress=progress,
        overwrite=True,
    )
    scored = sum(each.scored for each in done)
    outputs = list(dict.fromkeys(Path(each.output) for each in done))
    return f"{scored:,} events scored in {len(outputs)} files ({block.mode})", outputs


STAGES: dict[str, Stage] = {
    "convert": _convert,
    "inputs": _inputs,
    "train": _train,
    "evaluate": _evaluate,
    "export": _export,
    "inject": _inject,
}


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
    progress = progress or silent()
    directory = RunDir(run_dir) if run_dir is not None else find_or_create(config, root, new=new)
    with directory.lock():
        directory.claim(config)
        record = _Record(directory, config)
        results = []
        try:
            for name in STAGES:
                if name in wanted:
                    results.append(record.stage(name, STAGES[name], progress, force))
        except Interrupted:
            record.close("interrupted")
            raise
        except BaseException:
            record.close("failed")
            raise
        directory.write_manifest()
        record.close("done")
    return RunResult(directory, tuple(results))


class _Record:
    """``run.json``: kept up to date while the stages run."""

    def __init__(self, run: RunDir, config: Config) -> None:
        self.run = run
        self.config = config
        self.key = run_digest(config)
        old = run.read_record()
        self.data: dict[str, Any] = {
            "format": 1,
            "name": config.name,
            "config_digest": config.digest(),
            "digest": self.key,
            "state": "running",
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": now(),
            "finished": None,
            "provenance": provenance(),
            "stages": old.get("stages", {}),
        }
        self.write()

    def write(self) -> None:
        write_json(self.run.run_json, self.data)

    def close(self, state: str) -> None:
        self.data |= {"state": state, "finished": now()}
        for stage in self.data["stages"].values():
            if stage["state"] == "running":
                stage["state"] = state
        self.write()

    def stage(self, name: str, work: Stage, progress: Progress, force: bool) -> StageResult:
        there = self.data["stages"].get(name, {})
        if not force and self._up_to_date(there):
            return StageResult(name, True, there["seconds"], there["detail"], tuple(there["outputs"]))
        # What comes after a stage that runs again is made again, too.
        following = list(STAGES)[list(STAGES).index(name) + 1 :]
        for later in following:
            self.data["stages"].pop(later, None)
        self.data["stages"][name] = {"state": "running", "started": now(), "key": self.key}
        self.write()
        start = time.monotonic()
        detail, outputs = work(self.config, self.run, progress)
        seconds = round(time.monotonic() - start, 2)
        shown = tuple(self._shown(path) for path in outputs)
        self.data["stages"][name] |= {
            "state": "done",
            "finished": now(),
            "seconds": seconds,
            "detail": detail,
            "outputs": list(shown),
        }
        self.write()
        return StageResult(name, False, seconds, detail, shown)

    def _up_to_date(self, stage: dict[str, Any]) -> bool:
        if stage.get("state") != "done" or stage.get("key") != self.key:
            return False
        return all((self.run.path / output).exists() for output in stage["outputs"])

    def _shown(self, path: Path) -> str:
        path, root = Path(path).resolve(), self.run.path.resolve()
        return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
