"""`nntrainer validate` on a trained toy run: systematic trees, files, and everything that can be asked wrongly."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from nntrainer.cli import main
from nntrainer.config import Config, load_config
from nntrainer.errors import InputError, RunError
from nntrainer.pipeline import run as run_stages
from nntrainer.rundir import RunDir
from nntrainer.validation.columns import columns_of, table
from nntrainer.validation.samples import others_of, read, reference_of, split_tree
from nntrainer.validation.validate import validate

pytestmark = pytest.mark.slow

EVENTS = 6000
TREES = ("nominal_Loose", "JET_JES__1up", "JET_JES__1down")
NETWORK = ["convert", "train", "export"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with toy ntuples of three trees, a configuration, and its run."""
    from nntrainer.ntuples.toy import generate

    folder = tmp_path_factory.mktemp("validate")
    generate(folder, samples=("ttH", "ttbb"), events=EVENTS, seed=3, trees=TREES)
    generate(folder / "other", samples=("ttbb",), events=EVENTS, seed=4)
    text = {
        "name": "small",
        "data": {
            "samples": [{"name": each, "files": f"{folder}/{each}.root", "label": each} for each in ("ttH", "ttbb")],
            "weight": "float64(weight_mc) * weight_pileup",
            "selection": "nJets >= 5",
            "directory": str(folder / "datasets"),
        },
        "features": {
            "events": [{"name": "HT_all", "unit": "MeV"}, "Centrality_all", "dRbb_avg_70"],
            "objects": {"jets": {"max": 6, "features": [{"name": "jet_pt", "unit": "MeV"}]}},
        },
        "model": {"name": "dense", "layers": [8]},
        "training": {"epochs": 2, "batch_size": 128, "threads": 1, "tensorboard": False},
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(text))
    run_stages(load_config(folder / "c.yaml", environment={}), run_dir=folder / "run", stages=NETWORK)
    return folder


@pytest.fixture(scope="module")
def config(place: Path) -> Config:
    return load_config(place / "c.yaml", environment={})


@pytest.fixture(scope="module")
def found(place: Path, config: Config) -> dict:
    """What all tests say of the jet energy scale."""
    done = validate(config, run=RunDir(place / "run"), trees=["JET_*"], tests=("inputs", "scores", "outliers"))
    assert [each.name for each in done] == ["nominal-vs-JET_JES"]
    return json.loads(done[0].path.read_text())


def test_the_inputs_of_a_shifted_scale_differ_and_momenta_are_named(found: dict) -> None:
    for name, sign in (("JET_JES__1up", 1), ("JET_JES__1down", -1)):
        inputs = found["variations"][name]["inputs"]
        assert inputs["differ"] and inputs["p_value"] < 1e-6
        shifts = {each["feature"]: each for each in inputs["features"]}
        assert sign * shifts["HT_all"]["shift"] > 0
        # Events are the same but for the scale: the error is far below 1/√n of independent samples.
        assert shifts["HT_all"]["shift_error"] < 0.01


def test_scores_of_shifted_events(found: dict) -> None:
    scores = found["variations"]["JET_JES__1up"]["scores"]
    assert set(scores["classes"]) == {"ttH", "ttbb"}
    one = scores["classes"]["ttbb"]
    assert one["yield_ratio"] > 1
    assert 0.8 * one["events"][0] < one["common_events"] <= min(one["events"])
    assert len(one["working_points"]) == 5
    assert all(0 < point["change_error"] < 0.02 for point in one["working_points"])
    rows = np.array(one["migration"])
    assert rows.shape == (6, 6)
    np.testing.assert_allclose(rows.sum(axis=1), 1)
    assert np.diag(rows).min() > 0.5
    assert scores["auc"]["change_error"] < scores["auc"]["reference_error"]


