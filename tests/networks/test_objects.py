"""Networks of objects: four-vectors, pairs, masks, permutations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import vector

from nntrainer.config import Config
from nntrainer.errors import ConfigError
from nntrainer.export.onnx_export import to_onnx
from nntrainer.export.parity import largest_difference
from nntrainer.networks.inputs import fit_scaling
from nntrainer.networks.model import build_model, load_model

pytestmark = pytest.mark.slow

NETWORKS = [
    ({"name": "deep_sets", "width": 16, "layers": [16], "pooling": ["mean", "sum", "max"]}, "set"),
    ({"name": "spanet", "width": 16, "heads": 2, "layers": 2}, "set"),
    ({"name": "transformer", "width": 16, "heads": 2, "blocks": 2}, "set"),
    ({"name": "particle_transformer", "width": 16, "heads": 2, "blocks": 2, "pair_layers": [8]}, "set"),
    ({"name": "edgeconv", "width": 16, "k": 3, "blocks": [[16, 16], [16]]}, "graph"),
    ({"name": "edgeconv", "width": 16, "k": 20, "blocks": [[16], [16]], "normalisation": "none"}, "graph"),
    ({"name": "gatv2", "width": 16, "heads": 2, "blocks": 2}, "graph"),
    ({"name": "gatv2", "width": 16, "heads": 4, "blocks": 1, "pair_features": False}, "graph"),
    ({"name": "gcn", "width": 16, "layers": [16, 24]}, "graph"),
    ({"name": "gcn", "width": 16, "layers": [16], "edges": "full"}, "graph"),
    ({"name": "lorentz", "width": 16, "blocks": 2, "scalars": ["tag"]}, "graph"),
    ({"name": "lorentz", "width": 8, "blocks": 3, "collections": ["jets"], "event_features": True}, "graph"),
]
KINEMATICS = [{"name": name, "unit": unit} for name, unit in (("pt", "MeV"), ("eta", ""), ("phi", ""), ("e", "MeV"))]


def config_of(model: dict[str, object], network_type: str, events: bool = True) -> Config:
    samples = [{"name": name, "files": ["a.root"], "label": name} for name in ("s", "b")]
    jets = {"max": 6, "features": [*KINEMATICS, "tag"], "four_vector": {k: k for k in ("pt", "eta", "phi", "e")}}
    met = {"max": 1, "features": [KINEMATICS[0], "phi"], "four_vector": {"pt": "pt", "phi": "phi"}}
    return Config.model_validate(
        {
            "name": "toy",
            "data": {"samples": samples},
            "features": {"events": ["x"] if events else [], "objects": {"jets": jets, "met": met}},
            "network_type": network_type,
            "model": model,
        }
    )


def inputs_of(n: int, seed: int = 1) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    valid = np.arange(6) < random.integers(0, 7, n)[:, None]
    pt, eta = random.exponential(5e4, (n, 6)) + 25e3, random.uniform(-2.5, 2.5, (n, 6))
    phi, mass = random.uniform(-np.pi, np.pi, (n, 6)), random.uniform(3e3, 1e4, (n, 6))
    jets = vector.array({"pt": pt, "eta": eta, "phi": phi, "mass": mass})
    columns = np.stack([pt, eta, phi, jets.E, random.integers(1, 6, (n, 6))], axis=-1) * valid[..., None]
    met = np.stack([random.exponential(5e4, n), random.uniform(-np.pi, np.pi, n)], axis=-1)[:, None]
    return {
        "events": random.normal(size=(n, 1)).astype(np.float32),
        "jets": columns.astype(np.float32),
        "jets_valid": valid.astype(np.float32),
        "met": met.astype(np.float32),
        "met_valid": np.ones((n, 1), np.float32),
    }


def seen_by(model: object, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {tensor.name: inputs[tensor.name] for tensor in model.inputs}


def model_of(options: dict[str, object], network_type: str, inputs: dict[str, np.ndarray]) -> object:
    return build_model(config_of(options, network_type), fit_scaling("standard", inputs, np.arange(200)), 7)


@pytest.mark.parametrize(("options", "network_type"), NETWORKS)
def test_the_order_of_jets_and_empty_slots_do_not_matter(options: dict[str, object], network_type: str) -> None:
    inputs = inputs_of(200)
    model = model_of(options, network_type, inputs)
    inputs = seen_by(model, inputs)
    scores = model.predict_on_batch(inputs)
    assert np.isfinite(scores).all() and scores.std() > 1e-3
    rubbish = dict(inputs, jets=np.where(inputs["jets_valid"][..., None] > 0, inputs["jets"], np.nan))
    np.testing.assert_array_equal(model.predict_on_batch(rubbish), scores)
    order = np.random.default_rng(2).permuted(np.tile(np.arange(6), (200, 1)), axis=1)
    permuted = dict(
        inputs,
        jets=np.take_along_axis(inputs["jets"], order[..., None], axis=1),
        jets_valid=np.take_along_axis(inputs["jets_valid"], order, axis=1),
    )
    np.testing.assert_allclose(model.predict_on_batch(permuted), scores, atol=2e-6)
    fewer = dict(inputs, jets_valid=inputs["jets_valid"] * (np.arange(6) < 2))
    assert np.abs(model.predict_on_batch(fewer) - scores).max() > 1e-3


@pytest.mark.parametrize(("options", "network_type"), NETWORKS)
def test_gradients_are_finite_and_the_model_is_saved(
    options: dict[str, object], network_type: str, tmp_path: Path
) -> None:
    import tensorflow as tf

    inputs = inputs_of(200)
    inputs["jets"] = np.where(inputs["jets_valid"][..., None] > 0, inputs["jets"], np.nan)
    model = model_of(options, network_type, inputs)
    inputs = seen_by(model, inputs)
    tensors = {name: tf.constant(array) for name, array in inputs.items()}
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(tensors, training=True))
    gradients = tape.gradient(loss, [each.value for each in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None and np.isfinite(gradient.numpy()).all(), variable.path
    model.save(tmp_path / "model.keras")
    scores = model.predict_on_batch(inputs)
    np.testing.assert_array_equal(load_model(tmp_path / "model.keras").predict_on_batch(inputs), scores)


@pytest.mark.parametrize(("options", "network_type"), NETWORKS)
def test_onnx_runtime_gives_the_same(options: dict[str, object], network_type: str, tmp_path: Path) -> None:
    inputs = inputs_of(1024)
    inputs["jets"] = np.where(inputs["jets_valid"][..., None] > 0, inputs["jets"], np.nan)
    model = model_of(options, network_type, inputs)
    inputs = seen_by(model, inputs)
    (tmp_path / "model.onnx").write_bytes(to_onnx(model).SerializeToString())
    assert largest_difference(model, tmp_path / "model.onnx", inputs, (1, 7, 1024)) <= 1e-5


def test_four_vectors_are_those_of_vector() -> None:
    import keras

    from nntrainer.networks.layers.four_vectors import FourVectors

    inputs = inputs_of(50)
    made = FourVectors(pt=0, eta=1, phi=2, e=3, gev=1e-3)([inputs["jets"], inputs["jets_valid"]])
    jets = vector.array(dict(zip(("pt", "eta", "phi", "E"), np.moveaxis(inputs["jets"][..., :4], -1, 0), strict=True)))
    expected = np.stack([jets.E, jets.px, jets.py, jets.pz], axis=-1) / 1e3
    np.testing.assert_allclose(keras.ops.convert_to_numpy(made), expected, rtol=1e-5, atol=1e-4)
    heavy = np.array([[[50.0, 1.0, 0.5, 4.7]]], np.float32)
    made = FourVectors(pt=0, eta=1, phi=2, mass=3, gev=1.0)([heavy, np.ones((1, 1), np.float32)])
    one = vector.obj(pt=50.0, eta=1.0, phi=0.5, mass=4.7)
    np.testing.assert_allclose(np.asarray(made)[0, 0], [one.E, one.px, one.py, one.pz], rtol=1e-5)


def test_pairs_are_those_of_vector() -> None:
    from nntrainer.networks.layers.pairs import PairFeatures

    a = vector.obj(pt=50.0, eta=1.0, phi=3.1, mass=4.7)
    b = vector.obj(pt=80.0, eta=-0.5, phi=-3.0, mass=10.0)
    vectors = np.array([[[v.E, v.px, v.py, v.pz] for v in (a, b, a)]], np.float32)
    features = np.array(PairFeatures()([vectors, np.array([[1, 1, 0]], np.float32)]))
    dr = np.hypot(a.rapidity - b.rapidity, a.deltaphi(b))
    expected = [np.log(dr), np.log(a.pt * dr), np.log(a.pt / (a.pt + b.pt)), 2 * np.log((a + b).mass)]
    np.testing.assert_allclose(features[0, 0, 1], expected, rtol=1e-4)
    np.testing.assert_array_equal(features[0, 1, 0], features[0, 0, 1])
    features[0, [0, 1], [1, 0]] = 0
    assert not features.any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network_type": "flat"}, "the network 'deep_sets' works on network_type 'set', and network_type is 'flat'"),
        ({"features": {"events": ["x"]}}, "network_type 'set' needs a collection under features.objects"),
    ],
)
def test_networks_say_what_they_work_on(change: dict[str, object], said: str) -> None:
    given = config_of({"name": "deep_sets"}, "set").model_dump()
    with pytest.raises(ValueError, match=said):
        Config.model_validate({**given, **change})


def test_four_vectors_name_features_and_need_a_unit() -> None:
    jets: dict[str, object] = {"max": 2, "features": ["pt", "phi"], "four_vector": {"pt": "pt", "phi": "ph"}}
    given = {**config_of({"name": "deep_sets"}, "set").model_dump(), "features": {"objects": {"jets": jets}}}
    with pytest.raises(ValueError, match=r"four_vector names 'ph', which is none of the features.*Did you mean 'phi'"):
        Config.model_validate(given)
    jets["four_vector"] = {"pt": "pt", "phi": "phi"}
    inputs = {"jets": np.ones((2, 2, 2), np.float32), "jets_valid": np.ones((2, 2), np.float32)}
    with pytest.raises(ConfigError, match="'pt' is part of a four-vector and needs a unit, 'MeV', 'GeV', 'TeV'"):
        build_model(Config.model_validate(given), fit_scaling("standard", inputs, np.arange(2)), 1)


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize(("options", "network_type"), NETWORKS)
def test_less_precision(options: dict[str, object], network_type: str, precision: str) -> None:
    inputs = inputs_of(200)
    config, scaling = config_of(options, network_type), fit_scaling("standard", inputs, np.arange(200))
    whole, half = (build_model(config, scaling, 7, kind) for kind in ("float32", precision))
    half.set_weights(whole.get_weights())
    inputs = seen_by(whole, inputs)
    one, other = (np.asarray(model(inputs, training=False)) for model in (whole, half))
    assert one.dtype == other.dtype == np.float32
    assert precision.removeprefix("mixed_") in {layer.compute_dtype for layer in half.layers}
    np.testing.assert_allclose(other, one, atol=0.01 if precision == "mixed_float16" else 0.05)


@pytest.mark.parametrize(("model", "network_type"), NETWORKS[::3], ids=lambda value: str(value)[:30])
def test_adversarial_training_asks_nothing_of_a_network(model: dict[str, object], network_type: str) -> None:
    import tensorflow as tf

    from nntrainer.networks.inputs import feature_widths
    from nntrainer.training.distributed import alone
    from nntrainer.training.nuisance import Classes
    from nntrainer.training.steps import Steps
    from nntrainer.training.tasks import NUISANCE

    config = config_of(model, network_type)
    decorrelation = {"nuisance": "x", "sees": "event", "layers": [8], "events": "all"}
    robustness = {"attack": "pgd", "steps": 2, "epsilon": 0.1}
    training = {"decorrelation": decorrelation, "robustness": robustness}
    config = Config.model_validate({**config.dump(), "training": training})
    inputs, n = inputs_of(32), 32
    inputs = {name: array for name, array in inputs.items() if config.model.sees(name.removesuffix("_valid"), config)}
    made = build_model(config, fit_scaling("standard", inputs, np.arange(n)), 1)
    widths = feature_widths(inputs, np.arange(n))
    steps = Steps(config, made, alone(), n, widths, Classes(np.zeros(1, np.float32), 0.7))
    events = {name: tf.constant(array) for name, array in inputs.items()}
    random = np.random.default_rng(1)
    target = {"class": tf.constant(random.integers(0, 2, n).astype(np.float32))}
    target[NUISANCE] = tf.constant(random.normal(size=n).astype(np.float32))
    (_, same), (_, moved) = steps._changed(events, target, tf.ones(n))
    assert same is events
    for name, block in config.features.objects.items():
        valid = inputs[f"{name}_valid"] > 0
        np.testing.assert_array_equal(moved[name][~valid], inputs[name][~valid])
        change = np.abs(moved[name] - inputs[name])[valid]
        assert (change <= 0.1 * widths[name] * (1 + 1e-3) + 1e-2).all(), block
    assert np.abs(moved["jets"] - inputs["jets"]).max() > 0
    gradients, report = steps._gradients((events, target, tf.ones(n)), n, penalties=True)
    assert len(gradients) == len(steps._trained) and report.shape == (5,)
    assert all(np.isfinite(each).all() for each in gradients)
    assert np.abs(gradients[-1]).max() > 0  # the adversary learns
