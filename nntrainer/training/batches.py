"""Which events go into which batch, on which worker, in which order.

The training events of a fold are numbered in the order of the dataset. Worker ``r`` of ``N`` has the part ``r, r + N,
…``; all parts have the same length, the last few events are left out. Every epoch goes through a part in a new order:
its blocks of neighbouring events are put in a random order, as many of them as the buffer holds are read into memory,
shuffled event by event and cut into batches, and so on. A part that fits into the buffer stays there, and all of it is
shuffled.

One process may have several parts and takes from each an equal share of every batch. N workers with batch b
therefore take the steps of one process that has all N parts with batch N·b.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from nntrainer.threads import ahead
from nntrainer.training.events import Events, TrainingData, joined

BLOCK_EVENTS = 512
"""Neighbouring events that are read together; small beside the buffer, large beside what a disk reads at once."""


@dataclass(frozen=True)
class Portion:
    """Consecutive batches of an epoch and the events they are made of.

    Attributes:
        data: events in memory.
        order: (steps, batch) positions in them, int64.
    """

    data: TrainingData
    order: np.ndarray


class Batches:
    """The batches of one process.

    Args:
        parts: the events of each part that it has, by the part's number.
        batch_size: events in a batch, of all its parts together.
        seed: decides the order, together with the epoch and the part.
        buffer_events: events of all parts that are shuffled at a time; all of them if absent.

    Attributes:
        batch: events in a batch; fewer than asked for where there are not so many.
        steps: batches in an epoch; what is left over for less than a batch is another choice every epoch.
        events: events in the batches of an epoch.
    """

    def __init__(
        self, parts: Mapping[int, Events], batch_size: int, seed: Sequence[int], buffer_events: int | None = None
    ) -> None:
        self._parts, self._seed = parts, tuple(seed)
        self._length = next(iter(parts.values())).events
        share = min(max(batch_size // len(parts), 1), self._length)
        self._share = share
        self.batch = share * len(parts)
        self.steps = self._length // share
        self.events = self.steps * self.batch
        wanted = self._length if buffer_events is None else buffer_events // len(parts)
        # Whole batches, so that none lies in two buffers.
        self._buffer = self._length if wanted >= self._length else max(wanted // share, 1) * share
        self._whole: TrainingData | None = None

    def portions(self, epoch: int, step: int = 0) -> Generator[Portion, None, None]:
        """Go through an epoch; while a portion is used, the next one is read.

        Args:
            epoch: the epoch, from 0.
            step: batches of it to leave out, those that have been trained on.

        Yields:
            The batches from there on.
        """
        if self._buffer == self._length:
            if self._whole is None:
                self._whole = joined([events.read([(0, self._length)]) for events in self._parts.values()])
            yield Portion(self._whole, self._order(epoch, 0, self._length)[step:])
            return
        each = self._buffer // self._share
        numbers = range(step // each, -(-self.steps // each))
        with closing(ahead(self._read(epoch, number) for number in numbers)) as portions:
            for number in numbers:
                portion = next(portions)
                yield Portion(portion.data, portion.order[max(step - number * each, 0) :])
                del portion  # its memory is for the next one

    def _read(self, epoch: int, number: int) -> Portion:
        start, stop = number * self._buffer, min((number + 1) * self._buffer, self._length)
        data = [
            events.read(spans(self._length, self._random(epoch, part, 0), start, stop))
            for part, events in self._parts.items()
        ]
        return Portion(joined(data), self._order(epoch, number, stop - start))

    def _order(self, epoch: int, number: int, events: int) -> np.ndarray:
        """Return the batches of a buffer with so many events of each part, which lie there one part after another."""
        columns = []
        for position, part in enumerate(self._parts):
            order = self._random(epoch, part, number + 1).permutation(events)
            steps = order[: events // self._share * self._share].reshape(-1, self._share)
            columns.append(steps + position * events)
        return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)

    def _random(self, epoch: int, part: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([*self._seed, epoch, part, purpose])


def spans(events: int, random: np.random.Generator, start: int, stop: int) -> list[tuple[int, int]]:
    """Return where a stretch of the epoch lies: all blocks in random order make up the epoch.

    Args:
        events: number of events.
        random: decides the order of the blocks.
        start: first event of the stretch, counted along the epoch.
        stop: event after its last.

    Returns:
        First event and the one after the last, by position in the data, in ascending order.
    """
    # The events are turned like a wheel before they are cut into blocks: the shorter last block, of which events may be
    # left over at the end, is another one every epoch.
    turn = int(random.integers(events))
    whole = random.permutation(events // BLOCK_EVENTS)
    found = []
    for number in range(start // BLOCK_EVENTS, -(-stop // BLOCK_EVENTS)):
        block = int(whole[number]) if number < len(whole) else number
        first = (max(number * BLOCK_EVENTS, start) + (block - number) * BLOCK_EVENTS + turn) % events
        last = first + min((number + 1) * BLOCK_EVENTS, stop) - max(number * BLOCK_EVENTS, start)
        found += [(first, min(last, events)), (0, last - events)] if last > events else [(first, last)]
    return sorted(found)
