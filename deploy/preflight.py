"""Every check that can fail before a queue does."""

from __future__ import annotations

from pathlib import Path

from deploy.backends import backend_named
from deploy.backends.base import Batch
from deploy.errors import PreflightError
from deploy.jobs import Finding, JobSpec
from nntrainer.config import Config
from nntrainer.errors import NNTrainerError
from nntrainer.files import expand, is_remote

UNITS = {"memory_mib": "MiB of memory", "disk_mib": "MiB of scratch space", "walltime_s": "s of run time"}


def preflight(batch: Batch, config: Config) -> list[Finding]:
    """Check a run before it is submitted.

    Args:
        batch: the run with its jobs.
        config: the configuration as the jobs read it.

    Returns:
        What was found; errors stop a submission, warnings do not.

    Raises:
        ConfigError: the training has one class alone.
    """
    config.require_classes()
    found = _directory(batch)
    for job in batch.jobs:
        found += _limits(batch, job)
    if batch.site.backend != "kubernetes":  # there, paths are those that pods see
        found += _inputs(batch)
    found += backend_named(batch.site.backend).check(batch, config)
    return list(dict.fromkeys(found))


def refuse_errors(findings: list[Finding]) -> None:
    """Raise the errors among findings as one message.

    Args:
        findings: what `preflight` found.

    Raises:
        PreflightError: there are errors.
    """
    errors = [f"{each.where}: {each.what}; {each.fix}" for each in findings if each.level == "error"]
    if errors:
        raise PreflightError("\n".join(errors))


def _directory(batch: Batch) -> list[Finding]:
    for refused in batch.site.refused_directories:
        if batch.run.is_relative_to(refused):
            what = f"the run would lie in {batch.run}, and site '{batch.site.name}' takes no jobs from {refused}"
            return [Finding("error", "--runs", what, "give a --runs directory elsewhere")]
    return []


def _limits(batch: Batch, job: JobSpec) -> list[Finding]:
    """Compare what a job asks for with what the site grants."""
    found = []
    for key, most in batch.site.limits.model_dump(exclude_none=True).items():
        asked = getattr(job.resources, key, None)
        if asked is not None and asked > most:
            unit = UNITS.get(key, key)
            found.append(
                Finding(
                    "error",
                    f"deploy.resources.{job.stage}.{key}",
                    f"{asked} {unit} are asked for, and site '{batch.site.name}' grants {most}",
                    f"ask for at most {most}",
                )
            )
    return found


def _inputs(batch: Batch) -> list[Finding]:
    """Look for every local ntuple."""
    found = []
    ntuples = (batch.sources.get(path, path) for job in batch.jobs for path in job.ntuples)
    for path in dict.fromkeys(path for path in ntuples if not is_remote(path)):
        try:
            for each in expand([path]):
                Path(each).open("rb").close()
        except NNTrainerError as error:
            found.append(Finding("error", "data.samples", str(error), "correct the path, or make the file"))
        except OSError as error:
            found.append(Finding("error", "data.samples", f"{path}: {error.strerror}", "make it readable"))
    return found
