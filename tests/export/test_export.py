"""ONNX models say what Keras says on real converted events, carry their metadata, and fail as a whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from nntrainer.config import Config
from nntrainer.dataset.conversion import convert
from nntrainer.dataset.dataset import open_dataset
from nntrainer.dataset.inputs import Inputs, network_arrays
from nntrainer.dataset.split import masks
from nntrainer.errors import ConfigError, ExportError
from nntrainer.export.onnx_export import export, parity_events
from nntrainer.export.parity import largest_difference
from nntrainer.inject.models import load_ensembles
from nntrainer.networks.inputs import fit_scaling
from nntrainer.networks.model import build_model, load_model
from nntrainer.rundir import RunDir

pytestmark = pytest.mark.slow

Made = tuple[Config, RunDir]


def write_ntuple(path: Path, n: int, seed: int) -> None:
    """Write events in the units and with the ranges of ntuples, so that the scaling matters."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 5, n)
    pt = ak.unflatten(rng.exponential(6e4, counts.sum()).astype(np.float32) + 25e3, counts)
    types = {"eventNumber": "u8", "HT": "f8", "dR": "f4", "weight": "f8", "jet": "var * {pt: float32, eta: float32}"}
    with uproot.recreate(path) as file:
        events = {
            "eventNumber": np.arange(n, dtype=np.uint64) * np.uint64(7) + np.uint64(10**9),
            "HT": rng.exponential(4e5, n),
            "dR": rng.uniform(0, 5, n).astype(np.float32),
            "weight": rng.normal(1, 0.5, n),
            "jet": ak.zip({"pt": pt, "eta": ak.values_astype(pt / 1e5 - 1, np.float32)}),
        }
        file.mktree("nominal", types).extend(events)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Made]:
    """Return a function that converts ntuples and lays untrained models where training would."""

    def made(model: Any = "dense", labels: int = 2, events: int = 1500, **blocks: Any) -> Made:
        folder = tmp_path_factory.mktemp("export")
        samples = []
        for index in range(labels):
            write_ntuple(folder / f"s{index}.root", events, index)
            samples.append({"name": f"s{index}", "files": str(folder / f"s{index}.root"), "label": f"c{index}"})
        config = Config.model_validate(
            {
                "name": "toy",
                "data": {
                    "samples": samples,
                    "tree": "nominal",
                    "weight": "weight",
                    "signal": "c1",
                    "directory": str(folder / "datasets"),
                },
                "features": {
                    "events": [{"name": "HT", "unit": "MeV"}, "dR"],
                    "objects": {"jets": {"max": 3, "features": [{"name": "jet_pt", "unit": "MeV"}, "jet_eta"]}},
                },
                "model": model,
            }
            | blocks
        )
        convert(config)
        run = RunDir(folder / "run")
        inputs = network_inputs_of(config)
        for fold in range(config.preparation.k):
            scaling = fit_scaling("standard", inputs, np.arange(len(inputs["events"])))
            build_model(config, scaling, seed=fold).save(run.fold(fold) / "model.keras")
        return config, run

    return made


def network_inputs_of(config: Config) -> Inputs:
    with open_dataset(config) as dataset:
        return network_arrays(config, dataset.events(), {"jets": dataset.objects("jets")})


@pytest.fixture(scope="module")
def binary(make: Callable[..., Made]) -> Made:
    config, run = make()
    export(config, run)
    return config, run


@pytest.mark.parametrize(("model", "labels"), [("dense", 3), ("residual", 2)])
def test_onnx_runtime_says_what_keras_says(make: Callable[..., Made], model: str, labels: int) -> None:
    import onnxruntime

    config, run = make(model, labels)
    done = export(config, run, folds=[1])
    assert [(each.fold, each.path) for each in done] == [(1, run.models / "fold1.onnx")]
    assert done[0].difference <= 1e-5
    assert done[0].size_bytes == done[0].path.stat().st_size
    keras = load_model(run.models / "fold1.keras")
    session = onnxruntime.InferenceSession(str(done[0].path))
    inputs = network_inputs_of(config)
    for size in (1, 7, 1024):
        batch = {name: array[-size:] for name, array in inputs.items()}
        scores = session.run(["scores"], batch)[0]
        assert scores.shape == (size, 1 if labels == 2 else labels)
        assert np.abs(scores - np.asarray(keras(batch))).max() <= 1e-5
        if size > 1:
            assert scores.std() > 1e-4  # not all the same


