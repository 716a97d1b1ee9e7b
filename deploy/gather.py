"""Bring the outputs of a run to where they are wanted, and check every byte."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import yaml

from deploy.backends import backend_named
from deploy.backends.base import Batch
from deploy.errors import GatherError
from deploy.runs import Run
from nntrainer.config.parts import RECORDS
from nntrainer.files import now, read_json, sha256, write_json, write_text

UNFINISHED = ".gathering"
"""File in a directory that is being filled; it holds the manifest's digest."""
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Gathered:
    """What was gathered: where, how many files and bytes, how many of the files were copied now."""

    path: Path
    files: int
    bytes: int
    copied: int


@dataclass(frozen=True)
class _Entry:
    path: PurePosixPath
    size: int
    sha256: str

    def wrong_in(self, folder: Path) -> str | None:
        """Return what is wrong with the file in a folder, or None."""
        path = folder / self.path
        if not path.is_file():
            return f"{self.path} is missing"
        if (size := path.stat().st_size) != self.size:
            return f"{self.path} has {size} bytes instead of {self.size}"
        return None if sha256(path) == self.sha256 else f"{self.path} has another SHA-256"


def gather(run: Run, to: Path | None = None) -> Gathered:
    """Verify the outputs of a finished run, copying them first where another directory is given.

    It may be called again, also after an interruption, and copies what is missing only.

    Args:
        run: the run.
        to: where to copy: a new, empty or earlier gathered directory; the run directory itself if absent.

    Returns:
        What was gathered: every file of the manifest, and each as the manifest says.

    Raises:
        GatherError: a job has not ended well, there is no manifest, a file is missing or not what the manifest
            says, or the directory holds something else.
    """
    batch = run.batch()
    if batch is not None:
        backend_named(batch.site.backend).fetch(batch)
        _join(run, batch)
    text, entries = _manifest(run)
    total = sum(entry.size for entry in entries)
    if to is None or to.resolve() == run.path.resolve():
        _refuse(run, [wrong for entry in entries if (wrong := entry.wrong_in(run.path))])
        return Gathered(run.path, len(entries), total, 0)
    _claim(to, text, run)
    missing = [entry for entry in entries if entry.wrong_in(to)]
    _refuse(run, [wrong for entry in missing if (wrong := _copy(entry, run.path, to))])
    for name in ("config.yaml", "run.json", "deploy.json"):
        if (run.path / name).exists():
            write_text(to / name, (run.path / name).read_text(encoding="utf-8"))
    write_text(to / MANIFEST, text)  # last: a directory with a manifest is complete
    (to / UNFINISHED).unlink(missing_ok=True)
    return Gathered(to, len(entries), total, len(missing))


def track(path: Path) -> str | None:
    """Log a gathered run where its configuration says, by `nntrainer track` in a process of its own.

    Args:
        path: where it was gathered.

    Returns:
        What that says, or None where the configuration has no tracking block, and for a search.

    Raises:
        GatherError: it could not be logged; what was gathered is complete all the same.
    """
    config = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
    if not config.get("tracking") or not (path / "metrics.json").exists():
        return None
    done = subprocess.run([sys.executable, "-m", "nntrainer", "track", str(path)], capture_output=True, text=True)
    if done.returncode:
        why = done.stderr.strip().removeprefix("error: ") or f"exit code {done.returncode}"
        raise GatherError(f"all files are there, but the run is not logged: {why}")
    return done.stdout.strip()


def _join(run: Run, batch: Batch) -> None:
    """Make one manifest of the records of all parts; a run in one job writes its own."""
    parts = dict.fromkeys(part for job in batch.jobs for part in job.parts)
    if not parts:
        return
    records = {name: run.read(f"{RECORDS}/{name}.json") for name in parts}
    undone = [name for name, record in records.items() if record.get("state") != "done"]
    if undone:
        raise GatherError(
            f"{run.path}: {', '.join(undone)} left no record of success; `deploy status {run.path}` says why"
        )
    files = {each["path"]: each for record in records.values() for each in record["files"]}
    listed = [files[path] for path in sorted(files)]
    if run.read(MANIFEST).get("files") != listed:  # the same manifest stays, by which a copy of it is known
        write_json(run.path / MANIFEST, {"created": now(), "files": listed})


def _manifest(run: Run) -> tuple[str, list[_Entry]]:
    path = run.path / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
        listed = json.loads(text)["files"]
        entries = [_Entry(PurePosixPath(each["path"]), int(each["size"]), str(each["sha256"])) for each in listed]
    except FileNotFoundError:
        raise GatherError(f"{path}: there is no manifest: the run did not finish; `deploy status {run.path}`") from None
    except (ValueError, KeyError, TypeError) as error:
        raise GatherError(f"{path}: the manifest is damaged: {error!r}") from None
    for entry in entries:
        if entry.path.is_absolute() or ".." in entry.path.parts:
            raise GatherError(f"{path}: '{entry.path}' does not lie in the run directory")
    return text, entries


def _claim(to: Path, manifest: str, run: Run) -> None:
    """Take a directory for one run: nothing else in it is ever overwritten.

    A run of which something was made again later, such as its report, is gathered into the same directory.
    """
    mine = hashlib.sha256(manifest.encode()).hexdigest()
    marker, there = to / UNFINISHED, to / MANIFEST
    if to.exists() and not to.is_dir():
        raise GatherError(f"--to {to}: this is not a directory")
    if marker.exists():
        free = marker.read_text(encoding="utf-8").strip() == mine or _holds(to, run)
    elif there.exists():
        free = there.read_text(encoding="utf-8") == manifest or _holds(to, run)
    else:
        free = not to.exists() or all(path.suffix == ".part" for path in to.iterdir())
    if not free:
        raise GatherError(f"--to {to}: this directory holds something else; give a new or empty one")
    if not there.exists() or there.read_text(encoding="utf-8") != manifest:
        to.mkdir(parents=True, exist_ok=True)
        write_text(marker, mine + "\n")
        there.unlink(missing_ok=True)


def _holds(to: Path, run: Run) -> bool:
    """Say whether a gathered directory is of this run: of the same submission."""
    theirs, ours = read_json(to / "deploy.json"), run.read("deploy.json")
    return bool(ours) and all(theirs.get(key) == ours.get(key) for key in ("submitted", "plan", "jobs"))


def _copy(entry: _Entry, source: Path, to: Path) -> str | None:
    """Copy a file and read it back; return what is wrong with the original, or None."""
    if wrong := entry.wrong_in(source):
        return wrong
    path = to / entry.path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    shutil.copyfile(source / entry.path, part)
    if sha256(part) != entry.sha256:
        part.unlink()
        return f"{entry.path} changed while it was copied"
    os.replace(part, path)
    return None


def _refuse(run: Run, wrong: Sequence[str]) -> None:
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise GatherError(f"{run.path}: {'; '.join(wrong[:5])}{more}; nothing is complete until the job is run again")
