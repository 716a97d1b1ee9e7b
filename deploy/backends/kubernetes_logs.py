"""The logs of all pods of a run, copied line by line into its directory, where they outlive the pods."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from deploy.backends.kubernetes_cluster import Cluster
from deploy.backends.kubernetes_manifests import Manifest
from deploy.backends.kubernetes_words import exit_code
from nntrainer.files import write_json

STATE = "pods.json"
"""Every pod that a job had: its host, image, exit code, and the time of its last line here."""


def fetch_logs(cluster: Cluster, folder: Path, pods: Mapping[str, Sequence[Manifest]]) -> None:
    """Add what pods have printed since to the logs of their jobs, and note where and with what they ran.

    It may be killed at any moment: what is behind the noted length of a log is written again.

    Args:
        cluster: the cluster.
        folder: the directory of the logs.
        pods: the pods by job, oldest first.
    """
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = _read(folder / STATE)
        for job, attempts in pods.items():
            known = state.setdefault(job, {"size": 0, "pods": {}})
            path = folder / f"{job}.log"
            path.touch()
            with path.open("r+b") as output:
                output.truncate(known["size"])
                output.seek(known["size"])
                for pod in attempts:
                    _append(cluster, known["pods"], output, pod)
                known["size"] = output.tell()
            write_json(folder / STATE, state)


def _append(cluster: Cluster, known: dict[str, dict[str, Any]], output: BinaryIO, pod: Manifest) -> None:
    name = pod["metadata"]["name"]
    new = name not in known
    own = known.setdefault(name, {"last": None})
    status = (pod["status"].get("containerStatuses") or [{}])[0]
    own |= {"host": pod["spec"].get("nodeName"), "image": status.get("imageID"), "exit_code": exit_code(pod)}
    ended, last = pod["status"].get("phase") in ("Succeeded", "Failed"), own["last"]
    if new and len(known) > 1:
        output.write(f"---- attempt {len(known)}: pod {name} ----\n".encode())
    if own.get("complete"):
        return
    for line in cluster.log(name, since=last and _second(last)):
        stamp, _, text = line.partition(b" ")
        time = stamp.decode("ascii", "replace")
        if last is not None and _key(time) <= _key(last):  # the API goes by whole seconds
            continue
        if not text.endswith(b"\n") and not ended:
            break  # half a line; it is whole next time
        output.write(text)
        own["last"] = time
    own["complete"] = ended


def never_started(folder: Path) -> bool:
    """Return whether the run is known to have had pods, none of which ever ran: it left nothing anywhere."""
    pods = [pod for job in _read(folder / STATE).values() for pod in job["pods"].values()]
    return bool(pods) and not any(pod["image"] for pod in pods)


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
