"""This machine, in a container: Docker, Podman or Apptainer, in the background."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deploy.backends.base import Batch
from deploy.backends.process import ProcessBackend
from deploy.errors import DeployError, SiteError
from deploy.images import DIGEST, file_digest
from deploy.jobs import Finding, JobHandle, JobSpec
from deploy.quoting import kubernetes_name
from deploy.sites import ContainerSite
from nntrainer.config import Config
from nntrainer.files import is_remote

ENGINES = ("docker", "podman", "apptainer")
USER = 1000
"""Who the container runs as where deploy runs as root: never root itself."""


class ContainerBackend(ProcessBackend):
    """Runs the job of a run in a container that sees the run directory, the datasets and the ntuples."""

    def check(self, batch: Batch, config: Config) -> list[Finding]:
        """Return what is missing here: the engine, the image, a GPU."""
        site = _site(batch)
        try:
            engine = engine_of(site)
        except SiteError as error:
            return [Finding("error", "engine", str(error), "install one, or name it in the site file")]
        found = []
        if not image_digest(engine, site.image):
            fix = "build it with `make image`, or give its name in the site file"
            found.append(Finding("error", "image", f"{engine} has no image '{site.image}'", fix))
        if not _gpu(site):
            what = "there is no NVIDIA GPU on this machine; the job runs on the processors"
            found.append(Finding("warning", "gpu", what, "say `gpu: false` in the site file if that is meant"))
        for path in _seen(batch):
            if ":" in path or "," in path:
                found.append(
                    Finding("error", "path", f"{path!r} has a colon or comma, which {engine} cannot bind", "rename it")
                )
        return found

    def render(self, batch: Batch) -> dict[str, str]:
        """Return a shell script that does what the job does."""
        return super().render(self._known(batch))

    def submit(self, batch: Batch) -> list[JobHandle]:
        """Make the directories that the container writes to, and start the job."""
        own = [batch.run, *(path for path in batch.run.rglob("*"))]
        for each in batch.jobs[0].outputs:
            path = Path(each)
            own += [parent for parent in (path, *path.parents) if not parent.exists()]
            path.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0 and engine_of(_site(batch)) != "apptainer":
            for path in own:
                os.chown(path, USER, USER)
        return super().submit(self._known(batch))

    def cancel(self, batch: Batch, grace_s: float) -> None:
        """End the job, and the container if it outlived its client."""
        super().cancel(batch, grace_s)
        engine = engine_of(_site(batch))
        if engine != "apptainer":
            subprocess.run([engine, "rm", "--force", container_name(batch)], capture_output=True, check=False)

    def command(self, batch: Batch, job: JobSpec) -> tuple[str, ...]:
        """Return the engine's command."""
        site = _site(batch)
        engine = engine_of(site)
        if engine == "apptainer":
            return (*_apptainer(batch, site), *job.command)
        return (*_docker(batch, site, engine, job), *job.command)

    def _known(self, batch: Batch) -> Batch:
        """Return the batch with the image's digest in the environment, which the container cannot find out itself."""
        site = _site(batch)
        (job,) = batch.jobs
        environment = {**job.environment, DIGEST: image_digest(engine_of(site), site.image)}
        return replace(batch, jobs=(replace(job, environment=environment),))


def _site(batch: Batch) -> ContainerSite:
    if not isinstance(batch.site, ContainerSite):
        raise DeployError(f"site '{batch.site.name}' runs no containers on this machine")
    return batch.site


def engine_of(site: ContainerSite) -> str:
    """Return the engine that runs a site's containers.

    Args:
        site: the site.

    Returns:
        ``docker``, ``podman`` or ``apptainer``: the one it names, else Apptainer for a .sif and Docker before Podman.

    Raises:
        SiteError: there is none on this machine.
    """
    wanted = [site.engine] if site.engine != "auto" else ["apptainer"] if _is_file(site.image) else list(ENGINES)
    for engine in wanted:
        if shutil.which(engine):
            return engine
    raise SiteError(f"site '{site.name}': {' nor '.join(wanted)} is not installed on this machine")


def _is_file(image: str) -> bool:
    return image.endswith(".sif") or image.startswith(("/", "./", "~"))


def image_digest(engine: str, image: str) -> str:
    """Return what tells this image from others: its id, or the SHA-256 of a .sif; empty where there is no image."""
    if engine == "apptainer":
        path = Path(image).expanduser()
        return file_digest(path) if path.is_file() else ""
    result = subprocess.run(
        [engine, "image", "inspect", "--format", "{{.Id}}", image], capture_output=True, text=True, check=False
    )
    return result.stdout.strip() if result.returncode == 0 else ""


def _gpu(site: ContainerSite) -> bool:
    return site.gpu is True or (site.gpu == "auto" and Path("/dev/nvidiactl").exists())


def container_name(batch: Batch) -> str:
    """Return the name of a run's container."""
    return kubernetes_name("nntrainer", str(batch.run))


def _written(batch: Batch) -> list[str]:
    return list(dict.fromkeys([str(batch.run), *batch.jobs[0].outputs]))


def _read(batch: Batch) -> list[str]:
    folders = [str(Path(path).parent) for path in batch.jobs[0].ntuples if not is_remote(path)]
    return list(dict.fromkeys([*folders, *(str(path) for path in _site(batch).binds)]))


def _seen(batch: Batch) -> list[str]:
    return [*_written(batch), *_read(batch)]


def _docker(batch: Batch, site: ContainerSite, engine: str, job: JobSpec) -> tuple[str, ...]:
    user = (USER, USER) if os.getuid() == 0 else (os.getuid(), os.getgid())
    binds: list[str] = []
    for path in _written(batch):
        binds += ["--volume", f"{path}:{path}"]
    for path in _read(batch):
        binds += ["--volume", f"{path}:{path}:ro"] if path not in _written(batch) else []
    gpu = (["--gpus", "all"] if engine == "docker" else ["--device", "nvidia.com/gpu=all"]) if _gpu(site) else []
    # A name without a value: the engine takes it from its own environment, and no value stands on a command line.
    variables = [word for name in job.environment for word in ("--env", name)]
    return (
        *(engine, "run", "--rm", "--init", "--name", container_name(batch), "--user", "{}:{}".format(*user)),
        *("--network", "host", "--shm-size", "2g", "--security-opt", "no-new-privileges", *gpu, *binds, *variables),
        *("--workdir", str(batch.run), site.image),
    )


def _apptainer(batch: Batch, site: ContainerSite) -> tuple[str, ...]:
    binds: Sequence[str] = [word for path in _written(batch) for word in ("--bind", path)]
    binds = [*binds, *(w for p in _read(batch) if p not in _written(batch) for w in ("--bind", f"{p}:{p}:ro"))]
    return (
        *("apptainer", "exec", *(["--nv"] if _gpu(site) else []), "--no-home", *binds, "--pwd", str(batch.run)),
        str(Path(site.image).expanduser()),
    )
