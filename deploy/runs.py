"""The run directory as deploy sees it: its record, its state, how it is found again."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from deploy.backends import backend_named
from deploy.backends.base import Batch, read_record
from deploy.errors import DeployError, RunNotFoundError
from deploy.jobs import JobHandle, JobSeen, JobSpec
from deploy.sites import Site, site_of
from nntrainer.config import Config
from nntrainer.config.parts import RECORDS
from nntrainer.errors import nearest, one_of
from nntrainer.files import now, write_json, write_text

FINISHED = ("done", "failed", "interrupted", "cancelled", "lost")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
SUBMITTING_S = 60.0
"""After this time a submission that recorded no job was cut off."""


@dataclass(frozen=True)
class Run:
    """A run directory."""

    path: Path

    def read(self, name: str) -> dict[str, Any]:
        """Return a JSON record of the run, empty where there is none yet."""
        return read_record(self.path / name)

    def update(self, **changes: Any) -> None:
        """Change ``deploy.json``, which only deploy writes."""
        write_json(self.path / "deploy.json", self.read("deploy.json") | changes)

    def batch(self) -> Batch | None:
        """Return the jobs of the run, None where deploy submitted none.

        Also jobs that a killed deploy had no time to note are found.
        """
        deploy = self.read("deploy.json")
        if not deploy:
            return None
        path = self.path / "deploy.json"
        try:
            site = site_of(deploy["site_file"], str(path))
            jobs = tuple(JobSpec.from_dict(job) for job in deploy["plan"])
            handles = tuple(JobHandle(**job) for job in deploy["jobs"])
        except (TypeError, KeyError):
            raise DeployError(f"{path}: another version of deploy wrote this record") from None
        config = self.path / "config.yaml"
        text = config.read_text(encoding="utf-8") if config.exists() else ""
        batch = Batch(self.path.resolve(), site, jobs, handles, deploy["cancelled"], config=text)
        return batch if handles else replace(batch, handles=tuple(backend_named(site.backend).find(batch)))

    def records(self) -> dict[str, dict[str, Any]]:
        """Return what the jobs say of themselves: ``run.json`` as ``run``, and the records of the parts by name."""
        found = {path.stem: self.read(f"{RECORDS}/{path.name}") for path in sorted(self.path.glob(f"{RECORDS}/*.json"))}
        whole = self.read("run.json")
        return {"run": whole, **found} if whole else found


@dataclass(frozen=True)
class Seen:
    """What can be said about a run: its state, why, its jobs, and its records."""

    state: str
    note: str
    jobs: tuple[JobSeen, ...]
    deploy: dict[str, Any]
    records: dict[str, dict[str, Any]]


def directory_of(config: Config, root: Path, name: str | None) -> Path:
    """Return the directory of a new run, which is not made yet.

    Args:
        config: the configuration.
        root: the directory of all runs.
        name: name of the run below ``root/<config name>``; time and digest by default.

    Returns:
        The directory.

    Raises:
        DeployError: a run of this name exists, or the name is no file name.
    """
    if name is not None and not NAME.fullmatch(name):
        raise DeployError(
            f"--name {name[:40]!r}: use at most 100 of the letters A to z, digits, '-', '_' and '.', "
            "beginning with a letter or digit"
        )
    path = root / config.name / (name or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{config.digest()[:8]}")
    if path.exists():
        raise _exists(path)
    return path


def _exists(path: Path) -> DeployError:
    hint = f"follow it with `deploy status {path}`, or give another --name"
    if not (path / "config.yaml").exists():
        hint = "it holds no configuration, as when a submission was cut off; remove it or give another --name"
    return DeployError(f"{path}: this run exists already; {hint}")


def create(
    path: Path,
    config: Config,
    site: Site,
    jobs: Sequence[JobSpec],
    rendered: dict[str, str],
    sources: Mapping[str, str] | None = None,
) -> Run:
    """Make a run directory with the configuration, the plan and what will be submitted in it.

    Args:
        path: the directory.
        config: the configuration as the jobs read it.
        site: where they will run.
        jobs: the plan.
        rendered: what will be submitted, by file name.
        sources: ntuples that are sent with the jobs, by their path in the run directory, which becomes a link.

    Returns:
        The run.

    Raises:
        DeployError: the directory exists.
    """
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        raise _exists(path) from None
    for folder in ("logs", "rendered"):
        (path / folder).mkdir()
    run = Run(path)
    run.update(
        format=2,
        site=site.name,
        backend=site.backend,
        submitted=now(),
        cancelled=None,
        site_file=site.model_dump(mode="json"),
        plan=[job.as_dict() for job in jobs],
        jobs=[],
        retries=[],
    )
    for name, text in rendered.items():
        write_text(path / "rendered" / name, text)
    for name, source in (sources or {}).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).symlink_to(source)
    write_text(path / "config.yaml", text_of(config))
    return run


def text_of(config: Config) -> str:
    """Return a configuration as the jobs read it."""
    text: str = yaml.safe_dump(config.dump(), sort_keys=False, allow_unicode=True)
    return text


def submit(run: Run) -> None:
    """Submit the jobs of a run and note their handles."""
    batch = _batch(run)
    run.update(jobs=[handle.as_dict() for handle in backend_named(batch.site.backend).submit(batch)])


def _batch(run: Run) -> Batch:
    batch = run.batch()
    if batch is None:
        raise DeployError(
            f"{run.path}: deploy submitted no job of this run; see to it where `nntrainer run` was started"
        )
    return batch


def cancel(run: Run, grace_s: float) -> str:
    """End the jobs of a run.

    Args:
        run: the run.
        grace_s: how long they may take to save their state, in seconds.

    Returns:
        The state they are in now, or that they had ended already.

    Raises:
        DeployError: the run is not deploy's, or runs where it cannot be ended from here.
    """
    seen = look(run)
    if seen.state in FINISHED and seen.state != "lost":
        return f"{seen.state} already"
    batch = _batch(run)
    if not batch.handles:
        raise DeployError(f"{run.path}: no job of this run was submitted; `deploy rm {run.path}` removes it")
    cancelled = run.read("deploy.json")["cancelled"]
    run.update(cancelled=now())
    try:
        backend_named(batch.site.backend).cancel(batch, grace_s)
    except DeployError:
        run.update(cancelled=cancelled)
        raise
    return look(run).state


def retry(run: Run) -> list[str]:
    """Start again what failed, was held, interrupted or lost; what is done stays done.

    Args:
        run: the run.

    Returns:
        The names of the jobs that were started again.

    Raises:
        DeployError: there is nothing to start again, or the run is still going on.
    """
    batch, seen = _batch(run), look(run)
    names = [job.name for job in seen.jobs if job.state in (*FINISHED[1:], "held")] or [
        job.name for job in batch.jobs if not seen.jobs
    ]
    if not names:
        raise DeployError(f"{run.path}: nothing to try again: the run is {seen.state}")
    before = run.read("deploy.json")
    history = [*before["retries"], {"time": now(), "jobs": names, "why": seen.note}]
    # Without handles, so that what a killed retry has submitted is found.
    run.update(cancelled=None, retries=history, jobs=[])
    backend = backend_named(batch.site.backend)
    try:
        handles = backend.retry(replace(batch, cancelled=None), names) if batch.handles else backend.submit(batch)
    except DeployError:
        run.update(**{key: before[key] for key in ("cancelled", "retries", "jobs")})
        raise
    run.update(jobs=[handle.as_dict() for handle in handles])
    return names


def remove(run: Run) -> None:
    """Remove a run that has ended, and all it left elsewhere.

    Args:
        run: the run.

    Raises:
        DeployError: it has not ended.
    """
    seen, batch = look(run), run.batch()
    if seen.state not in FINISHED:
        raise DeployError(f"{run.path}: the run is {seen.state}; `deploy cancel {run.path}` ends it first")
    if batch is not None and batch.handles:
        backend_named(batch.site.backend).remove(batch)
    shutil.rmtree(run.path)


def logs_of(run: Run, job: str | None = None) -> list[Path]:
    """Return the logs of a run's jobs, brought here and up to date.

    Args:
        run: the run.
        job: only this job.

    Returns:
        The files, in the order of the jobs.

    Raises:
        DeployError: there is no such job.
    """
    batch = run.batch()
    if batch is None or not batch.handles:
        return sorted((run.path / "logs").glob("*.log"))
    names = [each.name for each in batch.jobs]
    if job is not None and job not in names:
        raise DeployError(f"{run.path}: there is no job '{job}'; jobs are {one_of(names)}.{nearest(job, names)}")
    paths = backend_named(batch.site.backend).fetch_logs(batch)
    return [path for path in paths if job is None or path.stem == job]


def failed_logs(run: Run) -> list[Path]:
    """Return those logs of failed jobs that are here."""
    seen = look(run)
    names = [job.name for job in seen.jobs if job.state in FINISHED[1:]] or ["run"]
    return [path for path in logs_of(run) if path.stem in names and path.exists()]


def list_runs(root: Path) -> list[Run]:
    """Return all runs below a directory, oldest first."""
    paths = [path.parent for path in root.glob("*/*/config.yaml")]
    return [Run(path) for path in sorted(paths, key=lambda path: ((path / "config.yaml").stat().st_mtime_ns, path))]


def find(text: str | None, root: Path) -> Run:
    """Find a run by its directory, by ``name/run``, or by its name alone: the latest of it.

    Args:
        text: what the user wrote; the latest run of all if absent.
        root: the directory of all runs.

    Returns:
        The run.

    Raises:
        RunNotFoundError: there is none.
    """
    for path in (Path(text), root / text) if text else ():
        if (path / "config.yaml").is_file():
            return Run(path)
    runs = list_runs(root)
    if not runs:
        wanted = f"no run '{text}'" if text else "no run"
        raise RunNotFoundError(f"there is {wanted}: {root} holds none; `deploy submit CONFIG` or --runs DIR")
    if text is None:
        return runs[-1]
    names: dict[str, Run] = {}
    for run in runs:
        parent, own = run.path.parent.name, run.path.name
        names |= {parent: run, own: run, f"{parent}/{own}": run}
    if text not in names:
        raise RunNotFoundError(f"there is no run '{text}' in {root}; `deploy list` shows them.{nearest(text, names)}")
    return names[text]


def look(run: Run) -> Seen:
    """Return the state of a run, from its records and its backend."""
    deploy, batch = run.read("deploy.json"), run.batch()
    if batch is None:  # started by `nntrainer run` itself
        return _own(run)
    if not batch.handles:  # the submission is under way, or was cut off
        age = datetime.now(UTC) - datetime.fromisoformat(deploy["submitted"])
        cut_off = age.total_seconds() >= SUBMITTING_S
        note = "its submission was cut off; `deploy retry` submits it" if cut_off else ""
        return Seen("lost" if cut_off else "queued", note, (), deploy, run.records())
    jobs = tuple(_with_progress(run, job) for job in backend_named(batch.site.backend).look(batch))
    state = overall([job.state for job in jobs])
    return Seen(state, _note(jobs, state), jobs, deploy, run.records())


def _with_progress(run: Run, job: JobSeen) -> JobSeen:
    """Add how far a running training is, where its record can be seen from here."""
    if job.progress or job.state != "running" or not job.name.startswith("train-"):
        return job
    record = run.read(f"training/{job.name.removeprefix('train-')}/training.json")
    if not record.get("epochs"):
        return job
    return replace(job, progress=f"{record['epochs']} epochs, best val loss {record['best_val_loss']:.4f}")


def overall(states: Sequence[str]) -> str:
    """Return the state of a run from those of its jobs: what is still going on before what has ended."""
    order = ("running", "queued", "held", "failed", "lost", "interrupted", "cancelled")
    return next((state for state in order if state in states), "queued" if "waiting" in states else "done")


def _note(jobs: Sequence[JobSeen], state: str) -> str:
    """Return why, from the first job that has that state and says why."""
    for job in jobs:
        if job.why and (job.state == state or job.state == "held" or state in ("running", "queued")):
            return job.why if len(jobs) == 1 else f"{job.name}: {job.why}"
    return ""


def _own(run: Run) -> Seen:
    """Return what ``run.json`` says, unless the process that wrote it ran on this machine and does not any more."""
    record = run.read("run.json")
    pid, here = record.get("pid"), record.get("host") == socket.gethostname()
    gone = bool(here and pid and not Path(f"/proc/{pid}").exists())
    state = str(record.get("state", "queued"))
    if state not in FINISHED and gone:
        return Seen("lost", "its process is gone; the same `nntrainer run` goes on", (), {}, run.records())
    return Seen(state, "", (), {}, run.records())
