"""A run cut into parts: each with only what it says it reads, together the same as a run in one go."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import uproot

from nntrainer.config import Config, load_config
from nntrainer.config.parts import part_named, parts_of
from nntrainer.errors import ConfigError
from nntrainer.files import sha256
from nntrainer.pipeline import run, run_parts

pytestmark = pytest.mark.slow

CONFIG = """\
name: small
data:
  tree: events
  event_id: id
  directory: datasets
  samples:
    - {name: s, files: "{folder}/s*.root", label: s}
    - {name: b, files: "{folder}/b.root", label: b}
features: {events: [x], spectators: [id]}
preparation: {folds: 2}
model: {name: dense, layers: [4]}
training: {epochs: 2, batch_size: 16, tensorboard: false, threads: 1}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("ntuples")
    rng = np.random.default_rng(1)
    for name, shift in (("s1", 1.0), ("s2", 1.0), ("b", 0.0)):
        with uproot.recreate(folder / f"{name}.root") as file:
            tree = file.mktree("events", {"id": "u8", "x": "f4"})
            x = (rng.normal(size=300) + shift).astype(np.float32)
            tree.extend({"id": rng.integers(0, 2**40, 300).astype(np.uint64), "x": x})
    path = folder / "c.yaml"
    path.write_text(CONFIG.replace("{folder}", str(folder)))
    return load_config(path, environment={})


def test_names_and_order(config: Config) -> None:
    parts = parts_of(config, groups=2)
    names = [part.name for part in parts]
    assert names == [
        *("convert-s", "convert-b", "train-fold0", "train-fold1", "evaluate", "inject-0of2", "inject-1of2"),
    ]
    done: set[str] = set()
    for part in parts:
        assert set(part.needs) <= done
        done.add(part.name)
        assert part_named(config, part.name) == part
    scored = [Path(path).name for part in parts[-2:] for path in part.ntuples]
    assert scored == ["s1.root", "b.root", "s2.root"]
    for wrong in ("train-fold2", "inject-2of2", "convert-S", "train", "rest"):
        with pytest.raises(ConfigError, match=f"no part '{wrong}'"):
            part_named(config, wrong)


def test_parts_in_places_of_their_own_equal_a_run(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = run(config, run_dir=tmp_path / "whole").run.path
    home = tmp_path / "home"
    home.mkdir()
    for part in parts_of(config, groups=3):
        place = tmp_path / part.name
        place.mkdir()
        for each in part.reads:
            (place / each).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (home / each).is_dir() else shutil.copy
            copy(home / each, place / each)
        monkeypatch.chdir(place)
        run_parts(config, [part.name], run_dir=Path("."))
        record = json.loads(Path(part.record).read_text())
        assert record["state"] == "done" and record["part"] == part.name
        for each in record["files"]:
            assert sha256(Path(each["path"])) == each["sha256"]
        for each in (*part.writes, part.record):
            (home / each).parent.mkdir(parents=True, exist_ok=True)
            if Path(each).is_dir():
                shutil.copytree(each, home / each, dirs_exist_ok=True)
            else:
                shutil.copy(each, home / each)
    mine, theirs = (json.loads((path / "metrics.json").read_text()) for path in (home, whole))
    for key in ("auc", "folds", "roc", "working_points", "inputs"):
        assert mine[key] == theirs[key], key
    for name in ("s1", "s2", "b"):
        a, b = (uproot.open(path / "scored" / f"{name}.friend.root")["events_nn"] for path in (home, whole))
        for branch in ("eventNumber", "nn_score", "nn_fold"):
            assert np.array_equal(a[branch].array(), b[branch].array())
    listed = {each["path"] for path in (home / "parts").iterdir() for each in json.loads(path.read_text())["files"]}
    manifest = {each["path"] for each in json.loads((whole / "manifest.json").read_text())["files"]}
    assert manifest - listed == {"config.yaml"} and listed < manifest


def test_the_last_fold_does_the_rest(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "run"
    first = run_parts(config, ["convert-s", "convert-b", "train-fold1", "rest"], run_dir=place)
    assert [each.name for each in first.stages] == ["convert", "convert", "train"]
    assert not (place / "models").exists()
    last = run_parts(config, ["convert-s", "convert-b", "train-fold0", "rest"], run_dir=place)
    assert [(each.name, each.skipped) for each in last.stages] == [
        *[("convert", True), ("convert", True), ("train", False)],
        *[(name, False) for name in ("inputs", "evaluate", "export", "report", "inject")],
    ]
    again = run_parts(config, ["train-fold0", "rest"], run_dir=place)
    assert all(each.skipped for each in again.stages)
    (place / "models" / "fold0.onnx").unlink()
    mended = run_parts(config, ["rest"], run_dir=place)
    assert [each.name for each in mended.stages if not each.skipped] == ["export", "report", "inject"]


def test_the_last_worker_of_a_search_makes_its_results(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    search = {"sampler": "random", "trials": 2, "parameters": {"model.dropout": {"low": 0.0, "high": 0.5}}}
    config = Config.model_validate({**config.dump(), "tune": search})
    place = tmp_path / "run"
    first = run_parts(config, ["convert-s", "convert-b", "tune-1of2", "rest"], run_dir=place)
    assert [each.name for each in first.stages] == ["convert", "convert", "tune"]
    last = run_parts(config, ["convert-s", "convert-b", "tune-0of2", "rest"], run_dir=place)
    assert [(each.name, each.skipped) for each in last.stages] == [
        *[("convert", True), ("convert", True), ("tune", False), ("best", False)],
    ]
    assert (place / "tune/best.yaml").exists() and not (place / "training").exists()
    assert run_parts(config, ["rest"], run_dir=place).stages == ()  # after no part of a search, that of a run is meant


def test_a_part_that_fails_says_so_in_its_record(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bad = config.model_copy(update={"data": config.data.model_copy(update={"tree": "nothing"})})
    with pytest.raises(Exception, match="no tree 'nothing'"):
        run_parts(bad, ["convert-s"], run_dir=tmp_path / "run")
    record = json.loads((tmp_path / "run/parts/convert-s.json").read_text())
    assert record["state"] == "failed" and "no tree 'nothing'" in record["error"] and "files" not in record
