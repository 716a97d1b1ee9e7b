"""Stopping on request: signals, a file, or a launcher that is gone."""

from __future__ import annotations

import os
import signal
import threading
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
        parent: process id of a launcher whose death asks, too.
    """

    def __init__(self, directory: Path, parent: int | None = None) -> None:
        self.file = directory / STOP
        self._parent = parent
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
        return self._signalled or self.file.exists() or not self._parent_lives()

    def forward(self) -> None:
        """Ask the processes that look at the file."""
        self.file.touch()

    def clear(self) -> None:
        """Take back a request that an earlier training has followed."""
        self.file.unlink(missing_ok=True)

    def _parent_lives(self) -> bool:
        if self._parent is None:
            return True
        try:
            os.kill(self._parent, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
