"""The Higgs boson's jets, from toy ntuples to branches: the example configuration, small."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
import vector

from nntrainer.config import Config, load_config
from nntrainer.dataset.conversion import convert
from nntrainer.dataset.dataset import open_dataset
from nntrainer.errors import InputError
from nntrainer.evaluation.evaluate import evaluate
from nntrainer.export.onnx_export import export
from nntrainer.inject.inject import inject
from nntrainer.ntuples.toy import generate
from nntrainer.rundir import RunDir
from nntrainer.training.train import train

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "configs/examples/reconstruction.yaml"
BRANCHES = {"nn_higgs_j0": "i4", "nn_higgs_j1": "i4", "nn_higgs_m": "f4", "nn_higgs_pt": "f4", "nn_higgs_prob": "f4"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return generate(tmp_path_factory.mktemp("ttH"), samples=("ttH",), events=30_000, seed=5)


def config_of(files: list[Path], directory: Path, *more: str) -> Config:
    small = [
        f"data.samples.0.files={files[0]}",
        f"data.directory={directory}",
        "model={name: spanet, width: 32, heads: 2, layers: 1, head: [16]}",
        "preparation={fractions: {train: 0.7, validation: 0.1, test: 0.2}}",
        "training.optimizer={name: adam, learning_rate: 0.004}",
        "training.batch_size=128",
        "training.epochs=10",
        "training.threads=1",
        "training.tasks={higgs_jets: 1.0, boson_pt: 0.1}",
        "inject.score_seen_events=true",
    ]
    return load_config(EXAMPLE, [*small, *more])


@pytest.fixture(scope="module")
def trained(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, RunDir, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("run")
    config, run = config_of(files, folder / "datasets"), RunDir(folder / "run")
    convert(config)
    train(config, run)
    return config, run, evaluate(config, run)


def test_the_example_is_valid() -> None:
    assert load_config(EXAMPLE).training.tasks == {"higgs_jets": 1.0, "top_jets": 1.0, "boson_pt": 0.2}


def test_truth_becomes_columns(trained: tuple[Config, RunDir, dict[str, Any]], files: list[Path]) -> None:
    config = trained[0]
    with uproot.open(files[0]) as file:
        arrays = file["nominal_Loose"].arrays(["eventNumber", "jet_truthmatch", "truth_higgs_pt"])
    with open_dataset(config) as dataset:
        entry, first = dataset.column("entry"), dataset.column("target_higgs_0")
        assert first.dtype == np.int8
        match = ak.to_numpy(ak.fill_none(ak.pad_none(arrays["jet_truthmatch"], 10, clip=True), 0))[entry]
        expected = np.where((match == 1).any(axis=1), (match == 1).argmax(axis=1), -1)
        np.testing.assert_array_equal(first, expected)
        assert (first < 0).any()
        np.testing.assert_allclose(dataset.column("target_boson_pt"), arrays["truth_higgs_pt"][entry])


def test_a_small_training_beats_the_better_baseline(trained: tuple[Config, RunDir, dict[str, Any]]) -> None:
    _, run, metrics = trained
    found = metrics["reconstruction"]["higgs"]
    baselines = [found[name]["matchable"]["value"] for name in ("nearest mass", "smallest ΔR")]
    network = found["network"]["matchable"]
    assert network["value"] > max(baselines) + 0.02
    assert network["events"] < found["network"]["all"]["events"]
    assert json.loads(run.metrics.read_text())["reconstruction"]["higgs"]["truth"]["mass_gev"]["width"] < 30
    assert (run.plots("Reconstruction") / "higgs_mass.png").exists()
    columns = (run.fold(0) / "history.csv").read_text().splitlines()[0].split(",")
    assert {"higgs_jets_loss", "val_higgs_jets_accuracy", "val_boson_pt_loss"} <= {
        *columns
    } and "accuracy" not in columns


def test_what_is_written_into_ntuples(
    trained: tuple[Config, RunDir, dict[str, Any]], files: list[Path], tmp_path: Path
) -> None:
    config, run, _ = trained
    (model,) = export(config, run)
    assert model.difference <= 1e-5
    # Data have no truth: scoring must not ask for it.
    data = tmp_path / "data.root"
    with uproot.open(files[0]) as file:
        tree = file["nominal_Loose"]
        names = [name for name in tree.keys() if "truth" not in name and not name.startswith("n")]  # noqa: SIM118
        names += ["nJets", "nBTags_DL1r_70"]
        arrays = tree.arrays(names, entry_stop=3000)
    with uproot.recreate(data) as file:
        file.mktree("nominal_Loose", {name: arrays[name].type.content for name in names})
        file["nominal_Loose"].extend({name: arrays[name] for name in names})
    written = {}
    for mode, name in (("friend", "data.friend.root:nominal_Loose_nn"), ("copy", "data.root:nominal_Loose"),
                       ("inplace", "data.root:nominal_Loose")):  # fmt: skip
        (result,) = inject([model.path], [str(data)], output=tmp_path / mode, mode=mode)
        with uproot.open(f"{tmp_path / mode / name}") as tree:
            assert all(tree[each].interpretation.numpy_dtype.newbyteorder("=") == np.dtype(kind)
                       for each, kind in BRANCHES.items())  # fmt: skip
            written[mode] = tree.arrays([*BRANCHES, "nn_boson_pt"], library="np")
    for mode in ("copy", "inplace"):
        for name, values in written["friend"].items():
            np.testing.assert_array_equal(values, written[mode][name])
    found = written["friend"]
    scored = found["nn_higgs_j0"] >= 0
    assert scored.sum() == result.scored and (found["nn_higgs_m"][~scored] == -99).all()
    jets = vector.zip({key: arrays[f"jet_{name}"] for key, name in
                       (("pt", "pt"), ("eta", "eta"), ("phi", "phi"), ("energy", "e"))})[scored]  # fmt: skip
    rows = np.arange(scored.sum())
    chosen = [jets[rows, found[f"nn_higgs_j{i}"][scored]] for i in range(2)]
    np.testing.assert_allclose(found["nn_higgs_m"][scored], (chosen[0] + chosen[1]).mass, rtol=1e-3)
    np.testing.assert_allclose(found["nn_higgs_pt"][scored], (chosen[0] + chosen[1]).pt, rtol=1e-3)
    with uproot.open(tmp_path / "friend" / "data.friend.root") as file:
        told = json.loads(str(file["nn_provenance"]))["branches"]
    assert told["nn_higgs_m"]["unit"] == "MeV" and "position in jets" in told["nn_higgs_j0"]["description"]


def test_class_and_jets_are_learnt_together(tmp_path: Path) -> None:
    ntuples = generate(tmp_path, samples=("ttH", "ttbb"), events=12_000, seed=6)
    samples = [{"name": name, "files": [f"{tmp_path}/{name}*.root"], "label": name} for name in ("ttH", "ttbb")]
    tasks = "training.tasks={class: 1.0, higgs_jets: 0.5, boson_pt: 0.1}"
    more = [f"data.samples={json.dumps(samples)}", tasks, "training.epochs=5"]
    config = config_of(ntuples, tmp_path / "datasets", *more)
    run = RunDir(tmp_path / "run")
    convert(config)
    train(config, run)
    metrics = evaluate(config, run)
    (model,) = export(config, run)
    assert model.difference <= 1e-5
    inject([model.path], [str(file) for file in ntuples], output=tmp_path / "out")
    means = []
    for file in ntuples:
        with uproot.open(f"{tmp_path}/out/{file.stem}.friend.root:nominal_Loose_nn") as tree:
            arrays = tree.arrays(["nn_score", "nn_higgs_j0"], library="np")
        scored = arrays["nn_score"] >= 0
        means.append(arrays["nn_score"][scored].mean())
        assert ((arrays["nn_higgs_j0"] >= 0) == scored).all(), "backgrounds have jets chosen, too"
    assert metrics["auc"]["test"] > 0.7 and means[0] > means[1] + 0.1
    found = metrics["reconstruction"]["higgs"]
    # Of five jets and more there are ten pairs and more to choose from; these few events take it to 0.42.
    assert found["network"]["matchable"]["value"] > 0.25
    assert found["network"]["all"]["events"] < metrics["events"]["ttH"], "only the Higgs boson's events count"
    columns = (run.fold(0) / "history.csv").read_text().splitlines()[0].split(",")
    assert {"val_accuracy", "val_higgs_jets_accuracy", "boson_pt_loss"} <= {*columns}


def test_positions_are_those_of_the_ntuple_when_jets_are_left_out(files: list[Path], tmp_path: Path) -> None:
    reverse = "features.objects.jets.selection=jet_eta < 1"
    config = config_of(files, tmp_path / "datasets", reverse, "training.epochs=1")
    run = RunDir(tmp_path / "run")
    convert(config)
    train(config, run)
    (model,) = export(config, run)
    inject([model.path], [str(files[0])], output=tmp_path)
    with uproot.open(files[0]) as file:
        jets = file["nominal_Loose"].arrays(["jet_eta"], entry_stop=30_000)["jet_eta"]
    with uproot.open(tmp_path / f"{files[0].stem}.friend.root") as file:
        slots = file["nominal_Loose_nn/nn_higgs_j1"].array(library="np")
    there = slots >= 0
    eta = jets[np.flatnonzero(there), slots[there]]
    assert there.sum() > 1000 and ak.all(eta < 1)


def test_a_missing_truth_branch_is_one_sentence(files: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "ttH.root"
    shutil.copyfile(files[0], copy)
    config = config_of([copy], tmp_path / "datasets", "data.targets.higgs_jets.match=jet_truthmatsch")
    with pytest.raises(InputError, match=r"no branch 'jet_truthmatsch'.*Did you mean 'jet_truthmatch'"):
        convert(config)
    config = config_of([copy], tmp_path / "datasets", "data.targets.higgs_jets.match=nJets")
    with pytest.raises(InputError, match="match of target 'higgs_jets' of 'jets': 'nJets' must give a list of numbers"):
        convert(config)
