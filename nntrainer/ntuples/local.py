"""How uproot reads a file on this machine."""

from __future__ import annotations

import os
import queue
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from uproot.source.chunk import Chunk, Source
from uproot.source.futures import TrivialFuture


class LocalSource(Source):
    """The bytes of a local file, read by the thread that asks for them, and by several threads at once.

    uproot's own source hands each request to another thread, which takes as long as the decompression of a basket.
    Its memory map does not, but what was read of the file then counts as memory of the process.

    Args:
        file_path: the file.
        **options: what uproot gives to any source; nothing is needed here.
    """

    def __init__(self, file_path: str, **options: Any) -> None:
        super().__init__()
        self._file_path = file_path
        self._file = open(file_path, "rb")  # noqa: SIM115
        self._num_bytes = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> Self:
        """Return the source."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()

    def chunk(self, start: int, stop: int) -> Chunk:
        """Return a piece of the file; uproot notices if it ends before ``stop``.

        Args:
            start: its first byte.
            stop: the byte after the last.

        Returns:
            The piece.
        """
        self._num_requests += 1
        self._num_requested_chunks += 1
        self._num_requested_bytes += stop - start
        there = max(min(stop, self.num_bytes) - start, 0)  # a damaged file may speak of any number
        return Chunk(self, start, stop, TrivialFuture(os.pread(self._file.fileno(), there, start)))

    def chunks(self, ranges: Sequence[tuple[int, int]], notifications: queue.Queue[Chunk]) -> list[Chunk]:
        """Return several pieces.

        Args:
            ranges: first byte and byte after the last of each.
            notifications: is given each piece, too.

        Returns:
            The pieces.
        """
        found = [self.chunk(start, stop) for start, stop in ranges]
        for each in found:
            notifications.put(each)
        return found

    @property
    def closed(self) -> bool:
        """Whether the file was closed."""
        return self._file.closed
