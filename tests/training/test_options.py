"""Options of the training: losses, averaged weights, gathered batches, precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from nntrainer.config import Config
from nntrainer.config.training import CrossEntropy, Focal
from nntrainer.errors import Interrupted, TrainingError
from nntrainer.export.onnx_export import to_onnx
from nntrainer.export.parity import largest_difference
from nntrainer.networks.model import load_model
from nntrainer.rundir import RunDir
from nntrainer.training import loop, precision, steps
from nntrainer.training.load import load_training_data
from nntrainer.training.loop import train_fold
from nntrainer.training.losses import class_loss, cross_entropy
from nntrainer.training.precision import LossScale
from nntrainer.training.record import read_training
from nntrainer.training.train import train

pytestmark = pytest.mark.slow

Make = Callable[..., Config]
PLAIN = {"name": "dense", "layers": [16, 8]}
SETS = {"name": "deep_sets", "width": 8, "layers": [8], "head": [8]}


def trained(config: Config, directory: Path, group: int = 1) -> Any:
    directory.mkdir(exist_ok=True, parents=True)
    return train_fold(config, 0, directory, load_training_data(config, 0, group=group))


def on_sets(make_config: Make, **training: Any) -> Config:
    """Return a training of deep sets, which sees the jets as a set."""
    config = make_config(**training)
    return Config.model_validate({**config.dump(), "network_type": "set", "model": SETS})


def probabilities(logits: np.ndarray) -> np.ndarray:
    if logits.shape[1] == 1:
        signal = 1 / (1 + np.exp(-logits[:, 0]))
        return np.stack([1 - signal, signal], axis=1)
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3])
def test_losses_by_hand(classes: int) -> None:
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, (50, 1 if classes == 2 else classes)).astype(np.float32)
    index = random.integers(0, classes, 50)
    target = tf.constant(index, tf.float32 if classes == 2 else tf.int32)
    p = probabilities(logits.astype(np.float64))
    true = p[np.arange(50), index]
    smoothed = np.full((50, classes), 0.2 / classes)
    smoothed[np.arange(50), index] += 0.8
    cases = {
        CrossEntropy(): -np.log(true),
        CrossEntropy(label_smoothing=0.2): -(smoothed * np.log(p)).sum(axis=1),
        Focal(gamma=2): -((1 - true) ** 2) * np.log(true),
        Focal(gamma=0): -np.log(true),
    }
    for options, expected in cases.items():
        np.testing.assert_allclose(class_loss(options, classes)(tf.constant(logits), target), expected, rtol=2e-4)
    assert class_loss(CrossEntropy(), classes) is cross_entropy


def test_focal_gradients_are_finite_where_events_are_certain() -> None:
    logits, target = tf.Variable([[60.0], [-60.0], [0.0]]), tf.constant([1.0, 1.0, 0.0])
    for gamma in (0.5, 2.0):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(class_loss(Focal(gamma=gamma), 2)(logits, target))
        assert np.isfinite(tape.gradient(loss, logits).numpy()).all()


@pytest.mark.parametrize(
    ("labels", "loss"),
    [
        (2, {"name": "focal"}),
        (3, {"name": "focal", "gamma": 1}),
        (3, {"name": "cross_entropy", "label_smoothing": 0.1}),
    ],
)
def test_the_history_reports_cross_entropy_whatever_is_minimised(
    make_config: Make, tmp_path: Path, labels: int, loss: dict[str, Any]
) -> None:
    config = make_config(labels=labels, loss=loss, model=PLAIN)
    model = trained(config, tmp_path)
    (validation,) = load_training_data(config, 0).validation.pieces()
    scores = model.predict_on_batch(validation.inputs).astype(np.float64)
    p = np.concatenate([1 - scores, scores], axis=1) if labels == 2 else scores
    losses = -np.log(p[np.arange(len(p)), validation.target.astype(int)])
    record = read_training(tmp_path)
    assert record["best_epoch"] == 3 and record["best_val_loss"] < np.log(labels)
    assert record["best_val_loss"] == pytest.approx(np.average(losses, weights=validation.weight), rel=1e-4)
    other = trained(make_config(labels=labels, model=PLAIN), tmp_path / "plain")
    assert max(np.abs(a - b).max() for a, b in zip(model.get_weights(), other.get_weights(), strict=True)) > 1e-3


@pytest.mark.parametrize(
    "more", [{}, {"events": 60_000, "memory_mib": 1, "epochs": 1}, {"optimizer": {"name": "sgd"}, "l2": 0.01}]
)
def test_gathered_batches_equal_one_as_large(make_config: Make, tmp_path: Path, more: dict[str, Any]) -> None:
    l2 = more.pop("l2", 0.0)
    more = {**more, "model": {**PLAIN, "l2": l2}, "schedule": {"name": "cosine", "warmup_epochs": 0.5}}
    gathered = trained(make_config(batch_size=32, accumulate=4, **more), tmp_path / "gathered")
    large = trained(make_config(batch_size=128, **more), tmp_path / "large")
    for one, other in zip(gathered.get_weights(), large.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    records = [read_training(tmp_path / name) for name in ("gathered", "large")]
    assert records[0]["events_per_epoch"] == records[1]["events_per_epoch"]
    rates = [(tmp_path / n / "history.csv").read_text().splitlines()[-1].split(",")[5] for n in ("gathered", "large")]
    assert rates[0] == rates[1]
    alone = trained(make_config(batch_size=32, **more), tmp_path / "alone")
    pairs = zip(gathered.get_weights(), alone.get_weights(), strict=True)
    assert max(np.abs(one - other).max() for one, other in pairs) > 1e-3


def test_more_batches_than_events_are_refused(make_config: Make, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"accumulate gathers 1000 batches of 64.*lower training\.accumulate"):
        trained(make_config(accumulate=1000), tmp_path)


def test_the_moving_average_by_hand(make_config: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loop, "EVENTS_PER_CALL", 64)  # one update a call
    monkeypatch.setattr(loop, "SECONDS_PER_CALL", 0)
    seen: list[list[np.ndarray]] = []
    train_steps = steps.Steps.train

    def watched(self: Any, *given: Any) -> Any:
        if not seen:
            seen.append([np.array(each.value) for each in self.model.trainable_variables])
        sums = train_steps(self, *given)
        seen.append([np.array(each.value) for each in self.model.trainable_variables])
        return sums

    monkeypatch.setattr(steps.Steps, "train", watched)
    config = make_config(epochs=2, model=PLAIN, averaging={"name": "ema", "decay": 0.9})
    model = trained(config, tmp_path)
    average = seen[0]
    for number, weights in enumerate(seen[1:], 1):
        decay = min(0.9, (1 + number) / (10 + number))
        average = [decay * a + (1 - decay) * w for a, w in zip(average, weights, strict=True)]
    for one, other, last in zip(model.trainable_variables, average, seen[-1], strict=True):
        np.testing.assert_allclose(one.numpy(), other, rtol=1e-4, atol=1e-6)
        assert not np.array_equal(one.numpy(), last)


def test_the_mean_over_epochs_by_hand(make_config: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ends: list[list[np.ndarray]] = []
    validate = steps.Steps.synchronise

    def watched(self: Any) -> None:
        validate(self)
        ends.append([np.array(each.value) for each in self.model.trainable_variables])

    monkeypatch.setattr(steps.Steps, "synchronise", watched)
    config = make_config(epochs=5, model=PLAIN, averaging={"name": "swa", "start_epoch": 3})
    model = trained(config, tmp_path)
    for one, values in zip(model.trainable_variables, zip(*ends[2:], strict=True), strict=True):
        np.testing.assert_allclose(one.numpy(), np.mean(values, axis=0), rtol=1e-4, atol=1e-6)
    # What was validated last is what is saved.
    (validation,) = load_training_data(config, 0).validation.pieces()
    scores = load_model(tmp_path / "model.keras").predict_on_batch(validation.inputs)[:, 0].astype(np.float64)
    losses = -np.log(np.where(validation.target > 0.5, scores, 1 - scores))
    last = float((tmp_path / "history.csv").read_text().splitlines()[-1].split(",")[2])
    assert last == pytest.approx(np.average(losses, weights=validation.weight), rel=1e-4)


def test_averaging_that_cannot_be_is_refused(make_config: Make, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"start_epoch is 4, and epochs is 3"):
        make_config(averaging={"name": "swa", "start_epoch": 4})
    model = {"name": "dense", "layers": [8], "normalisation": "batch_norm"}
    with pytest.raises(TrainingError, match=r"'swa'.*batch normalisation.*choose 'ema'"):
        trained(make_config(model=model, averaging={"name": "swa", "start_epoch": 2}), tmp_path)
    trained(make_config(model=model, averaging={"name": "ema"}), tmp_path)


class _StopAt:
    def __init__(self, file: Path, events: int) -> None:
        self.file, self.left = file, events

    def start(self, description: str, total: int | None, unit: str = "events") -> None: ...

    def note(self, text: str) -> None: ...

    def finish(self) -> None: ...

    def advance(self, n: int) -> None:
        self.left -= n
        if n and self.left <= 0:
            self.file.touch()


@pytest.mark.parametrize(
    "options",
    [
        {"averaging": {"name": "ema"}, "accumulate": 3, "loss": {"name": "focal"}},
        {"averaging": {"name": "swa", "start_epoch": 2}, "precision": "mixed_bfloat16"},
        {"averaging": {"name": "ema"}, "precision": "mixed_float16", "early_stopping": {"patience": 5}},
    ],
    ids=["ema", "swa", "half"],
)
def test_stopped_inside_an_epoch(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(steps, "check_precision", lambda precision: None)  # float16 on a CPU is slow, but it is
    monkeypatch.setattr(precision, "GROWS_AFTER", 10)
    monkeypatch.setattr(loop, "EVENTS_PER_CALL", 7 * 64)
    monkeypatch.setattr(loop, "SECONDS_PER_CALL", 0)
    config = make_config(epochs=3, **options)
    whole = train(config, RunDir(tmp_path / "whole"), folds=[0])[0]
    run = RunDir(tmp_path / "stopped")
    with pytest.raises(Interrupted, match="epoch 3 of 3"):
        train(config, run, folds=[0], progress=_StopAt(run.fold(0) / "stop", 8000))
    assert train(config, run, folds=[0])[0].weights_sha256 == whole.weights_sha256


@pytest.mark.parametrize("kind", ["mixed_float16", "mixed_bfloat16"])
def test_less_precision_trains_the_same_network(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    # On a GPU this is fast; here it shows only that the numbers are right.
    monkeypatch.setattr(steps, "check_precision", lambda precision: None)
    model = trained(on_sets(make_config, precision=kind), tmp_path / kind)
    trained(on_sets(make_config), tmp_path / "float32")
    losses = [read_training(tmp_path / name)["best_val_loss"] for name in (kind, "float32")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3) and losses[0] != losses[1] < 0.67
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    config = on_sets(make_config)
    (validation,) = load_training_data(config, 0).validation.pieces()
    onnx = tmp_path / "model.onnx"
    onnx.write_bytes(to_onnx(load_model(tmp_path / kind / "model.keras")).SerializeToString())
    assert largest_difference(model, onnx, validation.inputs, [1, 7, 256]) <= 1e-5
    scores = model.predict_on_batch(validation.inputs)[:, 0].astype(np.float64)
    found = -np.log(np.where(validation.target > 0.5, scores, 1 - scores))
    assert np.average(found, weights=validation.weight) == pytest.approx(losses[0], abs=5e-3)


def test_half_precision_without_a_gpu_is_refused(make_config: Make, tmp_path: Path) -> None:
    if tf.config.get_visible_devices("GPU"):
        pytest.skip("there is a GPU")
    with pytest.raises(TrainingError, match=r"mixed_float16.*GPU.*'mixed_bfloat16'"):
        trained(make_config(precision="mixed_float16"), tmp_path)


def test_the_loss_scale_leaves_out_overflows_and_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "GROWS_AFTER", 2)
    scale, taken = LossScale(True), tf.Variable([0.0])

    @tf.function
    def update(gradient: Any) -> None:
        scale.update([gradient], lambda found: taken.assign(found[0]))

    factors = []
    for value in (1.0, np.inf, 2.0, 3.0, np.nan):
        update(tf.constant([value]) * scale.variables[0].value)
        factors.append((float(scale.variables[0].numpy()) / precision.FIRST_SCALE, float(taken[0])))
    assert factors == [(1.0, 1.0), (0.5, 1.0), (0.5, 2.0), (1.0, 3.0), (0.5, 3.0)]


SCHEDULES = [
    {"name": "step", "every": 1},
    {"name": "exponential"},
    {"name": "cosine", "warmup_epochs": 0.5},
    {"name": "ramp", "plateau_epochs": 0, "down_epochs": 1},
    {"name": "reduce_on_plateau", "patience": 1},
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule["name"])
def test_schedules_on_sets_and_gathered_batches(make_config: Make, tmp_path: Path, schedule: dict[str, Any]) -> None:
    config = on_sets(make_config, epochs=2, schedule=schedule, accumulate=2, averaging={"name": "ema"})
    trained(config, tmp_path)
    rows = [line.split(",") for line in (tmp_path / "history.csv").read_text().splitlines()[1:]]
    assert float(rows[-1][1]) < float(rows[0][1])
    updates = read_training(tmp_path)["events_per_epoch"] // 128
    last = loop.rate(config.training.schedule, 1e-3, 2 * updates - 1, updates, 2)
    assert float(rows[-1][5]) == pytest.approx(last, rel=1e-5, abs=1e-9)
