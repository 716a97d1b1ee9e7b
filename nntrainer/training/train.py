"""Train the folds of a configuration into a run directory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nntrainer.config import Config
from nntrainer.dataset.dataset import Dataset, open_dataset
from nntrainer.dataset.inputs import dataset_inputs
from nntrainer.dataset.split import masks
from nntrainer.dataset.weights import training_weights
from nntrainer.errors import TrainingError
from nntrainer.networks.inputs import fit_scaling
from nntrainer.progress import Progress, silent
from nntrainer.rundir import RunDir
from nntrainer.training.batches import TrainingData, base_order, shard
from nntrainer.training.distributed import alone, require_horovod, set_up_devices
from nntrainer.training.hosts import find_hosts
from nntrainer.training.interrupt import STOP
from nntrainer.training.launch import launch
from nntrainer.training.loop import FoldData, train_fold, training_digest
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
    set_up_devices(0, 1, config.training.threads)
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


def data_identity(dataset: Dataset) -> str:
    """Return a SHA-256 (hex) over the event ids, labels and weights: it changes when the data are others."""
    found = hashlib.sha256()
    for name in ("eventNumber", "label", "weight"):
        found.update(np.ascontiguousarray(dataset.column(name)).tobytes())
    return found.hexdigest()


def load_training_data(config: Config, fold: int, rank: int = 0, size: int = 1, group: int = 1) -> FoldData:
    """Read what one worker trains a fold on.

    The scaling and the weights come from all training events, whatever the worker; only its part is kept.

    Args:
        config: the configuration; its samples must have been converted.
        fold: the fold.
        rank: the worker.
        size: the number of workers.
        group: on one worker, so many events stay together; only their whole groups are kept.

    Returns:
        Its training and validation events.

    Raises:
        TrainingError: no events to train or validate on, or a class without training events.
    """
    with open_dataset(config) as dataset:
        split = masks(config, dataset.column("eventNumber"), fold)
        label = dataset.column("label").astype(np.int64)
        _check(config, fold, label, split.train, split.validation)
        sets = {}
        for name, mask in (("train", split.train), ("validation", split.validation)):
            rows = np.flatnonzero(mask)
            weight = training_weights(config, dataset.column("weight")[rows], label[rows], dataset.sample_index[rows])
            sets[name] = (rows, weight.astype(np.float32), _target(config, label[rows]))
        inputs = dataset_inputs(config, dataset)
        identity = data_identity(dataset)
    scaling = fit_scaling(config.preparation.scaling, inputs, sets["train"][0])
    order = base_order(len(sets["train"][0]), config.seed, fold)
    parts = {
        "train": shard(order[: len(order) // group * group], rank, size),
        "validation": np.arange(len(sets["validation"][0]))[rank::size],
    }
    data = {}
    for name, (rows, weight, target) in sets.items():
        take = parts[name]
        taken = {key: array[rows[take]] for key, array in inputs.items()}
        data[name] = TrainingData(taken, target[take], weight[take])
    return FoldData(data["train"], data["validation"], scaling, identity)


def _target(config: Config, label: np.ndarray) -> np.ndarray:
    labels = config.data.labels
    if len(labels) > 2:
        return label.astype(np.int32)
    return (label == labels.index(config.data.signal_label)).astype(np.float32)


def _check(config: Config, fold: int, label: np.ndarray, train: np.ndarray, validation: np.ndarray) -> None:
    labels = config.data.labels
    if len(labels) < 2:
        raise TrainingError(
            f"data.samples have only the label '{labels[0]}'; a training needs samples with two labels or more"
        )
    if not validation.any():
        raise TrainingError(
            f"fold {fold}: none of the {len(label)} events is left for validation; lower "
            "preparation.validation_every or give more events"
        )
    counts = np.bincount(label[train], minlength=len(labels))
    for name, count in zip(labels, counts, strict=True):
        if count < config.training.workers:
            raise TrainingError(
                f"fold {fold}: class '{name}' has {count} training events; loosen the selection or give more files"
            )
