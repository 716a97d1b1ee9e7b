"""A search on this machine, from submission to gathered results, in two real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


def deploy(place: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "deploy", *arguments],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_two_processes_share_one_study(tmp_path: Path, toy_files: list[Path]) -> None:
    files = {path.name.split(".")[0].split("_")[0]: str(path) for path in toy_files}
    config = {
        "name": "small",
        "data": {"samples": [{"name": name, "files": files[name], "label": name} for name in ("ttH", "ttbb")]},
        "features": {"events": ["HT_all", "Centrality_all"]},
        "model": {"name": "dense", "layers": [4]},
        "training": {"epochs": 2, "batch_size": 64, "threads": 1, "tensorboard": False},
        "tune": {
            "sampler": "random",
            "trials": 5,
            "parameters": {"training.optimizer.learning_rate": {"low": 1e-4, "high": 0.1, "log": True}},
        },
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    assert "give --tune, too" in deploy(tmp_path, "submit", "c.yaml", "--jobs", "2", code=2)
    deploy(tmp_path, "submit", "c.yaml", "--tune", "--jobs", "2", "--site", "local", "--name", "s")
    deploy(tmp_path, "wait", "s")
    shown = deploy(tmp_path, "status", "s")
    assert "tune-0of2" in shown and "tune-1of2" in shown and "tune-best" in shown
    assert "verified" in deploy(tmp_path, "gather", "s", "--to", "copy")
    trials = json.loads((tmp_path / "copy/tune/trials.json").read_text())["trials"]
    assert [(each["number"], each["state"]) for each in trials] == [(number, "done") for number in range(5)]
    assert len({each["values"]["training.optimizer.learning_rate"] for each in trials}) == 5
    assert {each["worker"] for each in trials} == {"tune-0of2", "tune-1of2"}
    assert (tmp_path / "copy/tune/best.yaml").exists() and (tmp_path / "copy/tune/plots/history.pdf").exists()
    refused = deploy(tmp_path, "submit", "c.yaml", "--tune", "--site", "local", "--set", "tune=null", code=2)
    assert "the configuration has no tune block" in refused
