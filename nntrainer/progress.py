"""Telling people how far long work has come."""

from __future__ import annotations

from typing import Any, Protocol


class Progress(Protocol):
    """What long functions report to; one piece of work at a time."""

    def start(self, description: str, total: int | None, unit: str = "events") -> None:
        """Begin a piece of work of ``total`` units."""

    def advance(self, n: int) -> None:
        """Count ``n`` more units as done."""

    def note(self, text: str) -> None:
        """Show a short text beside the bar, such as the current loss."""

    def finish(self) -> None:
        """End the piece of work."""


class _Silent:
    def start(self, description: str, total: int | None, unit: str = "events") -> None: ...

    def advance(self, n: int) -> None: ...

    def note(self, text: str) -> None: ...

    def finish(self) -> None: ...


def silent() -> Progress:
    """Return a progress that shows nothing, for notebooks, logs and tests."""
    return _Silent()


class Bar:
    """A bar on the terminal with rate and remaining time."""

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        self._progress = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._task: Any = None
        self._unit = "events"

    def start(self, description: str, total: int | None, unit: str = "events") -> None:
        """Begin a piece of work of ``total`` units."""
        if self._task is None:
            self._progress.start()
        self._unit = unit
        self._task = self._progress.add_task(description, total=total, note="", rate="")

    def advance(self, n: int) -> None:
        """Count ``n`` more units as done."""
        speed = self._progress.tasks[-1].speed
        self._progress.update(self._task, advance=n, rate=f"{speed:,.0f} {self._unit}/s" if speed else "")

    def note(self, text: str) -> None:
        """Show a short text beside the bar."""
        self._progress.update(self._task, note=text)

    def finish(self) -> None:
        """End the piece of work."""
        self._progress.stop()
        self._task = None


def for_terminal() -> Progress:
    """Return a bar when standard error or output is a terminal, and silence otherwise."""
    import sys

    return Bar() if sys.stdout.isatty() else silent()
