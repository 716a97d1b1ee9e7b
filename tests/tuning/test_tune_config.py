"""What a tune block may say, and the sentence where it may not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nntrainer.config import Config, load_config
from nntrainer.config.load import varied
from nntrainer.config.tuning import Range
from nntrainer.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]
Make = Callable[..., Config]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"training.optimzer.learning_rate": {"low": 0.1, "high": 1}}, "no key 'optimzer' .*Did you mean 'optimizer'"),
        ({"trainig.epochs": {"low": 1, "high": 3}}, "no key 'trainig' .*Did you mean 'training'"),
        ({"model.dropuot": {"low": 0.0, "high": 0.5}}, "no key 'dropuot' .*Did you mean 'dropout'"),
        ({"model.dropout": {"low": 0.0, "high": 1.5}}, r"model.dropout: 1.5: model.dropout: .* not 1.5"),
        ({"training.epochs": {"choices": [3, 0]}}, "training.epochs: input should be greater than 0, not 0"),
        ({"model.layers": {"choices": [[8], ["x"]]}}, r"model.layers\[0\]"),
        ({"data.weight": {"choices": ["1", "2"]}}, "this key cannot be searched: it changes the events"),
        ({"preparation.folds": {"low": 2, "high": 5}}, "this key cannot be searched"),
        ({"evaluation.bins": {"low": 2, "high": 5}}, "this key cannot be searched"),
        ({"model.dropout": {"low": 0.5, "high": 0.1}}, "'low' must be smaller than 'high', not 0.5 and 0.1"),
        ({"model.dropout": {"low": 0.0, "high": 0.1, "log": True}}, "'log' needs a 'low' above 0"),
        ({"model.dropout": {"low": 0.1}}, "give 'low' and 'high', or 'choices'"),
        ({"model.dropout": {"low": 0.1, "choices": [1, 2]}}, "give either 'choices', or 'low' and 'high'"),
        ({"model.dropout": {"choices": [0.1, 0.1]}}, "two values or more, each once"),
        ({"model.dropout": {"lwo": 0.1, "high": 1.0}}, "no key 'lwo' .*Did you mean 'low'"),
        ({"model": {"choices": ["dense", "residual"]}, "model.dropout": {"low": 0.1, "high": 1.0}}, "one of the two"),
        ({}, "at least 1 must be given"),
    ],
)
def test_wrong_parameters(make_search: Make, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make_search(parameters=parameters)
    assert "\n" not in str(caught.value) and "search.yaml:" in str(caught.value)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"direction": "maximize"}, "val_loss is better the other way; say 'minimize'"),
        ({"objective": "val_auc", "pruner": "median"}, "val_auc is known at the end"),
        ({"objective": "auc"}, "allowed are val_loss, val_accuracy, val_auc"),
        ({"engine": "hyperopt", "sampler": "grid"}, "hyperopt has 'tpe' and 'random'"),
        ({"engine": "hyperopt", "pruner": "median"}, "hyperopt gives up no trial"),
        ({"sampler": "grid"}, "give parameters.training.optimizer.learning_rate a 'step' or 'choices'"),
        ({"folds": [0, 2]}, "there is no fold 2; the preparation block makes 2"),
        ({"trials": 0}, "greater than 0"),
    ],
)
def test_wrong_searches(make_search: Make, search: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_search(**search)


def test_points_of_a_grid() -> None:
    assert Range(low=0.0, high=0.3, step=0.1).points() == [0.0, 0.1, 0.2, 0.3]
    assert Range(low=1, high=6, step=2).points() == [1, 3, 5]
    assert Range(low=1, high=3).points() == [1, 2, 3]
    assert Range(low=0.0, high=1.0).points() is None
    assert Range(choices=("a", None, [1])).points() == ["a", None, [1]]


def test_the_search_changes_no_run(make_search: Make) -> None:
    config = make_search()
    without = varied(config, {})
    assert without.tune is None and without.digest() == config.digest()
    other = varied(config, {"model.layers": [8, 4], "training.optimizer.learning_rate": 0.5})
    assert other.dump()["model"]["layers"] == [8, 4] and other.training.optimizer.learning_rate == 0.5
    assert other.digest() != config.digest() and other.data_digest() == config.data_digest()


def test_the_example_is_valid() -> None:
    config = load_config(REPOSITORY / "configs/examples/tune.yaml", environment={})
    assert config.tune is not None and config.tune.most == 30
