"""The logs of all pods of a run, copied line by line into its directory, where they outlive the pods."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.backends.kubernetes_cluster import Cluster
from deploy.backends.kubernetes_manifests import Manifest
from nntrainer.files import write_json

STATE = "pods.json"


@dataclass
class _Log:
    """A log and how far it has come.

    Attributes:
        path: the file.
        size: its length in bytes, up to which it is known to be right.
        last: the time of the last line of each pod, as the cluster writes it.
    """

    path: Path
    size: int
    last: dict[str, str]


def fetch_logs(cluster: Cluster, folder: Path, pods: dict[str, Sequence[Manifest]]) -> None:
    """Add what pods have printed since to the logs of their jobs.

    It may be killed at any moment: what is behind the noted length is written again.

    Args:
        cluster: the cluster.
        folder: the directory of the logs.
        pods: the pods by job, oldest first.
    """
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = _read(folder / STATE)
        for job, attempts in pods.items():
            known = state.get(job, {})
            log = _Log(folder / f"{job}.log", known.get("size", 0), known.get("last", {}))
            log.path.touch()
            with log.path.open("r+b") as output:
                output.truncate(log.size)
                output.seek(log.size)
                for pod in attempts:
                    _append(cluster, log, output, pod)
                log.size = output.tell()
            state[job] = {"size": log.size, "last": log.last}
            write_json(folder / STATE, state)


def _append(cluster: Cluster, log: _Log, output: Any, pod: Manifest) -> None:
    name = pod["metadata"]["name"]
    last = log.last.get(name)
    for line in cluster.log(name, since=last and _second(last)):
        stamp, _, text = line.partition(b" ")
        time = stamp.decode("ascii", "replace")
        if last is not None and _key(time) <= _key(last):  # the API goes by whole seconds
            continue
        if not text.endswith(b"\n") and pod["status"].get("phase") not in ("Succeeded", "Failed"):
            return  # half a line; it is whole next time
        if name not in log.last and len(log.last) > 0:
            output.write(f"---- attempt {len(log.last) + 1}: pod {name} ----\n".encode())
        output.write(text)
        log.last[name] = time


def _second(time: str) -> str:
    return f"{time[:19]}Z"


def _key(time: str) -> str:
    """Return a time that can be compared as text: fractions are written without the zeros at their end."""
    seconds, _, fraction = time.rstrip("Z").partition(".")
    return f"{seconds}.{fraction:0<9}"


def _read(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return state
