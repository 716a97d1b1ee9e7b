"""A finished run to MLflow."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from nntrainer.config import Config
from nntrainer.config.models import digest
from nntrainer.config.tracking import Mlflow
from nntrainer.errors import MissingDependencyError, TrackingError
from nntrainer.files import sha256
from nntrainer.report.read import Run, history
from nntrainer.tracking.values import final_metrics, parameters

# A server that is down should not hold up the end of a run for minutes; the client reports to nobody else; and a
# folder is a server, too, where somebody asks for it.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
}
TRAINING, CONTENT = "nntrainer.training", "nntrainer.content"
"""Tags by which a run is found again: what was trained, and what of it is logged."""
ARTIFACTS = (
    "report.html",
    "config.yaml",
    "metrics.json",
    "history.csv",
    "plots/**/*.png",
    "models/*.onnx",
    "models/export.json",
)
BATCH = 100
"""Parameters, tags or metrics in a request; servers take no more parameters."""


def log_run(block: Mlflow, config: Config, run: Run) -> str:
    """Log a run, or bring what is logged of it up to date.

    The trained weights tell the run: trained again, it is another one; measured again, it is the same. Parameters and
    epochs that are there are left alone, so that an attempt that was cut off is completed by the next one.

    Args:
        block: where.
        config: the configuration.
        run: the run directory.

    Returns:
        A sentence: where it is logged.

    Raises:
        MissingDependencyError: mlflow-skinny is not installed.
        TrackingError: the server does not answer or refuses.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"tracking needs the package '{error.name}', which is not installed: pip install 'nntrainer[tracking]'"
        ) from None
    try:
        return _log(MlflowClient(block.uri), block, config, run)
    except (MlflowException, OSError, ImportError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise TrackingError(f"{block.uri}: MLflow says: {reason}; `nntrainer track {run.path}` tries again") from None


def _log(client: Any, block: Mlflow, config: Config, run: Run) -> str:
    name = block.experiment or config.name
    experiment = _experiment(client, name)
    folds = {fold: [one.get("weights_sha256"), one.get("updated")] for fold, one in run.training.items()}
    training = digest([run.digest, folds])
    files = sorted({path for pattern in ARTIFACTS for path in run.path.glob(pattern)})
    content = digest([[str(path.relative_to(run.path)), sha256(path)] for path in files])
    found = client.search_runs([experiment], f"tags.`{TRAINING}` = '{training}'", max_results=1)
    if found:
        logged = found[0]
    else:
        title = block.run_name or run.path.resolve().name
        logged = client.create_run(experiment, start_time=_time(run, "started"), run_name=title)
    run_id, where = logged.info.run_id, f"experiment '{name}', run '{logged.info.run_name}' at {block.uri}"
    if logged.data.tags.get(CONTENT) == content:
        return f"{run.path}: logged before: {where}"
    if not found:
        client.set_tag(run_id, TRAINING, training)
    _values(client, logged, config, run)
    for path in files:
        folder = path.parent.relative_to(run.path)
        client.log_artifact(run_id, str(path), None if folder == Path(".") else folder.as_posix())
    client.set_tag(run_id, CONTENT, content)  # last: what has it is complete
    client.set_terminated(run_id, "FINISHED", _time(run, "finished"))
    return f"{run.path}: {'brought up to date' if found else 'logged'}: {where}"


def _experiment(client: Any, name: str) -> str:
    """Return the id of an experiment, which is made where there is none."""
    there = client.get_experiment_by_name(name)
    if there is None:
        return str(client.create_experiment(name))
    if there.lifecycle_stage != "active":
        raise TrackingError(
            f"the experiment '{name}' was deleted there; restore it, or give tracking.mlflow.experiment"
        )
    return str(there.experiment_id)


def _values(client: Any, logged: Any, config: Config, run: Run) -> None:
    """Log parameters, tags and metrics that are not there yet."""
    from mlflow.entities import Metric, Param, RunTag

    run_id, when = logged.info.run_id, _time(run, "finished")
    known = logged.data.params
    params = [Param(key, value) for key, value in parameters(config).items() if key not in known]
    tags = [RunTag(key, value) for key, value in _tags(run).items()]
    metrics = []
    for key, values in _epochs(run):
        there = {each.step for each in client.get_metric_history(run_id, key)} if key in logged.data.metrics else set()
        metrics += [Metric(key, value, when, step) for step, value in values if step not in there]
    for key, value in final_metrics(run).items():
        before = logged.data.metrics.get(key)
        if before != value:  # the one with the latest time is the one that counts
            metrics.append(Metric(key, value, when if before is None else int(1000 * time.time()), 0))
    for kind, items in (("params", params), ("tags", tags), ("metrics", metrics)):
        for piece in _pieces(items):
            client.log_batch(run_id, **{kind: piece})


def _epochs(run: Run) -> Iterator[tuple[str, list[tuple[int, float]]]]:
    """Yield name, epochs and finite values of each column of the history of each fold."""
    for fold, columns in history(run).items():
        epochs = columns.get("epoch", [])
        for name, values in columns.items():
            if name != "epoch":
                pairs = [(int(epoch), value) for epoch, value in zip(epochs, values, strict=True)]
                yield f"{fold.replace(' ', '')}/{name}", [(e, v) for e, v in pairs if abs(v) < float("inf")]


def _tags(run: Run) -> dict[str, str]:
    made = run.provenance
    tags = {
        "config_digest": run.digest,
        "git_commit": made.get("git_commit"),
        "image_digest": made.get("image_digest"),
        "version": made.get("version"),
        "python": made.get("python"),
        "host": made.get("host"),
        "site": run.deploy.get("site"),
        "run": run.name,
    }
    tags |= {f"package.{name}": version for name, version in made.get("packages", {}).items()}
    return {f"nntrainer.{name}": str(value) for name, value in tags.items() if value}


def _time(run: Run, key: str) -> int:
    """Return when the run began or ended, in milliseconds; the same at each call, so that nothing is logged twice."""
    times = [datetime.fromisoformat(str(each[key])) for each in run.records if each.get(key)]
    times = times or [datetime.fromisoformat(str(each["updated"])) for each in run.training.values()]
    return int(1000 * (min(times) if key == "started" else max(times)).timestamp())


def _pieces(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