def test_inputs_are_plain_names_with_any_batch_size(binary: Made) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(binary[1].models / "fold0.onnx"))
    assert {given.name: given.shape[1:] for given in session.get_inputs()} == {
        "events": [2],
        "jets": [3, 2],
        "jets_valid": [3],
    }
    assert all(not isinstance(given.shape[0], int) for given in session.get_inputs())
    assert [given.name for given in session.get_outputs()] == ["scores"]


def test_metadata(binary: Made) -> None:
    config, run = binary
    (ensemble,) = load_ensembles([run.models / "fold1.onnx", run.models / "fold0.onnx"])
    assert ensemble.config.digest() == config.digest()
    for fold, model in enumerate(ensemble.models):
        found = model.metadata
        assert found["labels"] == ["c0", "c1"]
        assert found["signal"] == "c1"
        assert found["outputs"] == ["c1"]
        assert found["inputs"]["events"] == [{"name": "HT", "unit": "MeV"}, {"name": "dR", "unit": ""}]
        assert found["inputs"]["objects"]["jets"]["max"] == 3
        assert found["inputs"]["objects"]["jets"]["fields"][0] == {"name": "jet_pt", "unit": "MeV"}
        assert found["fold_rule"] == {"kind": "folds", "k": 2, "fold": fold, "validation_every": 5}
        assert found["version"]
        assert found["git_commit"]
        with open_dataset(config) as dataset:
            train = masks(config, dataset.column("eventNumber"), fold).train
            weight, label = dataset.column("weight").astype(float), dataset.column("label")
        for index, name in enumerate(found["labels"]):
            assert found["training_sums"][name] == pytest.approx(weight[train & (label == index)].sum())


def test_parity_is_checked_on_test_events_of_every_sample(make: Callable[..., Made], binary: Made) -> None:
    for config, _ in (binary, make(events=30)):
        with open_dataset(config) as dataset:
            events = parity_events(config, 0, dataset)
            test = masks(config, dataset.column("eventNumber"), 0).test
            rows = network_arrays(config, dataset.events(), {"jets": dataset.objects("jets")})["events"]
            label = dataset.column("label")
        assert len(events["events"]) == len(events["jets"]) == 1024
        known = {tuple(row): index for index, row in enumerate(rows.tolist())}
        used = np.array([known[tuple(row)] for row in events["events"].tolist()])
        assert test[used].all()
        assert set(label[used]) == {0, 1}
        assert len(set(used.tolist())) == min(1024, test.sum())


def test_another_model_is_noticed(binary: Made) -> None:
    config, run = binary
    with open_dataset(config) as dataset:
        events = parity_events(config, 0, dataset)
    model = load_model(run.models / "fold0.keras")
    assert largest_difference(model, run.models / "fold0.onnx", events, (1, 7, 1024)) <= 1e-5
    assert largest_difference(model, run.models / "fold1.onnx", events, (7,)) > 1e-3
    events["events"] = np.full_like(events["events"], np.nan)
    assert not largest_difference(model, run.models / "fold0.onnx", events, (7,)) <= 1e-5


def test_a_violated_tolerance_exports_nothing(binary: Made) -> None:
    config, run = binary
    strict = config.model_copy(update={"export": config.export.model_copy(update={"tolerance": 1e-12})})
    before = {path.name: path.read_bytes() for path in run.models.iterdir()}
    folds = {"fold0.keras", "fold0.onnx", "fold1.keras", "fold1.onnx"}
    assert set(before) == folds | {"allfolds.onnx", "topcptoolkit.yaml", "export.json"}
    with pytest.raises(ExportError, match=r"fold0\.onnx: .* differ by .*export\.tolerance is 1\.00e-12"):
        export(strict, run)
    assert {path.name: path.read_bytes() for path in run.models.iterdir()} == before


