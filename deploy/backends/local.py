"""This machine: a background process that survives the terminal."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from deploy.errors import DeployError, SiteError
from deploy.jobs import JobHandle, JobSpec
from deploy.sites import Site
from nntrainer.files import now, write_text

KILLED_S = 5.0
"""How long killed processes may take to go."""
MARK = "DEPLOY_RUN"
"""Variable with the run directory, by which every process of a job is found, whatever session it made."""
OVERRIDES = "NNTRAINER__"
"""Variables that change a configuration: they had their say when it was resolved."""


class LocalBackend:
    """Runs a job under a small supervisor, which records its exit code when nobody is there to see it."""

    def check(self, site: Site) -> None:
        """Check the interpreter and the resources.

        Args:
            site: the site.

        Raises:
            SiteError: this machine has not what the site asks for.
        """
        if site.python is not None and shutil.which(site.python.expanduser()) is None:
            raise SiteError(f"site '{site.name}': python: there is no program '{site.python}'; give a full path")
        cpus = os.cpu_count() or 1
        if (site.resources.cpus or 0) > cpus:
            raise SiteError(
                f"site '{site.name}': resources.cpus: {site.resources.cpus} are asked for, there are {cpus}"
            )
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
        if (site.resources.memory_mib or 0) > there:
            raise SiteError(
                f"site '{site.name}': resources.memory_mib: {site.resources.memory_mib} MiB are asked for, "
                f"this machine has {there} MiB"
            )

    def render(self, job: JobSpec) -> str:
        """Return a shell script that does what the job does."""
        settings = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in job.environment.items())
        return f"#!/bin/sh\ncd {shlex.quote(str(job.directory))} || exit\n{settings}exec {shlex.join(job.command)}\n"

    def submit(self, run: Path, job: JobSpec, number: int) -> JobHandle:
        """Start the job in a session of its own, its output in ``logs/run.log``.

        Args:
            run: the run directory.
            job: the job.
            number: its number in the run.

        Returns:
            How it is found again.

        Raises:
            DeployError: it cannot be started.
        """
        run = run.resolve()
        for folder in ("rendered", "logs"):
            (run / folder).mkdir(exist_ok=True)
        write_text(run / "rendered" / f"{job.stage}.sh", self.render(job))
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(OVERRIDES)}
        supervisor = [sys.executable, "-m", "deploy.backends.local_job", str(run), str(number), job.stage, *job.command]
        try:
            with (run / "logs" / "run.log").open("ab") as log:
                # This process is gone at once and leaves the supervisor behind, which is nobody's child then.
                started = subprocess.run(
                    supervisor,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    cwd=job.directory,
                    env={**inherited, **job.environment, MARK: str(run)},
                    check=False,
                )
        except OSError as error:
            raise DeployError(f"{run}: the job cannot be started in {job.directory}: {error.strerror}") from None
        handles = self.find(run)
        if started.returncode or not handles:
            raise DeployError(f"{run}: the job did not start; {run / 'logs' / 'run.log'} says why")
        return handles[0]

    def find(self, run: Path) -> list[JobHandle]:
        """Return what the supervisor noted about itself, before it started anything."""
        with suppress(OSError, ValueError, TypeError):
            return [JobHandle(**json.loads((run / "logs" / "job.json").read_text(encoding="utf-8")))]
        return []

    def alive(self, handle: JobHandle) -> bool | None:
        """Return whether the job's process runs; None on another machine."""
        if handle.host != socket.gethostname():
            return None
        return handle.boot == boot_id() and start_time(handle.pid) == handle.pid_start_time

    def cancel(self, run: Path, handle: JobHandle, grace_s: float) -> None:
        """Ask the job to stop, which lets it save its state, and kill what is left of it after a while.

        Args:
            run: the run directory.
            handle: the job.
            grace_s: how long it may take to stop, in seconds.

        Raises:
            DeployError: it runs on another machine, or does not go away.
        """
        if self.alive(handle) is None:
            raise DeployError(f"the job runs on {handle.host}; cancel it there")
        if self.alive(handle):
            # The supervisor alone: it passes the signal on to the job's process group, once to each process.
            with suppress(ProcessLookupError):
                os.kill(handle.pid, signal.SIGTERM)
            _until(lambda: not self.alive(handle), grace_s)
        # The supervisor is spared, so that it records how the job ended.
        _until(lambda: not _kill(run, spare=handle.pid), KILLED_S)
        if not _until(lambda: not self.alive(handle), KILLED_S):
            with suppress(ProcessLookupError):
                os.kill(handle.pid, signal.SIGKILL)
            if not _until(lambda: not self.alive(handle), KILLED_S):
                raise DeployError(f"process {handle.pid} cannot be ended; the machine may wait for a disk")


def handle_of(pid: int, number: int, stage: str, command: list[str] | tuple[str, ...]) -> JobHandle:
    """Return the handle of a job whose supervisor is a process of this machine."""
    started = start_time(pid) or 0
    return JobHandle(number, stage, socket.gethostname(), pid, started, boot_id(), list(command), now())


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
