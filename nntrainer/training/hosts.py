"""The machines of a training on several: a hostfile as OpenMPI reads it, which Kubeflow's MPI operator mounts."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from nntrainer.errors import TrainingError

HOSTFILE = "NNTRAINER_HOSTFILE"
"""The variable that names the file; without it a training stays on one machine."""
REACHED_S = 300.0
"""How long a machine may take to be known by its name and to let in, after its start."""
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "ConnectTimeout=10")
_LINE = re.compile(r"(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*)\s+slots=(?P<slots>[1-9][0-9]*)")


def find_hosts(workers: int, environment: Mapping[str, str] = os.environ) -> dict[str, int]:
    """Return the machines of a training.

    Args:
        workers: how many workers there are to be in all.
        environment: may name a hostfile.

    Returns:
        How many workers each machine has, by its name; nothing where the training stays on this machine.

    Raises:
        TrainingError: the hostfile cannot be read, or has another number of workers.
    """
    name = environment.get(HOSTFILE)
    if not name:
        return {}
    try:
        lines = Path(name).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{HOSTFILE} names {name}, which cannot be read: {error}") from None
    hosts: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not (text := line.partition("#")[0].strip()):
            continue
        match = _LINE.fullmatch(text)
        if match is None or match["host"] in hosts:
            raise TrainingError(
                f"{name}, line {number}: '{text}'; each machine has one line such as 'worker-0 slots=2'"
            )
        hosts[match["host"]] = int(match["slots"])
    if (slots := sum(hosts.values())) != workers:
        raise TrainingError(
            f"training.workers is {workers}, but {name} has {slots} slots on {len(hosts)} machines; make them the same"
        )
    return hosts


def wait_for_hosts(hosts: Mapping[str, int], seconds: float = REACHED_S) -> None:
    """Wait until every machine lets this one in by SSH; names of new pods take a while to be known.

    Args:
        hosts: the machines.
        seconds: how long, for all of them together.

    Raises:
        TrainingError: one does not.
    """
    end = time.monotonic() + seconds
    for host in hosts:
        while said := _refusal(host):
            if time.monotonic() > end:
                raise TrainingError(f"the machine '{host}' of {HOSTFILE} cannot be reached by SSH: {said}")
            time.sleep(2)


def _refusal(host: str) -> str:
    """Return what SSH says against running a command on a machine; empty where it runs."""
    try:
        done = subprocess.run([*SSH, host, "true"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except FileNotFoundError:
        raise TrainingError(f"{HOSTFILE} is set, and training on other machines needs the program `ssh`") from None
    return done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""
