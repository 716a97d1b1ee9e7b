"""The file of all folds says for each event what the file of the event's fold says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from nntrainer.dataset.split import fold_of
from nntrainer.errors import ExportError
from nntrainer.export.all_folds import FILE, TOPCPTOOLKIT, join, joined_metadata, write, write_topcptoolkit

pytestmark = pytest.mark.slow

K = 3
LARGEST = [0, 1, 2**53, 2**53 + 1, 2**53 + 2, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1]


def metadata(fold: int, **more: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "inputs": {"events": [{"name": "HT", "unit": "MeV"}, {"name": "dR", "unit": ""}], "objects": {}},
        "outputs": ["s"],
        "fold_rule": {"kind": "folds", "k": K, "fold": fold, "validation_every": 5},
        "config": {"name": "toy"},
        "config_digest": "d",
        "training_sums": {"s": 1.0 + fold},
    } | more


def network(fold: int, outputs: int = 1, **more: Any) -> onnx.ModelProto:
    """A small network with two outputs, one of them indices; the initialisers of the folds have the same names."""
    rng = np.random.default_rng(fold)
    weights = {
        "w1": rng.normal(size=(2, 9)),
        "b1": rng.normal(size=9),
        "w2": rng.normal(size=(9, 4)),
        "mask": rng.normal(size=(4, outputs)),
    }
    nodes = [
        helper.make_node("MatMul", ["events", "w1"], ["h1"]),
        helper.make_node("Add", ["h1", "b1"], ["h2"]),
        helper.make_node("Tanh", ["h2"], ["h3"]),
        helper.make_node("MatMul", ["h3", "w2"], ["h4"]),
        helper.make_node("Mul", ["h4", "jets_valid"], ["h5"]),
        helper.make_node("MatMul", ["h5", "mask"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
        helper.make_node("ArgMax", ["h5"], ["jet"], axis=1, keepdims=1),
    ]
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "network",
        [tensor("events", TensorProto.FLOAT, ["n", 2]), tensor("jets_valid", TensorProto.FLOAT, ["n", 4])],
        [tensor("scores", TensorProto.FLOAT, ["n", outputs]), tensor("jet", TensorProto.INT64, ["n", 1])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    entry = model.metadata_props.add()
    entry.key, entry.value = "nntrainer", json.dumps(metadata(fold, **more))
    return model


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def events(n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(n)
    return {
        "events": rng.normal(size=(n, 2)).astype(np.float32),
        "jets_valid": rng.integers(0, 2, (n, 4)).astype(np.float32),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for fold in range(K):
        onnx.save(network(fold), str(tmp_path / f"fold{fold}.onnx"))
    return tmp_path


@pytest.mark.parametrize("n", [1, 7, 1024])
def test_each_event_gets_what_its_fold_says(folder: Path, n: int) -> None:
    path, difference = write(folder, K, events(50), 1e-5)
    assert path == folder / FILE and difference == 0
    onnx.checker.check_model(str(path), full_check=True)
    joined, folds = session(path), [session(folder / f"fold{fold}.onnx") for fold in range(K)]
    feed = events(n)
    numbers = np.resize(np.array(LARGEST, np.uint64), n)
    for number in [numbers, np.random.default_rng(2).integers(0, 2**64, n, dtype=np.uint64), np.full(n, 2**63 - 1)]:
        number = number.astype(np.uint64)
        scores, jet = joined.run(["scores", "jet"], feed | {"eventNumber": number.astype(np.int64)})
        assert scores.dtype == np.float32 and jet.dtype == np.int64
        mine = np.array([int(each) % K for each in number.tolist()])
        assert np.array_equal(mine, fold_of(number, K))
        for fold, one in enumerate(folds):
            rows = np.flatnonzero(mine == fold)
            if len(rows):
                said = one.run(["scores", "jet"], {name: array[rows] for name, array in feed.items()})
                assert np.array_equal(scores[rows], said[0]) and np.array_equal(jet[rows], said[1])
            others = np.flatnonzero(mine != fold)
            if len(others) > 5:
                wrong = one.run(["scores"], {name: array[others] for name, array in feed.items()})[0]
                assert np.abs(scores[others] - wrong).max() > 1e-2
    assert len(joined.run(["scores"], events(0) | {"eventNumber": np.zeros(0, np.int64)})[0]) == 0


def test_each_of_the_largest_numbers_alone(folder: Path) -> None:
    joined = session(write(folder, K, events(50), 1e-5)[0])
    folds = [session(folder / f"fold{fold}.onnx") for fold in range(K)]
    feed = events(1)
    said = [one.run(["scores"], feed)[0].item() for one in folds]
    assert len(set(said)) == K
    for number in LARGEST:
        id_ = np.array([number], np.uint64).view(np.int64)
        assert joined.run(["scores"], feed | {"eventNumber": id_})[0].item() == said[number % K], number


def test_metadata_keep_what_differs() -> None:
    both = joined_metadata([metadata(fold, git_commit=f"c{fold}") for fold in range(K)])
    assert both["fold_rule"] == {"kind": "folds", "k": K, "fold": "all", "validation_every": 5}
    assert [each["fold_rule"]["fold"] for each in both["folds"]] == [0, 1, 2]
    assert [each["training_sums"]["s"] for each in both["folds"]] == [1.0, 2.0, 3.0]
    assert [each["git_commit"] for each in both["folds"]] == ["c0", "c1", "c2"]
    assert both["config"] == {"name": "toy"} and "config" not in both["folds"][0]


def test_models_that_do_not_fit_are_refused(folder: Path) -> None:
    with pytest.raises(ExportError, match="fold 1 takes or gives something else than fold 0"):
        join([network(0), network(1, outputs=2)])
    with pytest.raises(ExportError, match="come from different configurations"):
        join([network(0), network(1, config_digest="other")])
    onnx.save(network(0, config_digest="other"), str(folder / "fold0.onnx"))
    with pytest.raises(ExportError):
        write(folder, K, events(50), 1e-5)
    assert not (folder / FILE).exists() and not list(folder.glob("*.part"))


def test_what_topcptoolkit_is_told(folder: Path) -> None:
    text = write_topcptoolkit(folder, K).read_text()
    assert "eventNumber % 3 is the place of the model in the list" in text
    told = yaml.safe_load(text)
    assert told["model_paths"] == ["fold0.onnx", "fold1.onnx", "fold2.onnx"]
    first = session(folder / told["model_paths"][0])
    assert [each["name"] for each in told["inputs"]] == [each.name for each in first.get_inputs()]
    assert told["inputs"][0] == {"name": "events", "type": "float32", "shape": [1, 2], "columns": ["HT [MeV]", "dR"]}
    assert told["outputs"][1] == {"name": "jet", "type": "int64", "shape": [1, 1]}
    assert (folder / TOPCPTOOLKIT).is_file()
