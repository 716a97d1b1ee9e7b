"""Scores in ntuples: each event by the right model, entry by entry, nothing lost, nothing overwritten.

The models are linear in the inputs and differ by 1000 a fold, so that a score tells which model gave it to which event.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from nntrainer.config import Config
from nntrainer.dataset.split import masks, rule
from nntrainer.errors import InjectError, InputError, NNTrainerError
from nntrainer.inject.inject import inject
from nntrainer.ntuples.carry import carry_objects
from nntrainer.ntuples.reader import open_tree
from nntrainer.ntuples.writers import CopyWriter

STEP = 1000


def make_config(**changes: Any) -> Config:
    """A configuration with one event feature and one collection; blocks given replace those here."""
    blocks: dict[str, Any] = {
        "name": "toy",
        "data": {"tree": "nominal", "selection": "n > 0", "chunk_events": 17, "weight": "no_such_branch"},
        "features": {"events": ["x"], "objects": {"jets": {"max": 2, "features": ["jet_pt"]}}},
        "preparation": {"folds": 3},
        "model": "dense",
    } | changes
    labels = blocks.pop("labels", ["s", "b"])
    blocks["data"] = blocks["data"] | {"samples": [{"name": n, "files": f"{n}.root", "label": n} for n in labels]}
    return Config.model_validate(blocks)


def make_model(path: Path, config: Config, fold: int, /, **metadata: Any) -> Path:
    """Write an ONNX model whose i-th score is STEP * fold + 100 * i + x + the first jet's pt."""
    from onnx import TensorProto, helper, numpy_helper

    outputs = 1 if len(config.data.labels) == 2 else len(config.data.labels)
    offsets = STEP * fold + 100 * np.arange(outputs, dtype=np.float32)[None, :]
    zero, one, axis = (np.array([value], np.int64) for value in (0, 1, 1))
    constants = {"offsets": offsets, "zero": zero, "one": one, "axis": axis}
    nodes = [
        helper.make_node("Slice", ["jets", "zero", "one", "axis"], ["first"]),
        helper.make_node("Squeeze", ["first", "axis"], ["pt"]),
        helper.make_node("Add", ["events", "pt"], ["sum"]),
        helper.make_node("Add", ["sum", "offsets"], ["scores"]),
    ]
    shapes = {"events": ["n", 1], "jets": ["n", 2, 1], "jets_valid": ["n", 2]}
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", outputs])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    labels = list(config.data.labels)
    text = {
        "format": 1,
        "outputs": [config.data.signal_label] if outputs == 1 else labels,
        "fold_rule": rule(config, fold),
        "config": config.dump(),
        "config_digest": config.digest(),
    } | metadata
    entry = model.metadata_props.add()
    entry.key, entry.value = "nntrainer", json.dumps(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def make_models(folder: Path, config: Config) -> list[Path]:
    return [make_model(folder / f"fold{fold}.onnx", config, fold) for fold in range(config.preparation.k)]


def branches(n: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, n)
    pt = ak.unflatten(rng.integers(1, 9, counts.sum()).astype(np.float32), counts)
    return {
        # Beyond the 53 bits of a double, in no order, in every residue class.
        "eventNumber": rng.permutation(n).astype(np.uint64) + np.uint64(2**60),
        "n": rng.integers(0, 3, n).astype(np.int32),
        "x": rng.integers(0, 90, n).astype(np.float32),
        "jet": ak.zip({"pt": pt, "tag": ak.values_astype(pt, np.int32)}),
        "cov": rng.normal(size=(n, 2, 3)),
        "pass": rng.random(n) > 0.5,
        "short": rng.integers(-9, 9, n).astype(np.int16),
        "name": ak.Array([f"event {i} é" for i in range(n)]),
    }


TYPES = {
    "eventNumber": "u8",
    "n": "i4",
    "x": "f4",
    "jet": "var * {pt: float32, tag: int32}",
    "cov": "2 * 3 * float64",
    "pass": "bool",
    "short": "i2",
    "name": "string",
}


@pytest.fixture
def ntuple(tmp_path: Path) -> Path:
    """A file with two systematic trees, one in a directory, a tree of something else, and a histogram."""
    path = tmp_path / "in" / "data.root"
    path.parent.mkdir()
    with uproot.recreate(path) as file:
        for seed, name in enumerate(("nominal", "syst/JES__1up")):
            file.mktree(name, TYPES).extend(branches(120 + seed, seed))
        file.mktree("sumWeights", {"total": "f8"}).extend({"total": np.array([1.5, 2.5])})
        file["cutflow"] = np.histogram([1.0, 2.0, 2.0], bins=4)
        file["note"] = "hello"
    return path


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read(path: Path, tree: str) -> dict[str, Any]:
    """Return the branches of a tree, numbers as NumPy arrays."""
    with uproot.open(path) as file:
        arrays = file[tree].arrays()
    flat = {name: arrays[name].ndim == 1 and not ak.parameters(arrays[name]) for name in arrays.fields}
    return {name: ak.to_numpy(arrays[name]) if flat[name] else arrays[name] for name in arrays.fields}


def same(there: dict[str, Any], raw: dict[str, Any]) -> None:
    """Check that branches are there with the same types and values."""
    for name, values in raw.items():
        assert ak.type(there[name]) == ak.type(values), name
        assert ak.array_equal(there[name], values, equal_nan=True), name


def expected(raw: dict[str, Any], fold: np.ndarray) -> np.ndarray:
    first = ak.to_numpy(ak.fill_none(ak.firsts(raw["jet_pt"]), 0))
    return raw["x"] + first + STEP * fold


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_several_files_at_once(tmp_path: Path, threads: int) -> None:
    """The results come in the order of the files, whichever is done first; one that fails is told of."""
    config = make_config()
    models, files = make_models(tmp_path, config), []
    for number, n in enumerate((500, 3, 40, 1, 7)):
        files.append(str(tmp_path / f"{number}.root"))
        with uproot.recreate(files[-1]) as file:
            file.mktree("nominal", TYPES).extend(branches(n, number))
    done = inject(models, files, output=tmp_path / "out", threads=threads)
    assert [(each.file, each.events) for each in done] == list(zip(files, (500, 3, 40, 1, 7), strict=True))
    for each in done:
        raw, friend = read(Path(each.file), "nominal"), read(each.output, "nominal_nn")
        fold = np.array([int(number) % 3 for number in raw["eventNumber"]])
        assert np.array_equal(friend["nn_score"], np.where(raw["n"] > 0, expected(raw, fold), -99))
    with uproot.recreate(files[2]) as file:
        file["other"] = "no tree"
    with pytest.raises(InputError, match=r"2\.root: there is no tree 'nominal'"):
        inject(models, files, output=tmp_path / "out2")


def test_each_event_is_scored_by_the_model_of_its_fold(ntuple: Path, tmp_path: Path) -> None:
    config = make_config()
    before = sha(ntuple)
    models = make_models(tmp_path, config)
    results = inject(models[::-1], [str(ntuple)], output=tmp_path / "out", trees=["nominal", "syst/JES__1up"])
    for result in results:
        raw, friend = read(ntuple, result.tree), read(result.output, result.tree + "_nn")
        assert list(friend) == ["eventNumber", "nn_score", "nn_fold"]
        ids = raw["eventNumber"]
        assert friend["eventNumber"].dtype == np.uint64
        assert np.array_equal(friend["eventNumber"], ids)
        selected = raw["n"] > 0
        fold = np.array([int(number) % 3 for number in ids])
        assert np.array_equal(friend["nn_fold"], np.where(selected, fold, -1))
        assert np.array_equal(friend["nn_score"], np.where(selected, expected(raw, fold), -99))
        for which in range(3):
            roles = masks(config, ids, which)
            assert not np.any((roles.train | roles.validation)[ak.to_numpy(friend["nn_fold"] == which)])
        assert (result.events, result.scored) == (len(ids), selected.sum())
        assert (result.defaulted, result.seen) == ((~selected).sum(), 0)
    assert [result.tree for result in results] == ["nominal", "syst/JES__1up"]
    assert {result.output for result in results} == {tmp_path / "out" / "data.friend.root"}
    assert sha(ntuple) == before
    with uproot.open(results[0].output) as file:
        assert json.loads(str(file["nn_provenance"]))["config_digest"] == config.digest()


def test_the_entry_number_serves_as_event_id_in_every_chunk(ntuple: Path, tmp_path: Path) -> None:
    config = make_config(data={"tree": "nominal", "event_id": "entry", "chunk_events": 17})
    (result,) = inject(make_models(tmp_path, config), [str(ntuple)], output=tmp_path)
    friend = read(result.output, "nominal_nn")
    assert np.array_equal(friend["eventNumber"], np.arange(120))
    assert np.array_equal(friend["nn_fold"], np.arange(120) % 3)


def test_fractions_leave_out_what_the_model_has_seen(ntuple: Path, tmp_path: Path) -> None:
    for with_seen in (False, True):
        config = make_config(preparation={"fractions": {}}, inject={"score_seen_events": with_seen, "default": -1})
        output = tmp_path / str(with_seen)
        (result,) = inject(make_models(output, config), [str(ntuple)], output=output)
        raw, friend = read(ntuple, "nominal"), read(result.output, "nominal_nn")
        selected, ids = raw["n"] > 0, raw["eventNumber"]
        test = ids % np.uint64(100) >= 80
        scored = selected & (test | with_seen)
        assert np.array_equal(friend["nn_score"], np.where(scored, expected(raw, np.zeros(len(ids))), -1))
        assert np.array_equal(friend["nn_fold"], np.where(scored, 0, -1))
        assert result.seen == (0 if with_seen else (selected & ~test).sum())
        assert result.scored + result.defaulted + result.seen == result.events


def test_several_classes_and_names(ntuple: Path, tmp_path: Path) -> None:
    config = make_config(labels=["ttH", "ttb", "ttc"])
    (result,) = inject(
        make_models(tmp_path, config), [str(ntuple)], output=tmp_path, branch="dnn", suffix="_x", default=0.5
    )
    friend, raw = read(result.output, "nominal_x"), read(ntuple, "nominal")
    scored = friend["dnn_fold"] >= 0
    for index, label in enumerate(("ttH", "ttb", "ttc")):
        right = expected(raw, friend["dnn_fold"]) + 100 * index
        assert np.array_equal(friend[f"dnn_{label}"][scored], right[scored])
        assert set(friend[f"dnn_{label}"][~scored].tolist()) == {0.5}


def test_pattern_scores_what_it_can_and_tells_the_rest(ntuple: Path, tmp_path: Path) -> None:
    results = inject(make_models(tmp_path, make_config()), [str(ntuple)], output=tmp_path, trees=["*"])
    assert {result.tree: bool(result.skipped) for result in results} == {
        "nominal": False,
        "syst/JES__1up": False,
        "sumWeights": True,
    }
    assert "sumWeights" in results[-1].skipped
    assert results[-1].scored == 0
    with uproot.open(results[0].output) as file:
        assert set(file.keys(cycle=False)) >= {"nominal_nn", "syst/JES__1up_nn"}
        assert "sumWeights_nn" not in file


@pytest.mark.parametrize("trees", [["nominal"], ["*"]])
def test_copy_holds_everything(ntuple: Path, tmp_path: Path, trees: list[str]) -> None:
    config = make_config()
    before = sha(ntuple)
    results = inject(make_models(tmp_path, config), [str(ntuple)], output=tmp_path / "out", trees=trees, mode="copy")
    copy = tmp_path / "out" / "data.root"
    assert {result.output for result in results} == {copy}
    new = ["nn_score", "nn_fold"]
    scored = {result.tree for result in results if not result.skipped}
    for tree in ("nominal", "syst/JES__1up", "sumWeights"):
        raw, there = read(ntuple, tree), read(copy, tree)
        assert set(there) == set(raw) | set(new if tree in scored else [])
        same(there, raw)
    raw, there = read(ntuple, "nominal"), read(copy, "nominal")
    fold = there["nn_fold"]
    assert np.array_equal(there["nn_score"], np.where(fold >= 0, expected(raw, fold), -99))
    with uproot.open(ntuple) as one, uproot.open(copy) as other:
        assert np.array_equal(one["cutflow"].values(flow=True), other["cutflow"].values(flow=True))
        assert other["note"] == "hello"
    assert sha(ntuple) == before


@pytest.mark.parametrize(
    ("name", "tree"), [("uproot-sample-6.16.00-lz4", "sample"), ("uproot-Zmumu", "events"), ("uproot-HZZ", "events")]
)
def test_copy_of_real_trees(real_files: Path, tmp_path: Path, name: str, tree: str) -> None:
    source, out = str(real_files / f"{name}.root"), tmp_path / "out.root"
    with CopyWriter(out, source, 1000) as writer, open_tree(source, tree) as opened:
        writer.begin(opened, {"nn": np.dtype("f4")})
        for start in range(0, opened.entries, 1000):
            stop = min(start + 1000, opened.entries)
            writer.extend(opened, start, stop, {"nn": np.arange(start, stop, dtype=np.float32)})
    raw, there = read(Path(source), tree), read(out, tree)
    assert np.array_equal(there.pop("nn"), np.arange(len(there[next(iter(raw))])))
    assert set(raw) == set(there)
    same(there, raw)


def test_copy_turns_vectors_into_lists_with_a_counter(real_files: Path, tmp_path: Path) -> None:
    source, out = str(real_files / "uproot-HZZ-objects.root"), tmp_path / "out.root"
    with open_tree(source, "events") as tree:
        vectors = [name for name in tree.branches if tree.handle[name].typename == "std::vector<float>"]
        assert vectors
        tree.branches = vectors
        writer = CopyWriter(out, source, 1000)
        super(CopyWriter, writer).__enter__()  # the file has other branches, which a copy of all would refuse
        writer.begin(tree, {})
        writer.extend(tree, 0, tree.entries, {})
        writer.__exit__(None, None, None)
        raw = tree.read(vectors, 0, tree.entries)
    there = read(out, "events")
    assert set(there) == {*vectors, *(f"n{name}" for name in vectors)}
    for name in vectors:
        assert ak.array_equal(there[name], raw[name])


def refused(work: Callable[[], object], *words: str, kind: type[NNTrainerError] = InjectError) -> None:
    with pytest.raises(kind) as caught:
        work()
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_copy_refuses_real_branches_by_name_and_type(real_files: Path, tmp_path: Path) -> None:
    writer = CopyWriter(tmp_path / "out" / "o.root", str(real_files / "uproot-HZZ-objects.root"), 100)
    with pytest.raises(InjectError, match=r"'muonp4' \(std::vector<TLorentzVector>\).*--mode friend"):
        writer.__enter__()
    assert not (tmp_path / "out").exists()


def test_copy_refuses_real_objects_by_name_and_class(real_files: Path, tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "o.root") as out:
        refused(
            lambda: carry_objects(str(real_files / "uproot-issue434.root"), out),
            "would lose 'JTRIGGER::JTriggerParameters' (JTRIGGER::JTriggerParameters)",
        )


def test_copy_refuses_by_name_what_it_would_lose(ntuple: Path, tmp_path: Path) -> None:
    models, out = make_models(tmp_path, make_config()), tmp_path / "out"

    def copy(source: Path, **options: Any) -> Callable[[], object]:
        return lambda: inject(models, [str(source)], output=out, mode="copy", **options)

    nested = tmp_path / "nested.root"
    with uproot.recreate(nested) as file:
        raw = branches(9, 1)
        del raw["jet"], raw["name"]
        file.mkrntuple("nominal", raw | {"jet_pt": ak.Array([[1.0]] * 9)})
    refused(copy(nested), "nested.root", "'nominal'", "RNTuple", "--mode friend")

    clash = tmp_path / "clash.root"
    with uproot.recreate(clash) as file:
        file.mktree("nominal", TYPES | {"nn_fold": "i4"}).extend(branches(9, 1) | {"nn_fold": np.zeros(9, "i4")})
    refused(copy(clash), "clash.root", "'nn_fold'", "--branch")
    refused(lambda: inject(models, [str(ntuple)], output=ntuple.parent, mode="copy", overwrite=True), "itself")
    assert not list(out.rglob("*.root")) if out.exists() else True
    assert not list(tmp_path.rglob("*.part"))
    copy(clash, branch="other")()
    assert set(read(out / "clash.root", "nominal")) >= {"nn_fold", "other_fold", "other_score"}


def test_rntuple_gets_a_friend_tree(tmp_path: Path) -> None:
    raw = branches(50, 3)
    raw["jet_pt"] = raw.pop("jet")["pt"]
    with uproot.recreate(tmp_path / "r.root") as file:
        file.mkrntuple("nominal", {name: raw[name] for name in ("eventNumber", "n", "x", "jet_pt")})
    (result,) = inject(make_models(tmp_path, make_config()), [str(tmp_path / "r.root")], output=tmp_path / "out")
    friend = read(result.output, "nominal_nn")
    fold = friend["nn_fold"]
    assert np.array_equal(friend["eventNumber"], raw["eventNumber"])
    assert np.array_equal(friend["nn_score"], np.where(fold >= 0, expected(raw, fold), -99))


def test_an_empty_tree_gets_an_empty_friend(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "e.root") as file:
        file.mktree("nominal", TYPES)
    (result,) = inject(make_models(tmp_path, make_config()), [str(tmp_path / "e.root")], output=tmp_path / "out")
    assert result.events == 0
    with uproot.open(result.output) as file:
        assert file["nominal_nn"].num_entries == 0
        assert file["nominal_nn"].keys() == ["eventNumber", "nn_score", "nn_fold"]


def test_models_must_belong_together(ntuple: Path, tmp_path: Path) -> None:
    config = make_config()
    good = make_models(tmp_path, config)
    other = make_model(tmp_path / "other.onnx", make_config(seed=1), 2)
    bare = make_model(tmp_path / "bare.onnx", config, 0)
    import onnx

    proto = onnx.load(str(bare))
    del proto.metadata_props[:]
    bare.write_bytes(proto.SerializeToString())
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    wide = make_model(tmp_path / "wide.onnx", make_config(features={"events": ["x", "n"]}), 0)
    cases: list[tuple[Sequence[Path], list[str]]] = [
        ([], ["no model"]),
        ([good[0], good[2]], ["3 folds", "fold 1"]),
        ([good[1]], ["folds 0, 2"]),
        ([*good, make_model(tmp_path / "again.onnx", config, 1)], ["fold1.onnx", "again.onnx", "fold 1"]),
        ([*good[:2], other], ["other.onnx", "different configurations"]),
        ([bare], ["bare.onnx", "no metadata"]),
        ([text], ["text.onnx", "not a readable ONNX model"]),
        ([tmp_path / "none.onnx"], ["none.onnx", "no such model"]),
        ([make_model(tmp_path / "new.onnx", config, 0, format=2)], ["new.onnx", "format 2"]),
        ([wide, *good[1:]], ["wide.onnx"]),
        ([make_model(tmp_path / "odd.onnx", config, 0, config={"name": "x"}), *good[1:]], ["odd.onnx"]),
    ]
    for models, words in cases:
        refused(lambda models=models: inject(models, [str(ntuple)], output=tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


def test_the_file_of_all_folds_is_enough(ntuple: Path, tmp_path: Path) -> None:
    config = make_config()
    models = make_models(tmp_path / "models", config)
    joined = write_all(models, tmp_path / "models" / "allfolds.onnx")
    (each,) = inject(models, [str(ntuple)], output=tmp_path / "each")
    (both,) = inject([joined, *models], [str(ntuple)], output=tmp_path / "both")
    (some,) = inject([joined, models[2]], [str(ntuple)], output=tmp_path / "some")
    (alone,) = inject([joined], [str(ntuple)], output=tmp_path / "alone")
    want = uproot.open(each.output)["nominal_nn"].arrays(library="np")
    assert set(want["nn_fold"]) == {-1, 0, 1, 2}
    for result in (both, some, alone):
        assert result.scored == each.scored
        found = uproot.open(result.output)["nominal_nn"].arrays(library="np")
        for name in want:
            assert np.array_equal(found[name], want[name]), name
    given = json.loads(uproot.open(alone.output)["nn_provenance"])["models"]
    assert given == [str(joined)]
    elsewhere = write_all(make_models(tmp_path / "else", config), tmp_path / "else" / "allfolds.onnx")
    refused(
        lambda: inject([elsewhere, *models], [str(ntuple)], output=tmp_path / "out"),
        "allfolds.onnx",
        "give one of the two",
    )


def write_all(models: Sequence[Path], path: Path) -> Path:
    import onnx

    from nntrainer.export.all_folds import join

    path.write_bytes(join([onnx.load(str(each)) for each in models]).SerializeToString())
    return path


def test_outputs_are_never_lost(ntuple: Path, tmp_path: Path) -> None:
    models, out = make_models(tmp_path, make_config()), tmp_path / "out"
    (first,) = inject(models, [str(ntuple)], output=out)
    before = sha(first.output)
    refused(lambda: inject(models, [str(ntuple)], output=out), "data.friend.root", "--overwrite")
    bad = tmp_path / "data.root"
    with uproot.recreate(bad) as file:
        raw = branches(60, 1)
        raw["x"][40], raw["n"][40] = np.nan, 1
        file.mktree("nominal", TYPES).extend(raw)
    refused(lambda: inject(models, [str(bad)], output=out, overwrite=True), str(bad), "nominal", "'x'", kind=InputError)
    assert sha(first.output) == before
    assert [path.name for path in out.iterdir()] == ["data.friend.root"]
    inject(models, [str(ntuple)], output=out, overwrite=True, default=7)
    assert sha(first.output) != before


def test_bad_requests(ntuple: Path, tmp_path: Path) -> None:
    models, out = make_models(tmp_path, make_config()), tmp_path / "out"
    twin = tmp_path / "twin" / "data.root"
    twin.parent.mkdir()
    twin.write_bytes(ntuple.read_bytes())
    file = str(ntuple)
    refused(lambda: inject(models, [file, str(twin)], output=out), str(twin), file, "data.friend.root")
    refused(lambda: inject(models, [file], output=out, mode="freind"), "'freind'", "Did you mean 'friend'")
    for trees, words in (
        (["nominl"], ["'nominl'", "Did you mean 'nominal'"]),
        (["tt*"], ["'tt*'", "'nominal'"]),
        (["sumWeights"], ["sumWeights", "eventNumber"]),
        (["sum*"], ["sumWeights", "eventNumber"]),
    ):
        refused(lambda trees=trees: inject(models, [file], output=out, trees=trees), file, *words, kind=InputError)
    assert not list(out.rglob("*")) if out.exists() else True


def test_inplace_adds_branches_to_a_copy(ntuple: Path, tmp_path: Path) -> None:
    config = make_config(labels=["ttH", "ttb", "ttc"])
    before, out = sha(ntuple), tmp_path / "out"
    results = inject(make_models(tmp_path, config), [str(ntuple)], output=out, trees=["*"], mode="inplace")
    assert {result.tree: bool(result.skipped) for result in results} == {
        "nominal": False,
        "syst/JES__1up": False,
        "sumWeights": True,
    }
    new = {"nn_ttH": 0, "nn_ttb": 100, "nn_ttc": 200}
    for tree in ("nominal", "syst/JES__1up"):
        raw, there = read(ntuple, tree), read(out / "data.root", tree)
        assert list(there) == [*raw, *new, "nn_fold"]
        same(there, raw)
        scored = there["nn_fold"] >= 0
        assert 0 < scored.sum() < len(scored)
        for name, more in new.items():
            right = np.where(scored, expected(raw, there["nn_fold"]) + more, -99)
            assert there[name].dtype == np.float32 and np.array_equal(there[name], right)
    with uproot.open(ntuple) as one, uproot.open(out / "data.root") as other:
        assert other.keys() == [*one.keys(), "nn_provenance;1"]
        assert json.loads(str(other["nn_provenance"]))["config_digest"] == config.digest()
    old = np.frombuffer(ntuple.read_bytes(), "u1")
    changed = np.flatnonzero(np.frombuffer((out / "data.root").read_bytes(), "u1")[: len(old)] != old)
    assert 0 < len(changed) < 60  # in the headers of the file and the two directories
    assert sha(ntuple) == before
    assert [path.name for path in out.iterdir()] == ["data.root"]


def test_inplace_on_the_ntuple_itself(ntuple: Path, tmp_path: Path) -> None:
    models, raw = make_models(tmp_path, make_config()), read(ntuple, "nominal")
    (result,) = inject(models, [str(ntuple)], output=tmp_path / "out", mode="inplace", replace=True)
    assert result.output == ntuple
    there = read(ntuple, "nominal")
    assert list(there) == [*raw, "nn_score", "nn_fold"]
    same(there, raw)
    first = sha(ntuple)

    def again(**options: Any) -> Callable[[], object]:
        return lambda: inject(models, [str(ntuple)], output=tmp_path, mode="inplace", replace=True, **options)

    refused(again(), str(ntuple), "'nn_score'", "--overwrite-branch")
    assert sha(ntuple) == first
    again(overwrite_branch=True, default=0.5)()
    there = read(ntuple, "nominal")
    assert list(there) == [*raw, "nn_score", "nn_fold"]
    assert set(there["nn_score"][there["nn_fold"] < 0].tolist()) == {0.5}
    with uproot.open(ntuple) as file:
        assert [key for key in file.keys() if "provenance" in key] == ["nn_provenance;2"]  # noqa: SIM118
        assert json.loads(str(file["nn_provenance"]))["default"] == 0.5
    again(branch="other")()
    assert list(read(ntuple, "nominal")) == [*raw, "nn_score", "nn_fold", "other_score", "other_fold"]
    assert {path.name for path in ntuple.parent.iterdir()} == {"data.root"}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", ["friend", "inplace"])
def test_several_trainings_in_one_pass(ntuple: Path, tmp_path: Path, mode: str) -> None:
    two = make_config(inject={"branch": "sig"})
    three = make_config(labels=["ttH", "ttb", "ttc"], inject={"branch": "dnn", "default": 5}, preparation={"folds": 2})
    models = [*make_models(tmp_path / "two", two), *make_models(tmp_path / "three", three)]
    trees = ["nominal", "syst/JES__1up"]
    results = inject(models, [str(ntuple)], output=tmp_path / "out", trees=trees, mode=mode)
    assert [(result.tree, result.branch) for result in results] == [(t, b) for t in trees for b in ("sig", "dnn")]
    for tree in trees:
        raw, there = read(ntuple, tree), read(results[0].output, tree + ("_nn" if mode == "friend" else ""))
        event_id = ["eventNumber"] if mode == "friend" else []
        new = ["sig_score", "sig_fold", "dnn_ttH", "dnn_ttb", "dnn_ttc", "dnn_fold"]
        assert [name for name in there if name not in raw or name in event_id] == [*event_id, *new]
        chosen = raw["n"] > 0
        for name, fold, default in (("sig_score", there["sig_fold"], -99), ("dnn_ttH", there["dnn_fold"], 5)):
            assert np.array_equal(there[name], np.where(chosen, expected(raw, fold), default))
        assert set(there["dnn_fold"][chosen].tolist()) == {0, 1}
    with uproot.open(results[0].output) as file:
        assert json.loads(str(file["dnn_provenance"]))["config_digest"] == three.digest()
        assert json.loads(str(file["sig_provenance"]))["config_digest"] == two.digest()
    refused(lambda: inject(models, [str(ntuple)], output=tmp_path, branch="x"), "'x_...'", "inject.branch")


def test_inplace_from_the_command_line(ntuple: Path, tmp_path: Path) -> None:
    models = [option for model in make_models(tmp_path, make_config()) for option in ("--model", str(model))]

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "nntrainer", "inject", str(ntuple), *models, "--mode", "inplace", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    raw = read(ntuple, "nominal")
    assert run("--output", str(tmp_path / "out")).returncode == 0
    assert list(read(tmp_path / "out" / "data.root", "nominal")) == [*raw, "nn_score", "nn_fold"]
    assert run("--replace").returncode == 0
    again = run("--replace")
    assert again.returncode == 2
    assert "already has a branch 'nn_score'" in " ".join(again.stderr.split())
    assert "Traceback" not in again.stderr
    assert run("--replace", "--overwrite-branch").returncode == 0
    assert list(read(ntuple, "nominal")) == [*raw, "nn_score", "nn_fold"]


def test_inplace_refuses(ntuple: Path, tmp_path: Path) -> None:
    models, out, file = make_models(tmp_path, make_config()), tmp_path / "out", str(ntuple)

    def inplace(source: str = file, **options: Any) -> Callable[[], object]:
        return lambda: inject(models, [source], **({"output": out, "mode": "inplace"} | options))

    refused(inplace(mode="copy", replace=True), "--replace", "--mode copy", "--mode inplace")
    refused(inplace(output=ntuple.parent, overwrite=True), "itself", "--replace")
    inplace()()
    refused(inplace(), "out/data.root", "exists already", "--overwrite")
    inplace(overwrite=True)()
    before = sha(ntuple)
    ntuple.chmod(0o444)
    refused(inplace(replace=True), file, "read-only")
    inplace(overwrite=True)()
    assert os.stat(out / "data.root").st_mode & 0o200
    ntuple.chmod(0o644)
    nested = tmp_path / "nested.root"
    with uproot.recreate(nested) as target:
        raw = branches(9, 1)
        del raw["jet"], raw["name"]
        target.mkrntuple("nominal", raw | {"jet_pt": ak.Array([[1.0]] * 9)})
    refused(inplace(str(nested)), "nested.root", "'nominal' is an RNTuple", "--mode friend")
    assert sha(ntuple) == before
    assert [path.name for path in out.iterdir()] == ["data.root"]


def test_an_interrupted_change_is_taken_back_before_the_next(
    ntuple: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, before = make_models(tmp_path, make_config()), ntuple.read_bytes()

    def replace(**options: Any) -> list[Any]:
        return inject(models, [str(ntuple)], output=tmp_path, mode="inplace", replace=True, **options)

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nntrainer.ntuples.inplace.writer.InPlaceWriter._verify", killed)
    monkeypatch.setattr("nntrainer.ntuples.inplace.writer.restore", killed)
    with pytest.raises(KeyboardInterrupt):
        replace()
    monkeypatch.undo()
    assert ntuple.with_name("data.root.undo").exists()
    assert ntuple.read_bytes() != before
    refused(lambda: replace(trees=["none"]), "'none'", kind=InputError)
    assert ntuple.read_bytes() == before
    assert [path.name for path in ntuple.parent.iterdir()] == ["data.root"]
    replace()


@pytest.mark.parametrize("mode", ["friend", "copy", "inplace"])
def test_another_reader_opens_what_is_written(mode: str, ntuple: Path, tmp_path: Path, jsroot: Any) -> None:
    models, names = make_models(tmp_path, make_config()), ["nominal", "syst/JES__1up"]
    results = inject(models, [str(ntuple)], output=tmp_path / "out", trees=names, mode=mode)
    suffix = "_nn" if mode == "friend" else ""
    for result in results:
        tree = result.tree + suffix
        there = read(result.output, tree)
        (found,) = jsroot((result.output, tree))
        new = ["nn_score", "nn_fold"]
        old = ["eventNumber"] if mode == "friend" else ["eventNumber", "n", "x", "jet_pt", "jet_tag", "cov", "short"]
        assert set(found["branches"]) >= {*new, *old}
        assert found["entries"] == result.events
        for name in (*new, *old):
            values = ak.to_numpy(ak.flatten(there[name], axis=None)).astype("f8")
            assert np.array_equal(found["branches"][name]["values"], values), name


def test_tensorflow_is_never_imported(ntuple: Path, tmp_path: Path) -> None:
    models = make_models(tmp_path, make_config())
    script = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "keras", "horovod", "tf2onnx", "onnx"):
            raise ImportError(f"{name} must not be imported")
sys.meta_path.insert(0, Blocked())
from pathlib import Path
from nntrainer.inject.inject import inject
out, file, *models = sys.argv[1:]
for mode in ("friend", "copy", "inplace"):
    (result,) = inject([Path(model) for model in models], [file], output=Path(out) / mode, mode=mode)
print(result.scored)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "out"), str(ntuple), *map(str, models)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
