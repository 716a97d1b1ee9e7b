"""What is to be run, independent of where."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class JobSpec:
    """One job: a name, the command as a list of arguments, and variables for its environment."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class JobHandle:
    """A submitted job as its backend finds it again.

    Attributes:
        id: number of the job in its run.
        name: what it does.
        host: the machine it runs on.
        pid: process group on that machine.
        started: the process's start time in clock ticks since boot, which tells it from a later one of that pid.
        submitted: time in UTC, ISO 8601.
    """

    id: int
    name: str
    host: str
    pid: int
    started: int
    submitted: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)
