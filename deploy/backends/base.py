"""What every backend can do."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from deploy.jobs import JobHandle, JobSpec
from deploy.sites import Site


class Backend(Protocol):
    """Submits jobs, and finds them again from the run directory alone."""

    def check(self, site: Site) -> None:
        """Raise SiteError if jobs of this site cannot run."""

    def render(self, job: JobSpec) -> str:
        """Return exactly what would be submitted, as text."""

    def submit(self, run: Path, job: JobSpec, number: int) -> JobHandle:
        """Submit a job of a run directory."""

    def find(self, run: Path) -> list[JobHandle]:
        """Return the jobs of a run whose submission was cut off before it was recorded."""

    def alive(self, handle: JobHandle) -> bool | None:
        """Return whether a job runs; None where that cannot be known from here."""

    def cancel(self, run: Path, handle: JobHandle, grace_s: float) -> None:
        """End a job, gently first."""