def test_keras_model_is_copied(binary: Made) -> None:
    run = binary[1]
    assert (run.models / "fold0.keras").read_bytes() == (run.fold(0) / "model.keras").read_bytes()


def test_untrained_and_unknown_folds(binary: Made, tmp_path: Path) -> None:
    config, run = binary[0], RunDir(tmp_path / "run")
    with pytest.raises(ExportError, match="fold 0 is not trained yet"):
        export(config, run)
    with pytest.raises(ConfigError, match="no fold 7"):
        export(config, run, folds=[7])
    assert not (run.path / "training" / "fold7").exists()
    assert not list(run.models.iterdir())


def test_exported_models_score_ntuples(binary: Made, tmp_path: Path) -> None:
    """The whole way: what inject writes for an entry is what Keras says of the converted event."""
    from nntrainer.inject.inject import inject

    config, run = binary
    source = config.data.samples[0].files[0]
    inputs = {name: array[:1500] for name, array in network_inputs_of(config).items()}
    for models in (sorted(run.models.glob("*.onnx")), [run.models / "allfolds.onnx"]):
        (result,) = inject(models, [source], output=tmp_path, overwrite=True)
        assert result.scored == result.events == 1500
        friend = uproot.open(result.output)["nominal_nn"].arrays(library="np")
        for fold in (0, 1):
            mine = friend["eventNumber"] % 2 == fold
            assert np.array_equal(friend["nn_fold"] == fold, mine)
            said = np.asarray(load_model(run.models / f"fold{fold}.keras")(inputs))[:, 0]
            assert np.abs(friend["nn_score"][mine] - said[mine]).max() <= 1e-5


def test_json_metadata_is_plain(binary: Made) -> None:
    import onnx

    properties = onnx.load(str(binary[1].models / "fold0.onnx")).metadata_props
    assert [entry.key for entry in properties] == ["nntrainer"]
    assert json.loads(properties[0].value)["format"] == 1


@pytest.mark.parametrize("model", ["dense", "deep_sets"])
def test_the_file_of_all_folds_comes_with_the_last_one(make: Callable[..., Made], model: str) -> None:
    import onnxruntime

    config, run = make(model, preparation={"folds": 3}, network_type="flat" if model == "dense" else "set")
    export(config, run, folds=[1])
    export(config, run, folds=[0])
    assert not (run.models / "allfolds.onnx").exists() and not (run.models / "topcptoolkit.yaml").exists()
    done = export(config, run, folds=[2])
    assert [(each.fold, each.path.name) for each in done] == [(2, "fold2.onnx"), (None, "allfolds.onnx")]
    assert done[1].difference == 0
    joined = onnxruntime.InferenceSession(str(done[1].path))
    inputs = network_inputs_of(config)
    for size in (1, 7, 1024):
        batch = {name: array[-size:] for name, array in inputs.items()}
        number = np.arange(size, dtype=np.uint64) * np.uint64(977) + np.uint64(2**63 - 400)
        scores = joined.run(["scores"], batch | {"eventNumber": number.astype(np.int64)})[0]
        for fold in range(3):
            rows = number % 3 == fold
            one = onnxruntime.InferenceSession(str(run.models / f"fold{fold}.onnx"))
            if rows.any():
                said = one.run(["scores"], {name: array[rows] for name, array in batch.items()})[0]
                assert np.array_equal(scores[rows], said)
                assert np.abs(one.run(["scores"], batch)[0][rows] - scores[rows]).max() <= 1e-6
    (run.models / "fold1.onnx").unlink()
    export(config, run, folds=[0])
    assert not (run.models / "allfolds.onnx").exists()  # it would hold a model that went


def test_fractions_make_one_model_and_no_file_of_all_folds(make: Callable[..., Made]) -> None:
    config, run = make(preparation={"fractions": {"train": 0.6, "validation": 0.2, "test": 0.2}})
    assert [each.fold for each in export(config, run)] == [0]
    names = {"fold0.keras", "fold0.onnx", "topcptoolkit.yaml", "export.json"}
    assert {each.name for each in run.models.iterdir()} == names
    assert "One model for all events" in (run.models / "topcptoolkit.yaml").read_text()
