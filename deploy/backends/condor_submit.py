"""What HTCondor is given: submit files and a DAG, from the templates in ``condor/``."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Collection
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from deploy.backends.base import Batch
from deploy.errors import DeployError
from deploy.images import DIGEST, file_digest
from deploy.jobs import JobSpec
from deploy.quoting import condor_arguments, condor_environment, condor_path, condor_text
from deploy.sites import HTCondorSite, Queue
from nntrainer.files import is_remote

TEMPLATES = Path(__file__).parent.parent / "templates" / "condor"
DAG = "run.dag"
LOG = "logs/condor.log"
"""The event log of all jobs of a run, in the run directory."""
OUT_OF_MEMORY = "(HoldReasonCode == 34 || (HoldReasonCode == 21 && HoldReasonSubCode == 102))"
MEMORY_HOLDS = "(NumHoldsByReason.JobOutOfResources ?: 0) + (NumHoldsByReason.StartdHeldJob ?: 0)"
RESUMING = ("run", "train", "tune")
"""Stages that go on where they were."""


def htcondor_site(batch: Batch) -> HTCondorSite:
    """Return the site of a run.

    Args:
        batch: the run.

    Returns:
        The site.

    Raises:
        DeployError: it is no HTCondor pool.
    """
    if not isinstance(batch.site, HTCondorSite):
        raise DeployError(f"site '{batch.site.name}' is no HTCondor pool")
    return batch.site


def is_dag(batch: Batch) -> bool:
    """Return whether the jobs of a run are nodes of a DAG."""
    return batch.jobs[0].stage != "run"


def run_key(run: Path) -> str:
    """Return what the jobs of a run are found by in a queue."""
    return hashlib.sha256(str(run).encode()).hexdigest()[:16]


def node(name: str) -> str:
    """Return the name of a job's node; DAGMan keeps ``.`` and ``+`` for itself."""
    return name.replace(".", "_2E")


def submit_files(batch: Batch) -> dict[str, str]:
    """Return all files of a submission by name."""
    files = {f"{job.name}.sub": _submit_file(batch, job) for job in batch.jobs}
    return {**files, DAG: dag_file(batch)} if is_dag(batch) else files


def dag_file(batch: Batch, done: Collection[str] = ()) -> str:
    """Return the DAG.

    Args:
        batch: the run.
        done: jobs that need not be done again.

    Returns:
        Its text.
    """
    return _template("run.dag.j2").render(title=_title(batch), jobs=batch.jobs, done=done, node=node)


def queue_for(site: HTCondorSite, walltime_s: int) -> Queue | None:
    """Return the first queue that lasts long enough, None where none does or the site has none."""
    return next((queue for queue in site.queues if queue.walltime_s >= walltime_s), None)


def inputs_of(job: JobSpec) -> list[str]:
    """Return what is sent with a job, relative to the run directory.

    A job that does everything gets all ntuples as one directory: where it is spooled, files lose theirs.
    """
    ntuples = [path for path in job.ntuples if not is_remote(path)]
    if job.stage == "run":
        ntuples = list(dict.fromkeys(path.split("/", 1)[0] for path in ntuples))
    return ["config.yaml", *job.inputs, *ntuples]


def outputs_of(job: JobSpec) -> list[str]:
    """Return what comes back from a job: directories, and files at the top."""
    return list(dict.fromkeys([*(_returned(path) for path in job.outputs), "logs"]))


def _returned(output: str) -> str:
    path = PurePosixPath(output)
    return str(path.parent) if path.suffix and len(path.parts) > 1 else output


