"""Every example configuration, from ntuples to scored ntuples, small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nntrainer.config import load_config
from nntrainer.config.registry import NETWORKS
from nntrainer.dataset.check import check_data
from nntrainer.pipeline import run
from nntrainer.training.record import read_training

pytestmark = pytest.mark.slow

ELSEWHERE = {"cp", "kfold"}  # whole in test_cp.py and test_kfold.py
CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted((CONFIGS / "examples").glob("*.yaml"))
EXAMPLES = [path for path in FILES if path.stem not in ELSEWHERE]
TWO_WORKERS = {"deep_sets", "particle_transformer", "reconstruction"}
"""A set, pairs of objects and several tasks: trained by two real Horovod workers."""
SMALL = [
    "training.epochs=1",
    "training.batch_size=64",
    "training.threads=1",
    "training.tensorboard=false",
    "evaluation.bootstrap=2",
    "preparation.folds=null",  # one network and not one for each fold; those are in test_kfold.py
    "preparation.fractions={}",
]
STAGES = ["convert", "train", "evaluate", "export", "inject"]
"""All but the plots of the inputs, which take the longest and know no networks."""


def test_every_network_has_an_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    assert {load_config(path, [], environment={}).model.name for path in FILES} == set(NETWORKS.names())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path: Path, toy_files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/ntuples").symlink_to(toy_files[0].parent)
    (tmp_path / "configs").symlink_to(CONFIGS)
    workers = 2 if path.stem in TWO_WORKERS else 1
    config = load_config(path, [*SMALL, f"training.workers={workers}"], environment={})
    assert all(sample.entries for sample in check_data(config))
    done = run(config, stages=STAGES)
    assert [stage.name for stage in done.stages][-1] == "inject"
    assert read_training(done.run.fold(0))["workers"] == workers
    metrics = json.loads((done.run.path / "metrics.json").read_text())
    if config.classifies:
        assert 0 < metrics["auc"]["test"] < 1
    for target in config.assignments.values():
        assert all(0 <= metrics["reconstruction"][name]["network"]["all"]["value"] <= 1 for name in target.particles)
    assert [path.name for path in done.run.models.glob("fold?.onnx")] == ["fold0.onnx"]
