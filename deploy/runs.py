"""The run directory as deploy sees it: its record, its state, how it is found again."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from deploy.errors import DeployError, RunNotFoundError
from deploy.jobs import JobHandle
from nntrainer.config import Config
from nntrainer.errors import nearest

FINISHED = ("done", "failed", "interrupted", "cancelled", "lost")


def write_aside(path: Path, text: str) -> None:
    """Write a file aside and rename it."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


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
        try:
            return dict(json.loads((self.path / name).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise DeployError(f"{self.path / name}: the record is damaged: {error}") from None

    def update(self, **changes: Any) -> None:
        """Change ``deploy.json``, which only deploy writes."""
        write_aside(self.path / "deploy.json", json.dumps(self.read("deploy.json") | changes, indent=1) + "\n")

    def jobs(self) -> list[JobHandle]:
        """Return the submitted jobs."""
        return [JobHandle(**job) for job in self.read("deploy.json").get("jobs", [])]


def create(config: Config, root: Path, name: str | None) -> Run:
    """Make a new run directory with the resolved configuration in it.

    Args:
        config: the configuration.
        root: the directory of all runs.
        name: name of the run below ``root/<config name>``; time and digest by default.

    Returns:
        The run.

    Raises:
        DeployError: a run of this name exists, or the name is no file name.
    """
    if name is not None and (not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name[0] in ".-"):
        raise DeployError(f"--name {name!r}: use letters, digits, '-', '_' and '.', beginning with a letter or digit")
    if name is not None and (len(name) > 100 or not name.isascii()):
        raise DeployError(f"--name {name[:40]!r}: at most 100 plain letters and digits are allowed")
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    path = root / config.name / (name or f"{stamp}-{config.digest()[:8]}")
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        raise DeployError(f"{path}: this run exists already; follow it with `deploy status {path}`") from None
    (path / "logs").mkdir()
    text = yaml.safe_dump(config.dump(), sort_keys=False, allow_unicode=True)
    write_aside(path / "config.yaml", text)
    return Run(path)


def list_runs(root: Path) -> list[Run]:
    """Return all runs below a directory, oldest first."""
    paths = [path.parent for path in root.glob("*/*/config.yaml")]
    return [Run(path) for path in sorted(paths, key=lambda path: (path / "config.yaml").stat().st_mtime)]


def find(text: str, root: Path) -> Run:
    """Find a run by its directory, by ``name/run``, or by its name alone: the latest of it.

    Args:
        text: what the user wrote.
        root: the directory of all runs.

    Returns:
        The run.

    Raises:
        RunNotFoundError: there is none.
    """
    for path in (Path(text), root / text):
        if (path / "config.yaml").is_file():
            return Run(path)
    runs = list_runs(root)
    for run in reversed(runs):
        if text in (run.path.parent.name, run.path.name):
            return run
    names = {name for run in runs for name in (run.path.parent.name, run.path.name)}
    raise RunNotFoundError(f"there is no run '{text}' in {root}; `deploy list` shows them.{nearest(text, names)}")


def state_of(deploy: dict[str, Any], record: dict[str, Any], ended: dict[str, Any], alive: bool | None) -> str:
    """Derive the state of a run from its records.

    Args:
        deploy: ``deploy.json``.
        record: ``run.json``, written by the job itself.
        ended: ``logs/exit.json``, written when the job's process has ended.
        alive: whether the process runs; None where another machine would have to be asked.

    Returns:
        queued, running, done, failed, interrupted, cancelled or lost.
    """
    if ended:
        if ended["exit_code"] == 0:
            return "done"
        if deploy.get("cancelled"):
            return "cancelled"
        return "interrupted" if ended["exit_code"] == 85 else "failed"
    if alive is False:
        return "cancelled" if deploy.get("cancelled") else "lost"
    return "running" if record else "queued"
