"""Training in one process: learning, stopping, resuming bit by bit."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nntrainer.config import Config
from nntrainer.errors import ConfigError, Interrupted, MissingDependencyError, StoreError, TrainingError
from nntrainer.networks.model import load_model
from nntrainer.rundir import RunDir
from nntrainer.training import distributed, loop, steps
from nntrainer.training.checkpoint import Patience
from nntrainer.training.load import load_training_data
from nntrainer.training.loop import train_fold
from nntrainer.training.record import COLUMNS, read_history, read_training
from nntrainer.training.train import train

pytestmark = pytest.mark.slow

Make = Callable[..., Config]


def history_of(run: Path, fold: str = "training/fold0") -> list[dict[str, float]]:
    return read_history(run / fold)


def reached(run: Path, epoch: int, process: subprocess.Popen[str]) -> None:
    """Wait until a training in another process has written the row of this epoch."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            if len(history_of(run)) >= epoch:
                return
        except FileNotFoundError:
            pass
        time.sleep(0.005)
    raise AssertionError(f"epoch {epoch} not reached: {process.communicate()[1]}")


@pytest.mark.parametrize(
    ("labels", "model"),
    [
        (2, {"name": "dense", "layers": [16], "normalisation": "batch_norm"}),
        (3, {"name": "residual", "width": 16}),
    ],
)
def test_the_loss_falls(make_config: Make, tmp_path: Path, labels: int, model: dict[str, Any]) -> None:
    config = make_config(labels=labels, model=model, tensorboard=True, gradient_clipping={"norm": 1.0})
    run = RunDir(tmp_path)
    done = train(config, run, folds=[1, 0])
    assert [(each.fold, each.epochs, each.skipped) for each in done] == [(1, 3, False), (0, 3, False)]
    rows = history_of(tmp_path)
    assert list(rows[0]) == list(COLUMNS) and [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["loss"] < rows[0]["loss"] and rows[-1]["val_loss"] < np.log(labels)
    assert rows[-1]["val_accuracy"] > 1.2 / labels
    assert list((run.fold(0) / "tensorboard").iterdir())
    again = train(config, run, folds=[0])
    assert again[0].skipped and again[0].weights_sha256 == done[1].weights_sha256


def test_the_reported_loss_is_that_of_the_saved_model(make_config: Make, tmp_path: Path) -> None:
    config = make_config()
    done = train(config, RunDir(tmp_path), folds=[0])[0]
    (validation,) = load_training_data(config, 0).validation.pieces()
    scores = load_model(done.model).predict_on_batch(validation.inputs)[:, 0].astype(np.float64)
    losses = -np.log(np.where(validation.target > 0.5, scores, 1 - scores))
    expected = np.sum(validation.weight * losses) / np.sum(validation.weight.astype(np.float64))
    assert history_of(tmp_path)[-1]["val_loss"] == pytest.approx(expected, rel=1e-4)


def test_early_stopping_ends_with_the_best_weights(make_config: Make, tmp_path: Path) -> None:
    config = make_config(
        epochs=40,
        optimizer={"name": "adam", "learning_rate": 0.1},
        early_stopping={"patience": 2},
        schedule={"name": "reduce_on_plateau", "patience": 1, "factor": 0.5},
    )
    done = train(config, RunDir(tmp_path), folds=[0])[0]
    losses = [row["val_loss"] for row in history_of(tmp_path)]
    assert done.epochs == len(losses) < 40 and done.epochs == done.best_epoch + 2
    assert losses[done.best_epoch - 1] == min(losses) == done.best_val_loss
    plateau = Patience()
    reductions = sum(not plateau.update(loss, epoch, 1e-4) for epoch, loss in enumerate(losses[:-1]))
    assert reductions and history_of(tmp_path)[-1]["learning_rate"] == pytest.approx(0.1 / 2**reductions, rel=1e-6)
    (validation,) = load_training_data(config, 0).validation.pieces()
    scores = load_model(done.model).predict_on_batch(validation.inputs)[:, 0].astype(np.float64)
    losses_now = -np.log(np.where(validation.target > 0.5, scores, 1 - scores))
    assert np.average(losses_now, weights=validation.weight) == pytest.approx(min(losses), rel=1e-4)


@pytest.fixture(scope="module")
def long_training(make_config: Make) -> Config:
    """Long enough to be stopped on the way, with everything that has a state."""
    return make_config(
        epochs=12,
        batch_size=16,
        optimizer={"name": "adamw"},
        schedule={"name": "reduce_on_plateau", "patience": 1},
        early_stopping={"patience": 12},
        checkpoint_every=2,
    )


@pytest.fixture(scope="module")
def whole(long_training: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, never stopped."""
    run = tmp_path_factory.mktemp("whole")
    train(long_training, RunDir(run), folds=[0])
    return run


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_training_ends_as_if_never_stopped(
    long_training: Config, whole: Path, tmp_path: Path, start_training: Any, number: signal.Signals
) -> None:
    stopped = start_training(long_training, tmp_path / "stopped")
    reached(tmp_path / "stopped", 5, stopped)
    stopped.send_signal(number)
    stopped.communicate(timeout=60)
    fold = tmp_path / "stopped" / "training" / "fold0"
    record = read_training(fold)
    if number == signal.SIGTERM:
        assert stopped.returncode == Interrupted.exit_code
        assert record["state"] == "interrupted" and 5 <= record["epochs"] < 12
    else:
        assert stopped.returncode == -signal.SIGKILL and record["state"] == "running"
    assert not (fold / "model.keras").exists()
    train(long_training, RunDir(tmp_path / "stopped"), folds=[0])
    expected = read_training(whole / "training" / "fold0")
    assert read_training(fold)["weights_sha256"] == expected["weights_sha256"]
    exact = ("epoch", "loss", "val_loss", "accuracy", "val_accuracy", "learning_rate")
    rows, wanted = history_of(tmp_path / "stopped"), history_of(whole)
    assert [[row[key] for key in exact] for row in rows] == [[row[key] for key in exact] for row in wanted]


class _StopAt:
    """A progress that asks for the stop in the middle of an epoch, through the file."""

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
    ("data", "stop_at"), [({}, 5000), ({"events": 60_000, "memory_mib": 1}, 100_000)], ids=["memory", "disk"]
)
def test_stopped_inside_an_epoch(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: dict[str, int], stop_at: int
) -> None:
    monkeypatch.setattr(loop, "EVENTS_PER_CALL", 7 * 64)
    monkeypatch.setattr(loop, "SECONDS_PER_CALL", 0)
    config = make_config(epochs=2, **data)
    assert bool(load_training_data(config, 0).buffer_events) == bool(data)
    whole = train(config, RunDir(tmp_path / "whole"), folds=[0])[0]
    run = RunDir(tmp_path / "stopped")
    with pytest.raises(Interrupted, match="epoch 2 of 2"):
        train(config, run, folds=[0], progress=_StopAt(run.fold(0) / "stop", stop_at))
    assert (run.fold(0) / "checkpoint.h5").exists() and read_training(run.fold(0))["epochs"] == 1
    assert train(config, run, folds=[0])[0].weights_sha256 == whole.weights_sha256
    assert history_of(tmp_path / "stopped")[1]["loss"] == history_of(tmp_path / "whole")[1]["loss"]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_slices_and_fused_updates_change_nothing(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    config = make_config(model={"name": "dense", "layers": [16], "l2": 0.01}, optimizer={"name": optimizer})
    found = []
    for name, bounds in (("whole", [(0, 64)]), ("slices", [(0, 20), (20, 42), (42, 64)])):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(steps, "_slices", lambda model, batch, bounds=bounds: bounds)
        found.append(train_fold(config, 0, tmp_path / name, load_training_data(config, 0)))
        # The other one is Keras' own update.
        monkeypatch.setattr(steps, "update", lambda optimizer, *given: optimizer.apply(*given))
    for one, other in zip(*(model.get_weights() for model in found), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    assert history_of(tmp_path, "slices")[-1]["loss"] == pytest.approx(history_of(tmp_path, "whole")[-1]["loss"], 1e-4)


def test_a_foreign_or_damaged_checkpoint_is_refused(make_config: Make, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    train(make_config(epochs=1), run, folds=[0])
    file = run.fold(0) / "checkpoint.h5"
    with pytest.raises(TrainingError, match=r"checkpoint\.h5.*another configuration"):
        train(make_config(epochs=2), run, folds=[0])
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(TrainingError, match=r"checkpoint\.h5.*cannot be read"):
        train(make_config(epochs=2), run, folds=[0])
    file.unlink()
    assert train(make_config(epochs=2), run, folds=[0])[0].epochs == 2


def test_a_loss_that_is_not_finite_ends_with_a_sentence(make_config: Make, tmp_path: Path) -> None:
    config = make_config(optimizer={"name": "sgd", "learning_rate": 1e30}, model={"name": "dense", "l2": 1.0})
    with pytest.raises(TrainingError, match="learning_rate"):
        train(config, RunDir(tmp_path), folds=[0])
    assert read_training(tmp_path / "training" / "fold0")["state"] == "failed"


def test_what_cannot_be_trained_is_refused(make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config()
    with pytest.raises(TrainingError, match=r"no fold 7.*0 to 2"):
        train(config, RunDir(tmp_path), folds=[7])
    moved = Config.model_validate({**config.dump(), "data": {**config.dump()["data"], "directory": "nowhere"}})
    with pytest.raises(StoreError, match="nowhere"):
        train(moved, RunDir(tmp_path))
    with pytest.raises(ConfigError, match="only the label"):
        train(make_config(labels=1), RunDir(tmp_path))
    monkeypatch.setattr(distributed.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"workers is 2.*make horovod"):
        train(make_config(workers=2), RunDir(tmp_path))


def test_training_json(make_config: Make, tmp_path: Path) -> None:
    train(make_config(epochs=1), RunDir(tmp_path), folds=[0])
    record = json.loads((tmp_path / "training" / "fold0" / "training.json").read_text())
    assert record["state"] == "done" and record["workers"] == 1 and record["best_epoch"] == 1
    assert record["events_per_s"] > 0 and len(record["weights_sha256"]) == 64
