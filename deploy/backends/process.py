"""A job as a background process of this machine that survives the terminal: the local site, and containers."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from deploy.backends.base import Batch, read_record
from deploy.errors import DeployError
from deploy.jobs import JobHandle, JobSeen, JobSpec
from nntrainer.errors import Interrupted
from nntrainer.files import now

KILLED_S = 5.0
"""How long killed processes may take to go."""
MARK = "DEPLOY_RUN"
"""Variable with the run directory, by which every process of a job is found, whatever session it made."""
OVERRIDES = "NNTRAINER__"
"""Variables that change a configuration: they had their say when it was resolved."""


class ProcessBackend:
    """Runs the one job of a run under a small supervisor, which records its exit code for whoever looks later."""

    def command(self, batch: Batch, job: JobSpec) -> tuple[str, ...]:
        """Return what is started for a job."""
        return job.command

    def render(self, batch: Batch) -> dict[str, str]:
        """Return a shell script that does what the job does."""
        job = batch.jobs[0]
        settings = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in job.environment.items())
        command = shlex.join(self.command(batch, job))
        return {
            f"{job.name}.sh": f"#!/bin/sh\ncd {shlex.quote(str(job.directory))} || exit\n{settings}exec {command}\n"
        }

    def submit(self, batch: Batch) -> list[JobHandle]:
        """Start the job in a session of its own, its output in ``logs/run.log``.

        Args:
            batch: the run with its one job.

        Returns:
            How it is found again.

        Raises:
            DeployError: it cannot be started.
        """
        job = batch.jobs[0]
        log = batch.logs / f"{job.name}.log"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(OVERRIDES)}
        supervisor = [sys.executable, "-m", "deploy.backends.supervisor", str(batch.run), job.name]
        try:
            with log.open("ab") as output:
                # This process is gone at once and leaves the supervisor behind, which is nobody's child then.
                started = subprocess.run(
                    [*supervisor, *self.command(batch, job)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    cwd=job.directory,
                    env={**inherited, **job.environment, MARK: str(batch.run)},
                    check=False,
                )
        except OSError as error:
            raise DeployError(f"{batch.run}: the job cannot be started in {job.directory}: {error.strerror}") from None
        handles = self.find(batch)
        if started.returncode or not handles:
            raise DeployError(f"{batch.run}: the job did not start; {log} says why")
        return handles

    def find(self, batch: Batch) -> list[JobHandle]:
        """Return what the supervisor noted about itself, before it started anything."""
        with suppress(OSError, ValueError, TypeError):
            return [JobHandle(**json.loads((batch.logs / "job.json").read_text(encoding="utf-8")))]
        return []

    def look(self, batch: Batch) -> list[JobSeen]:
        """Return the state of the job, from its records and its process."""
        handle = batch.handles[0]
        alive = _alive(handle)
        # Read after the process was looked for, so that one which ended just then is not called lost.
        ended, record = read_record(batch.logs / "exit.json"), read_record(batch.run / "run.json")
        state = state_of(batch.cancelled, record, ended, alive)
        host, why = str(handle.details["host"]), ""
        if alive is None and not ended:
            why = f"the job runs on {host}; from here only its records can be seen"
        elif state == "lost":
            why = "its process is gone and left no exit code, as after a reboot or `kill -9`; `deploy retry` goes on"
        elif state in ("failed", "interrupted") and ended:
            why = f"exit code {ended['exit_code']}"
        return [JobSeen(handle.name, state, why, host, exit_code=ended.get("exit_code"))]

    def fetch_logs(self, batch: Batch) -> list[Path]:
        """Return the log, which lies in the run directory."""
        return [batch.logs / f"{job.name}.log" for job in batch.jobs]

    def fetch(self, batch: Batch) -> None:
        """Do nothing: the job writes into the run directory."""

    def cancel(self, batch: Batch, grace_s: float) -> None:
        """Ask the job to stop, which lets it save its state, and kill what is left of it after a while.

        Args:
            batch: the run with its job.
            grace_s: how long it may take to stop, in seconds.

        Raises:
            DeployError: it runs on another machine, or does not go away.
        """
        handle = batch.handles[0]
        pid = int(handle.details["pid"])
        if _alive(handle) is None:
            raise DeployError(f"{batch.run}: the job runs on {handle.details['host']}; cancel it there")
        if _alive(handle):
            # The supervisor alone: it passes the signal on to the job's process group, once to each process.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            _until(lambda: not _alive(handle), grace_s)
        # The supervisor is spared, so that it records how the job ended.
        _until(lambda: not _kill(batch.run, spare=pid), KILLED_S)
        if not _until(lambda: not _alive(handle), KILLED_S):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            if not _until(lambda: not _alive(handle), KILLED_S):
                raise DeployError(f"process {pid} cannot be ended; the machine may wait for a disk")

    def retry(self, batch: Batch, names: Sequence[str]) -> list[JobHandle]:
        """Start the job again; what it has done already stays done."""
        for name in ("exit.json", "job.json"):
            (batch.logs / name).unlink(missing_ok=True)
        return self.submit(batch)

    def remove(self, batch: Batch) -> None:
        """Do nothing: all that the run left is its directory."""


def state_of(cancelled: str | None, record: dict[str, Any], ended: dict[str, Any], alive: bool | None) -> str:
    """Derive the state of a job from its records.

    Args:
        cancelled: when it was cancelled.
        record: ``run.json``, written by the job itself.
        ended: ``logs/exit.json``, written when the job's process has ended.
        alive: whether the process runs; None where that cannot be known from here.

    Returns:
        queued, running, done, failed, interrupted, cancelled or lost.
    """
    said = record.get("state")
    if ended:
        code = ended["exit_code"]
        if code == 0 and said in (None, "done"):
            return "done"
        if cancelled:
            return "cancelled"
        # Success with a record that does not say so is none.
        return "interrupted" if code == Interrupted.exit_code else "failed"
    if alive:
        return "running"
    if said in ("done", "failed", "interrupted") and not (said != "done" and cancelled):
        return str(said)
    if alive is None:
        return "running" if record else "queued"
    return "cancelled" if cancelled else "lost"


def _alive(handle: JobHandle) -> bool | None:
    """Return whether the job's process runs; None on another machine."""
    details = handle.details
    if details["host"] != socket.gethostname():
        return None
    return details["boot"] == boot_id() and start_time(details["pid"]) == details["pid_start_time"]


def handle_of(pid: int, name: str, command: Sequence[str]) -> JobHandle:
    """Return the handle of a job whose supervisor is a process of this machine.

    The start time of the process, in clock ticks since boot, tells it from a later one of its number.
    """
    details = {
        "host": socket.gethostname(),
        "pid": pid,
        "pid_start_time": start_time(pid) or 0,
        "boot": boot_id(),
        "command": list(command),
    }
    return JobHandle(name, str(pid), now(), details)


def boot_id() -> str:
    """Return what tells this boot of the machine from earlier ones."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def start_time(pid: int) -> int | None:
    """Return the start time of a process in clock ticks since boot; None when it has ended.

    The fields are those of proc(5): the state is the third, the start time the 22nd.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name, in parentheses, may hold blanks: count from behind it.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def _kill(run: Path, spare: int) -> list[int]:
    """Kill the processes of a run, but one, and return which they were."""
    mark, found = os.fsencode(f"{MARK}={run.resolve()}"), []
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        # Other people's processes cannot be read, ended ones are gone or without environment.
        with suppress(OSError):
            if pid not in (spare, os.getpid()) and mark in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(pid, signal.SIGKILL)
                found.append(pid)
    return found


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition and return whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not (true := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return true
