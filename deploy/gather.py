"""Bring the outputs of a run to where they are wanted, and check every byte."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deploy.errors import GatherError
from deploy.runs import Run


@dataclass(frozen=True)
class Gathered:
    """What was gathered: where, how many files and bytes, how many of the files were copied now."""

    path: Path
    files: int
    bytes: int
    copied: int


def gather(run: Run, to: Path | None = None) -> Gathered:
    """Verify the outputs of a finished run, copying them first where another directory is given.

    Args:
        run: the run.
        to: where to copy; the run directory itself if absent.

    Returns:
        What was gathered. It may be called again, and after an interruption, and copies what is missing only.

    Raises:
        GatherError: there is no manifest yet, or a file is missing or not what the manifest says.
    """
    listed = run.read("manifest.json").get("files")
    if listed is None:
        raise GatherError(f"{run.path}: there is no manifest yet: the run has not finished; `deploy status {run.path}`")
    target = run.path if to is None else to
    copied = total = 0
    for entry in listed:
        name = PurePosixPath(entry["path"])
        if name.is_absolute() or ".." in name.parts:
            raise GatherError(f"{run.path / 'manifest.json'}: '{name}' does not lie in the run directory")
        source, mine = run.path / name, target / name
        total += entry["size"]
        if _is(mine, entry["size"], entry["sha256"]):
            continue
        if to is None or not _is(source, entry["size"], entry["sha256"]):
            what = "does not match the manifest (size or SHA-256)" if source.exists() else "is missing"
            raise GatherError(f"{source} {what}; run the job again with `deploy submit`")
        mine.parent.mkdir(parents=True, exist_ok=True)
        part = mine.with_name(mine.name + ".part")
        shutil.copyfile(source, part)
        os.replace(part, mine)
        copied += 1
    if to is not None:
        for record in ("manifest.json", "run.json", "deploy.json"):
            shutil.copyfile(run.path / record, target / f"{record}.part")
            os.replace(target / f"{record}.part", target / record)
    return Gathered(target, len(listed), total, copied)


def _is(path: Path, size: int, sha256: str) -> bool:
    if not path.is_file() or path.stat().st_size != size:
        return False
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest() == sha256
