"""Stopping on request: signals, a file, or a launcher that is gone."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

STOP = "stop"
"""Name of the file in a fold's directory that asks its training to stop."""


class StopRequest:
    """Whether someone has asked the training to stop; SIGTERM and SIGINT are caught inside the context.

    A second SIGINT raises KeyboardInterrupt, for those who cannot wait for the checkpoint.

    Args:
        directory: where a file called ``stop`` asks, too.
        launcher_lives: whether the launcher is still there; its death asks, too.
    """

    def __init__(self, directory: Path, launcher_lives: Callable[[], bool] | None = None) -> None:
        self.file = directory / STOP
        self._launcher_lives = launcher_lives or (lambda: True)
        self._signalled = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        # Python lets only the main thread set handlers; elsewhere the file still works.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, old in self._old.items():
            signal.signal(number, old)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._signalled and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signalled = True

    @property
    def signalled(self) -> bool:
        """Whether a signal has come."""
        return self._signalled

    def requested(self) -> bool:
        """Return whether to stop."""
        return self._signalled or self.file.exists() or not self._launcher_lives()

    def forward(self) -> None:
        """Ask the processes that look at the file."""
        self.file.touch()

    def clear(self) -> None:
        """Take back a request that an earlier training has followed."""
        self.file.unlink(missing_ok=True)


def process_lives(number: int) -> bool:
    """Return whether there is a process of this number on this machine."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def somebody_listens() -> bool:
    """Return whether what this process prints still goes somewhere; over SSH it ends with the launcher there."""
    poll = select.poll()
    poll.register(sys.__stdout__ or 1, 0)  # asks for nothing but whether the other end is closed
    return not poll.poll(0)
