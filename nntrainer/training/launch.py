"""Several Horovod workers, here or on machines that share files: start them, watch them, pass on a request to stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from nntrainer.config import Config
from nntrainer.errors import Interrupted, TrainingError
from nntrainer.files import write_json
from nntrainer.progress import Progress
from nntrainer.training.distributed import require_horovod
from nntrainer.training.hosts import find_hosts, wait_for_hosts
from nntrainer.training.interrupt import StopRequest
from nntrainer.training.record import read_training

POLL_S = 0.2
TAIL_LINES = 20


class FileProgress:
    """Tells another process how far the work has come, through a file.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told = {"description": "", "total": None, "done": 0, "note": ""}
        self._written = 0.0

    def start(self, description: str, total: int | None, unit: str = "events") -> None:
        """Begin a piece of work of ``total`` units."""
        self._told |= {"description": description, "total": total, "done": 0, "note": ""}
        self._write()

    def advance(self, n: int) -> None:
        """Count ``n`` more units as done."""
        self._told["done"] += n  # type: ignore[operator]
        if time.monotonic() - self._written > 2 * POLL_S:
            self._write()

    def note(self, text: str) -> None:
        """Show a short text beside the bar."""
        self._told["note"] = text

    def finish(self) -> None:
        """End the piece of work."""
        self._write()

    def _write(self) -> None:
        write_json(self._path, self._told)
        self._written = time.monotonic()


class _Mirror:
    """Shows on a progress what a worker has told through its file."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self._path, self._progress = path, progress
        self._done: int | None = None
        path.unlink(missing_ok=True)

    def update(self) -> None:
        try:
            told = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        if self._done is None:
            self._progress.start(told["description"], told["total"])
            self._done = 0
        if told["done"] > self._done:
            self._progress.note(told["note"])
            self._progress.advance(told["done"] - self._done)
            self._done = told["done"]

    def finish(self) -> None:
        self.update()
        if self._done is not None:
            self._progress.finish()


def check_host_name() -> None:
    """Check that this machine's own name resolves: Gloo aborts where it does not.

    Raises:
        TrainingError: it does not.
    """
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        raise TrainingError(
            f"this machine's host name '{name}' cannot be resolved, and Horovod's workers find each "
            f"other by it; add the line '127.0.0.1 {name}' to /etc/hosts, or train with training.workers=1"
        ) from None


def launch(config: Config, fold: int, directory: Path, log: Path, progress: Progress) -> None:
    """Train one fold with ``training.workers`` processes and wait for them.

    Args:
        config: the configuration.
        fold: the fold.
        directory: the fold's directory.
        log: what the workers print is added to this file.
        progress: told how far the work has come.

    Raises:
        MissingDependencyError: Horovod is not installed.
        TrainingError: the workers failed; the end of their log is in the message.
        Interrupted: stopped on request, with a checkpoint.
    """
    require_horovod(config.training.workers)
    check_host_name()
    hosts = find_hosts(config.training.workers)
    wait_for_hosts(hosts)
    write_json(directory / "config.json", config.dump())
    # The workers' own record follows; an old one must not be taken for it.
    (directory / "training.json").unlink(missing_ok=True)
    mirror = _Mirror(directory / "progress.json", progress)
    with StopRequest(directory) as stop, log.open("ab") as output, _home() as home:
        stop.clear()
        start = output.tell()
        # In a session of their own, so that a Ctrl-C reaches only this process, which asks them to stop.
        process = subprocess.Popen(
            _command(config.training.workers, hosts, fold, directory),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={
                **os.environ,
                **home,
                "PYTHONUNBUFFERED": "1",
                "TF_CPP_MIN_LOG_LEVEL": "2",
            },
        )
        try:
            while process.poll() is None:
                if stop.signalled and not stop.file.exists():
                    stop.forward()
                mirror.update()
                time.sleep(POLL_S)
        finally:
            _end(process)
            mirror.finish()
    _outcome(fold, directory, log, start, process.returncode)


@contextmanager
def _home() -> Iterator[dict[str, str]]:
    """Give Horovod's launcher, which keeps a cache there, a home where it can write, as batch jobs often have none."""
    home = Path("~").expanduser()
    if home.is_dir() and os.access(home, os.W_OK | os.X_OK):
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="nntrainer-") as made:
        yield {"HOME": made}


def _command(workers: int, hosts: Mapping[str, int], fold: int, directory: Path) -> list[str]:
    # What `horovodrun` of this environment runs, without relying on the interpreter in its first line.
    launcher = [
        sys.executable,
        "-m",
        "horovod.runner.launch",
        "-np",
        str(workers),
        "-H",
        ",".join(f"{host}:{slots}" for host, slots in (hosts or {"localhost": workers}).items()),
    ]
    launcher += ["--gloo", "--start-timeout", "300", "--gloo-timeout-seconds", "600"]
    worker = [sys.executable, "-m", "nntrainer.training.worker", "--directory", str(directory.absolute())]
    # On another machine the number of this process says nothing: there its end is that of the connection.
    parent = [] if hosts else ["--parent", str(os.getpid())]
    return [*launcher, *worker, "--fold", str(fold), *parent]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the launcher and its workers, where an exception left them running."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _outcome(fold: int, directory: Path, log: Path, start: int, code: int) -> None:
    record = read_training(directory)
    state = record.get("state")
    if state == "done" and code == 0:
        return
    if state == "interrupted":
        raise Interrupted(
            f"fold {fold} has done {record['epochs']} epochs; its checkpoint is saved and the same command "
            "goes on from there"
        )
    if state == "failed":
        raise TrainingError(record["error"])
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode("utf-8", "replace").splitlines()
    tail = "\n".join(lines[-TAIL_LINES:])
    raise TrainingError(
        f"fold {fold}: its workers ended with exit code {code}; {log} has all they printed, the end is:\n{tail}"
    )