@cache  # compiling it takes longer than filling it in
def _template(name: str) -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(TEMPLATES)
    # Texts for HTCondor, which has no HTML in it; all quoting is in deploy.quoting.
    templates = Environment(
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    templates.filters["node"] = node
    return templates.get_template(name)


def _title(batch: Batch) -> str:
    return condor_text(f"{batch.run.parent.name}/{batch.run.name}, for {batch.site.name}")


def _submit_file(batch: Batch, job: JobSpec) -> str:
    site = htcondor_site(batch)
    sandbox = site.sandboxes
    command = _command(batch, site, job)
    if sandbox:
        command = ["/bin/sh", "-c", f'{_prepare(job)}; exec "$@"', "sh", *command]
    elif not command[0].startswith("/"):
        command = ["/usr/bin/env", *command]
    environment = dict(job.environment)
    if site.image and (digest := image_digest(site.image)):
        environment[DIGEST] = digest
    text: str = _template("job.sub.j2").render(
        title=_title(batch),
        job=job,
        site=site,
        sandbox=sandbox,
        container=site.container,
        image=condor_text(_image(site)),
        quoted=_string,
        send_image=sandbox and not _image(site).startswith("/cvmfs/"),
        executable=condor_text(command[0]),
        arguments=condor_arguments(command[1:]),
        environment=condor_environment(environment),
        directory=None if site.transfer == "spool" else condor_text(str(batch.run)),
        inputs=", ".join(condor_path(path) for path in inputs_of(job)),
        outputs=", ".join(condor_path(path) for path in outputs_of(job)),
        resumes=job.stage in RESUMING,
        needs=job.resources,
        memory=_memory(site, job),
        gpu=_gpu(site),
        proxy=_proxy(site, job),
        release=_release(site, job),
        site_lines=_site_lines(site, job),
        key=run_key(batch.run),
    )
    return text


def _image(site: HTCondorSite) -> str:
    image = site.image or ""
    return str(Path(image).expanduser()) if image.startswith("~") else image


def _command(batch: Batch, site: HTCondorSite, job: JobSpec) -> list[str]:
    """Return what runs on the machine, with the container where the job itself has to start it."""
    if site.container != "apptainer":
        return list(job.command)
    seen = [str(path) for path in site.binds]
    if site.transfer == "shared":
        folders = [str(Path(path).parent) for path in job.ntuples if not is_remote(path)]
        own = [folder_of(path) for path in (*job.inputs, *job.outputs) if path.startswith("/")]
        seen = [str(batch.run), *own, *seen, *folders]
    binds = [word for path in _outermost(seen) for word in ("-B", path)]
    place = ["--pwd", str(batch.run)] if site.transfer == "shared" else []
    gpu = ["--nv"] if job.resources.gpus else []
    return [str(site.apptainer), "exec", *gpu, "--no-home", *binds, *place, _image(site), *job.command]


def folder_of(path: str) -> str:
    """Return the directory that a file or directory of a job is, or lies in."""
    return str(PurePosixPath(path).parent) if PurePosixPath(path).suffix else path


def _outermost(paths: list[str]) -> list[str]:
    """Return the paths that do not lie in others of them."""
    unique = list(dict.fromkeys(paths))
    return [path for path in unique if not any(path != other and Path(path).is_relative_to(other) for other in unique)]


def _prepare(job: JobSpec) -> str:
    """Return shell commands that make what comes back: HTCondor holds a job that lacks one of its outputs."""
    outputs = outputs_of(job)
    files = [path for path in outputs if PurePosixPath(path).suffix]
    text = f"mkdir -p {shlex.join(path for path in outputs if path not in files)}"
    return f"{text}; touch {shlex.join(files)}" if files else text


def _memory(site: HTCondorSite, job: JobSpec) -> str:
    """Return the memory in MiB: twice as much after each time it was not enough, up to what the site grants."""
    base, most = job.resources.memory_mib, _most_memory(site, job)
    return f"min({{{most}, {base} * pow(2, {MEMORY_HOLDS})}})" if most > base else str(base)


def _most_memory(site: HTCondorSite, job: JobSpec) -> int:
    base = job.resources.memory_mib
    return max(base, min(site.limits.memory_mib or base * 2**site.max_retries, base * 2**site.max_retries))


def _release(site: HTCondorSite, job: JobSpec) -> str:
    """Return when a held job may go on by itself: with more memory, or when its time was up and it has a checkpoint."""
    cases = []
    if _most_memory(site, job) > job.resources.memory_mib:
        cases.append(f"({OUT_OF_MEMORY} && {MEMORY_HOLDS} <= {site.max_retries})")
    if job.stage in RESUMING and site.max_retries:
        cases.append(f"(HoldReasonCode == 46 && NumHoldsByReason.JobDurationExceeded <= {site.max_retries})")
    return " || ".join(cases)


def _gpu(site: HTCondorSite) -> dict[str, str]:
    needs, lines = site.gpu, {}
    if needs.minimum_capability is not None:
        lines["gpus_minimum_capability"] = str(needs.minimum_capability)
    if needs.minimum_memory_mib is not None:
        lines["gpus_minimum_memory"] = str(needs.minimum_memory_mib)
    if needs.require:
        lines["require_gpus"] = needs.require
    if needs.exclude_mig:
        lines["requirements"] = '!regexp("MIG", TARGET.GPUs_DeviceName)'
    return lines


def _proxy(site: HTCondorSite, job: JobSpec) -> str | None:
    """Return the file of the proxy, empty for the usual place; None where the job needs none."""
    needed = any(is_remote(path) for path in job.ntuples)
    for credential in site.credentials:
        if credential.kind == "x509" and needed:
            return condor_text(str(credential.path.expanduser())) if credential.path else ""
    return None


def _site_lines(site: HTCondorSite, job: JobSpec) -> dict[str, str]:
    queue = queue_for(site, job.resources.walltime_s)
    return {**site.submit, **(queue.submit if queue else {})}


def _string(text: str) -> str:
    """Return a ClassAd string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def image_digest(image: str) -> str:
    """Return what tells an image from others, where it can be seen from here; else an empty text."""
    path = Path(image).expanduser()
    if path.is_file():
        return file_digest(path)
    if path.is_dir():  # unpacked: CVMFS links the tag to a directory that is called by the digest
        return path.resolve().name
    return ""
