"""What every backend can do."""

from __future__ import annotations

from typing import Protocol

from deploy.jobs import JobHandle, JobSpec
from deploy.runs import Run


class Backend(Protocol):
    """Submits jobs, and finds them again from their handles alone."""

    def render(self, run: Run, job: JobSpec) -> str:
        """Return exactly what would be submitted, as text."""

    def submit(self, run: Run, job: JobSpec) -> JobHandle:
        """Submit a job."""

    def alive(self, handle: JobHandle) -> bool | None:
        """Return whether a job runs; None where that cannot be known from here."""

    def cancel(self, handle: JobHandle) -> None:
        """End a job, gently first."""
