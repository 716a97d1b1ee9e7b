"""Run a command for the local backend and record how it ended: ``python -m deploy.backends.local_job RUN COMMAND…``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from deploy.runs import write_aside


def main(arguments: list[str]) -> int:
    """Run the command, pass SIGTERM on to it, write ``logs/exit.json``, return its exit code."""
    run, command = Path(arguments[0]), arguments[1:]
    stopped: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def stop(number: int, frame: object) -> None:
        stopped.append(number)
        if process is not None:
            process.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    process = subprocess.Popen(command)
    if stopped:
        process.send_signal(signal.SIGTERM)
    code = process.wait()
    code = 128 - code if code < 0 else code
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    write_aside(run / "logs" / "exit.json", json.dumps({"exit_code": code, "finished": finished}) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
