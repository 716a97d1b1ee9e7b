"""Open files for changes; keep the bytes that a change overwrites, to take it back."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from nntrainer.errors import InPlaceError
from nntrainer.files import is_remote, write_text


def put(handle: int, data: bytes, at: int) -> None:
    """Write bytes at a position; the only place that writes to the ROOT file."""
    view = memoryview(data)
    while view:
        done = os.pwrite(handle, view, at)
        view, at = view[done:], at + done


def open_locked(path: str) -> int:
    """Open a file for changes, with a lock that lasts as long as it is open."""
    if is_remote(path):
        raise InPlaceError(f"{path}: only files on this machine can be changed in place; copy it here first")
    try:
        if not os.stat(path).st_mode & 0o222:
            raise InPlaceError(f"{path}: read-only; make it writable (chmod u+w), or work on a copy")
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise InPlaceError(f"{path}: no such file") from None
    except OSError as error:
        raise InPlaceError(f"{path}: cannot be opened for changes: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise InPlaceError(f"{path}: another process is changing it; wait until it is done") from None
    except OSError:  # a file system without locks
        pass
    return handle


def undo_path(path: str | os.PathLike[str]) -> Path:
    """Return where the overwritten bytes of a file are kept while it is changed."""
    return Path(f"{os.fspath(path)}.undo")


def keep(undo: Path, size: int, grown: int, writes: list[tuple[int, bytes, bytes]]) -> None:
    """Keep what takes a change back, on the disk before anything is overwritten.

    Args:
        undo: where.
        size: of the file before the change.
        grown: and after it.
        writes: position, old and new bytes of what is overwritten.
    """
    listed = [{"at": at, "old": old.hex(), "new": new.hex()} for at, old, new in writes]
    write_text(undo, json.dumps({"size": size, "grown": grown, "writes": listed}) + "\n")
    for each in (undo, undo.parent):
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def restore(path: str | os.PathLike[str], undo: Path) -> None:
    """Make a file what it was before a change that was not verified, byte for byte.

    Args:
        path: the file.
        undo: what was kept; removed afterwards.

    Raises:
        InPlaceError: it cannot be read, or the file was changed by something else since.
    """
    try:
        kept = json.loads(undo.read_text(encoding="utf-8"))
        size, grown = int(kept["size"]), int(kept["grown"])
        writes = [(int(w["at"]), bytes.fromhex(w["old"]), bytes.fromhex(w["new"])) for w in kept["writes"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise InPlaceError(f"{undo}: not readable as what was kept of a changed file; remove it") from None
    handle = open_locked(os.fspath(path))
    try:
        now = [os.pread(handle, len(old), at) for at, old, _ in writes]
        ours = all(
            byte in (was, will)
            for there, (_, old, new) in zip(now, writes, strict=True)
            for byte, was, will in zip(there, old, new, strict=False)
        )
        if os.fstat(handle).st_size != grown or not ours:
            raise InPlaceError(f"{path}: changed by something else since {undo} was kept; if it is good, remove that")
        for at, old, _ in writes:
            put(handle, old, at)
        os.fsync(handle)
        os.ftruncate(handle, size)
        os.fsync(handle)
    finally:
        os.close(handle)
    undo.unlink()
