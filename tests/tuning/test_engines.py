"""The engines by themselves: who gets which trial, and what a killed worker leaves."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nntrainer.config import Config
from nntrainer.errors import MissingDependencyError
from nntrainer.tuning.engine import Engine, Share, TuningError, open_engine
from nntrainer.tuning.optuna_engine import importances

pytestmark = pytest.mark.slow

Make = Callable[..., Config]
REPOSITORY = Path(__file__).parents[2]
ENGINES = ("optuna", "hyperopt")
WORKER = """
import sys, time
from pathlib import Path
from nntrainer.config import load_config
from nntrainer.tuning.engine import open_engine
config = load_config(sys.argv[1], environment={})
engine = open_engine(config, config.tune, Path(sys.argv[2]))
Path(sys.argv[3]).touch()
while len(list(Path(sys.argv[3]).parent.glob("ready*"))) < 3:
    time.sleep(0.01)
while (trial := engine.ask(sys.argv[3])) is not None:
    print(trial.number, flush=True)
    engine.report(trial, 1, 0.5)
    engine.tell(trial, "done", trial.number / 10, {})
"""


def open_(config: Config, folder: Path, share: Share | None = None) -> Engine:
    assert config.tune is not None
    return open_engine(config, config.tune, folder, share)


def loss_of(values: Any) -> float:
    return abs(values["training.optimizer.learning_rate"] - 0.01) + 0.1 * len(values["model.layers"])


def drain(engine: Engine, worker: str = "w", most: int = 99) -> list[int]:
    """Do trials, at once, and return which."""
    done = []
    while len(done) < most and (trial := engine.ask(worker)) is not None:
        engine.report(trial, 1, loss_of(trial.values) + 0.1)
        engine.tell(trial, "done", loss_of(trial.values), {"epochs": 1})
        done.append(trial.number)
    return done


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_that_is_cut_in_pieces_is_the_same(
    make_search: Make, tmp_path: Path, engine: str, sampler: str
) -> None:
    config = make_search(engine=engine, sampler=sampler, trials=14)
    whole = open_(config, tmp_path / "whole")
    assert drain(whole) == list(range(14))
    for most in (1, 3, 6, 4):
        drain(open_(config, tmp_path / "pieces"), most=most)
    first, second = whole.results(), open_(config, tmp_path / "pieces").results()
    assert [(each.values, each.value, each.state) for each in first] == [
        (each.values, each.value, each.state) for each in second
    ]
    assert all(1e-4 <= each.values["training.optimizer.learning_rate"] <= 0.1 for each in first)
    assert {str(each.values["model.layers"]) for each in first} == {"[4]", "[8, 4]"}
    assert first[0].steps == {1: pytest.approx((first[0].value or 0) + 0.1)}
    more = make_search(engine=engine, sampler=sampler, trials=16)
    assert drain(open_(more, tmp_path / "pieces")) == [14, 15]


def test_tpe_finds_better_values_than_chance(make_search: Make, tmp_path: Path) -> None:
    for engine in ENGINES:
        config = make_search(engine=engine, sampler="tpe", trials=40)
        search = open_(config, tmp_path / engine)
        drain(search)
        values = [each.value or 0.0 for each in search.results()]
        assert sorted(values[25:])[7] < sorted(values[:10])[5], engine


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_killed_worker_began_comes_first(make_search: Make, tmp_path: Path, engine: str) -> None:
    config = make_search(engine=engine, trials=3)
    killed = open_(config, tmp_path)
    trial = killed.ask("a")
    assert trial is not None
    killed.report(trial, 1, 0.5)
    again = open_(config, tmp_path)
    if engine == "optuna":  # another worker leaves it alone
        assert drain(again, "b") == [1, 2]
    found = again.ask("a")
    assert found is not None and (found.number, found.values) == (0, trial.values)
    again.report(found, 1, 0.5)
    again.tell(found, "failed", None, {"error": "it broke"})
    assert again.results()[0].state == "failed" and again.results()[0].facts["error"] == "it broke"
    assert again.results()[0].steps == {1: 0.5}


def test_workers_share_a_study_with_exactly_as_many_trials(
    make_search: Make, write_search: Callable[..., Path], tmp_path: Path
) -> None:
    config = write_search(tmp_path / "c.yaml", trials=20)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, config, tmp_path / "study", tmp_path / f"ready{i}"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        for i in range(3)
    ]
    printed = [[int(line) for line in worker.communicate(timeout=120)[0].split()] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert sorted(number for numbers in printed for number in numbers) == list(range(20))
    assert sum(bool(numbers) for numbers in printed) > 1
    alone = make_search(trials=20)
    one, many = open_(alone, tmp_path / "alone"), open_(alone, tmp_path / "study")
    drain(one)
    assert [each.values for each in one.results()] == [each.values for each in many.results()]


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_shares_are_the_whole(make_search: Make, tmp_path: Path, sampler: str) -> None:
    parameters = {
        "training.optimizer.learning_rate": {"low": 0.01, "high": 0.03, "step": 0.01},
        "model.layers": {"choices": [[4], [8, 4]]},
    }
    config = make_search(sampler=sampler, parameters=parameters, trials=7)
    most = 7 if sampler == "random" else 6
    whole = open_(config, tmp_path / "whole")
    assert drain(whole) == list(range(most))
    found = []
    for index in range(3):
        share = open_(config, tmp_path / f"share{index}", Share(index, 3))
        assert drain(share) == list(range(index, most, 3))
        found += share.results()
    found.sort(key=lambda each: each.number)
    assert [each.values for each in found] == [each.values for each in whole.results()]
    if sampler == "grid":
        assert len({str(each.values) for each in found}) == 6


def test_the_pruner_gives_up_what_is_bad(make_search: Make, tmp_path: Path) -> None:
    for pruner in ("median", "hyperband"):
        config = make_search(pruner=pruner, trials=30, training={"epochs": 9})
        engine = open_(config, tmp_path / pruner)
        given_up = {}
        for number in range(30):
            trial = engine.ask("w")
            assert trial is not None
            bad = number % 2
            for step in range(1, 10):
                if engine.report(trial, step, 1.0 + bad if bad else 1.0 / step):
                    engine.tell(trial, "pruned", None, {})
                    given_up[number] = step
                    break
            else:
                engine.tell(trial, "done", 1.0 + bad, {})
        assert len(given_up) > 3 and {number % 2 for number in list(given_up)[:3]} == {1}, pruner
        results = engine.results()
        assert all(results[number].state == "pruned" for number in given_up)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_journal_of_another_search_is_refused(make_search: Make, tmp_path: Path, engine: str) -> None:
    drain(open_(make_search(engine=engine), tmp_path / "study"))
    other = make_search(engine=engine, parameters={"model.dropout": {"low": 0.0, "high": 0.5}})
    with pytest.raises(TuningError, match=r"this search has other parameters.*--new"):
        open_(other, tmp_path / "study")


def test_half_a_line_of_hyperopt_is_forgotten(make_search: Make, tmp_path: Path) -> None:
    config = make_search(engine="hyperopt", trials=4)
    drain(open_(config, tmp_path), most=2)
    journal = tmp_path / "journal.jsonl"
    whole = journal.read_text()
    journal.write_text(whole + '{"trial": 2, "dra')
    assert drain(open_(config, tmp_path)) == [2, 3]
    assert journal.read_text().startswith(whole)
    for line in journal.read_text().splitlines():
        json.loads(line)
    journal.write_text("{\n" + whole)
    with pytest.raises(TuningError, match="the journal is damaged"):
        open_(config, tmp_path)


def test_the_key_that_decides_is_the_important_one(make_search: Make, tmp_path: Path) -> None:
    parameters = {"model.dropout": {"low": 0.0, "high": 0.9}, "training.batch_size": {"low": 16, "high": 64}}
    config = make_search(parameters=parameters, trials=40)
    engine = open_(config, tmp_path)
    while (trial := engine.ask("w")) is not None:
        assert isinstance(trial.values["training.batch_size"], int)
        engine.tell(trial, "done", trial.values["model.dropout"] ** 2, {})
    assert config.tune is not None
    weight = importances(config.tune, engine.results())
    assert weight["model.dropout"] > 0.8 and sum(weight.values()) == pytest.approx(1)
    assert importances(config.tune, engine.results()[:3]) == {}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_missing_package_is_a_sentence(
    make_search: Make, tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == engine else find(name, *more))
    with pytest.raises(MissingDependencyError, match=r"not installed: `pip install 'nntrainer\[tune\]'` brings it"):
        open_(make_search(engine=engine), tmp_path)
