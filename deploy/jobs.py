"""What is to be run, independent of where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class JobSpec:
    """A job before it is submitted.

    Attributes:
        stage: what it does; names its files in the run directory.
        command: the arguments; never a shell's text.
        directory: where it is started, which relative paths of the configuration refer to.
        environment: variables set for it.
    """

    stage: str
    command: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class JobHandle:
    """A submitted job as its backend finds it again.

    Attributes:
        id: number of the job in its run.
        stage: what it does.
        host: the machine it runs on.
        pid: its process on that machine.
        pid_start_time: when that process began, in clock ticks since boot: tells it from a later one of that pid.
        boot: identifies that boot of the machine.
        command: the arguments.
        submitted: time in UTC, ISO 8601.
    """

    id: int
    stage: str
    host: str
    pid: int
    pid_start_time: int
    boot: str
    command: list[str]
    submitted: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)
