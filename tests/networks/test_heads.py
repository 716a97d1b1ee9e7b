"""Assignment and regression heads: permutations, exchanges, decoding, losses by hand, ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vector

from nntrainer.config import Config
from nntrainer.config.targets import Particle
from nntrainer.errors import ConfigError
from nntrainer.export.onnx_export import to_onnx
from nntrainer.export.parity import largest_difference
from nntrainer.networks.candidates import candidates
from nntrainer.networks.inputs import Range, Scaling, fit_scaling
from nntrainer.networks.model import build_model, load_model
from nntrainer.training.tasks import Tasks, targets_of
from tests.networks.test_objects import config_of, inputs_of

pytestmark = pytest.mark.slow

SPANET = {"name": "spanet", "width": 16, "heads": 2, "layers": 1}
PARTICLES = {"higgs": {"ids": [1, 2], "symmetric": True}, "top": {"ids": [4, 5, 6], "symmetric": [[5, 6]]}}


def with_targets(model: dict[str, Any] | None = None, **tasks: float) -> Config:
    given = config_of(model or SPANET, "set").model_dump()
    given["data"]["targets"] = {
        "partons": {"kind": "assignment", "collection": "jets", "match": "m", "particles": PARTICLES},
        "pt_h": {"kind": "regression", "expression": "p", "unit": "MeV"},
    }
    given["training"]["tasks"] = tasks or {"class": 1.0, "partons": 1.0, "pt_h": 0.5}
    return Config.model_validate(given)


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    return inputs_of(300)


@pytest.fixture(scope="module")
def model(inputs: dict[str, np.ndarray]) -> Any:
    fitted = fit_scaling("standard", inputs, np.arange(200))
    regressed = {"pt_h": Range(np.array([5e4], np.float32), np.array([2e4], np.float32))}
    return build_model(with_targets(), Scaling(fitted.ranges, regressed), 7)


def test_a_permutation_of_jets_permutes_the_answer_and_nothing_else(model: Any, inputs: dict[str, np.ndarray]) -> None:
    before = model.predict_on_batch(inputs)
    order = np.random.default_rng(2).permuted(np.tile(np.arange(6), (300, 1)), axis=1)
    permuted = dict(
        inputs,
        jets=np.take_along_axis(inputs["jets"], order[..., None], axis=1),
        jets_valid=np.take_along_axis(inputs["jets_valid"], order, axis=1),
    )
    after = model.predict_on_batch(permuted)
    for name in ("higgs", "top"):
        slots = after[f"{name}_indices"]
        back = np.where(slots < 0, -1, np.take_along_axis(order, np.maximum(slots, 0), axis=1))
        exchanged = slice(None) if name == "higgs" else slice(1, None)
        expected = before[f"{name}_indices"].copy()
        for table in (back, expected):
            table[:, exchanged] = np.sort(table[:, exchanged], axis=1)
        np.testing.assert_array_equal(back, expected)
        for each in ("probability", "m", "pt"):
            np.testing.assert_allclose(after[f"{name}_{each}"], before[f"{name}_{each}"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after["scores"], before["scores"], atol=2e-6)
    np.testing.assert_allclose(after["pt_h"], before["pt_h"], rtol=1e-5)


def test_what_is_decoded(model: Any, inputs: dict[str, np.ndarray]) -> None:
    rubbish = dict(inputs, jets=np.where(inputs["jets_valid"][..., None] > 0, inputs["jets"], np.nan))
    found = model.predict_on_batch(rubbish)
    number = inputs["jets_valid"].sum(axis=1)
    assert found["higgs_indices"].dtype == np.int64
    both = np.concatenate([found["higgs_indices"], found["top_indices"]], axis=1)
    for event in range(300):
        taken = both[event][both[event] >= 0]
        assert len(set(taken)) == len(taken) and (taken < number[event]).all()
        assert len(taken) == 5 or number[event] < 5
        assert (found["higgs_indices"][event] >= 0).all() or number[event] < 5
        chosen = found["higgs_indices"][event]
        if chosen[0] < 0:
            assert found["higgs_m"][event] == found["higgs_pt"][event] == found["higgs_probability"][event] == -1
        else:
            columns = [dict(zip(("pt", "eta", "phi", "E"), map(float, inputs["jets"][event, slot]), strict=False))
                       for slot in chosen]  # fmt: skip
            jets = [vector.obj(**each) for each in columns]
            np.testing.assert_allclose(found["higgs_m"][event], (jets[0] + jets[1]).mass, rtol=1e-5)
            np.testing.assert_allclose(found["higgs_pt"][event], (jets[0] + jets[1]).pt, rtol=1e-5)
    assert (number < 2).any() and (number >= 5).any()


def test_the_most_probable_particle_goes_first() -> None:
    from nntrainer.networks.layers.assignment import Decode
    from nntrainer.networks.layers.masked import LOWEST

    pair = candidates(Particle(ids=(1, 2), symmetric=True), 4).slots  # 01 02 03 12 13 23
    single = candidates(Particle(ids=(3,)), 4).slots
    a = np.log([[0.4, 0.3, 0.1, 0.1, 0.05, 0.05], [0.9, 0.02, 0.02, 0.02, 0.02, 0.02]])
    b = np.log([[0.7, 0.1, 0.1, 0.1], [0.7, 0.1, 0.15, 0.05]])
    logits = [np.vstack([a, np.full(6, LOWEST)]), np.vstack([b, [2.0, LOWEST, LOWEST, LOWEST]])]
    slots, other, p, q = Decode([pair, single], 4)([np.asarray(each, np.float32) for each in logits])
    # Event 0: the single takes 0, which leaves 12, 13, 23. Event 1: 01 first. Event 2: one object only.
    np.testing.assert_array_equal(slots, [[1, 2], [0, 1], [-1, -1]])
    np.testing.assert_array_equal(other, [[0], [2], [0]])
    np.testing.assert_allclose(p, [0.1, 0.9, -1], rtol=1e-5)
    np.testing.assert_allclose(q, [0.7, 0.15, 1], rtol=1e-5)


def test_an_exchange_of_symmetric_objects_is_the_same_candidate() -> None:
    higgs, top = (candidates(Particle.model_validate(PARTICLES[name]), 6) for name in ("higgs", "top"))
    assert len(higgs.slots) == 15 and len(top.slots) == 60
    assert len(candidates(Particle(ids=(1, 2, 3), symmetric=True), 6).slots) == 20
    assert len(candidates(Particle(ids=(1, 2, 3)), 6).slots) == 120
    np.testing.assert_array_equal(higgs.number(np.array([[1, 4]])), higgs.number(np.array([[4, 1]])))
    np.testing.assert_array_equal(top.number(np.array([[3, 0, 5]])), top.number(np.array([[3, 5, 0]])))
    assert top.number(np.array([[3, 0, 5]])) != top.number(np.array([[0, 3, 5]]))
    np.testing.assert_array_equal(higgs.number(np.array([[-1, 2], [3, 3]])), [-1, -1])
    sums = top.sums(Particle.model_validate(PARTICLES["top"]))
    assert [each.sum(axis=1).max() for each in sums] == [3, 2]


def test_losses_by_hand(model: Any) -> None:
    import tensorflow as tf

    config = with_targets(partons=2.0, pt_h=0.5)
    events = {
        # b1 and b2 exchanged in the second event; the third has no second one, the fourth no jets at all.
        "target_higgs_0": np.array([0, 2, 1, -1]), "target_higgs_1": np.array([1, 0, -1, -1]),
        "target_top_0": np.array([2, -1, -1, -1]), "target_top_1": np.array([3, 1, -1, -1]),
        "target_top_2": np.array([4, 3, -1, -1]), "target_pt_h": np.array([6e4, 9e4, np.nan, 5e4]),
    }  # fmt: skip
    target = {name: tf.constant(each) for name, each in targets_of(config, events).items()}
    # Of equal logits the first candidate is chosen: 01, which is right, and 012, which is not.
    higgs = np.zeros((4, 15), np.float32)
    higgs[1, 1] = np.log(6.0)  # the pair 02 is six of 20
    given = {"higgs": tf.constant(higgs), "top": tf.zeros((4, 60)), "pt_h": tf.constant([[1.0], [0.0], [0.0], [0.0]])}
    tasks = Tasks(config, model, lambda *_: None, lambda *_: None)
    losses = tasks.losses(given, target)
    expected = [np.log(15) + np.log(60), np.log(20 / 6), 0, 0]
    np.testing.assert_allclose(losses["partons"][0], expected, rtol=1e-6)
    # Truth in widths: (6e4 - 5e4) / 2e4 = 0.5, 2, none, 0; Huber.
    np.testing.assert_allclose(losses["pt_h"][0], [0.125, 1.5, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(tasks.total(losses), 2 * np.array(expected) + [0.0625, 0.75, 0, 0], rtol=1e-6)
    weight = np.array([1.0, 2.0, 3.0, -1.0], np.float32)
    sums = tasks.report(losses, tf.constant(weight)).numpy()
    columns = tasks.columns(sums, "val_")
    np.testing.assert_allclose(columns["val_partons_loss"], (expected[0] + 2 * expected[1]) / 3, rtol=1e-6)
    np.testing.assert_allclose(columns["val_partons_accuracy"], (0.5 + 2) / 3)
    np.testing.assert_allclose(columns["val_pt_h_loss"], (0.125 + 2 * 1.5) / (1 + 2 - 1), rtol=1e-6)


def test_gradients_are_finite_where_there_is_no_truth(model: Any, inputs: dict[str, np.ndarray]) -> None:
    import tensorflow as tf

    from nntrainer.networks.heads import task_model

    config = with_targets()
    target = {"higgs": np.full(300, -1, np.int32), "top": np.full(300, -1, np.int32), "pt_h": np.full(300, np.nan)}
    target["higgs"][:5] = 14  # often of slots without an object
    tasks = Tasks(config, model, lambda logits, _: logits[:, 0], lambda logits, _: logits[:, 0] > 0)
    losses = task_model(config, model)
    tensors = {name: tf.constant(each) for name, each in inputs.items()}
    with tf.GradientTape() as tape:
        truth = {k: tf.constant(v, tf.float32 if k == "pt_h" else tf.int32) for k, v in target.items()}
        total = tf.reduce_mean(tasks.total(tasks.losses(losses(tensors), {**truth, "class": None})))
    for gradient in tape.gradient(total, [each.value for each in model.trainable_variables]):
        assert gradient is not None and np.isfinite(gradient.numpy()).all()


def test_onnx_runtime_gives_the_same_indices(model: Any, tmp_path: Path) -> None:
    events = inputs_of(1024, seed=4)
    events["jets"] = np.where(events["jets_valid"][..., None] > 0, events["jets"], np.nan)
    (tmp_path / "model.onnx").write_bytes(to_onnx(model).SerializeToString())
    assert largest_difference(model, tmp_path / "model.onnx", events, (1, 7, 1024)) <= 1e-5
    model.save(tmp_path / "model.keras")
    loaded, found = load_model(tmp_path / "model.keras").predict_on_batch(events), model.predict_on_batch(events)
    for name, each in found.items():
        if each.dtype.kind == "i":
            np.testing.assert_array_equal(loaded[name], each)
        else:
            np.testing.assert_allclose(loaded[name], each, rtol=2e-6)


def test_the_class_alone_is_what_it_was(inputs: dict[str, np.ndarray]) -> None:
    scaling = fit_scaling("standard", inputs, np.arange(200))
    plain = config_of(SPANET, "set")
    with_unused = with_targets(**{"class": 1.0})
    a, b = build_model(plain, scaling, 7), build_model(with_unused, scaling, 7)
    np.testing.assert_array_equal(a.predict_on_batch(inputs), b.predict_on_batch(inputs))
    assert "targets" not in plain.dump()["data"] or plain.digest() != with_unused.digest()
    assert plain.data_digest() != with_unused.data_digest()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"training": {"tasks": {"parton": 1.0}}}, "there is no target 'parton'.*Did you mean 'partons'"),
        ({"network_type": "flat", "model": {"name": "dense"}}, "assigns objects.*'dense' does not tell objects"),
        ({"collection": "jetz"}, "there is no collection 'jetz'; features.objects has 'jets', 'met'"),
        ({"particles": {"h": {"ids": [1, 1]}}}, "name one twice"),
        ({"particles": {"h": {"ids": [1, 2], "symmetric": [[3]]}}}, "must name some of the ids"),
        ({"particles": {"a": {"ids": [1]}, "b": {"ids": [1]}}}, "two particles have the id 1"),
        ({"collection": "met"}, "its particles need 5 objects, and 'met' has max: 1"),
        ({"evaluation": {"reconstruction": {"higs": {}}}}, "no task of training.tasks finds this particle"),
        ({"evaluation": {"reconstruction": {"higgs": {"tag": "tga"}}}}, "there is no 'tga'.*Did you mean 'tag'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(change: dict[str, Any], said: str) -> None:
    given = with_targets().model_dump()
    for key in ("collection", "particles"):
        if key in change:
            given["data"]["targets"]["partons"][key] = change.pop(key)
    with pytest.raises(ValueError, match=said):
        Config.model_validate({**given, **change})


def test_a_network_without_objects_is_refused(inputs: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    from nntrainer.networks.inputs import Encoded
    from nntrainer.networks.spanet import SPANet

    encode = SPANet.encode
    monkeypatch.setattr(SPANet, "encode", lambda self, inputs: Encoded(encode(self, inputs).event))
    with pytest.raises(ConfigError, match="the network 'spanet' gives none of them"):
        build_model(with_targets(), fit_scaling("standard", inputs, np.arange(200)), 7)
