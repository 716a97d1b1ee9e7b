"""The learning-rate range test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nntrainer.config import Config
from nntrainer.errors import ConfigError, TrainingError
from nntrainer.training.find_lr import find_lr, steepest

pytestmark = pytest.mark.slow

Make = Callable[..., Config]


def test_steepest_descent_of_a_known_curve() -> None:
    rates = np.geomspace(1e-6, 1, 300)
    # A step down at 1e-3, and up beyond 1e-1.
    loss = 1 - 0.5 / (1 + np.exp(-3 * np.log(rates / 1e-3))) + np.maximum(np.log(rates / 0.1), 0)
    assert steepest(list(rates), list(loss), 0.5)[1] == pytest.approx(1e-3, rel=0.05)
    noisy = loss + np.random.default_rng(1).normal(0, 0.03, 300)
    smoothed, suggested = steepest(list(rates), list(noisy), 0.5)
    assert 3e-4 < suggested < 3e-3
    assert np.abs(np.array(smoothed) - loss)[30:200].max() < 0.05


@pytest.mark.parametrize("more", [{}, {"workers": 2, "accumulate": 2, "averaging": {"name": "ema"}}])
def test_a_rate_is_suggested_and_written(make_config: Make, tmp_path: Path, more: dict[str, object]) -> None:
    config = make_config(optimizer={"name": "sgd"}, batch_size=32, **more)
    output = tmp_path / "found" / "toy"
    found = find_lr(config, 0, output, smallest=1e-4, largest=100, steps=100)
    written = json.loads((tmp_path / "found" / "toy.json").read_text())
    assert written["suggested"] == found.suggested and written["rates"] == found.rates and written["fold"] == 0
    assert 1e-3 < found.suggested < found.rates[int(np.argmin(found.smoothed))] <= 100
    assert found.rates[:2] == pytest.approx([1e-4, 1e-4 * 1e6 ** (1 / 99)])
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["toy.json", "toy.pdf", "toy.png"]
    again = find_lr(config, 0, output, smallest=1e-4, largest=100, steps=100)
    assert again.loss == found.loss


def test_what_cannot_be_tested_is_refused(make_config: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="9"):
        find_lr(make_config(), 9, tmp_path / "x")
    with pytest.raises(TrainingError, match=r"from 1 to 0\.1.*--smallest"):
        find_lr(make_config(), 0, tmp_path / "x", smallest=1, largest=0.1)
    assert not list(tmp_path.iterdir())
