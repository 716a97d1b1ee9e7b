"""Relevance by hand, conserved in every network, with the informative features first, and what has no rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nntrainer.config import Config
from nntrainer.config.registry import EXPLAINERS
from nntrainer.errors import ExplainError
from nntrainer.explain.methods.lrp import LRP
from nntrainer.explain.relevance.passing import Rules
from nntrainer.explain.relevance.propagation import Propagation
from nntrainer.explain.subject import Subject
from nntrainer.networks.inputs import fit_scaling
from nntrainer.networks.model import build_model
from tests.networks.test_heads import with_targets
from tests.networks.test_objects import NETWORKS, config_of, inputs_of

pytestmark = pytest.mark.slow

RULES = (Rules("epsilon"), Rules("gamma", attention="softmax"))
FLAT = [
    ({"name": "dense", "layers": [16, 16], "normalisation": "batch_norm", "activation": "silu"}, "flat"),
    ({"name": "dense", "layers": [16], "activation": "sigmoid"}, "flat"),
    ({"name": "residual", "width": 16, "blocks": 2}, "flat"),
]
GIVEN = [*FLAT, *(NETWORKS[place] for place in (0, 1, 2, 3, 4, 6, 8))]


def subject_of(config: Config, inputs: dict[str, np.ndarray]) -> Subject:
    """A network whose weights, also those that begin as zero or one, are some numbers."""
    model = build_model(config, fit_scaling("standard", inputs, np.arange(len(inputs["jets"]))), 7)
    random = np.random.default_rng(3)
    for layer in model.layers:
        if not layer.name.endswith("_scale"):
            layer.set_weights(
                [each + random.normal(0, 0.2, each.shape) * (each.ndim < 2) for each in layer.get_weights()]
            )
    for layer in model.layers:
        if hasattr(layer, "moving_variance"):
            layer.moving_variance.assign(np.abs(layer.moving_variance.numpy()))
    return Subject(config, model)


def relevance_of(subject: Subject, inputs: dict[str, np.ndarray], rules: Rules) -> Any:
    return Propagation(subject.head, subject.scalar, rules).relevance(inputs)


def check_conserved(subject: Subject, inputs: dict[str, np.ndarray], rules: Rules) -> Any:
    found = relevance_of(subject, inputs, rules)
    np.testing.assert_allclose(found.output, subject.target(inputs), rtol=2e-4, atol=2e-5)
    total = found.base + sum(
        each.reshape(len(each), -1).sum(axis=1, dtype=np.float64) for each in found.values.values()
    )
    np.testing.assert_allclose(total, found.output, rtol=1e-4, atol=1e-4)
    for name, each in found.values.items():
        assert np.isfinite(each).all()
        if name != "events":
            assert not each[inputs[f"{name}_valid"] == 0].any()
    return found


def two_layers() -> Any:
    import keras

    given = keras.Input((2,), name="events")
    hidden = keras.layers.Dense(2, activation="relu", name="hidden")
    out = keras.layers.Dense(1, name="logits")
    model = keras.Model({"events": given}, out(hidden(given)))
    hidden.set_weights([np.array([[2.0, -1.0], [1.0, 3.0]]), np.array([0.5, 8.0])])
    out.set_weights([np.array([[4.0], [-1.0]]), np.array([0.5])])
    return model


@pytest.mark.parametrize(
    ("rules", "values", "base"),
    [
        # z = (2 - 2 + 0.5, -1 - 6 + 8) = (0.5, 1), output 2 - 1 + 0.5 = 1.5
        (Rules("epsilon", epsilon=0.0), (8 + 1, -8 + 6), 0.5 + 2 - 8),
        # with ε = 0.5: 3/4 of (2, -1, 0.5) arrives below the output, 1/2 and 2/3 of that below the hidden layer
        (Rules("epsilon", epsilon=0.5), (3 + 0.5, -3 + 3), 0.375 + 0.375 + 0.75 + 0.75 - 4 - 0.25),
        # γ = 1: 1.5 (4, -1, 1)/4; hidden 1.5 (4, -2, 1)/3 and -0.375 (-1, -6, 16)/9
        (Rules("gamma", gamma=1.0), (2 + 0.375 / 9, -1 + 0.25), 0.375 + 0.5 - 6 / 9),
        # α = 2, β = 1: 1.5 (2·2/2.5, -1, 2·0.5/2.5); hidden 2.4 (2·2/2.5, -1, 2·0.5/2.5) and -1.5 (-1/7, -6/7, 2)
        (Rules("alpha_beta"), (3.84 + 1.5 / 7, -2.4 + 9 / 7), 0.6 + 0.96 - 3),
    ],
)
def test_two_layers_by_hand(rules: Rules, values: tuple[float, float], base: float) -> None:
    found = Propagation(two_layers(), lambda head, _: head[:, 0], rules).relevance({"events": np.array([[1.0, -2.0]])})
    np.testing.assert_allclose(found.output, [1.5])
    np.testing.assert_allclose(found.values["events"][0], values, rtol=1e-6)
    np.testing.assert_allclose(found.base, [base], rtol=1e-6)


@pytest.mark.parametrize(("options", "network_type"), GIVEN)
def test_relevance_is_conserved(options: dict[str, Any], network_type: str) -> None:
    inputs = inputs_of(60)
    inputs["jets"] = np.where(inputs["jets_valid"][..., None] > 0, inputs["jets"], np.nan)
    subject = subject_of(config_of(options, network_type), inputs)
    for rules in (*RULES, *([Rules("alpha_beta")] if network_type == "flat" else [])):
        found = check_conserved(subject, inputs, rules)
        assert np.abs(found.values["jets"]).max() > 1e-3


def test_several_classes_and_an_assignment_are_explained() -> None:
    inputs = inputs_of(60)
    given = config_of({"name": "deep_sets", "width": 8, "layers": [8]}, "set").dump()
    given["data"]["samples"].append({"name": "c", "files": ["a.root"], "label": "c"})
    check_conserved(subject_of(Config.model_validate(given), inputs), inputs, Rules())
    subject = subject_of(with_targets(partons=1.0), inputs)
    assert subject.kind == "assignment"
    for rules in RULES:
        check_conserved(subject, subject.prepared(inputs), rules)


@pytest.fixture(scope="module")
def trained() -> tuple[Subject, dict[str, np.ndarray]]:
    """A dense network on 3 features that tell the classes and 10 that are noise, with other scales and offsets."""
    import keras

    random = np.random.default_rng(1)
    label = random.integers(0, 2, 4000)
    values = random.normal(size=(4000, 13))
    values[:, [2, 5, 9]] += 1.2 * (2 * label - 1)[:, None]
    inputs = {"events": (values * random.uniform(0.1, 1e5, 13) + random.uniform(-1e5, 1e5, 13)).astype(np.float32)}
    config = Config.model_validate(
        {
            "name": "toy",
            "data": {"samples": [{"name": name, "files": ["a.root"], "label": name} for name in ("s", "b")]},
            "features": {"events": [f"x{i}" for i in range(13)]},
            "model": {"name": "dense", "layers": [32, 32]},
        }
    )
    model = build_model(config, fit_scaling("standard", inputs, np.arange(4000)), 3)
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy")
    model.fit(inputs, label[:, None], batch_size=256, epochs=4, verbose=0)
    return Subject(config, model), {"events": inputs["events"][:1000]}


@pytest.mark.parametrize("rules", [Rules("epsilon"), Rules("gamma"), Rules("alpha_beta")], ids=lambda each: each.name)
def test_the_features_that_tell_the_classes_come_first(trained: Any, rules: Rules) -> None:
    subject, inputs = trained
    found = check_conserved(subject, inputs, rules)
    importance = np.abs(found.values["events"]).mean(axis=0)
    assert set(np.argsort(-importance)[:3]) == {2, 5, 9}
    assert np.sort(importance)[-3] > 1.5 * np.sort(importance)[-4]


def test_a_layer_without_a_rule_is_named() -> None:
    config = config_of({"name": "lorentz", "width": 8, "blocks": 1}, "graph")
    with pytest.raises(ExplainError, match=r"^lrp: there is no rule for the layer '\w+' \(\w+\) of .*'lorentz'"):
        LRP().check(config)
    layers = [{"layer": "Dense", "units": 4, "activation": "softmax"}]
    with pytest.raises(ExplainError, match=r"no rule for the layer 'layer_layer_0' \(Dense\) of the network 'layers'"):
        LRP().check(config_of({"name": "layers", "layers": layers}, "set"))


def test_it_is_registered_and_fits_the_other_networks() -> None:
    assert EXPLAINERS.get("lrp") is LRP
    for options, network_type in (FLAT[0], NETWORKS[1], NETWORKS[3], NETWORKS[6]):
        LRP().check(config_of(options, network_type))
