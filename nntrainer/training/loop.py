"""The training of one fold, from the first step or from a checkpoint, to the saved model."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.config.models import digest
from nntrainer.config.training import ReduceOnPlateau
from nntrainer.errors import Interrupted, TrainingError
from nntrainer.networks.model import build_model
from nntrainer.progress import Progress, silent
from nntrainer.training import checkpoint
from nntrainer.training.batches import Batches
from nntrainer.training.checkpoint import State
from nntrainer.training.distributed import Workers, alone
from nntrainer.training.interrupt import StopRequest
from nntrainer.training.load import FoldData
from nntrainer.training.record import EventLog, TensorBoard, write_history, write_training
from nntrainer.training.schedules import rate
from nntrainer.training.steps import Steps

EVENTS_PER_CALL = 65_536
"""Events of a worker between two looks at the stop request, in the first epoch."""
SECONDS_PER_CALL = 1.0
"""Time between two looks at the stop request, in later epochs: a call into the graph costs some milliseconds."""


def training_digest(config: Config, fold: int, identity: str) -> str:
    """Return the SHA-256 of what decides the trained weights of a fold."""
    dump = config.dump()
    training = {
        key: value
        for key, value in dump["training"].items()
        if key not in ("tensorboard", "threads", "checkpoint_every")
    }
    if config.training.only_class:
        del training["tasks"]  # as before there were any others
    decides = [config.seed, config.data_digest(), config.data.signal_label]
    return digest([*decides, dump["preparation"], dump["model"], training, fold, identity])


def updates(config: Config, fold: int, data: FoldData) -> Batches:
    """Return the events of a fold in batches, one an update: with ``training.accumulate`` several of ``batch_size``.

    Args:
        config: the configuration.
        fold: the fold.
        data: this worker's events.

    Returns:
        The batches; what is left of an epoch for less than an update is another choice every epoch.

    Raises:
        TrainingError: there are fewer events than an update gathers.
    """
    options = config.training
    wanted = options.batch_size * options.accumulate
    batches = Batches(data.train, wanted, (config.seed, fold), data.buffer_events)
    if options.accumulate > 1 and batches.batch < wanted:
        raise TrainingError(
            f"fold {fold}: training.accumulate gathers {options.accumulate} batches of {options.batch_size} events for "
            f"an update, and a worker has {batches.batch} training events; lower training.accumulate or "
            "training.batch_size"
        )
    return batches


def weights_sha256(model: Any) -> str:
    """Return the SHA-256 (hex) of all weights of a Keras model."""
    found = hashlib.sha256()
    for weight in model.weights:
        found.update(np.ascontiguousarray(weight.value).tobytes())
    return found.hexdigest()


def train_fold(
    config: Config,
    fold: int,
    directory: Path,
    data: FoldData,
    *,
    workers: Workers | None = None,
    launcher_lives: Callable[[], bool] | None = None,
    progress: Progress | None = None,
) -> Any:
    """Train one fold and write its history, checkpoints and model.

    Args:
        config: the configuration.
        fold: the fold.
        directory: where its files go and where its checkpoint may lie.
        data: this worker's events.
        workers: this process among all; alone if absent.
        launcher_lives: whether the launcher is still there; training stops with a checkpoint when it is not.
        progress: told how far the work has come; counts the events of all workers.

    Returns:
        The trained Keras model.

    Raises:
        Interrupted: stopped on request, with a checkpoint.
        TrainingError: the loss is not finite, or the checkpoint is of something else.
    """
    training = _Training(config, fold, directory, data, workers or alone(), progress or silent())
    with StopRequest(directory, launcher_lives) as stop:
        try:
            return training.run(stop)
        except Interrupted:
            training.record("interrupted")
            raise
        except Exception as error:
            training.record("failed", error=f"{error}")
            raise
        finally:
            training.saver.close()
            training.board.close()
            training.progress.finish()


class _Training:
    """One fold in the making."""

    def __init__(
        self,
        config: Config,
        fold: int,
        directory: Path,
        data: FoldData,
        workers: Workers,
        progress: Progress,
    ) -> None:
        self.config, self.fold, self.directory = config, fold, directory
        self.options, self.workers = config.training, workers
        self.progress = progress if workers.chief else silent()
        self.digest = training_digest(config, fold, data.identity)
        self.scaling = data.scaling
        self.model = build_model(config, data.scaling, config.seed + fold, self.options.precision)
        self.batches = updates(config, fold, data)
        self.validation = data.validation
        self.steps = Steps(config, self.model, workers, self.batches.batch, data.widths, data.classes)
        self.steps_per_epoch = self.batches.steps
        self.events_per_step = self.batches.batch * workers.size
        self.events_per_epoch = self.batches.events * workers.size
        self.events_per_call = EVENTS_PER_CALL
        self.state = State()
        self.best: list[np.ndarray] | None = None
        self.saver = checkpoint.Saver()
        self.event_log = EventLog()
        self.board = TensorBoard(directory / "tensorboard", workers.chief and self.options.tensorboard)

    @property
    def checkpoint_file(self) -> Path:
        return self.directory / "checkpoint.h5"

    def run(self, stop: StopRequest) -> Any:
        self._restore()
        self.record("running")
        title = f"fold {self.fold}"
        self.progress.start(title, self.options.epochs * self.events_per_epoch)
        self.progress.advance(self.state.epoch * self.events_per_epoch + self.state.step * self.events_per_step)
        while not self.state.finished:
            self._epoch(stop)
        return self._finish()

    def _restore(self) -> None:
        """Go on from the chief's checkpoint, if there is one: with its values and what each worker had for itself."""
        text = None
        if self.workers.chief:
            found = checkpoint.load(self.checkpoint_file, self.digest, self.steps.variables)
            if found is not None:
                self.state, self.best = found
            elif self.steps.terms != len(self.state.sums):
                self.state.sums = [0.0] * self.steps.terms
            text = self.state.to_json()
        text = self.workers.from_chief(text)
        self.state = State.from_json(text or "")
        self.workers.broadcast(self.steps.variables)
        self.steps.separate_seeds()
        if self.state.own:
            own = self.state.own[self.workers.rank]
            self.state.sums = own[: self.steps.terms]
            self.steps.set_moments(own[self.steps.terms :])
            self.state.own = []

    def _epoch(self, stop: StopRequest) -> None:
        state = self.state
        start, before = time.perf_counter(), state.train_seconds
        # As many on every worker: at each call they ask one another whether to stop.
        most = max(self.events_per_call // self.batches.batch, 1)
        with closing(self.batches.portions(state.epoch, state.step)) as portions:
            for portion in portions:
                for first in range(0, len(portion.order), most):
                    if self.workers.any(stop.requested()):
                        state.epoch_seconds += time.perf_counter() - start
                        self._interrupt()
                    call = portion.order[first : first + most]
                    state.sums = self.steps.train(portion.data, call, self._rates(len(call)), state.sums)
                    state.step += len(call)
                    state.train_seconds = before + time.perf_counter() - start
                    self.progress.note(self._note())
                    self.progress.advance(len(call) * self.events_per_step)
        self._end_epoch(start)

    def _rates(self, steps: int) -> np.ndarray:
        options = self.options
        first = self.state.epoch * self.steps_per_epoch + self.state.step
        return np.array(
            [
                rate(
                    options.schedule,
                    options.optimizer.learning_rate,
                    step,
                    self.steps_per_epoch,
                    options.epochs,
                    self.workers.size if options.scale_learning_rate else 1,
                    options.scale_warmup_epochs,
                    self.state.reduction,
                )
                for step in range(first, first + steps)
            ]
        )

    def _note(self) -> str:
        loss = self.state.sums[0] / self.state.sums[2] if self.state.sums[2] else math.nan
        text = f"epoch {self.state.epoch + 1}/{self.options.epochs} loss {loss:.4f}"
        return text + (f" val {self.state.history[-1]['val_loss']:.4f}" if self.state.history else "")

    def _end_epoch(self, start: float) -> None:
        state, options = self.state, self.options
        last_rate = float(np.asarray(self.steps.optimizer.learning_rate.value))
        self.steps.synchronise()
        *sums, seconds = self.workers.total(np.array([*state.sums, state.train_seconds]))
        self.events_per_call = int(SECONDS_PER_CALL * self.events_per_epoch / max(seconds, 1e-9))
        trained = np.array(sums)
        loss, accuracy = self._means(trained, "training")
        self.steps.averaging.after_epoch(state.epoch + 1)
        with self.steps.averaging.in_place():
            validated = self.workers.total(self.steps.validate(self.validation))
            val_loss, val_accuracy = self._means(validated, "validation")
            # The history says how well classes are told apart; epochs are compared by what else is asked for, too.
            compared = val_loss + self.steps.penalty(validated)
            improved = state.stopping.update(
                compared, state.epoch, options.early_stopping.min_delta if options.early_stopping else 0.0
            )
            if improved and options.early_stopping and options.early_stopping.restore_best:
                self.best = [np.array(each.value) for each in self.model.variables]
        if isinstance(options.schedule, ReduceOnPlateau):
            self._plateau(options.schedule, compared)
        row = {
            "epoch": state.epoch + 1,
            "loss": loss,
            "val_loss": val_loss,
            "accuracy": accuracy,
            "val_accuracy": val_accuracy,
            "learning_rate": last_rate,
            "seconds": round(state.epoch_seconds + time.perf_counter() - start, 3),
            "events_per_s": round(self.events_per_epoch / max(state.train_seconds, 1e-9), 1),
        }
        if not self.config.training.only_class:
            del row["accuracy"], row["val_accuracy"]  # of the class, if it is one of the tasks
        row |= self.steps.columns(trained) | self.steps.columns(validated, "val_")
        state.history.append(row)
        state.epoch += 1
        state.step, state.sums = 0, [0.0] * self.steps.terms
        state.train_seconds, state.epoch_seconds = 0.0, 0.0
        patience = options.early_stopping.patience if options.early_stopping else math.inf
        state.finished = state.epoch >= options.epochs or state.stopping.waited >= patience
        if self.workers.chief:
            if state.finished or state.epoch % options.checkpoint_every == 0:
                self._save()
            write_history(self.directory / "history.csv", state.history)
            self.board.add(row)
            self.record("running")
            self.event_log.tell(state.epoch, state.stopping.best)

    def _plateau(self, schedule: ReduceOnPlateau, value: float) -> None:
        plateau = self.state.plateau
        plateau.update(value, self.state.epoch, schedule.min_delta)
        if plateau.waited >= schedule.patience:
            self.state.reduction *= schedule.factor
            plateau.waited = 0

    def _means(self, sums: np.ndarray, what: str) -> tuple[float, float]:
        loss, correct, weight = sums[:3]
        if not math.isfinite(loss) or weight <= 0:
            reason = f"loss is {loss}" if weight > 0 else f"sum of weights is {weight}"
            raise TrainingError(
                f"fold {self.fold}: the {what} {reason} in epoch {self.state.epoch + 1}; lower "
                "training.optimizer.learning_rate, set training.gradient_clipping, or look at the weights"
            )
        return float(loss / weight), float(correct / weight)

    def _save(self) -> None:
        self.saver.save(self.checkpoint_file, self.digest, self.state, self.steps.variables, self.best)

    def _interrupt(self) -> None:
        # Not brought together before the epoch ends: sums and averages of other parts are rounded otherwise.
        own = json.dumps([*self.state.sums, *self.steps.moments()])
        self.state.own = [json.loads(each) for each in self.workers.everyone(own)]
        if self.workers.chief:
            self._save()
            self.saver.wait()
        raise Interrupted(
            f"fold {self.fold} is in epoch {self.state.epoch + 1} of {self.options.epochs}; its checkpoint "
            "is saved and the same command goes on from there"
        )

    def _finish(self) -> Any:
        """Check that all workers agree, take the average or the best weights, save the model in float32."""
        self.saver.wait()
        self.steps.averaging.take()
        sums = self.workers.everyone(weights_sha256(self.model))
        if len(set(sums)) > 1:
            raise TrainingError(f"fold {self.fold}: the workers ended with different weights: {sums}")
        if self.workers.chief and self.best is not None:
            for variable, value in zip(self.model.variables, self.best, strict=True):
                variable.assign(value)
        self.workers.broadcast(self.model.variables)
        if self.options.precision != "float32":
            weights = self.model.get_weights()
            self.model = build_model(self.config, self.scaling, self.config.seed + self.fold)
            self.model.set_weights(weights)
        if self.workers.chief:
            write_history(self.directory / "history.csv", self.state.history)
            part = self.directory / "model.part.keras"  # Keras insists on the ending
            self.model.save(part)
            os.replace(part, self.directory / "model.keras")
        self.record("done", weights_sha256=weights_sha256(self.model), weights_sha256_by_worker=sums)
        return self.model

    def record(self, state: str, **more: Any) -> None:
        """Write ``training.json``, on the chief."""
        if not self.workers.chief:
            return
        history = self.state.history
        best = self.state.stopping.epoch
        train_seconds = sum(self.events_per_epoch / row["events_per_s"] for row in history)
        write_training(
            self.directory,
            state=state,
            fold=self.fold,
            digest=self.digest,
            epochs=self.state.epoch,
            best_epoch=best + 1 if best >= 0 else None,
            best_val_loss=history[best]["val_loss"] if 0 <= best < len(history) else None,
            stopped_early=self.state.finished and self.state.epoch < self.options.epochs,
            seconds=round(sum(row["seconds"] for row in history), 3),
            workers=self.workers.size,
            batch_size=self.options.batch_size,
            events_per_epoch=self.events_per_epoch,
            events_per_s=round(len(history) * self.events_per_epoch / train_seconds, 1) if history else None,
            parameters=int(self.model.count_params()),
            **more,
        )