def test_outliers_of_shifted_events(found: dict) -> None:
    outliers = found["variations"]["JET_JES__1up"]["outliers"]
    assert set(outliers) == {"mahalanobis", "isolation_forest"}
    for one in outliers.values():
        assert one["auc"] == pytest.approx(0.5, abs=0.05)
        assert one["beyond"] == pytest.approx(0.01, abs=0.01)


def test_plots_are_there_and_those_of_the_training_stay(place: Path, found: dict) -> None:
    names = {each.stem for each in (place / "run" / found["plots"]).glob("*.png")}
    assert {"scores_ttH", "scores_ttbb", "inputs_roc_JET_JES__1up", "outliers_mahalanobis_JET_JES__1down"} <= names
    assert any(name.startswith("inputs_feature1_") for name in names)


def test_the_manifest_of_a_finished_run_lists_the_results(place: Path, found: dict) -> None:
    listed = {each["path"] for each in json.loads((place / "run/manifest.json").read_text())["files"]}
    assert {str(path.relative_to(place / "run")) for path in place.glob("run/validation/*.json")} <= listed


def test_a_tree_beside_itself_scores_the_same(place: Path, config: Config) -> None:
    from nntrainer.validation.stability import compare, models_of, scored

    events = read(reference_of(config, None))
    one = scored(models_of(RunDir(place / "run"), 2), events)
    same = compare(one, one, config.data.labels, 0, [0.4, 0.6])
    assert same["auc"]["change"] == 0 and same["auc"]["change_error"] < 1e-12
    for each in same["classes"].values():
        assert each["mean_shift"] == 0 and max(each["mean_shift_error"], each["ks_distance"]) < 1e-12
        assert np.allclose(each["migration"], np.eye(3))


def test_events_far_away_are_outliers(place: Path, config: Config) -> None:
    from dataclasses import replace

    from nntrainer.validation.outliers import Detectors

    events = read(reference_of(config, None))
    detectors = Detectors(config, RunDir(place / "run"), events)
    far = {name: each * np.float32(1 if name.endswith("_valid") else 3) for name, each in events.inputs.items()}
    for one in detectors.compare(events, replace(events, inputs=far)).values():
        assert one.auc > 0.8
        assert one.beyond > 0.1
        assert one.auc_error < 0.05


