"""A configuration and a site to jobs, and the order between them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deploy.errors import PreflightError
from deploy.jobs import JobSpec, Resources
from deploy.sites import DEFAULTS, ContainerSite, HTCondorSite, KubernetesSite, LocalSite, Site
from nntrainer.config import Config
from nntrainer.config.parts import REST, Part, ntuples_to_score, of_stage, parts_of, tune_parts
from nntrainer.config.results import JobNeeds
from nntrainer.files import expand, is_remote

# What OpenMP, BLAS and TensorFlow read; each would take all CPUs of the machine otherwise.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")

CONFIG_IN_POD = "/config/config.yaml"
"""Where pods find the configuration."""
LARGE = ("train", "tune")
"""The stages that want GPUs, and most of the time."""


def resolved(config: Config, site: Site, directory: Path) -> Config:
    """Return the configuration as jobs elsewhere read it: no path depends on where it was submitted.

    On Kubernetes paths are those that pods see, and relative ones refer to the work volume.

    Args:
        config: the configuration.
        site: where it is to run.
        directory: the directory that its relative paths refer to.

    Returns:
        The configuration, globs expanded where this machine sees the files.

    Raises:
        InputError: no file matches a pattern.
    """
    elsewhere = isinstance(site, KubernetesSite)
    start = site.work.path if isinstance(site, KubernetesSite) else directory

    def absolute(path: str) -> str:
        local = Path(path) if elsewhere else Path(path).expanduser()
        return path if is_remote(path) else os.path.normpath(start / local)

    def found(patterns: tuple[str, ...]) -> list[str]:
        paths = [absolute(pattern) for pattern in patterns]
        return paths if elsewhere else [absolute(path) for path in expand(paths)]

    def of_data(data: dict[str, object]) -> dict[str, object]:
        samples = [{**sample.model_dump(mode="json"), "files": found(sample.files)} for sample in config.data.samples]
        return {**data, "samples": samples, "directory": absolute(str(config.data.directory))}

    dump = config.dump()
    dump["data"] = of_data(dump["data"])
    if config.inject.files is not None:
        dump["inject"]["files"] = found(config.inject.files)
    if config.inject.directory is not None:
        dump["inject"]["directory"] = absolute(str(config.inject.directory))
    return Config.model_validate(dump)


def resources_of(stage: str, config: Config, site: Site) -> Resources:
    """Return what a job of a stage asks for: the site's default, unless the configuration says otherwise.

    Args:
        stage: ``run`` or a stage of the parts.
        config: the configuration.
        site: where it is to run.

    Returns:
        The resources; a training gets a GPU for each worker where the site has GPUs, and a trial what a training gets.
    """
    found = DEFAULTS[stage]
    if stage in ("run", *LARGE):
        workers = config.training.workers
        found = replace(found, gpus=workers if site.gpus else 0, cpus=max(found.cpus, workers))
    for given in (site.resources, config.deploy.resources):
        for name in ("train", "tune") if stage == "tune" else (stage,):
            needs = given.get(name, JobNeeds())  # type: ignore[call-overload]
            found = replace(found, **needs.model_dump(exclude_none=True))
    return found


def plan(config: Config, site: Site, run: Path, directory: Path) -> list[JobSpec]:
    """Return the jobs of a run.

    Args:
        config: the configuration as the jobs read it.
        site: where it is to run.
        run: the run directory as the jobs see it.
        directory: where the one job of a single-job run is started; parts start in the run directory.

    Returns:
        The jobs, each after those that it needs.
    """
    single = (config.deploy.jobs or site.jobs) == "single"
    if isinstance(site, KubernetesSite):
        if single:
            command = (*_in_pod(site, run), *_untracked(config))
            return [_job("run", "run", command, site.work.path, config, site)]
        groups = config.deploy.inject_jobs if site.jobset else 1
        return _in_pods(parts_of(config, groups, expanded=False), config, site, run)
    python = _program(site)
    config_file = str(run / "config.yaml")
    in_run = (*python, "run", "config.yaml", "--run-dir", ".")
    if single and isinstance(site, HTCondorSite) and site.sandboxes:
        return [_all_parts(parts_of(config), in_run, run, config, site)]
    if isinstance(site, LocalSite | ContainerSite) or single:
        command = (*python, "run", config_file, "--run-dir", str(run), *_untracked(config))
        job = _job("run", "run", command, directory if isinstance(site, LocalSite) else run, config, site)
        files = [*(path for sample in config.data.samples for path in sample.files), *(config.inject.files or ())]
        made = [str(config.data.directory), *([str(config.inject.directory)] if config.inject.directory else [])]
        return [replace(job, ntuples=tuple(dict.fromkeys(files)), outputs=tuple(made))]
    groups = min(config.deploy.inject_jobs, len(ntuples_to_score(config)))
    return [_part_job(part, in_run, run, config, site) for part in parts_of(config, groups)]


def plan_search(config: Config, site: Site, run: Path, directory: Path, jobs: int) -> list[JobSpec]:
    """Return the jobs of a search.

    Args:
        config: the configuration as the jobs read it.
        site: where it is to run.
        run: the run directory as the jobs see it.
        directory: where the one job on this machine is started; parts start in the run directory.
        jobs: how many do trials at a time.

    Returns:
        The jobs, each after those that it needs. On this machine one job that starts as many processes. Where jobs see
        only what is sent with them, each has a share of the trials.

    Raises:
        PreflightError: there is nothing to search, or it cannot be done there.
    """
    if config.tune is None:
        raise PreflightError("--tune: the configuration has no tune block")
    if config.tune.engine == "hyperopt" and jobs > 1:
        raise PreflightError(
            "--jobs: tune.engine 'hyperopt' keeps a search in one process; take the engine optuna, or --jobs 1"
        )
    if isinstance(site, KubernetesSite):
        return _in_pods(tune_parts(config, min(jobs, config.tune.most)), config, site, run)
    python = _program(site)
    if isinstance(site, LocalSite | ContainerSite):
        command = (*python, "tune", str(run / "config.yaml"), "--run-dir", str(run), "--jobs", str(jobs))
        job = _job("tune", "run", command, directory if isinstance(site, LocalSite) else run, config, site)
        files = [path for sample in config.data.samples for path in sample.files]
        return [replace(job, ntuples=tuple(dict.fromkeys(files)), outputs=(str(config.data.directory),))]
    in_run = (*python, "run", "config.yaml", "--run-dir", ".")
    parts = tune_parts(config, min(jobs, config.tune.most), shared=not site.sandboxes)
    return [_part_job(part, in_run, run, config, site) for part in parts]


def _in_pod(site: KubernetesSite, run: Path) -> tuple[str, ...]:
    return ("nntrainer", "run", CONFIG_IN_POD, "--run-dir", str(site.on_volume(run)))


def _in_pods(parts: Sequence[Part], config: Config, site: KubernetesSite, run: Path) -> list[JobSpec]:
    """Return the jobs of a run or a search on Kubernetes.

    Where nothing orders them, the job of a fold, or of a worker, does all that comes before it, which others may have
    done, and the one that ends last does all that comes after.
    """
    command = _in_pod(site, run)
    convert, large = of_stage(parts, "convert"), [part for part in parts if part.stage in LARGE]
    rest = [part for part in parts if part not in (*convert, *large)]
    names = [part.name for part in convert]
    if not site.jobset:
        return [
            _several(part.name, [*convert, part, *rest], [*names, part.name, REST], command, config, site)
            for part in large
        ]
    first = _several("convert", convert, names, command, config, site)
    others = [_several(part.name, [part], [part.name], command, config, site) for part in (*large, *rest)]
    return [first, *(replace(job, needs=_needs(job, (first, *others))) for job in others)]


def _needs(job: JobSpec, jobs: Sequence[JobSpec]) -> tuple[str, ...]:
    """Return the names of the jobs of the stage before."""
    stages = list(dict.fromkeys(each.stage for each in jobs))
    before = stages[stages.index(job.stage) - 1]
    return tuple(each.name for each in jobs if each.stage == before)


def _several(
    name: str,
    parts: Sequence[Part],
    words: Sequence[str],
    command: tuple[str, ...],
    config: Config,
    site: KubernetesSite,
) -> JobSpec:
    """Return a job that does several parts: with the most that one of their stages asks for, and the time of all."""
    stage = next((part.stage for part in parts if part.stage in LARGE), parts[0].stage)
    job = _job(name, stage, (*command, *(w for each in words for w in ("--part", each))), site.work.path, config, site)
    each = [resources_of(part.stage, config, site) for part in parts]
    needs = Resources(
        cpus=max(one.cpus for one in each),
        gpus=max(one.gpus for one in each),
        memory_mib=max(one.memory_mib for one in each),
        disk_mib=max(one.disk_mib for one in each),
        walltime_s=sum(one.walltime_s for one in each),
    )
    made = (*(path for part in parts for path in part.writes), *(part.record for part in parts))
    return replace(job, resources=needs, outputs=tuple(dict.fromkeys(made)))


def _untracked(config: Config) -> tuple[str, ...]:
    """Return the word that keeps a whole run from logging itself: it is logged when it is gathered."""
    return () if config.tracking is None else ("--no-track",)


def _program(site: Site) -> tuple[str, ...]:
    """Return what is called: in a container the program, elsewhere a module of an interpreter."""
    if getattr(site, "image", None) and getattr(site, "container", "") != "none":
        return ("nntrainer",)
    python = getattr(site, "python", None)
    here = sys.executable if isinstance(site, LocalSite) else "python3"
    return (str(python.expanduser()) if python else here, "-m", "nntrainer")


def _part_job(part: Part, command: tuple[str, ...], run: Path, config: Config, site: Site) -> JobSpec:
    job = _job(part.name, part.stage, (*command, "--part", part.name), run, config, site)
    return replace(job, needs=part.needs, inputs=part.reads, outputs=(*part.writes, part.record), ntuples=part.ntuples)


def _all_parts(parts: Sequence[Part], command: tuple[str, ...], run: Path, config: Config, site: Site) -> JobSpec:
    """Return one job that does all parts in a directory of its own, of which only what they make comes back."""
    job = _job("run", "run", (*command, *(word for part in parts for word in ("--part", part.name))), run, config, site)
    made = dict.fromkeys(path for part in parts for path in (*part.writes, part.record))
    read = dict.fromkeys(path for part in parts for path in part.ntuples)
    return replace(job, outputs=tuple(made), ntuples=tuple(read))


def _job(name: str, stage: str, command: tuple[str, ...], directory: Path, config: Config, site: Site) -> JobSpec:
    resources = resources_of(stage, config, site)
    # A site that meters processors gives as many threads; this machine, where nobody asked, gives all.
    metered = not isinstance(site, LocalSite) or ((needs := site.resources.get(stage)) is not None and needs.cpus)  # type: ignore[call-overload]
    threads = dict.fromkeys(THREADS, str(resources.cpus)) if metered else {}
    return JobSpec(
        name, stage, command, directory, {"PYTHONUNBUFFERED": "1", **threads, **site.environment}, resources=resources
    )
