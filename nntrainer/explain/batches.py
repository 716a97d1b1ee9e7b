"""Batches of events, as long as there is time."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic

from nntrainer.progress import Progress


def batches(events: int, size: int, progress: Progress, deadline: float) -> Iterator[slice]:
    """Yield the batches of a sample; after the first one none is begun that will not be done in time.

    Args:
        events: number of events.
        size: events in a batch.
        progress: told of each batch that is done.
        deadline: ``time.monotonic()`` after which none is begun.

    Yields:
        The events of a batch, from the first on.
    """
    began = monotonic()
    for start in range(0, events, size):
        now = monotonic()
        if start and now + (now - began) * size / start > deadline:
            return
        stop = min(start + size, events)
        yield slice(start, stop)
        progress.advance(stop - start)