def test_files_of_another_generation_are_alike(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    against = f"{place}/other/ttbb*.root:nominal_Loose"
    arguments = ["c.yaml", "--sample", "ttbb", "--against", against, "--output", str(tmp_path / "out")]
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "argv", ["nntrainer", "validate", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert not exit_.value.code
    said = capsys.readouterr().out
    assert "no difference seen" in said
    result = json.loads(next((tmp_path / "out" / "validation").glob("*.json")).read_text())
    (other,) = result["variations"].values()
    assert abs(other["inputs"]["classifier"]["auc"] - 0.5) < 4 * other["inputs"]["classifier"]["auc_error"]
    assert not (place / "runs").exists()


def test_columns_are_what_the_network_sees(config: Config) -> None:
    events, columns = read(reference_of(config, "ttH")), columns_of(config)
    rows = table(config, events.inputs)
    assert columns.names[:4] == ("HT_all", "Centrality_all", "dRbb_avg_70", "n(jets)")
    assert rows.shape == (len(events), len(columns.names))
    np.testing.assert_array_equal(np.isfinite(rows[:, 4:]).sum(axis=1), rows[:, 3])
    np.testing.assert_array_equal(rows[:, 0], events.inputs["events"][:, 0])
    assert columns.names[5] == "jets[1].jet_pt" and columns.features[5] == "jets.jet_pt"
    assert np.all(rows[:, 4] >= rows[:, 5])


def test_of_two_trees_the_same_events_stay(config: Config) -> None:
    reference = reference_of(config, "ttH")
    (up,) = others_of(config, reference, trees=["JET_JES__1up"])
    few = [read(side, most=500).event for side in (reference, up)]
    assert 400 < len(few[0]) < 600
    assert len(np.intersect1d(*few)) > 0.85 * len(few[0])


def test_a_weight_of_its_own(config: Config) -> None:
    reference = reference_of(config, "ttH")
    (up,) = others_of(config, reference, trees=["JET_JES__1up"], weight="1")
    assert np.all(read(up).weight == 1)
    with pytest.raises(InputError, match="--against-weight"):
        others_of(config, reference, trees=["JET_JES__1up"], weight="__import__('os')")


@pytest.mark.parametrize(
    ("text", "files", "tree"),
    [
        ("a.root", "a.root", None),
        ("a/*.root:t", "a/*.root", "t"),
        ("a.root:dir/t", "a.root", "dir/t"),
        ("root://host:1094//a/b.root", "root://host:1094//a/b.root", None),
        ("root://host:1094//a/b.root:t", "root://host:1094//a/b.root", "t"),
        ("a:b.root", "a:b.root", None),
    ],
)
def test_a_tree_after_a_colon(text: str, files: str, tree: str | None) -> None:
    assert split_tree(text) == (files, tree)


PAIR = ["--sample", "ttH", "--against", "ttbb"]
WRONG = {
    "unknown sample": (["--sample", "ttb", "--against", "ttH"], "no sample 'ttb'; .* Did you mean 'ttbb'"),
    "unknown against": (["--sample", "ttH", "--against", "ttbbb"], "no sample or file 'ttbbb'; .* Did you mean 'ttbb'"),
    "itself": (["--sample", "ttH", "--against", "ttH"], "is on both sides"),
    "its own tree": (["--sample", "ttH", "--against-tree", "nominal_Loose"], "is on both sides"),
    "one with all": (["--against", "ttH"], "say with --sample"),
    "nothing": ([], "say what to compare with"),
    "missing tree": (["--sample", "ttH", "--against-tree", "JET_JES__1upp"], "Did you mean 'JET_JES__1up'"),
    "missing tree of files": (["--sample", "ttH", "--against", "ttbb.root:nominal"], "no tree 'nominal'; it has"),
    "missing files": (["--sample", "ttH", "--against", "none_*.root"], "no file matches 'none_"),
    "unknown test": ([*PAIR, "--test", "score"], "Did you mean 'scores'"),
    "no events": ([*PAIR, "--set", "data.selection=nJets > 99"], "has no event to compare"),
    "no scores untrained": ([*PAIR, "--test", "scores"], "not trained"),
    "no outliers untrained": ([*PAIR, "--test", "outliers"], "not trained"),
    "one tree missing": (["--against-tree", "JET_JES__1up", "--against-tree", "JET_X"], "no tree fits 'JET_X'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_a_sentence(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    arguments, words = WRONG[case]
    monkeypatch.chdir(place)
    more = ["--run-dir", str(tmp_path / "new"), "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["nntrainer", "validate", "c.yaml", *arguments, *more])
    with pytest.raises(SystemExit) as exit_:
        main()
    said = capsys.readouterr().err
    assert exit_.value.code == 2, said
    assert re.search(words, said), said
    assert "Traceback" not in said
    assert not list((tmp_path / "out").rglob("*.json"))


def test_a_run_that_is_no_run(place: Path, config: Config) -> None:
    with pytest.raises(RunError, match="looks at a trained network"):
        validate(config, output=place / "out", sample="ttH", against="ttbb", tests=["scores"])


def test_a_run_directory_without_a_training(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    RunDir(tmp_path / "run").claim(load_config(place / "c.yaml", environment={}))
    for folder, words in (
        (tmp_path / "run", "the network is not trained"),
        (tmp_path, "is not a run directory: it has no config.yaml"),
    ):
        monkeypatch.setattr(sys, "argv", ["nntrainer", "validate", str(folder), *PAIR])
        with pytest.raises(SystemExit) as exit_:
            main()
        assert exit_.value.code == 2
        assert words in capsys.readouterr().err
