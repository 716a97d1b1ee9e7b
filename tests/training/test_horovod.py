"""Two real Horovod workers."""

from __future__ import annotations

import importlib.util
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nntrainer.config import Config
from nntrainer.errors import Interrupted, TrainingError
from nntrainer.networks.model import load_model
from nntrainer.rundir import RunDir
from nntrainer.training import launch
from nntrainer.training.checkpoint import State
from nntrainer.training.load import load_training_data
from nntrainer.training.loop import train_fold
from nntrainer.training.record import read_history, read_training
from nntrainer.training.train import TrainedFold, train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("horovod") is None, reason="Horovod is not installed; `make horovod` builds it"
    ),
]

Make = Callable[..., Config]
PLAIN = {"name": "dense", "layers": [16, 8]}


@pytest.fixture(scope="module")
def two(make_config: Make, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDir, TrainedFold]:
    """Two workers with batch 32, and no randomness that depends on the worker."""
    run = RunDir(tmp_path_factory.mktemp("two"))
    config = make_config(workers=2, batch_size=32, model=PLAIN, early_stopping={"patience": 3})
    return run, train(config, run, folds=[0])[0]


def test_two_workers_end_with_identical_weights(two: tuple[RunDir, TrainedFold]) -> None:
    run, done = two
    record = read_training(run.fold(0))
    assert record["workers"] == done.workers == 2 and done.epochs == 3
    first, second = record["weights_sha256_by_worker"]
    assert first == second
    assert len((run.fold(0) / "history.csv").read_text().splitlines()) == 4
    assert (run.logs / "train_fold0.log").exists()


def test_two_workers_equal_one_with_twice_the_batch(
    make_config: Make, two: tuple[RunDir, TrainedFold], tmp_path: Path
) -> None:
    config = make_config(batch_size=64, model=PLAIN, early_stopping={"patience": 3})
    data = load_training_data(config, 0, group=2)
    alone = train_fold(config, 0, tmp_path, data)
    together = load_model(two[1].model)
    assert read_training(tmp_path)["best_val_loss"] == pytest.approx(two[1].best_val_loss, rel=1e-4)
    for one, other in zip(alone.get_weights(), together.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    # The order matters: without it the weights differ by far more than the tolerance.
    (tmp_path / "other").mkdir()
    shuffled = train_fold(config, 0, tmp_path / "other", load_training_data(config, 0))
    pairs = zip(shuffled.get_weights(), together.get_weights(), strict=True)
    assert max(np.abs(one - other).max() for one, other in pairs) > 5e-3


def test_two_workers_that_read_from_disk_equal_one_with_twice_the_memory(make_config: Make, tmp_path: Path) -> None:
    given = {"events": 60_000, "epochs": 2, "model": PLAIN}
    together = train(make_config(workers=2, batch_size=256, memory_mib=1, **given), RunDir(tmp_path / "two"), folds=[0])
    config = make_config(batch_size=512, memory_mib=2, **given)
    data = load_training_data(config, 0, group=2)
    assert data.buffer_events
    (tmp_path / "one").mkdir()
    alone = train_fold(config, 0, tmp_path / "one", data)
    for one, other in zip(alone.get_weights(), load_model(together[0].model).get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_two_workers_that_gather_and_average_equal_one_with_twice_the_batch(make_config: Make, tmp_path: Path) -> None:
    given = {"epochs": 2, "model": PLAIN, "averaging": {"name": "ema", "decay": 0.95}, "loss": {"name": "focal"}}
    together = train(make_config(workers=2, batch_size=16, accumulate=3, **given), RunDir(tmp_path / "two"), folds=[0])
    first, second = read_training(tmp_path / "two" / "training" / "fold0")["weights_sha256_by_worker"]
    assert first == second
    config = make_config(batch_size=96, **given)
    (tmp_path / "one").mkdir()
    alone = train_fold(config, 0, tmp_path / "one", load_training_data(config, 0, group=2))
    assert read_training(tmp_path / "one")["best_val_loss"] == pytest.approx(together[0].best_val_loss, rel=1e-4)
    for one, other in zip(alone.get_weights(), load_model(together[0].model).get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_sigterm_reaches_the_workers(make_config: Make, tmp_path: Path, start_training: Any) -> None:
    # Dropout, moments of batch normalisation and sums of the loss: what each worker has for itself within an epoch.
    model = {"name": "dense", "layers": [16], "dropout": 0.2, "normalisation": "batch_norm"}
    config = make_config(events=18_000, workers=2, batch_size=8, epochs=2, model=model)  # 750 steps an epoch
    run = RunDir(tmp_path / "run")
    stopped = start_training(config, run.path)
    end = time.monotonic() + 240
    while not (run.fold(0) / "history.csv").exists() and time.monotonic() < end:
        time.sleep(0.01)
    stopped.send_signal(signal.SIGTERM)
    errors = stopped.communicate(timeout=120)[1]
    assert stopped.returncode == Interrupted.exit_code, errors
    assert read_training(run.fold(0))["state"] == "interrupted"
    with h5py.File(run.fold(0) / "checkpoint.h5") as file:
        state = State.from_json(bytes(file["state"][()]).decode())
    assert state.epoch == 1 and state.step > 0, "the second epoch takes seconds, and is left within"
    resumed = train(config, run, folds=[0])[0]
    whole = train(config, RunDir(tmp_path / "whole"), folds=[0])[0]
    assert resumed.epochs == 2 and resumed.weights_sha256 == whole.weights_sha256
    one, other = (
        [{**row, "seconds": 0, "events_per_s": 0} for row in read_history(each.directory)] for each in (resumed, whole)
    )
    assert one == other


def test_failing_workers_end_with_a_sentence(make_config: Make, tmp_path: Path) -> None:
    config = make_config(workers=2, optimizer={"name": "sgd", "learning_rate": 1e30})
    with pytest.raises(TrainingError, match="fold 0"):
        train(config, RunDir(tmp_path), folds=[0])


def test_a_host_name_that_does_not_resolve_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "no-such-host.invalid")
    with pytest.raises(TrainingError, match=r"no-such-host\.invalid.*/etc/hosts"):
        launch.check_host_name()
