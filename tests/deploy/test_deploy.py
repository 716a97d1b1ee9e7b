"""The local site, from the command line, with real background processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import uproot

CONFIG = """\
name: small
data:
  tree: events
  event_id: id
  directory: {folder}/datasets
  samples:
    - {{name: s, files: {folder}/s.root, label: s}}
    - {{name: b, files: {folder}/b.root, label: b}}
features: {{events: [x]}}
model: {{name: dense, layers: [4]}}
training: {{epochs: 2, batch_size: 16, tensorboard: false}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deploy")
    rng = np.random.default_rng(1)
    for name, shift in (("s", 1.0), ("b", 0.0)):
        with uproot.recreate(folder / f"{name}.root") as file:
            tree = file.mktree("events", {"id": "u8", "x": "f4"})
            x = (rng.normal(size=400) + shift).astype(np.float32)
            tree.extend({"id": np.arange(400, dtype=np.uint64), "x": x})
    (folder / "c.yaml").write_text(CONFIG.format(folder=folder))
    return folder


def deploy(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, env=environment, timeout=240)


@pytest.fixture(scope="module")
def finished(place: Path) -> Path:
    submitted = deploy(place, "submit", "c.yaml", "--site", "local", "--name", "first")
    assert submitted.returncode == 0, submitted.stderr
    waited = deploy(place, "wait", "small/first")
    assert waited.returncode == 0, waited.stdout + waited.stderr
    return place / "runs" / "small" / "first"


def test_the_run_directory_and_its_record(place: Path, finished: Path) -> None:
    shown = deploy(place, "status", str(finished), "--json")
    assert shown.returncode == 0
    found = json.loads(shown.stdout)
    assert found["state"] == "done"
    record = json.loads((finished / "run.json").read_text())
    assert {stage["state"] for stage in record["stages"].values()} == {"done"}
    assert list(record["stages"]) == ["convert", "inputs", "train", "evaluate", "export", "inject", "report"]
    assert (finished / "models" / "fold0.onnx").exists()
    table = deploy(place, "status", "small")
    assert "evaluate" in table.stdout


def test_logs_follow_until_the_end(place: Path, finished: Path) -> None:
    followed = deploy(place, "logs", "-f", "small/first")
    assert followed.returncode == 0
    assert "inject" in followed.stdout


def test_gather_copies_verifies_and_finds_damage(place: Path, finished: Path, tmp_path: Path) -> None:
    to = tmp_path / "results"
    assert deploy(place, "gather", "small/first", "--to", str(to)).returncode == 0
    listed = {entry["path"] for entry in json.loads((to / "manifest.json").read_text())["files"]}
    assert listed
    assert all((to / name).read_bytes() == (finished / name).read_bytes() for name in listed)
    (to / "metrics.json").write_text("{}")
    assert deploy(place, "gather", "small/first", "--to", str(to)).returncode == 0
    assert (to / "metrics.json").read_bytes() == (finished / "metrics.json").read_bytes()
    history = finished / "history.csv"
    kept = history.read_bytes()
    try:
        history.write_bytes(kept[:-5] + b"00000")
        damaged = deploy(place, "gather", "small/first")
        assert damaged.returncode != 0
        assert "history.csv" in damaged.stderr
    finally:
        history.write_bytes(kept)


def test_a_name_is_used_once(place: Path, finished: Path) -> None:
    again = deploy(place, "submit", "c.yaml", "--name", "first")
    assert again.returncode == 2
    assert "first" in again.stderr
    assert "Traceback" not in again.stderr


def test_cancel_ends_the_job_and_leaves_a_checkpoint(place: Path) -> None:
    options = ["--set", "training.epochs=100000", "--set", "preparation.folds=2", "--name", "long"]
    assert deploy(place, "submit", "c.yaml", *options).returncode == 0
    run = place / "runs" / "small" / "long"
    deadline = time.monotonic() + 120
    while not list(run.glob("training/fold0/history.csv")) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert deploy(place, "status", "small/long").returncode == 3
    assert deploy(place, "wait", "small/long", "--timeout", "0.1").returncode == 3
    assert deploy(place, "gather", "small/long").returncode != 0
    assert deploy(place, "cancel", "small/long").returncode == 0
    shown = deploy(place, "status", "small/long", "--json")
    assert shown.returncode == 1
    assert json.loads(shown.stdout)["state"] == "cancelled"
    assert list(run.glob("training/fold0/checkpoint*"))


def test_a_failing_job_fails(place: Path) -> None:
    options = ["--set", "data.selection=x > 1000", "--name", "nothing"]
    assert deploy(place, "submit", "c.yaml", *options).returncode == 0
    waited = deploy(place, "wait", "small/nothing")
    assert waited.returncode == 1
    assert "x > 1000" in waited.stdout + waited.stderr + deploy(place, "logs", "small/nothing").stdout


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["submit", "c.yaml", "--site", "locall"], "Did you mean 'local'?"),
        (["submit", "cc.yaml"], "cc.yaml"),
        (["submit", "c.yaml", "--set", "training.epoch=1"], "epochs"),
        (["submit", "c.yaml", "--name", "../../etc"], "--name"),
        (["submit", "c.yaml", "--name", "a b; touch x"], "--name"),
        (["status", "smal"], "smal"),
        (["gather", "nothing-like-it"], "nothing-like-it"),
    ],
)
def test_bad_input_is_a_sentence(place: Path, arguments: list[str], word: str) -> None:
    result = deploy(place, *arguments)
    assert result.returncode == 2
    assert word in result.stderr
    assert "Traceback" not in result.stderr
    assert not (place / "x").exists()


def test_sites_are_listed(place: Path) -> None:
    assert "local" in deploy(place, "sites").stdout
