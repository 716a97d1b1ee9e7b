"""What is to be run, independent of where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nntrainer.config.parts import RECORDS


@dataclass(frozen=True)
class Resources:
    """What a job asks for; a backend that does not meter something ignores it."""

    cpus: int = 1
    gpus: int = 0
    memory_mib: int = 2048
    disk_mib: int = 4096
    walltime_s: int = 3600


@dataclass(frozen=True)
class JobSpec:
    """A job before it is submitted.

    Attributes:
        name: what it is called in its run: the part that it does, or ``run`` for all; names its files.
        stage: ``run``, ``convert``, ``train``, ``evaluate``, ``inject`` or ``tune``.
        command: the arguments; never a shell's text.
        directory: where it is started, which relative paths of the configuration refer to.
        environment: variables set for it.
        needs: names of the jobs that must have ended well before.
        resources: what it asks for.
        inputs: files and directories of the run that it reads, for jobs that do not see the run directory.
        outputs: files and directories of the run that it makes.
        ntuples: ntuples that it reads, as the configuration has them.
    """

    name: str
    stage: str
    command: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    resources: Resources = Resources()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    ntuples: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts that it does, or may do; none where it does the whole run."""
        return tuple(path.stem for each in self.outputs if (path := Path(each)).parent == Path(RECORDS))

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "directory": str(self.directory)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> JobSpec:
        """Return the job from plain data, as in the record of a run."""
        values = dict(data)
        for key in ("command", "needs", "inputs", "outputs", "ntuples"):
            values[key] = tuple(values[key])
        values["directory"] = Path(values["directory"])
        values["resources"] = Resources(**values["resources"])
        return cls(**values)


@dataclass(frozen=True)
class JobHandle:
    """A submitted job as its backend finds it again.

    Attributes:
        name: name of the job in its run.
        id: what the backend calls it.
        submitted: time in UTC, ISO 8601.
        details: what else the backend needs, plain data.
    """

    name: str
    id: str
    submitted: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


@dataclass(frozen=True)
class JobSeen:
    """What can be said about a job now.

    Attributes:
        name: name of the job in its run.
        state: waiting (for other jobs), queued, running, held, done, failed, interrupted, cancelled or lost.
        why: why it is held, queued for long, failed or lost, and what to do.
        host: the machine it runs or ran on.
        gpus: the GPUs it was given.
        exit_code: its exit code, when it has ended.
        history: what befell it, as when it was held and released again by itself; a line each.
        progress: how far a running training is: its epochs and the best validation loss so far.
    """

    name: str
    state: str
    why: str = ""
    host: str = ""
    gpus: str = ""
    exit_code: int | None = None
    history: tuple[str, ...] = ()
    progress: str = ""


@dataclass(frozen=True)
class Finding:
    """What a check found: errors stop a submission, warnings do not.

    Attributes:
        level: ``error`` or ``warning``.
        where: the key, file or thing it is about.
        what: what is wrong, with the value and the limit.
        fix: what to do.
    """

    level: str
    where: str
    what: str
    fix: str
