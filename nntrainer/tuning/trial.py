"""One trial: a training with other values, in a directory of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from nntrainer.config import Config
from nntrainer.config.load import varied
from nntrainer.config.tuning import Tune
from nntrainer.errors import Interrupted
from nntrainer.evaluation.curves import roc
from nntrainer.evaluation.predict import predictions, probabilities
from nntrainer.progress import Progress
from nntrainer.rundir import RunDir
from nntrainer.training.interrupt import STOP
from nntrainer.training.load import load_training_data
from nntrainer.training.record import read_history
from nntrainer.training.train import TrainedFold, train
from nntrainer.tuning.engine import Engine, Trial

WEIGHTS = ("model.keras", "checkpoint.h5")


class PrunedError(Exception):
    """The pruner has given the trial up."""


class Watch:
    """A progress that looks at the history of a training as it grows, whichever process writes it.

    It asks the training to stop in the way everyone does, by a file. The training looks at that between its calls of
    65 536 events, so that a trial of smaller epochs trains one more after the one it is given up by.

    Args:
        progress: told how far the work has come.
        directory: the fold's directory.
        title: stands before what the progress is told.
        report: gets epoch, from 1, and row of each new epoch and returns whether to give the trial up.
    """

    def __init__(
        self, progress: Progress, directory: Path, title: str, report: Callable[[int, dict[str, float]], bool]
    ) -> None:
        self._progress, self._directory, self._title, self._report = progress, directory, title, report
        self._seen = 0
        self._stamp: tuple[int, int] | None = None
        self.pruned = False

    def start(self, description: str, total: int | None, unit: str = "events") -> None:
        """Begin a piece of work."""
        self._progress.start(f"{self._title}, {description}", total, unit)

    def advance(self, n: int) -> None:
        """Count ``n`` more units as done."""
        self._progress.advance(n)
        self.look()

    def note(self, text: str) -> None:
        """Show a short text."""
        self._progress.note(text)

    def finish(self) -> None:
        """End the piece of work."""
        self._progress.finish()

    def look(self) -> None:
        """Report the epochs that have been added."""
        path = self._directory / "history.csv"
        try:
            found = path.stat()
        except FileNotFoundError:
            return
        if self._stamp == (stamp := (found.st_mtime_ns, found.st_ino)):
            return
        self._stamp = stamp
        for row in read_history(self._directory)[self._seen :]:
            self._seen += 1
            if self._report(self._seen, row) and not self.pruned:
                self.pruned = True
                (self._directory / STOP).touch()


def run_trial(config: Config, search: Tune, trial: Trial, engine: Engine, run: RunDir, progress: Progress) -> float:
    """Train the folds of a trial; what was trained before goes on from its checkpoint.

    Args:
        config: the configuration of the search.
        search: its tune block.
        trial: the trial.
        engine: told the value after each epoch.
        run: the trial's own run directory.
        progress: told how far the work has come.

    Returns:
        The objective, the mean over the folds.

    Raises:
        ConfigError: the values do not go together.
        TrainingError: the training failed.
        PrunedError: the pruner has given the trial up.
        Interrupted: stopped on request, with a checkpoint.
    """
    mine = trial_config(config, trial)
    run.claim(mine)
    found = []
    for position, fold in enumerate(search.folds):
        before = position * mine.training.epochs

        def report(epoch: int, row: dict[str, float], before: int = before) -> bool:
            if search.objective == "val_auc":
                return False
            return engine.report(trial, before + epoch, row[search.objective])

        watch = Watch(progress, run.fold(fold), f"trial {trial.number}", report)
        try:
            (done,) = train(mine, run, folds=[fold], progress=watch)
        except Interrupted:
            watch.look()
            if watch.pruned:
                raise PrunedError from None
            raise
        watch.look()
        found.append(_objective(mine, search, done))
    return float(np.mean(found))


def trial_config(config: Config, trial: Trial) -> Config:
    """Return the configuration that a trial trains with: that of the search with the trial's values."""
    return varied(
        config.model_copy(update={"training": config.training.model_copy(update={"tensorboard": False})}), trial.values
    )


def epochs_of(search: Tune, run: RunDir) -> int:
    """Return how many epochs a trial has trained, over all its folds."""
    folders = [run.fold(fold) for fold in search.folds]
    return sum(len(read_history(folder)) for folder in folders if (folder / "history.csv").exists())


def forget_weights(search: Tune, run: RunDir) -> None:
    """Remove models and checkpoints of a trial that has ended; its history and configuration stay."""
    for fold in search.folds:
        for name in WEIGHTS:
            (run.fold(fold) / name).unlink(missing_ok=True)


def _objective(config: Config, search: Tune, fold: TrainedFold) -> float:
    """Return the objective of the weights that the training ended with."""
    if search.objective == "val_auc":
        return _auc(config, fold)
    stopping = config.training.early_stopping
    best = stopping is not None and stopping.restore_best
    row = read_history(fold.directory)[fold.best_epoch - 1 if best else -1]
    return row[search.objective]


def _auc(config: Config, fold: TrainedFold) -> float:
    """Return the AUC of the signal against all else on the validation events, with the weights of the training."""
    from nntrainer.networks.model import load_model

    model = load_model(fold.model, config.model)
    labels = config.data.labels
    signal = labels.index(config.data.signal_label)
    score, target, weight = [], [], []
    for piece in load_training_data(config, fold.fold).validation.pieces():
        found = probabilities(predictions(model, piece.inputs, np.arange(piece.events)), signal, len(labels))
        score.append(found[:, signal])
        target.append(piece.target == signal if len(labels) > 2 else piece.target > 0.5)
        weight.append(piece.weight.astype(np.float64))
    return roc(np.concatenate(target), np.concatenate(score), np.concatenate(weight)).auc
