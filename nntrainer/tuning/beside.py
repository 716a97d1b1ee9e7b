"""Several workers of a search on this machine, each a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from nntrainer.config import Config
from nntrainer.config.load import ENVIRONMENT
from nntrainer.errors import Interrupted
from nntrainer.files import write_json
from nntrainer.rundir import RunDir
from nntrainer.training.interrupt import StopRequest
from nntrainer.tuning.engine import TuningError
from nntrainer.tuning.search import folder_of, search_of

LOOK_S = 0.2
TAIL_LINES = 5


def run_beside(config: Config, names: Sequence[str], run: RunDir) -> None:
    """Do parts of a run at the same time, a process for each, and wait for them.

    Args:
        config: the configuration.
        names: the parts; what each prints goes to ``logs/<part>.log``.
        run: the run directory.

    Raises:
        TuningError: a process failed; the others have ended by then.
        Interrupted: stopped on request.
    """
    search_of(config)
    folder = folder_of(run)
    folder.mkdir(exist_ok=True)
    given = folder / "config.json"
    write_json(given, config.dump())
    # What the environment changes has been said: it must not win over what --set has changed.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ENVIRONMENT)}
    processes: dict[str, subprocess.Popen[bytes]] = {}
    with StopRequest(folder) as stop:
        try:
            for name in names:
                command = [sys.executable, "-m", "nntrainer", "run", str(given), "--run-dir", str(run.path)]
                with (run.logs / f"{name}.log").open("ab") as log:
                    # In a session of their own, so that a Ctrl-C reaches only this process, which passes it on once.
                    processes[name] = subprocess.Popen(
                        [*command, "--part", name],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env=environment,
                        start_new_session=True,
                    )
            _wait(list(processes.values()), stop)
        finally:
            _end(list(processes.values()))
    _outcome(run, {name: process.returncode for name, process in processes.items()}, stop.signalled)


def _wait(processes: Sequence[subprocess.Popen[bytes]], stop: StopRequest) -> None:
    told = False
    for process in processes:
        while process.poll() is None:
            if stop.signalled and not told:
                told = True
                for each in processes:
                    if each.poll() is None:
                        each.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_S)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes that an exception left running."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _outcome(run: RunDir, codes: dict[str, int], stopped: bool) -> None:
    failed = [name for name, code in codes.items() if code not in (0, Interrupted.exit_code)]
    if failed and not stopped:
        log = run.logs / f"{failed[0]}.log"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        tail = "\n".join(lines[-TAIL_LINES:])
        raise TuningError(f"{', '.join(failed)} failed; {log} has all that was printed, the end is:\n{tail}")
    if stopped or Interrupted.exit_code in codes.values():
        where: Path = folder_of(run)
        raise Interrupted(f"{where} has what was searched so far; the same command goes on from there")
