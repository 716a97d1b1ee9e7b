"""What HTCondor's event log says about jobs, which costs the scheduler nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.backends.condor_bindings import bindings
from deploy.backends.condor_holds import explain

SIGNAL = 128
"""Added to the number of a signal that ended a job, as shells do."""


@dataclass
class Submitted:
    """A job that was submitted, as its events tell.

    Attributes:
        cluster: its number in the queue.
        node: its node in the DAG; empty where there is none.
        state: queued, running, held, done, failed or cancelled.
        why: why it is held, failed or was removed.
        hold: code and subcode, while it is held.
        host: where it runs or ran last.
        gpus: which GPUs it was given there.
        exit_code: its exit code, when it has ended.
        starts: how often it was started.
        memory_mib: the memory it had when it ran last.
        progress: what it told last of itself, since it was started.
        history: holds, releases and evictions, a line each.
    """

    cluster: int
    node: str = ""
    state: str = "queued"
    why: str = ""
    hold: tuple[int, int] | None = None
    host: str = ""
    gpus: str = ""
    exit_code: int | None = None
    starts: int = 0
    memory_mib: int = 0
    progress: str = ""
    history: list[str] = field(default_factory=list)

    def note(self, time: str, text: str) -> None:
        """Add a line to the history."""
        self.history.append(f"{time} {text}")


def read_log(path: Path) -> list[Submitted]:
    """Return the jobs of an event log, in the order of their submission; none where there is no log yet."""
    jobs: dict[int, Submitted] = {}
    for event in _events(path):
        job = jobs.setdefault(event.cluster, Submitted(event.cluster))
        _apply(job, event.type.name, event, str(event.get("EventTime", "")))
    return list(jobs.values())


def last_by_node(jobs: list[Submitted]) -> dict[str, Submitted]:
    """Return the last submission of each node, with what befell the earlier ones."""
    last: dict[str, Submitted] = {}
    for job in jobs:
        if before := last.get(job.node):
            job.history = [*before.history, *job.history]
        last[job.node] = job
    return last


def _events(path: Path) -> Iterator[Any]:
    if not path.is_file():
        return
    htcondor = bindings()
    log = htcondor.JobEventLog(str(path))
    try:
        # Text that is half written, or damaged, ends what can be read for now.
        yield from log.events(stop_after=0)
    except htcondor.HTCondorException:
        return
    finally:
        log.close()


def _apply(job: Submitted, kind: str, event: Mapping[str, Any], time: str) -> None:
    match kind:
        case "SUBMIT":
            note = re.search(r"DAG Node: (\S+)", str(event.get("LogNotes", "")))
            job.node = note[1] if note else ""
        case "EXECUTE":
            _started(job, event, time)
        case "GENERIC":
            job.progress = str(event.get("Info", "")).strip()
        case "JOB_HELD":
            job.state, job.hold = "held", (int(event["HoldReasonCode"]), int(event["HoldReasonSubCode"]))
            job.why = explain(*job.hold, str(event.get("HoldReason", "")))
            job.note(time, f"held: {job.why}")
        case "JOB_RELEASED":
            job.state, job.why, job.hold = "queued", "", None
            own = "PeriodicRelease" in str(event.get("Reason"))
            job.note(time, "released by itself" if own else f"released{told(event)}")
        case "JOB_EVICTED":
            _evicted(job, event, time)
        case "JOB_TERMINATED":
            job.exit_code = exit_code(event)
            job.state = "done" if job.exit_code == 0 else "failed"
            job.why = "" if job.exit_code == 0 else ended(job.exit_code)
        case "JOB_ABORTED":
            job.state, job.hold = "cancelled", None
            job.why = f"removed from the queue{told(event)}"
            job.note(time, job.why)
        case "SHADOW_EXCEPTION" | "JOB_DISCONNECTED" | "JOB_RECONNECT_FAILED":
            reason = event.get("Message") or event.get("DisconnectReason") or event.get("Reason") or ""
            job.note(time, f"trouble with the machine: {reason}")
            job.state = "running" if kind == "JOB_DISCONNECTED" else "queued"


def _started(job: Submitted, event: Mapping[str, Any], time: str) -> None:
    properties = event.get("ExecuteProps") or {}
    job.state, job.why, job.exit_code, job.progress = "running", "", None, ""
    job.starts += 1
    job.host, job.gpus = host_of(event), gpus_of(properties)
    memory = int(properties.get("Memory", 0))
    if job.starts > 1:
        job.note(time, f"started again on {job.host}, with {memory} MiB of memory")
    job.memory_mib = memory


def _evicted(job: Submitted, event: Mapping[str, Any], time: str) -> None:
    job.state = "queued"
    if event.get("TerminatedAndRequeued"):
        code = exit_code(event)
        job.note(time, f"ended with exit code {code}, and is tried again")
    elif not event.get("Reason"):  # where there is one, what follows says it too
        job.note(time, "evicted")


def told(event: Mapping[str, Any]) -> str:
    """Return the reason that an event gives, to be put behind what happened."""
    return f": {event['Reason']}" if event.get("Reason") else ""


def exit_code(event: Mapping[str, Any]) -> int:
    """Return the exit code that a job's end tells, counting signals as shells do."""
    if event.get("TerminatedNormally", True):
        return int(event.get("ReturnValue", 0))
    return SIGNAL + int(event.get("TerminatedBySignal", 0))


def ended(code: int) -> str:
    """Return an exit code in words."""
    if code == 2:
        return "exit code 2: a mistake that its log explains; mend it and submit a new run"
    return f"ended by signal {code - SIGNAL}" if code > SIGNAL else f"exit code {code}; its log says why"


def host_of(event: Mapping[str, Any]) -> str:
    """Return the name of the machine a job runs on."""
    if slot := event.get("SlotName"):
        return str(slot).rpartition("@")[2]
    address = str(event.get("ExecuteHost", ""))
    alias = re.search(r"[?&]alias=([^&>]+)", address)
    return alias[1] if alias else address.strip("<>").partition("?")[0]


def gpus_of(properties: Mapping[str, Any]) -> str:
    """Return the GPUs a job was given: their type where it is told, else their names."""
    names = [str(each) for each in properties.get("AvailableGPUs") or []]
    if not names:
        return ""
    types = {
        str(value["DeviceName"])
        for value in properties.values()
        if isinstance(value, Mapping) and "DeviceName" in value
    }
    kind = ", ".join(sorted(types))
    return f"{len(names)} × {kind}" if kind else ",".join(names)
