"""Networks with attention: empty slots more or fewer, events without objects, what they need."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nntrainer.config import Config
from nntrainer.networks.inputs import fit_scaling
from nntrainer.networks.model import build_model

pytestmark = pytest.mark.slow

_spec = importlib.util.spec_from_file_location("objects_of_tests", Path(__file__).with_name("test_objects.py"))
objects = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(objects)


def resized(config: Config, slots: int) -> Config:
    given = config.dump()
    given["features"]["objects"]["jets"]["max"] = slots
    return Config.model_validate(given)


@pytest.mark.parametrize(("options", "network_type"), objects.NETWORKS)
def test_more_empty_slots_change_no_score(options: dict[str, Any], network_type: str) -> None:
    inputs = objects.inputs_of(200)
    scaling = fit_scaling("standard", inputs, np.arange(200))
    config = objects.config_of(options, network_type)
    model, wider = build_model(config, scaling, 7), build_model(resized(config, 9), scaling, 8)
    wider.set_weights(model.get_weights())
    padded = dict(
        inputs,
        jets=np.pad(inputs["jets"], ((0, 0), (0, 3), (0, 0)), constant_values=np.nan),
        jets_valid=np.pad(inputs["jets_valid"], ((0, 0), (0, 3))),
    )
    given = wider.predict_on_batch(objects.seen_by(wider, padded))
    np.testing.assert_allclose(given, model.predict_on_batch(objects.seen_by(model, inputs)), atol=2e-6)


@pytest.mark.parametrize(("options", "network_type"), objects.NETWORKS)
def test_an_event_without_objects_has_a_score(options: dict[str, Any], network_type: str) -> None:
    import tensorflow as tf

    inputs = {name: array.copy() for name, array in objects.inputs_of(200).items()}
    for name in ("jets", "met"):
        inputs[name][:] = np.nan
        inputs[f"{name}_valid"][:] = 0
    scaling = fit_scaling("standard", objects.inputs_of(200), np.arange(200))
    model = build_model(objects.config_of(options, network_type), scaling, 7)
    with tf.GradientTape() as tape:
        tensors = {name: tf.constant(array) for name, array in objects.seen_by(model, inputs).items()}
        scores = model(tensors, training=True)
    assert np.isfinite(scores.numpy()).all()
    for gradient in tape.gradient(scores, [each.value for each in model.trainable_variables]):
        assert gradient is None or np.isfinite(gradient.numpy()).all()


def test_masked_attention_is_what_it_says() -> None:
    from nntrainer.networks.layers.attention import MaskedAttention

    random = np.random.default_rng(1)
    query, key, value = random.normal(size=(3, 5, 3, 4)).astype(np.float32)
    bias = random.normal(size=(5, 2, 3, 3)).astype(np.float32)
    mask = np.array([[1, 1, 1], [1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 0]], np.float32)
    made = np.asarray(MaskedAttention(2)([query, key, value, mask, bias]))
    for event in range(4):
        there = mask[event] > 0
        for head, columns in enumerate((slice(0, 2), slice(2, 4))):
            scores = query[event][:, columns] @ key[event][there, columns].T / np.sqrt(2) + bias[event, head][:, there]
            weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
            np.testing.assert_allclose(made[event][:, columns], weights @ value[event][there, columns], rtol=1e-4)
    assert not made[4].any()


def test_the_particle_transformer_needs_all_four_vectors() -> None:
    given = objects.config_of({"name": "particle_transformer"}, "set").dump()
    given["features"]["objects"]["met"]["four_vector"] = None
    with pytest.raises(ValueError, match=r"needs the four-vectors of all objects.*features.objects for 'met'"):
        Config.model_validate(given)


@pytest.mark.parametrize("name", ["transformer", "particle_transformer"])
def test_the_width_is_cut_into_heads(name: str) -> None:
    with pytest.raises(ValueError, match="'width' must be a multiple of 'heads', and 30 is none of 4"):
        objects.config_of({"name": name, "width": 30}, "set")


def test_pairs_matter_to_the_particle_transformer() -> None:
    """With the same features in the tokens, turning one jet around the beam changes only its pairs."""
    inputs = objects.inputs_of(200)
    options = {"name": "particle_transformer", "width": 16, "heads": 2}
    config = objects.config_of(options, "set", events=False)
    del inputs["events"]
    model = build_model(config, fit_scaling("standard", inputs, np.arange(200)), 7)
    without = build_model(config, fit_scaling("standard", inputs, np.arange(200)), 7)
    for layer in without.layers:
        if layer.name == "pair_heads":
            layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    assert np.abs(model.predict_on_batch(inputs) - without.predict_on_batch(inputs)).max() > 1e-3
