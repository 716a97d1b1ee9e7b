"""A run as a table on a terminal, and as plain data."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from deploy.runs import Run, Seen
from nntrainer.console import print_table, print_times


def line(run: Run, seen: Seen) -> str:
    """Return a run in one line."""
    return f"{run.path}: {seen.state}" + (f" ({seen.note})" if seen.note else "")


def as_dict(run: Run, seen: Seen) -> dict[str, Any]:
    """Return what can be said about a run as plain data."""
    return {
        "run": str(run.path),
        "state": seen.state,
        "note": seen.note,
        "jobs": [asdict(job) for job in seen.jobs],
        "deploy": seen.deploy,
        "records": seen.records,
    }


def show(run: Run, seen: Seen, *, clear: bool = False) -> None:
    """Print a run: its stages where one job does all, its jobs otherwise; and where the time went.

    Args:
        run: the run.
        seen: what can be said about it.
        clear: clear the terminal first.
    """
    if clear:
        from rich.console import Console

        Console().clear()
    if len(seen.jobs) > 1:
        _jobs(run, seen)
    else:
        _stages(run, seen)
    stages = [stage for record in seen.records.values() for stage in record.get("stages", {}).items()]
    print_times((name, stage.get("seconds") or 0.0) for name, stage in stages)


def _stages(run: Run, seen: Seen) -> None:
    rows = []
    # One job may do parts, each with a record of its own.
    stages = {
        name if record == "run" else record: stage
        for record, said in seen.records.items()
        for name, stage in said.get("stages", {}).items()
    }
    for name, stage in stages.items():
        seconds = f"{stage['seconds']:.1f} s" if stage.get("seconds") is not None else ""
        state = stage.get("state", "")
        # The job had no time to note how this stage ended.
        state = seen.state if state == "running" and seen.state in ("lost", "cancelled", "failed") else state
        rows.append([name, state, seconds, stage.get("detail", ""), len(stage.get("outputs", [])) or ""])
    print_table(line(run, seen), ["stage", "state", ">time", "result", ">files"], rows)


def _jobs(run: Run, seen: Seen) -> None:
    rows = []
    for job in seen.jobs:
        stages = seen.records.get(job.name, {}).get("stages", {}).values()
        seconds = sum(stage.get("seconds") or 0.0 for stage in stages)
        result = "; ".join(stage["detail"] for stage in stages if stage.get("detail"))
        time = f"{seconds:.1f} s" if seconds else ""
        rows.append([job.name, job.state, job.host, job.gpus, time, job.why or result or job.progress])
    print_table(line(run, seen), ["job", "state", "host", "GPUs", ">time", "result"], rows)
