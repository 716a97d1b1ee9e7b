"""A configuration and a site to jobs."""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.jobs import JobSpec
from deploy.sites import Site

# What OpenMP, BLAS and TensorFlow read; each would take all CPUs otherwise.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def plan(run: Path, site: Site, directory: Path) -> list[JobSpec]:
    """Return the jobs of a run: on one machine, one job that runs all stages.

    Args:
        run: the run directory, with the resolved configuration in it.
        site: where it is to run.
        directory: where the job is started.

    Returns:
        The jobs, in order.
    """
    run = run.resolve()
    python = str(site.python.expanduser()) if site.python else sys.executable
    command = (python, "-m", "nntrainer", "run", str(run / "config.yaml"), "--run-dir", str(run))
    threads = {} if site.resources.cpus is None else dict.fromkeys(THREADS, str(site.resources.cpus))
    return [JobSpec("run", command, directory.resolve(), {"PYTHONUNBUFFERED": "1", **threads, **site.environment})]
