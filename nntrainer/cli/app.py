"""What the verbs share: the application, common options, and how errors reach people."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nntrainer.console import print_table, print_times
from nntrainer.errors import ConfigError, Interrupted, NNTrainerError

if TYPE_CHECKING:
    from nntrainer.config import Config
    from nntrainer.pipeline import RunResult
    from nntrainer.rundir import RunDir

app = typer.Typer(
    name="nntrainer",
    help="ROOT ntuples in; trained networks, plots, ONNX models and scored ntuples out.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML configuration.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key: training.epochs=3.")
]
RunOption = Annotated[
    Path | None,
    typer.Option("--run-dir", help="Run directory; the latest of this configuration, or a new one."),
]
Root = Annotated[Path, typer.Option("--runs", help="Directory of all runs.")]
Force = Annotated[bool, typer.Option("--force", help="Do it again although it is up to date.")]


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    global _debug
    _debug = debug


_debug = False


def main() -> None:
    """Run the command line; errors of the user become one sentence and exit code 2."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before a verb imports TensorFlow, which speaks of its build
    try:
        app()
    except Interrupted as stop:
        _say(f"interrupted: {stop}")
        sys.exit(Interrupted.exit_code)
    except NNTrainerError as error:
        if _debug:
            raise
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        if _debug or (error.name or "").startswith(("nntrainer", "deploy")):
            raise
        _say(f"error: the package '{error.name}' is not installed; `pip install nntrainer[train]` has everything")
        sys.exit(2)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(130)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def load(path: Path, overrides: list[str] | None) -> Config:
    """Return the configuration with what the command line overrides."""
    from nntrainer.config import load_config

    return load_config(path, overrides or ())


def load_trainable(path: Path, overrides: list[str] | None) -> Config:
    """Return the configuration of a training, refused before anything is made for it if no training can use it.

    That is one class alone, or a network that fails. Only networks that people wrote themselves are built for it; for
    others not even Keras is imported.
    """
    config = load(path, overrides)
    try:
        config.require_classes()
        if config.model.own:
            from nntrainer.networks.model import check_model

            check_model(config)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return config


def run_dir_of(config: Config, run_dir: Path | None, root: Path) -> RunDir:
    """Return the run directory that is named, or the latest of this configuration, or a new one."""
    from nntrainer.rundir import RunDir, find_or_create

    directory = RunDir(run_dir) if run_dir is not None else find_or_create(config, root)
    directory.claim(config)
    return directory


def run_stages_of(
    config: Config, run_dir: Path | None, runs: Path, stages: list[str] | None, **options: bool
) -> RunResult:
    """Run stages of a configuration, print what each did, and return it."""
    from nntrainer.pipeline import run as run_stages
    from nntrainer.progress import for_terminal

    result = run_stages(config, run_dir=run_dir, root=runs, stages=stages, progress=for_terminal(), **options)
    print_results(result)
    return result


def print_results(result: RunResult) -> None:
    """Print what the stages of a run did, and where the time went."""
    rows = [
        [
            each.name,
            "up to date" if each.skipped else "done",
            f"{each.seconds:.1f} s",
            each.detail,
            _files(each.outputs),
        ]
        for each in result.stages
    ]
    print_table(f"Run {result.run.path}", ["stage", "state", ">time", "result", "files"], rows)
    print_times((stage.name, stage.seconds) for stage in result.stages if not stage.skipped)


def _files(outputs: tuple[str, ...]) -> str:
    parents = list(dict.fromkeys(str(Path(path).parent) for path in outputs))
    return f"{len(outputs)} in {parents[0]}" if len(parents) == 1 else f"{len(outputs)} files"
