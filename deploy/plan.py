"""A configuration and a site to jobs."""

from __future__ import annotations

import sys

from deploy.jobs import JobSpec
from deploy.runs import Run
from deploy.sites import Site


def plan(run: Run, site: Site) -> list[JobSpec]:
    """Return the jobs of a run: on one machine, one job that runs all stages."""
    config = str(run.path.resolve() / "config.yaml")
    command = (sys.executable, "-m", "nntrainer", "run", config, "--run-dir", str(run.path.resolve()))
    return [JobSpec("run", command, dict(site.environment))]
