"""The search with real trainings: in one go, stopped and resumed, by several processes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import pytest

from nntrainer.config import Config, load_config
from nntrainer.config.parts import tune_parts
from nntrainer.dataset.conversion import convert
from nntrainer.errors import ConfigError, RunError
from nntrainer.pipeline import run_parts, search
from nntrainer.progress import silent
from nntrainer.rundir import RunDir
from nntrainer.training.record import read_history
from nntrainer.training.train import train
from nntrainer.tuning.engine import Engine, Trial, TuningError
from nntrainer.tuning.trial import PrunedError, epochs_of, run_trial, trial_config

pytestmark = pytest.mark.slow

Make = Callable[..., Config]
Write = Callable[..., Path]
REPOSITORY = Path(__file__).parents[2]


def trials_of(run: Path) -> list[dict[str, Any]]:
    return list(json.loads((run / "tune/trials.json").read_text())["trials"])


def numbers(trials: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(each["number"], each["state"], each["values"], each["value"], each["steps"]) for each in trials]


@pytest.mark.parametrize("engine", ["optuna", "hyperopt"])
def test_a_search_and_its_results(make_search: Make, tmp_path: Path, engine: str) -> None:
    config = make_search(engine=engine, trials=2)
    run = search(config, run_dir=tmp_path / "run").run
    before = numbers(trials_of(run.path))
    more = make_search(engine=engine, trials=4)
    assert search(more, run_dir=tmp_path / "run").run.path == run.path  # goes on
    found = trials_of(run.path)
    assert numbers(found)[:2] == before and len(found) == 4
    assert all(each["state"] == "done" and each["epochs"] == 2 and len(each["steps"]) == 2 for each in found)
    best = min(found, key=lambda each: each["value"])
    # What is written out is ready, and gives what the trial gave.
    text = (run.path / "tune/best.yaml").read_text()
    written = load_config(run.path / "tune/best.yaml", environment={})
    assert f"trial {best['number']} has val_loss" in text and written.tune is None
    assert written.dump()["model"]["layers"] == best["values"]["model.layers"]
    (done,) = train(written, RunDir(tmp_path / "again"), folds=[0])
    assert read_history(done.directory)[-1]["val_loss"] == best["value"]
    with (run.path / "tune/trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_loss"]) for row in rows] == [each["value"] for each in found]
    drawn = {path.stem for path in (run.path / "tune/plots").glob("*.png")}
    slices = {f"slice_{key}" for key in config.tune.parameters} if config.tune else set()
    assert drawn == {"history", "epochs", "importances", *slices}
    # Of a trial stays what it was and how it went, and not its weights.
    names = {path.name for path in (run.path / "tune/trials/000").rglob("*") if path.is_file()}
    assert names == {"config.yaml", "history.csv", "training.json"}
    listed = {each["path"] for each in json.loads((run.path / "manifest.json").read_text())["files"]}
    assert {"tune/best.yaml", "tune/trials.csv", "tune/plots/history.png"} <= listed


def test_trials_that_fail_are_results_too(make_search: Make, tmp_path: Path) -> None:
    rates = {"training.optimizer.learning_rate": {"choices": [1.0e-3, 1.0e30]}}
    config = make_search(sampler="grid", parameters=rates, trials=9)
    found = trials_of(search(config, run_dir=tmp_path / "run").run.path)
    assert [each["state"] for each in found] == ["done", "failed"]
    assert "loss is nan" in found[1]["error"] and found[1]["value"] is None
    worse = {"training.optimizer.learning_rate": {"choices": [1.0e29, 1.0e30]}}
    config = make_search(sampler="grid", parameters=worse)
    with pytest.raises(
        TuningError, match=r"none of 2 trials came to its end; the last one: fold 0: the .* loss is nan"
    ):
        search(config, run_dir=tmp_path / "worse")


def test_the_pruner_stops_trainings(make_search: Make, tmp_path: Path) -> None:
    rates = [0.1, 0.09, 0.08, 0.07, 0.06, 1.0e-6, 1.0e-7]
    parameters = {"training.optimizer.learning_rate": {"choices": rates}}
    config = make_search(
        sampler="grid", pruner="median", parameters=parameters, trials=7, training={"epochs": 40, "batch_size": 32}
    )
    found = trials_of(search(config, run_dir=tmp_path / "run").run.path)
    pruned = [each for each in found if each["state"] == "pruned"]
    assert {each["number"] for each in pruned} >= {5, 6}
    assert all(2 <= each["epochs"] < 40 for each in pruned)
    assert all(each["epochs"] == 40 for each in found if each["state"] == "done")


@pytest.mark.skipif(not find_spec("horovod"), reason="Horovod is not installed; `make horovod` builds it")
def test_the_pruner_stops_all_workers_of_a_training(make_search: Make, tmp_path: Path) -> None:
    class Strict:
        def report(self, trial: Trial, step: int, value: float) -> bool:
            return step >= 2

    config = make_search(training={"epochs": 300, "batch_size": 32, "workers": 2})
    assert config.tune is not None
    convert(config)
    trial, run = Trial(0, {"model.layers": [4]}), RunDir(tmp_path / "run")
    with pytest.raises(PrunedError):
        run_trial(config, config.tune, trial, cast(Engine, Strict()), run, silent())
    assert 2 <= epochs_of(config.tune, run) < 300


@pytest.mark.parametrize("restore", [True, False])
def test_the_auc_is_that_of_the_last_weights(make_search: Make, tmp_path: Path, restore: bool) -> None:
    from sklearn.metrics import roc_auc_score

    from nntrainer.networks.model import load_model
    from nntrainer.training.load import load_training_data

    stopping = {"patience": 3, "restore_best": restore}
    training = {"epochs": 4, "early_stopping": stopping, "optimizer": {"name": "adam", "learning_rate": 0.1}}
    config = make_search(objective="val_auc", trials=1, folds=[0, 1], training=training)
    (found,) = trials_of(search(config, run_dir=tmp_path / "run").run.path)
    mine = trial_config(config, Trial(0, found["values"]))
    expected = []
    for fold in train(mine, RunDir(tmp_path / "again")):
        (piece,) = load_training_data(mine, fold.fold).validation.pieces()
        score = load_model(fold.model).predict_on_batch(piece.inputs)[:, 0]
        expected.append(roc_auc_score(piece.target, score, sample_weight=piece.weight))
    assert found["value"] == pytest.approx(sum(expected) / 2, abs=1e-6)


def test_what_cannot_be_searched(make_search: Make, tmp_path: Path) -> None:
    config = make_search()
    with pytest.raises(ConfigError, match="there is no tune block"):
        search(config.model_copy(update={"tune": None}), run_dir=tmp_path / "run")
    with pytest.raises(RunError, match="'hyperopt' keeps a search in one process"):
        search(make_search(engine="hyperopt"), run_dir=tmp_path / "run", jobs=2)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts ``nntrainer tune`` in a process; it is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def tune(config: Path, run: Path, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "nntrainer", "tune", str(config), "--run-dir", str(run), *more]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        started.append(
            subprocess.Popen(
                command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment
            )
        )
        return started[-1]

    yield tune
    for process in started:
        process.kill()
        process.communicate()


def reached(process: subprocess.Popen[str], run: Path, trial: int, rows: int) -> None:
    """Wait until a trial has trained so many epochs."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        with suppress(FileNotFoundError):
            text = (run / f"tune/trials/{trial:03d}/training/fold0/history.csv").read_text()
            if len(text.splitlines()) > rows:
                return
        time.sleep(0.01)
    raise AssertionError(process.communicate())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_search_goes_on_as_if_never_stopped(
    write_search: Write, tmp_path: Path, start: Callable[..., subprocess.Popen[str]], number: signal.Signals
) -> None:
    config = write_search(tmp_path / "c.yaml", sampler="tpe", trials=3, training={"epochs": 16, "batch_size": 16})
    search(load_config(config, environment={}), run_dir=tmp_path / "whole")
    process = start(config, tmp_path / "run")
    reached(process, tmp_path / "run", 1, 4)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    if number == signal.SIGTERM:
        assert process.returncode == 85 and "the same command goes on" in said, said
    assert not (tmp_path / "run/tune/best.yaml").exists()
    again = start(config, tmp_path / "run")
    shown, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert "3 trials" in shown and "val_loss" in shown
    whole, found = numbers(trials_of(tmp_path / "whole")), numbers(trials_of(tmp_path / "run"))
    assert found == whole


