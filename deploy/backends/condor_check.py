"""What an HTCondor site would refuse, hold or remove, found before it is submitted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from deploy.backends.base import Batch
from deploy.backends.condor_bindings import Queue, token_directories
from deploy.backends.condor_submit import htcondor_site, is_dag, queue_for, submit_files
from deploy.credentials import check_credential
from deploy.errors import DeployError, SubmitError
from deploy.images import unserved
from deploy.jobs import Finding, JobSpec
from deploy.sites import HTCondorSite
from nntrainer.config import Config
from nntrainer.errors import MissingDependencyError
from nntrainer.files import is_remote

MIB = 1 << 20
RESULTS_MIB = 100
"""What plots, models and logs of a run take at most, besides scored ntuples."""


def findings(batch: Batch, config: Config) -> list[Finding]:
    """Return what an HTCondor site would refuse, hold or remove.

    Args:
        batch: the run.
        config: the configuration as the jobs read it.

    Returns:
        What was found.
    """
    site = htcondor_site(batch)
    found = [*_names(batch, site), *_submission(batch, site), *_image(batch, site), *_gpus(batch, site)]
    for job in batch.jobs:
        found += _walltime(site, job)
    found += _space(batch)
    for credential in site.credentials:
        if credential.kind != "x509" or any(is_remote(path) for job in batch.jobs for path in job.ntuples):
            found += check_credential(credential, _longest(batch), token_directories(site))
    return [*found, *_reach(site)]


def _names(batch: Batch, site: HTCondorSite) -> list[Finding]:
    """Find names that cannot be written into a submit file."""
    found = []
    try:
        submit_files(batch)
    except DeployError as error:
        found.append(Finding("error", "names", str(error), "rename it"))
    if site.transfer != "spool" and is_dag(batch) and "$(" in str(batch.run):
        found.append(Finding("error", "--runs", f"{batch.run}: DAGMan cannot work where a name has '$('", "rename it"))
    if site.container == "apptainer" and site.transfer == "shared":
        paths = [str(batch.run), *(path for job in batch.jobs for path in job.ntuples if not is_remote(path))]
        found += [
            Finding("error", "names", f"{path!r} has a colon or comma, which apptainer cannot bind", "rename it")
            for path in dict.fromkeys(paths)
            if ":" in path or "," in path
        ]
    return found


def _walltime(site: HTCondorSite, job: JobSpec) -> list[Finding]:
    asked = job.resources.walltime_s
    if not site.queues or queue_for(site, asked):
        return []
    longest = max(site.queues, key=lambda queue: queue.walltime_s)
    what = f"{asked} s of run time are asked for, and the longest queue of site '{site.name}', {longest.name}, "
    fix = f"ask for at most {longest.walltime_s}; a training that is cut off goes on from its checkpoint"
    return [
        Finding("error", f"deploy.resources.{job.stage}.walltime_s", f"{what}ends jobs after {longest.walltime_s}", fix)
    ]


def _submission(batch: Batch, site: HTCondorSite) -> list[Finding]:
    """Compare the number of jobs, and what is sent with them, with what the site takes."""
    found, limits = [], site.limits
    if limits.jobs is not None and len(batch.jobs) > limits.jobs:
        what = f"these are {len(batch.jobs)} jobs, and site '{site.name}' takes {limits.jobs} in one submission"
        found.append(
            Finding("error", "deploy.jobs", what, "say `deploy.jobs: single`, or a smaller deploy.inject_jobs")
        )
    if site.sandboxes and limits.transfer_mib is not None:
        size = _size(batch) / MIB
        if size > limits.transfer_mib:
            what = f"{size:.0f} MiB of ntuples would be sent along, and site '{site.name}' takes {limits.transfer_mib}"
            fix = "name the ntuples by root:// addresses, which the jobs read by themselves"
            found.append(Finding("error", "data.samples", what, fix))
    return found


def _size(batch: Batch) -> int:
    """Return the size of all local ntuples in bytes; missing ones are another finding."""
    paths = {batch.sources.get(path, path) for job in batch.jobs for path in job.ntuples if not is_remote(path)}
    return sum(Path(path).stat().st_size for path in paths if Path(path).is_file())


def _space(batch: Batch) -> list[Finding]:
    """Compare the space where runs lie with what may come: scored ntuples are smaller than the ntuples."""
    there = next(path for path in (batch.run, *batch.run.parents) if path.exists())
    needed, free = _size(batch) // MIB + RESULTS_MIB, shutil.disk_usage(there).free // MIB
    if free >= needed:
        return []
    what = f"{there} has {free} MiB left, and the results may take {needed}"
    return [Finding("error", "--runs", what, "make room, or give another --runs directory")]


def _image(batch: Batch, site: HTCondorSite) -> list[Finding]:
    if site.container == "none":
        return []
    fix = "give the site file's `image` key a .sif file, a directory, or an address such as docker://"
    if not site.image:
        return [Finding("error", "image", f"site '{site.name}' runs containers and names no image", fix)]
    if "://" in site.image:
        return []
    path = Path(site.image).expanduser()
    if path.exists():
        return [] if os.access(path, os.R_OK) else [Finding("error", "image", f"{path} cannot be read", "chmod a+r it")]
    top = Path("/", *path.parts[1:2])
    if path.is_absolute() and (site.transfer == "spool" or (top == Path("/cvmfs") and not _mounted(top))):
        what = f"{path} cannot be seen from here; whether it exists is found out when jobs start"
        return [Finding("warning", "image", what, "check on a machine of the site")]
    return [Finding("error", "image", f"there is no image {path}", f"`make image` builds one; {fix}")]


def _mounted(top: Path) -> bool:
    return top.is_dir() and any(top.iterdir())


def _gpus(batch: Batch, site: HTCondorSite) -> list[Finding]:
    """Compare the site's GPUs with what jobs ask for and with what the image has kernels for."""
    asking = [job for job in batch.jobs if job.resources.gpus]
    if not asking:
        return []
    lowest = site.gpu.minimum_capability or 0.0
    memory = site.gpu.minimum_memory_mib or 0
    matching = [gpu for gpu in site.gpus if gpu.capability >= lowest and gpu.memory_mib >= memory]
    where = f"deploy.resources.{asking[0].stage}.gpus"
    if not matching:
        names = ", ".join(gpu.name for gpu in site.gpus) or "none"
        what = f"GPUs are asked for, and no GPU of site '{site.name}' ({names}) has what its gpu block demands"
        return [Finding("error", where, what, "ask for 0, or change the site file")]
    fix = "use other GPUs (the site file's gpu.minimum_capability and gpu.require choose them), or another image"
    return unserved({gpu.name: f"{gpu.capability:.1f}" for gpu in matching}, fix)


def _longest(batch: Batch) -> float:
    """Return how long the jobs may run one after the other, in seconds, by the order between them."""
    until: dict[str, float] = {}
    for job in batch.jobs:
        until[job.name] = max((until[name] for name in job.needs), default=0.0) + job.resources.walltime_s
    return max(until.values())


def _reach(site: HTCondorSite) -> list[Finding]:
    try:
        Queue(site)
    except MissingDependencyError as error:
        return [Finding("error", "htcondor", str(error), "install them where deploy runs")]
    except SubmitError as error:
        return [Finding("error", "schedd", str(error), "go to a machine of the site, or mend the site file")]
    return []
