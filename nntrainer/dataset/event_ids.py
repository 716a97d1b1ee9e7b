"""Event ids that occur more than once, counted in bounded memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO

import numpy as np

ID_OF_SAMPLE = np.dtype([("id", "u8"), ("sample", "i4")])
PARTS = 128  # at most 256, for a quick sort


@contextmanager
def event_ids(samples: Sequence[str]) -> Iterator[EventIds]:
    """Yield a collector of event ids; its files are gone afterwards.

    Args:
        samples: names.

    Yields:
        The collector.
    """
    with ExitStack() as stack:
        yield EventIds(samples, [stack.enter_context(tempfile.TemporaryFile()) for _ in range(PARTS)])


class EventIds:
    """Collects the ids of all events of some samples.

    The ids are strewn over files, the same id always into the same one, and counted file by file.

    Args:
        samples: their names.
        files: empty ones.
    """

    def __init__(self, samples: Sequence[str], files: Sequence[IO[bytes]]) -> None:
        self.samples = list(samples)
        self._files = files

    def add(self, sample: str, ids: np.ndarray) -> None:
        """Add the ids of some events, (n,) uint64."""
        # The upper bits of a product with an odd number: ids may all be multiples of something.
        part = (ids * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)) % np.uint64(len(self._files))
        order = np.argsort(part.astype(np.uint8), kind="stable")
        rows = np.empty(len(ids), ID_OF_SAMPLE)
        rows["id"], rows["sample"] = ids[order], self.samples.index(sample)
        edges = np.searchsorted(part[order], np.arange(1, len(self._files)))
        for file, piece in zip(self._files, np.split(rows, edges), strict=True):
            file.write(piece.tobytes())

    def repeated(self) -> dict[str, int]:
        """Return for each sample the repeated ids within it, and under ``between samples`` those across samples."""
        within = np.zeros(len(self.samples), np.int64)
        between = 0
        for file in self._files:
            file.seek(0)
            rows = np.frombuffer(file.read(), ID_OF_SAMPLE)
            own = [rows["id"][rows["sample"] == sample] for sample in range(len(self.samples))]
            unique = [np.unique(ids) for ids in own]
            within += [len(ids) - len(once) for ids, once in zip(own, unique, strict=True)]
            between += sum(map(len, unique)) - len(np.unique(np.concatenate(unique)))
        return {**dict(zip(self.samples, within.tolist(), strict=True)), "between samples": between}