def test_several_processes_of_one_search(
    write_search: Write, tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    config = write_search(tmp_path / "c.yaml", trials=4, training={"epochs": 16, "batch_size": 16})
    process = start(config, tmp_path / "run", "--jobs", "2")
    reached(process, tmp_path / "run", 1, 3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 85, said
    again = start(config, tmp_path / "run", "--jobs", "2")
    _, said = again.communicate(timeout=200)
    assert again.returncode == 0, said
    found = trials_of(tmp_path / "run")
    assert [(each["number"], each["state"]) for each in found] == [(i, "done") for i in range(4)]
    assert {each["worker"] for each in found} == {"tune-0of2", "tune-1of2"}
    assert all(each["epochs"] == 16 for each in found)
    search(load_config(config, environment={}), run_dir=tmp_path / "alone")
    assert numbers(found) == numbers(trials_of(tmp_path / "alone"))


def test_jobs_that_do_not_see_one_another(make_search: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_search(trials=3)
    whole = search(config, run_dir=tmp_path / "whole").run.path
    home = tmp_path / "home"
    home.mkdir()
    for part in tune_parts(config, 2, shared=False):
        if part.stage == "convert":
            continue  # the datasets have an absolute path
        place = tmp_path / part.name
        place.mkdir()
        for each in part.reads if part.name == "tune-best" else ():
            shutil.copytree(home / each, place / each)
        monkeypatch.chdir(place)
        run_parts(config, [part.name], run_dir=Path("."))
        for each in part.writes:
            shutil.copytree(place / each, home / each, dirs_exist_ok=True)
    found = trials_of(home)
    assert numbers(found) == numbers(trials_of(whole))
    assert [each["worker"] for each in found] == ["tune-share0of2", "tune-share1of2", "tune-share0of2"]
    best = [load_config(path / "tune/best.yaml", environment={}) for path in (home, whole)]
    assert best[0] == best[1]
