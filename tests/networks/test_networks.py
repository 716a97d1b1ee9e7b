"""The networks: options, shapes, scaling, masks, saving."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nntrainer.config import Config
from nntrainer.errors import ConfigError
from nntrainer.networks.inputs import fit_scaling
from nntrainer.networks.model import build_model, load_model, logits_model

pytestmark = pytest.mark.slow

MODELS = [
    {"name": "dense"},
    {
        "name": "dense",
        "layers": [8],
        "activation": "gelu",
        "dropout": 0.2,
        "normalisation": "batch_norm",
        "l1": 1e-5,
    },
    {"name": "residual", "width": 8, "blocks": 2, "dropout": 0.1},
    {"name": "residual", "normalisation": "batch_norm", "l2": 1e-4, "kernel_initializer": "lecun_normal"},
]


def config_of(model: dict[str, object], labels: int = 2) -> Config:
    samples = [{"name": f"s{i}", "files": ["a.root"], "label": f"s{i}"} for i in range(labels)]
    return Config.model_validate(
        {
            "name": "toy",
            "data": {"samples": samples},
            "features": {"events": ["x", "y"], "objects": {"jets": {"max": 3, "features": ["pt", "eta"]}}},
            "model": model,
        }
    )


def inputs_of(events: int, seed: int = 1) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    valid = np.arange(3) < random.integers(0, 4, events)[:, None]
    jets = random.normal([5e4, 0], [2e4, 1], (events, 3, 2)) * valid[..., None]
    return {
        "events": random.normal([1e6, -2], [10, 3], (events, 2)).astype(np.float32),
        "jets": jets.astype(np.float32),
        "jets_valid": valid.astype(np.float32),
    }


@pytest.mark.parametrize("labels", [2, 4])
@pytest.mark.parametrize("options", MODELS)
def test_probabilities_and_saving(options: dict[str, object], labels: int, tmp_path: Path) -> None:
    inputs = inputs_of(200)
    model = build_model(config_of(options, labels), fit_scaling("standard", inputs, np.arange(200)), 7)
    scores = model.predict_on_batch(inputs)
    assert [tensor.name for tensor in model.inputs] == ["events", "jets", "jets_valid"]
    assert scores.shape == (200, 1 if labels == 2 else labels)
    assert scores.min() >= 0 and scores.max() <= 1 and scores.std() > 0
    if labels > 2:
        np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    logits = np.asarray(logits_model(model)(inputs))
    np.testing.assert_allclose(scores[:, 0], _probability(logits, labels), rtol=1e-4)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(load_model(tmp_path / "model.keras").predict_on_batch(inputs), scores)


def _probability(logits: np.ndarray, labels: int) -> np.ndarray:
    if labels == 2:
        return 1 / (1 + np.exp(-logits[:, 0]))
    return np.exp(logits[:, 0]) / np.exp(logits).sum(axis=1)


def test_the_seed_decides_the_weights() -> None:
    inputs = inputs_of(50)
    scaling = fit_scaling("standard", inputs, np.arange(50))
    config = config_of(MODELS[0])
    first, again, other = (build_model(config, scaling, seed).predict_on_batch(inputs) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_scaling_is_of_the_chosen_events_and_valid_slots() -> None:
    inputs, rows = inputs_of(5000), np.arange(0, 5000, 2)
    fitted = fit_scaling("standard", inputs, rows)
    events, valid = inputs["events"][rows].astype(float), inputs["jets_valid"][rows] > 0
    np.testing.assert_allclose(fitted.ranges["events"].mean, events.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(fitted.ranges["events"].scale, events.std(axis=0), rtol=1e-5)
    jets = inputs["jets"][rows][valid].astype(float)
    np.testing.assert_allclose(fitted.ranges["jets"].mean, jets.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fitted.ranges["jets"].scale, jets.std(axis=0), rtol=1e-5)
    assert set(fitted.ranges) == {"events", "jets"}


def test_minmax_none_and_constant_features() -> None:
    inputs = {"events": np.array([[1, 5], [3, 5], [2, 5]], np.float32)}
    rows = np.arange(3)
    minmax, none = fit_scaling("minmax", inputs, rows), fit_scaling("none", inputs, rows)
    assert minmax.ranges["events"].mean.tolist() == [1, 5]
    assert minmax.ranges["events"].scale.tolist() == [2, 1]
    assert none.ranges["events"].mean.tolist() == [0, 0] and none.ranges["events"].scale.tolist() == [1, 1]


def test_what_lies_in_invalid_slots_does_not_matter() -> None:
    inputs = inputs_of(100)
    scaling = fit_scaling("standard", inputs, np.arange(100))
    model = build_model(config_of(MODELS[0]), scaling, 1)
    scores = model.predict_on_batch(inputs)
    rubbish = dict(inputs, jets=np.where(inputs["jets_valid"][..., None] > 0, inputs["jets"], 1e6))
    np.testing.assert_array_equal(model.predict_on_batch(rubbish), scores)
    empty = dict(inputs, jets_valid=np.zeros_like(inputs["jets_valid"]))
    assert not np.array_equal(model.predict_on_batch(empty), scores)


def test_options_are_closed_and_checked() -> None:
    with pytest.raises(ConfigError, match="dense"):
        config_of({"name": "dens"})
    for wrong in ({"layers": []}, {"dropout": 1.0}, {"activation": "relux"}, {"depth": 3}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            config_of({"name": "dense", **wrong})


def test_options_import_without_keras() -> None:
    code = (
        "import sys; sys.modules['keras'] = sys.modules['tensorflow'] = None\n"
        "from nntrainer.config.registry import NETWORKS\n"
        "assert {'dense', 'residual'} <= set(NETWORKS.names())\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
