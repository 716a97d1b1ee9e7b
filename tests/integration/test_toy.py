"""The toy ttH(bb) job, whole: what the run directory holds and whether the numbers mean what they say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import uproot

from nntrainer.config import Config, load_config
from nntrainer.pipeline import RunResult, run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EVENTS = 40_000


@pytest.fixture(scope="module")
def ntuples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from nntrainer.ntuples.toy import generate

    folder = tmp_path_factory.mktemp("toy")
    generate(folder, samples=("ttH", "ttbb"), events=EVENTS, seed=1)
    return folder


def configured(ntuples: Path, work: Path, *more: str) -> Config:
    files = [f"data.samples.{i}.files={ntuples / name}.root" for i, name in enumerate(("ttH", "ttbb"))]
    return load_config(ROOT / "configs/tth.yaml", [*files, f"data.directory={work / 'datasets'}", *more], {})


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def result(ntuples: Path, work: Path) -> RunResult:
    return run(configured(ntuples, work), root=work / "runs")


def metrics(result: RunResult) -> dict:
    return json.loads(result.run.metrics.read_text())


def test_the_network_learns(result: RunResult) -> None:
    found = metrics(result)
    assert found["auc"]["test"] > 0.73
    assert abs(found["auc"]["train"] - found["auc"]["test"]) < 0.03
    assert abs(found["auc"]["folds_mean"] - found["auc"]["test"]) < 3 * found["auc"]["test_error"]
    assert 0 < found["auc"]["folds_spread"] < 0.03


def test_train_and_test_agree(result: RunResult) -> None:
    agreement = metrics(result)["scores"]["ttH"]
    assert set(agreement) == {"ttH", "ttbb"}
    for name, numbers in agreement.items():
        assert numbers["ks_p_value"] > 0.01, name


def test_the_event_number_tells_nothing(ntuples: Path, work: Path) -> None:
    features = "{events: [{name: n, expression: eventNumber % 1000000000}]}"
    config = configured(ntuples, work, f"features={features}", "training.epochs=3")
    found = metrics(run(config, root=work / "runs", stages=["convert", "train", "evaluate"]))
    assert abs(found["auc"]["test"] - 0.5) < 5 * max(found["auc"]["test_error"], 0.01)


def test_the_run_directory_is_complete(result: RunResult) -> None:
    path = result.run.path
    for folder in ("Inputs", "Validation", "Evaluation"):
        names = {each.name for each in (path / "plots" / folder).iterdir()} - {"numbers.json"}
        assert {name.rpartition(".")[2] for name in names} == {"png", "pdf"}
    numbers = metrics(result)
    assert set(numbers["inputs"]) == {each.stem for each in (path / "plots/Inputs").glob("*.png")}
    assert len(numbers["history"]["fold 0"]["loss"]) == 15
    assert {each.name for each in (path / "models").glob("*.onnx")} == {"fold0.onnx", "fold1.onnx", "allfolds.onnx"}
    listed = {each["path"] for each in json.loads((path / "manifest.json").read_text())["files"]}
    for name in ("metrics.json", "history.csv", "config.yaml", "models/fold0.onnx"):
        assert name in listed
    record = json.loads((path / "run.json").read_text())
    assert record["state"] == "done"
    assert record["provenance"]["packages"]["keras"]


def test_again_is_up_to_date(result: RunResult, ntuples: Path, work: Path) -> None:
    again = run(configured(ntuples, work), root=work / "runs")
    assert again.run.path == result.run.path
    assert all(stage.skipped for stage in again.stages)


def test_each_event_is_scored_by_the_model_that_never_saw_it(result: RunResult, ntuples: Path) -> None:
    from nntrainer.dataset.split import masks

    config = load_config(result.run.config_file, environment={})
    with uproot.open(ntuples / "ttH.root") as file:
        ids = file["nominal_Loose/eventNumber"].array(library="np")
    friend_file = next((result.run.path / "scored").glob("ttH*.root"))
    with uproot.open(friend_file) as file:
        friend = file["nominal_Loose_nn"].arrays(library="np")
    assert np.array_equal(friend["eventNumber"], ids)
    scored = friend["nn_tth_fold"] >= 0
    assert scored.sum() > EVENTS / 10
    assert np.all(friend["nn_tth_score"][~scored] == -99)
    for fold in (0, 1):
        split = masks(config, ids, fold)
        mine = friend["nn_tth_fold"] == fold
        assert mine.any()
        assert not np.any((split.train | split.validation)[mine])
