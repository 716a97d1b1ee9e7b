"""This machine: a background process that survives the terminal."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from deploy.errors import DeployError
from deploy.jobs import JobHandle, JobSpec
from deploy.runs import Run, write_aside

GRACE_S = 30.0


class LocalBackend:
    """Runs a job under a small supervisor, which records its exit code when nobody is there to see it."""

    def render(self, run: Run, job: JobSpec) -> str:
        """Return a shell script that does what the job does."""
        settings = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in job.environment.items())
        return f"#!/bin/sh\n{settings}exec {shlex.join(job.command)}\n"

    def submit(self, run: Run, job: JobSpec) -> JobHandle:
        """Start the job in a session of its own."""
        folder = run.path / "rendered"
        folder.mkdir(exist_ok=True)
        write_aside(folder / f"{job.name}.sh", self.render(run, job))
        supervisor = [
            sys.executable,
            "-m",
            "deploy.backends.local_job",
            str(run.path.resolve()),
            *job.command,
        ]
        with run.log.open("ab") as log:
            process = subprocess.Popen(
                supervisor,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **job.environment},
            )
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return JobHandle(0, job.name, socket.gethostname(), process.pid, _started(process.pid) or 0, now)

    def alive(self, handle: JobHandle) -> bool | None:
        """Return whether the job's process runs; None on another machine."""
        if handle.host != socket.gethostname():
            return None
        return _started(handle.pid) == handle.started

    def cancel(self, handle: JobHandle) -> None:
        """Ask the process to stop, which saves its state; end its group after a while.

        Args:
            handle: the job.

        Raises:
            DeployError: the job runs on another machine.
        """
        alive = self.alive(handle)
        if alive is None:
            raise DeployError(f"the job runs on {handle.host}; cancel it there")
        if not alive:
            return
        os.kill(handle.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        while self.alive(handle) and time.monotonic() < deadline:
            time.sleep(0.1)
        if self.alive(handle):
            os.killpg(handle.pid, signal.SIGKILL)


def _started(pid: int) -> int | None:
    """Return the start time of a process in clock ticks since boot; None when it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name, in parentheses, may hold blanks: count from behind it.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])
