"""Optuna: a journal file that several processes share, also on NFS."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nntrainer.config import Config
from nntrainer.config.tuning import Tune, text
from nntrainer.tuning.engine import (
    Result,
    Share,
    State,
    Trial,
    grid_point,
    identity,
    is_integer,
    refuse_other,
    require,
    seed_of,
)

if TYPE_CHECKING:
    import optuna

NAME = "tune"
JOURNAL = "journal.log"
STARTUP = 10
"""Trials at random before TPE has seen enough."""


def import_optuna() -> Any:
    """Return Optuna, which tells of errors only."""
    require("optuna")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class OptunaEngine:
    """A study of Optuna.

    Trials are given out under a lock of their own, so that all workers together do as many as are asked for. The lock
    and the journal's are files made with O_EXCL, which NFS does well, too.

    Args:
        config: the configuration.
        search: its tune block.
        folder: the directory of the journal.
        share: which trials of the search it holds.
    """

    def __init__(self, config: Config, search: Tune, folder: Path, share: Share) -> None:
        self._optuna = import_optuna()
        from optuna.storages import journal

        self._config, self._search, self._share = config, search, share
        path = str(folder / JOURNAL)
        self._lock = journal.JournalFileOpenLock(str(folder / "ask"))
        with self._alone():
            backend = journal.JournalFileBackend(path, journal.JournalFileOpenLock(path))
            self._study: optuna.Study = self._open(journal.JournalStorage(backend))
            mine = identity(search)
            refuse_other(folder, mine, self._study.user_attrs.get("identity", mine))
            if "identity" not in self._study.user_attrs:
                self._study.set_user_attr("identity", mine)

    def _open(self, storage: Any) -> Any:
        chosen = {"sampler": self._optuna.samplers.RandomSampler(seed=self._config.seed), "pruner": self._pruner()}
        try:  # who only looks adds nothing to the journal
            return self._optuna.load_study(study_name=NAME, storage=storage, **chosen)
        except KeyError:
            direction = self._search.better
            return self._optuna.create_study(study_name=NAME, storage=storage, direction=direction, **chosen)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    def _pruner(self) -> Any:
        pruners = self._optuna.pruners
        if self._search.pruner == "median":
            return pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)
        if self._search.pruner == "hyperband":
            return pruners.HyperbandPruner(min_resource=1, max_resource=most_steps(self._config, self._search))
        return pruners.NopPruner()

    def _sampler(self, number: int) -> Any:
        samplers, seed = self._optuna.samplers, seed_of(self._config, number)
        if self._search.sampler == "tpe":
            return samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
        sampler = samplers.RandomSampler(seed=seed)
        if self._search.sampler == "random":
            return sampler
        # Not Optuna's own grid, which draws at random which point is next and stops studies that it did not start.
        point = {key: self._stored(key, value) for key, value in grid_point(self._search, number).items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
            return samplers.PartialFixedSampler(point, sampler)

    def ask(self, worker: str) -> Trial | None:
        """Return the next trial, one that a worker of this name did not end first; None when there are enough."""
        with self._alone():
            there = self._study.get_trials(deepcopy=False)
            running = self._optuna.trial.TrialState.RUNNING
            # One without a worker: its process was killed while it drew the values.
            mine = [each for each in there if each.state == running and each.user_attrs.get("worker", worker) == worker]
            number = self._share.number(mine[0].number if mine else len(there))
            if not mine and number >= self._search.most:
                return None
            self._study.sampler = self._sampler(number)
            trial = self._optuna.Trial(self._study, mine[0]._trial_id) if mine else self._study.ask()
            values = {key: self._suggest(trial, key) for key in self._search.parameters}
            trial.set_user_attr("worker", worker)
        return Trial(number, values, trial)

    def _suggest(self, trial: Any, key: str) -> Any:
        values = self._search.parameters[key]
        if values.choices is not None:
            return self._given(key, trial.suggest_categorical(key, [text(choice) for choice in values.choices]))
        if is_integer(self._config, key, values):
            step = 1 if values.step is None else int(values.step)
            return trial.suggest_int(key, values.low, values.high, log=values.log, step=step)
        return trial.suggest_float(key, values.low, values.high, log=values.log, step=values.step)

    def _stored(self, key: str, value: Any) -> Any:
        return value if self._search.parameters[key].choices is None else text(value)

    def _given(self, key: str, stored: Any) -> Any:
        choices = self._search.parameters[key].choices
        return stored if choices is None else next(choice for choice in choices if text(choice) == stored)

    def report(self, trial: Trial, step: int, value: float) -> bool:
        """Note the value after a step and return whether to give the trial up."""
        stored = self._study._storage.get_trial(trial.handle._trial_id)
        if step not in stored.intermediate_values:  # a resumed training may tell it twice
            trial.handle.report(value, step)
        return bool(trial.handle.should_prune())

    def tell(self, trial: Trial, state: State, value: float | None, facts: Mapping[str, Any]) -> None:
        """Note how a trial ended."""
        states = self._optuna.trial.TrialState
        names = {"done": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}
        for key, fact in facts.items():
            trial.handle.set_user_attr(key, fact)
        self._study.tell(trial.handle, value if state == "done" else None, state=names[state])

    def results(self) -> list[Result]:
        """Return what is known of all trials, by number."""
        states = self._optuna.trial.TrialState
        names: dict[Any, State] = {states.COMPLETE: "done", states.PRUNED: "pruned", states.FAIL: "failed"}
        return [
            Result(
                self._share.number(each.number),
                names.get(each.state, "running"),
                {key: self._given(key, value) for key, value in each.params.items()},
                None if each.state == states.FAIL else each.value,
                dict(each.intermediate_values),
                dict(each.user_attrs),
            )
            for each in self._study.get_trials(deepcopy=False)
        ]


def most_steps(config: Config, search: Tune) -> int:
    """Return how many epochs a trial may have, over all its folds."""
    epochs = search.parameters.get("training.epochs")
    return int(max(epochs.ends) if epochs is not None else config.training.epochs) * len(search.folds)


def importances(search: Tune, results: list[Result]) -> dict[str, float]:
    """Return how much each key decides the objective, by PED-ANOVA (arXiv 2304.10255), normalised to 1.

    Args:
        search: the tune block.
        results: the trials, from whatever engine.

    Returns:
        The importances, the largest first; empty where there are too few finished trials to say.

    Raises:
        MissingDependencyError: Optuna is not installed.
    """
    optuna = import_optuna()
    done = [each for each in results if each.state == "done" and each.value is not None]
    if len(done) < 4:
        return {}
    distributions = optuna.distributions
    study = optuna.create_study(direction=search.better)
    space = {}
    for key, values in search.parameters.items():
        if values.choices is not None:
            space[key] = distributions.CategoricalDistribution([text(choice) for choice in values.choices])
        else:
            # As numbers on a line: what decides is where they are, not that some are whole.
            space[key] = distributions.FloatDistribution(values.low, values.high, log=values.log)
    for each in done:
        given = {key: text(v) if search.parameters[key].choices is not None else v for key, v in each.values.items()}
        study.add_trial(optuna.trial.create_trial(params=given, distributions=space, value=each.value))
    found = optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
    return {key: float(value) for key, value in found.items()}
