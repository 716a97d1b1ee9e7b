"""Files: written whole or not at all, told apart by content, found by pattern."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nntrainer.errors import InputError, nearest


@contextmanager
def aside(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Write a file aside and rename it at the end, so that nobody ever sees half of it.

    Args:
        path: the file.
        shared: several processes may write it; the last one wins.

    Yields:
        Where to write. If anything goes wrong it is removed, and the file stays what it was.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part" if shared else f"{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file aside and rename it."""
    with aside(path, shared=True) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write plain data as JSON, aside and renamed."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Return the mapping that a JSON file holds, empty where there is no file or it is damaged."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def now() -> str:
    """Return the time in UTC as ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def is_remote(path: str) -> bool:
    """Return whether a path is an address such as ``root://host//file``."""
    return "://" in path


def expand(patterns: Sequence[str]) -> list[str]:
    """Find files.

    Args:
        patterns: paths, globs, or remote addresses, which are taken as they are.

    Returns:
        The paths, sorted within a pattern, each once.

    Raises:
        InputError: a pattern matches nothing.
    """
    paths: list[str] = []
    for pattern in patterns:
        if is_remote(pattern):
            paths.append(pattern)
            continue
        pattern = os.path.expanduser(pattern)
        found = (
            [pattern] if os.path.isfile(pattern) else sorted(filter(os.path.isfile, glob.glob(pattern, recursive=True)))
        )
        if not found:
            folder = Path(pattern).parent
            near = nearest(Path(pattern).name, (p.name for p in folder.glob("*.root"))) if folder.is_dir() else ""
            where = "" if folder.is_dir() or glob.has_magic(str(folder)) else f"; the directory {folder} does not exist"
            raise InputError(f"no file matches '{pattern}'{where}.{near}")
        paths += found
    return list(dict.fromkeys(paths))
