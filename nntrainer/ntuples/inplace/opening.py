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


def keep(undo: Path, path: str, size: int, old: list[tuple[int, bytes]]) -> None:
    """Keep overwritten bytes and the old size of a file, on the disk before anything is overwritten."""
    bytes_ = [{"at": at, "bytes": data.hex()} for at, data in old]
    write_text(undo, json.dumps({"file": os.path.basename(path), "size": size, "old": bytes_}) + "\n")
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
        undo: the bytes kept aside; removed afterwards.

    Raises:
        InPlaceError: they are not of this file or cannot be read.
    """
    try:
        kept = json.loads(undo.read_text(encoding="utf-8"))
        size, old = int(kept["size"]), [(int(each["at"]), bytes.fromhex(each["bytes"])) for each in kept["old"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise InPlaceError(f"{undo}: not readable as what was kept of a changed file") from None
    handle = open_locked(os.fspath(path))
    try:
        if os.fstat(handle).st_size < size:
            raise InPlaceError(f"{path}: shorter than when {undo} was kept; it is another file")
        for at, data in old:
            put(handle, data, at)
        os.fsync(handle)
        os.ftruncate(handle, size)
        os.fsync(handle)
    finally:
        os.close(handle)
    undo.unlink()
