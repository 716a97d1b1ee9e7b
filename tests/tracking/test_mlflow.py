"""Finished runs in MLflow: read back with its client, once each, and no password anywhere."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from nntrainer.config import Config, load_config
from nntrainer.errors import ConfigError, RunError, TrackingError
from nntrainer.rundir import RunDir

pytest.importorskip("mlflow", reason="no mlflow-skinny; `make venv` installs it")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow", "ignore::DeprecationWarning"),
]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def tracked(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run whose configuration names a folder."""
    path = tmp_path / finished_run.name
    shutil.copytree(finished_run, path)
    config = yaml.safe_load((path / "config.yaml").read_text())
    config["tracking"] = {"mlflow": {"uri": (tmp_path / "mlruns").as_uri(), "experiment": "ttH (bb)"}}
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    RunDir(path).renew("config.yaml")
    return path


def runs_of(path: Path) -> list[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(load_config(path / "config.yaml", environment={}).tracking.mlflow.uri)
    experiment = client.get_experiment_by_name("ttH (bb)")
    return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))


def artifacts(client: Any, run_id: str, folder: str | None = None) -> set[str]:
    found = set()
    for each in client.list_artifacts(run_id, folder):
        found |= artifacts(client, run_id, each.path) if each.is_dir else {each.path}
    return found


def command(*arguments: str, package: str = "nntrainer") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", package, *arguments]
    return subprocess.run(words, capture_output=True, text=True, env=environment)


def test_a_run_is_logged_and_read_back(tracked: Path) -> None:
    from mlflow.tracking import MlflowClient

    from nntrainer.tracking.track import track

    assert "logged: experiment 'ttH (bb)'" in track(tracked)
    (run,) = runs_of(tracked)
    metrics = json.loads((tracked / "metrics.json").read_text())
    client = MlflowClient(load_config(tracked / "config.yaml", environment={}).tracking.mlflow.uri)
    assert run.info.status == "FINISHED" and run.info.run_name == tracked.name
    assert run.data.params["training.batch_size"] == "64" and run.data.params["model.name"] == "dense"
    assert not [key for key in run.data.params if key.startswith(("tracking", "deploy"))]
    assert run.data.metrics["auc/test"] == pytest.approx(metrics["auc"]["test"])
    assert run.data.tags["nntrainer.config_digest"] == metrics["config_digest"]
    assert run.data.tags["nntrainer.package.numpy"] == metrics["provenance"]["packages"]["numpy"]
    for fold in (0, 1):
        logged = client.get_metric_history(run.info.run_id, f"fold{fold}/val_loss")
        assert [each.step for each in logged] == [1, 2, 3]
        assert [each.value for each in logged] == pytest.approx(metrics["history"][f"fold {fold}"]["val_loss"])
    found = artifacts(client, run.info.run_id)
    assert {"report.html", "metrics.json", "models/fold0.onnx", "models/allfolds.onnx"} <= found
    assert "plots/Evaluation/roc.png" in found and not [each for each in found if each.endswith((".pdf", ".keras"))]


def test_logged_again_nothing_doubles(tracked: Path, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    from nntrainer.tracking.track import track

    track(tracked)
    (first,) = runs_of(tracked)
    assert "logged before" in track(tracked)
    copied = tmp_path / "gathered"  # elsewhere, under another name, it is the same run
    shutil.copytree(tracked, copied)
    assert "logged before" in track(copied)
    client = MlflowClient(load_config(tracked / "config.yaml", environment={}).tracking.mlflow.uri)
    client.delete_tag(first.info.run_id, "nntrainer.content")  # as if it had been cut off
    metrics = json.loads((tracked / "metrics.json").read_text())
    metrics["auc"]["test"] = 0.25
    (tracked / "metrics.json").write_text(json.dumps(metrics))
    assert "brought up to date" in track(tracked)
    (again,) = runs_of(tracked)
    assert again.info.run_id == first.info.run_id and again.data.metrics["auc/test"] == 0.25
    assert len(client.get_metric_history(first.info.run_id, "fold0/val_loss")) == 3
    assert len(client.get_metric_history(first.info.run_id, "auc/train")) == 1
    record = tracked / "training" / "fold0" / "training.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "updated": "2030-01-01T00:00:00+00:00"}))
    track(tracked)  # trained anew
    assert len(runs_of(tracked)) == 2


def test_the_block_changes_no_digest(finished_run: Path) -> None:
    plain = load_config(finished_run / "config.yaml", environment={})
    assert "tracking" not in plain.dump()
    data = {**plain.dump(), "tracking": {"mlflow": {"uri": "mlruns"}}}
    assert Config.model_validate(data).digest() == plain.digest()


@pytest.mark.parametrize("uri", ["https://me:hunter2@example.org", "https://hunter2@example.org/x"])
def test_a_password_in_the_address_is_refused_and_not_repeated(finished_run: Path, uri: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(finished_run / "config.yaml", [f"tracking.mlflow.uri={uri}"], environment={})
    assert "MLFLOW_TRACKING_PASSWORD" in str(refused.value) and "hunter2" not in str(refused.value)


def test_what_cannot_be_logged_is_said(tracked: Path, finished_run: Path, tmp_path: Path) -> None:
    from nntrainer.tracking.track import track

    with pytest.raises(RunError, match=r"no block tracking\.mlflow"):
        track(finished_run)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with pytest.raises(TrackingError, match=r"nntrainer track .* tries again"):
            track(tracked, [f"tracking.mlflow.uri={uri}"])
    (tracked / "metrics.json").unlink()
    with pytest.raises(RunError, match="has not finished"):
        track(tracked)
    shown = command("track", str(finished_run))
    assert shown.returncode == 2 and shown.stderr.startswith("error: ") and "Traceback" not in shown.stderr


def test_run_logs_itself_unless_it_is_a_job(tracked: Path) -> None:
    words = ("run", str(tracked / "config.yaml"), "--run-dir", str(tracked))
    job = command(*words, "--no-track")
    assert job.returncode == 0 and runs_of(tracked) == [], job.stderr
    mine = command(*words)
    assert mine.returncode == 0 and len(runs_of(tracked)) == 1, mine.stderr
    down = command(*words, "--set", "tracking.mlflow.uri=file:///dev/null/mlruns")
    assert down.returncode == 0 and "warning: the run is complete, but not logged" in down.stderr


def test_what_is_gathered_is_logged(tracked: Path, tmp_path: Path) -> None:
    to = tmp_path / "here"
    for _ in range(2):
        done = command("gather", str(tracked), "--to", str(to), package="deploy")
        assert done.returncode == 0 and "experiment 'ttH (bb)'" in done.stdout, done.stderr
    assert len(runs_of(tracked)) == 1
    assert "logged before" in done.stdout


def test_jobs_are_told_not_to_log(tracked: Path) -> None:
    from deploy.plan import plan
    from deploy.sites import load_site

    config = load_config(tracked / "config.yaml", environment={})
    for site in ("local", "kubernetes"):
        single = config.model_copy(update={"deploy": config.deploy.model_copy(update={"jobs": "single"})})
        (job,) = plan(single, load_site(site), tracked, tracked)
        assert job.command[-1] == "--no-track"
        (job,) = plan(single.model_copy(update={"tracking": None}), load_site(site), tracked, tracked)
        assert "--no-track" not in job.command
