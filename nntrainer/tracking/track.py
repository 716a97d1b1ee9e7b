"""Log a finished run where its configuration says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nntrainer.config import Config, load_config
from nntrainer.errors import RunError
from nntrainer.report.read import read_run


def track(path: Path, overrides: Sequence[str] = ()) -> str:
    """Log a finished run; what is logged already is not logged again.

    Args:
        path: the run directory.
        overrides: ``key.path=value`` texts that change its configuration, such as another ``tracking.mlflow.uri``.

    Returns:
        A sentence: where it is logged.

    Raises:
        RunError: the run has not finished, or its configuration names no server.
        MissingDependencyError: the package of the server's client is not installed.
        TrackingError: the server does not answer or refuses.
    """
    return log(load_config(read_run(path).path / "config.yaml", overrides), path)


def log(config: Config, path: Path) -> str:
    """Log a finished run; what is logged already is not logged again.

    Args:
        config: its configuration, with or without what its ``config.yaml`` says of tracking.
        path: the run directory.

    Returns:
        A sentence: where it is logged.

    Raises:
        RunError: the run has not finished, or its configuration names no server.
        MissingDependencyError: the package of the server's client is not installed.
        TrackingError: the server does not answer or refuses.
    """
    from nntrainer.tracking.mlflow_log import log_run

    run = read_run(path)
    if config.tracking is None or config.tracking.mlflow is None:
        raise RunError(
            f"{run.path}: its configuration has no block tracking.mlflow; add it, or give --set tracking.mlflow.uri=..."
        )
    if not run.metrics or not run.training:
        raise RunError(f"{run.path}: the run has not finished: there is no metrics.json to log")
    return log_run(config.tracking.mlflow, config, run)
