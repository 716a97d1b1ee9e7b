"""The search as workers do it: ask for a trial, train it, tell how it ended."""

from __future__ import annotations

import logging
import shutil
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from nntrainer.config import Config
from nntrainer.config.tuning import Tune
from nntrainer.errors import ConfigError, Interrupted, RunError, TrainingError
from nntrainer.files import now
from nntrainer.progress import Progress
from nntrainer.rundir import RunDir
from nntrainer.training.interrupt import StopRequest
from nntrainer.tuning.engine import Engine, Result, Share, Trial, TuningError, open_engine
from nntrainer.tuning.trial import PrunedError, epochs_of, forget_weights, run_trial

FOLDER = "tune"
OUT_OF_MEMORY = "ResourceExhaustedError"
"""What TensorFlow raises where a batch or a network is too large for a GPU."""


def search_of(config: Config) -> Tune:
    """Return the tune block.

    Args:
        config: the configuration.

    Returns:
        The block.

    Raises:
        ConfigError: there is none.
    """
    if config.tune is None:
        raise ConfigError(
            "there is no tune block in the configuration; give it `parameters`, such as "
            "training.optimizer.learning_rate: {low: 1.0e-4, high: 1.0e-1, log: true}"
        )
    return config.tune


def folder_of(run: RunDir, share: Share | None = None) -> Path:
    """Return where a journal and its trials lie: ``tune``, or ``tune/share<i>`` for a share of the trials."""
    return run.path / FOLDER / (f"share{share.index}" if share else "")


def work(config: Config, run: RunDir, worker: str, progress: Progress, share: Share | None = None) -> list[Result]:
    """Do trials until there are enough, or the time is up.

    Several workers of different names may do so at a time, on machines that share the run directory.

    Args:
        config: the configuration; its samples must have been converted.
        run: the run directory.
        worker: name of this worker; what one of its name began before, it ends first.
        progress: told how far the work has come.
        share: which trials this worker does, where it shares no journal with others.

    Returns:
        What is known of all trials of the journal.

    Raises:
        ConfigError: there is no tune block.
        MissingDependencyError: the engine's package is not installed.
        TuningError: the journal belongs to another search.
        Interrupted: stopped on request; the trial goes on from its checkpoint.
    """
    search, folder = search_of(config), folder_of(run, share)
    engine = open_engine(config, search, folder, share)
    # It warns of many graphs made in one process: each trial has its own.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    end = None if search.timeout_s is None else time.monotonic() + search.timeout_s
    with StopRequest(folder) as stop:
        stop.clear()
        while end is None or time.monotonic() < end:
            if stop.requested():
                raise Interrupted(f"{folder} has what was searched so far; the same command goes on from there")
            trial = engine.ask(worker)
            if trial is None:
                break
            _do(config, search, trial, engine, folder, progress)
    return engine.results()


def _do(config: Config, search: Tune, trial: Trial, engine: Engine, folder: Path, progress: Progress) -> None:
    run = RunDir(folder / "trials" / f"{trial.number:03d}")
    facts: dict[str, Any] = {"host": socket.gethostname(), "started": now()}
    start = time.monotonic()
    state, value = "done", None
    try:
        value = run_trial(config, search, trial, engine, run, progress)
    except PrunedError:
        state = "pruned"
    except (TrainingError, ConfigError) as error:  # these values do not work, others may
        state, facts["error"] = "failed", str(error).splitlines()[0]
    except RunError:  # the directory is of an older search, whose journal is gone
        shutil.rmtree(run.path)
        return
    except Exception as error:
        if type(error).__name__ != OUT_OF_MEMORY:
            raise
        state, facts["error"] = "failed", "the device has not enough memory for the network and its batch"
    facts |= {"finished": now(), "seconds": round(time.monotonic() - start, 2), "epochs": epochs_of(search, run)}
    engine.tell(trial, state, value, facts)  # type: ignore[arg-type]
    forget_weights(search, run)


def all_results(config: Config, run: RunDir) -> list[Result]:
    """Return what is known of all trials of a run, from the journals of all shares.

    A running trial whose worker is not at work any more is failed.

    Args:
        config: the configuration.
        run: the run directory.

    Returns:
        The trials by number.

    Raises:
        TuningError: no trial ended well.
    """
    search = search_of(config)
    shares = sorted(run.path.glob(f"{FOLDER}/share*"))
    found: list[Result] = []
    for folder in shares:
        index = int(folder.name.removeprefix("share"))
        found += open_engine(config, search, folder, Share(index, len(shares))).results()
    if not shares:
        found = open_engine(config, search, folder_of(run)).results()
    found = sorted((_ended(run, each) for each in found), key=lambda each: each.number)
    if not any(each.state == "done" for each in found):
        errors = [each.facts["error"] for each in found if "error" in each.facts]
        why = f"; the last one: {errors[-1]}" if errors else ""
        raise TuningError(f"{run.path / FOLDER}: none of {len(found)} trials came to its end{why}")
    return found


def _ended(run: RunDir, result: Result) -> Result:
    """Return a trial, as failed where it runs no more."""
    if result.state != "running":
        return result
    worker = str(result.facts.get("worker", ""))
    try:
        with run.lock(worker or "tune"):  # without a worker: killed while its values were drawn
            pass
    except RunError:
        return result
    return replace(result, state="failed", facts={**result.facts, "error": f"its worker {worker} did not end it"})


def best_of(search: Tune, results: list[Result]) -> Result:
    """Return the finished trial with the best value, the first of equals."""
    done = [each for each in results if each.state == "done" and each.value is not None]
    sign = 1 if search.better == "minimize" else -1
    return min(done, key=lambda each: sign * (each.value or 0.0))
