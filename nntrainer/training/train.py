"""Train the folds of a configuration into a run directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nntrainer.config import Config
from nntrainer.dataset.dataset import open_dataset
from nntrainer.errors import TrainingError
from nntrainer.progress import Progress, silent
from nntrainer.rundir import RunDir
from nntrainer.training.distributed import alone, require_horovod, set_up_devices
from nntrainer.training.hosts import find_hosts
from nntrainer.training.interrupt import STOP
from nntrainer.training.launch import launch
from nntrainer.training.load import data_identity, load_training_data
from nntrainer.training.loop import train_fold, training_digest
from nntrainer.training.record import read_training


@dataclass(frozen=True)
class TrainedFold:
    """A trained fold.

    Attributes:
        fold: its number.
        directory: where its model, history and checkpoint lie.
        skipped: whether it had been trained before.
        epochs: epochs trained.
        best_epoch: the epoch with the lowest validation loss, from 1.
        best_val_loss: that loss.
        seconds: time of all epochs.
        workers: processes that trained it.
        events_per_s: training events a second, of all workers together.
        weights_sha256: of the model's weights.
    """

    fold: int
    directory: Path
    skipped: bool
    epochs: int
    best_epoch: int
    best_val_loss: float
    seconds: float
    workers: int
    events_per_s: float
    weights_sha256: str

    @property
    def model(self) -> Path:
        """The Keras model."""
        return self.directory / "model.keras"


def train(
    config: Config,
    run_dir: RunDir,
    *,
    folds: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> list[TrainedFold]:
    """Train folds on converted samples; finished ones are skipped, interrupted ones go on.

    Args:
        config: the configuration; its samples must have been converted.
        run_dir: the run directory; the files of a fold go to ``training/fold<i>``.
        folds: the folds; all by default.
        progress: told how far the work has come.

    Returns:
        The folds, in the order asked for.

    Raises:
        MissingDependencyError: several workers without Horovod.
        StoreError: a sample has not been converted.
        TrainingError: the training cannot start or go on.
        Interrupted: stopped on request, with a checkpoint.
    """
    wanted = list(range(config.preparation.k)) if folds is None else list(dict.fromkeys(folds))
    for fold in wanted:
        if not 0 <= fold < config.preparation.k:
            raise TrainingError(
                f"there is no fold {fold}: the preparation block makes {config.preparation.k}, "
                f"numbered 0 to {config.preparation.k - 1}"
            )
    workers = config.training.workers
    require_horovod(workers)
    several = bool(find_hosts(workers)) or workers > 1
    with open_dataset(config) as dataset:
        identity = data_identity(dataset)
    done = []
    for fold in wanted:
        directory = run_dir.fold(fold)
        key = training_digest(config, fold, identity)
        record = read_training(directory)
        there = record.get("state") == "done" and record.get("digest") == key
        skipped = there and (directory / "model.keras").exists()
        if not skipped:
            if several:
                log = run_dir.logs / f"train_fold{fold}.log"
                launch(config, fold, directory, log, progress or silent())
            else:
                _train_here(config, fold, directory, progress)
        done.append(_trained(fold, directory, skipped))
    return done


def _train_here(config: Config, fold: int, directory: Path, progress: Progress | None) -> None:
    (directory / STOP).unlink(missing_ok=True)
    set_up_devices(0, 1, config.training.threads, config.model.by_event)
    import keras

    keras.backend.clear_session()  # the models of earlier folds give their memory back
    data = load_training_data(config, fold)
    train_fold(config, fold, directory, data, workers=alone(), progress=progress)


def _trained(fold: int, directory: Path, skipped: bool) -> TrainedFold:
    record = read_training(directory)
    return TrainedFold(
        fold,
        directory,
        skipped,
        record["epochs"],
        record["best_epoch"],
        record["best_val_loss"],
        record["seconds"],
        record["workers"],
        record["events_per_s"],
        record["weights_sha256"],
    )
