"""Four folds of the example, whole: metrics of each fold, the file of all folds, and what the docs say of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import uproot
import yaml

from nntrainer.config import load_config
from nntrainer.dataset.check import check_data
from nntrainer.inject.inject import inject
from nntrainer.pipeline import RunResult, run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    from nntrainer.ntuples.toy import generate

    folder = tmp_path_factory.mktemp("kfold")
    generate(folder, samples=("ttH", "ttbb"), events=1500, seed=5)
    more = [f"data.samples.{i}.files={folder / name}.root" for i, name in enumerate(("ttH", "ttbb"))]
    more += [f"data.directory={folder / 'datasets'}", "training.epochs=2", "evaluation.bootstrap=20"]
    config = load_config(ROOT / "configs/examples/kfold.yaml", more, {})
    assert all(sample.entries for sample in check_data(config))
    return run(config, root=folder / "runs", stages=["convert", "train", "evaluate", "export", "inject"])


def test_metrics_of_each_fold(result: RunResult) -> None:
    found = json.loads(result.run.metrics.read_text())
    folds = found["folds"]
    assert [each["fold"] for each in folds] == [0, 1, 2, 3]
    assert sum(each["events"] for each in folds) == sum(found["events"].values())
    areas = [each["auc"] for each in folds]
    assert all(0 < each["auc_error"] < 0.2 for each in folds)
    assert found["auc"]["folds_mean"] == pytest.approx(np.mean(areas))
    assert found["auc"]["folds_spread"] == pytest.approx(np.std(areas, ddof=1))
    (detail,) = [each.detail for each in result.stages if each.name == "evaluate"]
    assert all(f"{area:.4f}" in detail for area in areas) and f"spread {np.std(areas, ddof=1):.4f}" in detail
    assert (result.run.plots("Evaluation") / "auc_folds.png").stat().st_size > 10_000


def test_the_file_of_all_folds_scores_as_the_run_did(result: RunResult, tmp_path: Path) -> None:
    config = load_config(result.run.config_file, environment={})
    assert len(list(result.run.models.glob("fold?.onnx"))) == config.preparation.k == 4
    ntuple = config.data.samples[0].files[0]
    (alone,) = inject([result.run.models / "allfolds.onnx"], [ntuple], output=tmp_path)
    friend = next((result.run.path / "scored").glob("ttH*.root"))
    mine, theirs = (uproot.open(path)["nominal_Loose_nn"].arrays(library="np") for path in (alone.output, friend))
    assert set(theirs["nn_kfold_fold"]) == {-1, 0, 1, 2, 3}
    assert np.array_equal(mine["nn_kfold_fold"], theirs["nn_kfold_fold"])
    assert np.abs(mine["nn_kfold_score"] - theirs["nn_kfold_score"]).max() <= 1e-6


def test_what_the_docs_say_works(result: RunResult, tmp_path: Path) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/folds.md").read_text(encoding="utf-8"), re.DOTALL)
    script = tmp_path / "snippet.py"
    script.write_text(snippet + f"np.savez({str(tmp_path / 'said.npz')!r}, n=numbers, scores=scores, events=events)\n")
    subprocess.run([sys.executable, script], cwd=result.run.path, check=True, timeout=60)
    told = yaml.safe_load((result.run.models / "topcptoolkit.yaml").read_text())
    said = np.load(tmp_path / "said.npz")
    for number, score, event in zip(said["n"].tolist(), said["scores"], said["events"], strict=True):
        path = result.run.models / told["model_paths"][number % 4]  # TopCPToolkit's rule
        session = onnxruntime.InferenceSession(str(path))
        assert np.abs(score - session.run(None, {"events": event[None]})[0][0]).max() <= 1e-6
    assert len({round(float(score[0]), 6) for score in said["scores"]}) > 1
