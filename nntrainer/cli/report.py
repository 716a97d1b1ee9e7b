"""The verbs that tell of runs: report, track."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nntrainer.cli.app import app
from nntrainer.errors import NNTrainerError

if TYPE_CHECKING:
    from nntrainer.config import Config
    from nntrainer.pipeline import RunResult

RunDirs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.")]


@app.command()
def report(
    runs: RunDirs,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page; report.html in the run directory if absent.")
    ] = None,
) -> None:
    """Write one HTML page about a run, or about several beside one another."""
    from nntrainer.report.page import report as write_report
    from nntrainer.rundir import RunDir

    path = write_report(runs, output)
    if output is None:
        RunDir(runs[0]).renew(path.name)
    print(path)


@app.command()
def track(
    runs: RunDirs,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key: tracking.mlflow.experiment=mine."),
    ] = None,
) -> None:
    """Log finished runs to the tracking server that their configuration names; logged again, nothing doubles."""
    from nntrainer.tracking.track import track as track_run

    for run in runs:
        print(track_run(run, overrides or ()))


def track_finished(result: RunResult, config: Config) -> None:
    """Log a run that has just ended; a failure to do so fails no run."""
    from nntrainer.tracking.track import log

    try:
        print(log(config, result.run.path))
    except NNTrainerError as error:
        print(f"warning: the run is complete, but not logged: {error}", file=sys.stderr)
