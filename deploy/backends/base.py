"""What every backend can do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from deploy.errors import DeployError
from deploy.jobs import Finding, JobHandle, JobSeen, JobSpec
from deploy.sites import Site
from nntrainer.config import Config


@dataclass(frozen=True)
class Batch:
    """The jobs of a run, with all that a backend needs to find them again, from any machine that sees the run.

    Attributes:
        run: the run directory, absolute.
        site: where they run.
        jobs: what is to be run, each job after those that it needs.
        handles: the submitted jobs.
        cancelled: when they were cancelled, ISO 8601; None otherwise.
        sources: ntuples that are sent with the jobs: where they lie, by their path in the run directory.
        config: the configuration as the jobs read it, for those that do not see the run directory.
    """

    run: Path
    site: Site
    jobs: tuple[JobSpec, ...]
    handles: tuple[JobHandle, ...] = ()
    cancelled: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    config: str = ""

    @property
    def logs(self) -> Path:
        """Where the jobs' output goes: ``<job>.log``."""
        return self.run / "logs"


class Backend(Protocol):
    """Submits the jobs of a run, and finds them again from the run directory alone."""

    def check(self, batch: Batch, config: Config) -> list[Finding]:
        """Return what would go wrong, or may, before anything is submitted."""

    def render(self, batch: Batch) -> dict[str, str]:
        """Return exactly what would be submitted: texts by file name; the same for the same batch."""

    def submit(self, batch: Batch) -> list[JobHandle]:
        """Submit the jobs; what `render` returned lies in ``rendered/``."""

    def find(self, batch: Batch) -> list[JobHandle]:
        """Return the jobs of a run whose submission was cut off before it was recorded."""

    def look(self, batch: Batch) -> list[JobSeen]:
        """Return the state of every job."""

    def fetch_logs(self, batch: Batch) -> list[Path]:
        """Bring the jobs' logs up to date and return them, in the order of the jobs."""

    def fetch(self, batch: Batch) -> None:
        """Bring the outputs of the jobs that have ended into the run directory; what is there already stays."""

    def cancel(self, batch: Batch, grace_s: float) -> None:
        """End all jobs, gently first; nothing of them stays in any queue."""

    def retry(self, batch: Batch, names: Sequence[str]) -> list[JobHandle]:
        """Start jobs that failed, were held or lost again, and return the handles of the whole run."""

    def remove(self, batch: Batch) -> None:
        """Remove what the run left elsewhere; its jobs have ended."""


def read_record(path: Path) -> dict[str, Any]:
    """Return a JSON record of a run, empty where there is none yet.

    Args:
        path: the file.

    Returns:
        What it holds.

    Raises:
        DeployError: it is damaged.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DeployError(f"{path}: the record is damaged: {error}") from None
    if not isinstance(record, dict):
        raise DeployError(f"{path}: the record is damaged: it is no JSON object")
    return record
