"""Runs the command of a job in the background and records how it ended.

``python -m deploy.backends.supervisor RUN JOB COMMAND…``
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from deploy.backends.process import handle_of
from nntrainer.files import now, write_json

CANNOT_START = 127


def main(arguments: list[str]) -> int:
    """Leave a process behind that runs the command, passes SIGTERM on to its group and writes ``logs/exit.json``."""
    ready, started = os.pipe()
    if os.fork():
        os.close(started)
        os.read(ready, 1)  # until the other has noted its process id, or is gone
        return 0
    os.close(ready)
    logs, name, command = Path(arguments[0]) / "logs", arguments[1], arguments[2:]
    stopped: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def stop(number: int, frame: object) -> None:
        stopped.append(number)
        if process is not None and process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # If deploy is killed before it has noted this process, the job is found again by this file.
    write_json(logs / "job.json", handle_of(os.getpid(), name, command).as_dict())
    os.close(started)
    try:
        if not stopped:
            process = subprocess.Popen(command, process_group=0)
        if stopped:  # before there was a process to pass it on to
            stop(stopped[0], None)
        code = 128 + signal.SIGTERM if process is None else process.wait()
    except OSError as error:
        sys.stderr.write(f"error: {command[0]} cannot be started: {error.strerror}\n")
        code = CANNOT_START
    code = 128 - code if code < 0 else code  # as shells count signals
    write_json(logs / "exit.json", {"exit_code": code, "finished": now()})
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
