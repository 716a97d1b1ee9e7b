"""Work in threads: NumPy, decompression, file access and ONNX Runtime let other Python code run meanwhile."""

from __future__ import annotations

import os
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def pool() -> ThreadPoolExecutor:
    """Return the process's threads for short pieces of work, one a core; no piece may wait for another."""
    return ThreadPoolExecutor(cores(), "nntrainer")


def ahead(items: Generator[T, None, None]) -> Generator[T, None, None]:
    """Yield what a generator yields, while a thread already makes the next one.

    Args:
        items: the generator; it is closed at the end, also when the caller stops early.

    Yields:
        Its items, or what it raises.
    """
    end: Any = object()
    with closing(items), ThreadPoolExecutor(1, "ahead") as thread:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item
