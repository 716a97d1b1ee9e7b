"""The run directory as deploy sees it: its record, its state, how it is found again."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from deploy.backends import backend_named
from deploy.errors import DeployError, RunNotFoundError
from deploy.jobs import JobHandle, JobSpec
from deploy.sites import Site
from nntrainer.config import Config
from nntrainer.errors import Interrupted, nearest
from nntrainer.files import now, write_json, write_text

FINISHED = ("done", "failed", "interrupted", "cancelled", "lost")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
SUBMITTING_S = 60.0
"""After this time a submission that recorded no job was cut off."""


@dataclass(frozen=True)
class Run:
    """A run directory."""

    path: Path

    @property
    def log(self) -> Path:
        """What the job printed."""
        return self.path / "logs" / "run.log"

    def read(self, name: str) -> dict[str, Any]:
        """Return a JSON record of the run, empty where there is none yet."""
        path = self.path / name
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise DeployError(f"{path}: the record is damaged: {error}") from None
        if not isinstance(record, dict):
            raise DeployError(f"{path}: the record is damaged: it is no JSON object")
        return record

    def update(self, **changes: Any) -> None:
        """Change ``deploy.json``, which only deploy writes."""
        write_json(self.path / "deploy.json", self.read("deploy.json") | changes)

    def jobs(self) -> list[JobHandle]:
        """Return the submitted jobs, also those that a killed deploy had no time to note."""
        deploy = self.read("deploy.json")
        try:
            jobs = [JobHandle(**job) for job in deploy.get("jobs", [])]
        except TypeError:
            raise DeployError(f"{self.path / 'deploy.json'}: another version of deploy wrote this record") from None
        return jobs or (backend_named(deploy["backend"]).find(self.path) if "backend" in deploy else [])


@dataclass(frozen=True)
class Seen:
    """What can be said about a run: its state, why, and its records ``deploy.json`` and ``run.json``."""

    state: str
    note: str
    deploy: dict[str, Any]
    record: dict[str, Any]


def create(config: Config, root: Path, name: str | None, site: Site) -> Run:
    """Make a new run directory with the resolved configuration in it.

    Args:
        config: the configuration.
        root: the directory of all runs.
        name: name of the run below ``root/<config name>``; time and digest by default.
        site: where it will run.

    Returns:
        The run.

    Raises:
        DeployError: a run of this name exists, or the name is no file name.
    """
    if name is not None and not NAME.fullmatch(name):
        raise DeployError(
            f"--name {name[:40]!r}: use at most 100 of the letters A to z, digits, '-', '_' and '.', "
            "beginning with a letter or digit"
        )
    path = root / config.name / (name or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{config.digest()[:8]}")
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        hint = f"follow it with `deploy status {path}`, or give another --name"
        if not (path / "config.yaml").exists():
            hint = "it holds no configuration, as when a submission was cut off; remove it or give another --name"
        raise DeployError(f"{path}: this run exists already; {hint}") from None
    (path / "logs").mkdir()
    run = Run(path)
    run.update(site=site.name, backend=site.backend, submitted=now(), name=name, cancelled=None, jobs=[])
    write_text(path / "config.yaml", yaml.safe_dump(config.dump(), sort_keys=False, allow_unicode=True))
    return run


def submit(run: Run, jobs: Sequence[JobSpec]) -> None:
    """Submit the jobs of a run, each noted as soon as it is submitted."""
    backend = backend_named(run.read("deploy.json")["backend"])
    handles = []
    for number, job in enumerate(jobs):
        handles.append(backend.submit(run.path, job, number).as_dict())
        run.update(jobs=handles)


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
    if not run.jobs():
        raise DeployError(f"{run.path}: deploy submitted no job of this run; end it where `nntrainer run` was started")
    backend = backend_named(seen.deploy["backend"])
    for job in run.jobs():
        if backend.alive(job) is None:
            raise DeployError(f"{run.path}: the job runs on {job.host}; cancel it there")
    run.update(cancelled=now())
    for job in run.jobs():
        backend.cancel(run.path, job, grace_s)
    return look(run).state


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
    """Return the state of a run, from its records and its processes."""
    deploy, jobs = run.read("deploy.json"), run.jobs()
    if jobs:
        backend = backend_named(deploy["backend"])
        each = [backend.alive(job) for job in jobs]
        alive = None if None in each else any(each)
    elif deploy:  # the submission is under way, or was cut off
        age = datetime.now(UTC) - datetime.fromisoformat(deploy["submitted"])
        alive = None if age.total_seconds() < SUBMITTING_S else False
    else:  # started by `nntrainer run` itself
        alive = False if _gone(run.read("run.json")) else None
    # Read after the process was looked for, so that one which ended just then is not called lost.
    ended, record = run.read("logs/exit.json"), run.read("run.json")
    state = state_of(deploy, record, ended, alive)
    note = ""
    if jobs and alive is None and not ended:
        note = f"the job runs on {jobs[0].host}; from here only its records can be seen"
    elif state == "lost":
        note = "its process is gone and left no exit code, as after a reboot or `kill -9`; submit it again"
    elif state in ("failed", "interrupted") and ended:
        note = f"exit code {ended['exit_code']}"
    return Seen(state, note, deploy, record)


def _gone(record: dict[str, Any]) -> bool:
    """Return whether the process that wrote ``run.json`` ran on this machine and does not any more."""
    pid, here = record.get("pid"), record.get("host") == socket.gethostname()
    return bool(here and pid and not Path(f"/proc/{pid}").exists())


def state_of(deploy: dict[str, Any], record: dict[str, Any], ended: dict[str, Any], alive: bool | None) -> str:
    """Derive the state of a run from its records.

    Args:
        deploy: ``deploy.json``.
        record: ``run.json``, written by the job itself.
        ended: ``logs/exit.json``, written when the job's process has ended.
        alive: whether the process runs; None where that cannot be known from here.

    Returns:
        queued, running, done, failed, interrupted, cancelled or lost.
    """
    said = record.get("state")
    if ended:
        code = ended["exit_code"]
        if code == 0 and said in (None, "done"):
            return "done"
        if deploy.get("cancelled"):
            return "cancelled"
        # Success with a record that does not say so is none.
        return "interrupted" if code == Interrupted.exit_code else "failed"
    if alive:
        return "running"
    if said in ("done", "failed", "interrupted") and not (said != "done" and deploy.get("cancelled")):
        return str(said)
    if alive is None:
        return "running" if record else "queued"
    return "cancelled" if deploy.get("cancelled") else "lost"
