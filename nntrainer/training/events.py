"""The events of a training, in memory or in temporary files, which are read alike."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

import numpy as np

from nntrainer.errors import TrainingError

PIECE_EVENTS = 131_072
"""Events that are read at a time when all of them are gone through in order."""

ALIGNMENT = 64
"""Bytes; the address of a tensor is a multiple of it."""


@dataclass(frozen=True)
class TrainingData:
    """Events to train or validate on.

    Attributes:
        inputs: the network's inputs by name, float32, first axis the events.
        target: (n,) float32 1 for signal and 0 else with two labels, int32 class index with more.
        weight: (n,) float32 with mean 1 over all events of the set.
        more: the truth of other tasks than the class by name, see ``nntrainer.training.tasks.targets_of``.
    """

    inputs: dict[str, np.ndarray]
    target: np.ndarray
    weight: np.ndarray
    more: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def events(self) -> int:
        """Number of events."""
        return len(self.target)

    def arrays(self) -> list[np.ndarray]:
        """Return the inputs, in their order, the truth of other tasks, the target and the weight."""
        return [*self.inputs.values(), *self.more.values(), self.target, self.weight]

    def like(self, arrays: Sequence[np.ndarray]) -> TrainingData:
        """Return other events from what ``arrays`` would return for them."""
        *others, target, weight = arrays
        inputs = dict(zip(self.inputs, others[: len(self.inputs)], strict=True))
        return TrainingData(inputs, target, weight, dict(zip(self.more, others[len(self.inputs) :], strict=True)))


def joined(pieces: Sequence[TrainingData]) -> TrainingData:
    """Return events one after another; a single piece as it is."""
    first = pieces[0]
    if len(pieces) == 1:
        return first
    return first.like([np.concatenate(arrays) for arrays in zip(*(each.arrays() for each in pieces), strict=True)])


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an array with any contents that begins where TensorFlow wants its tensors to, so that it can be one."""
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


class Events(Protocol):
    """Events that can be read by their position."""

    @property
    def events(self) -> int:
        """Number of events."""

    def append(self, data: TrainingData) -> None:
        """Add events."""

    def read(self, spans: Sequence[tuple[int, int]]) -> TrainingData:
        """Return the events of each span (first, one after the last), one span after another."""

    def pieces(self) -> Iterator[TrainingData]:
        """Return all events in order, as many at a time as fit in memory; a multiple of 8192 but for the last."""


class InMemory:
    """Events in memory.

    Args:
        capacity: how many will be added.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._whole: TrainingData | None = None
        self.events = 0

    def append(self, data: TrainingData) -> None:
        """Add events."""
        if self._whole is None:
            arrays = [aligned((self._capacity, *array.shape[1:]), array.dtype) for array in data.arrays()]
            self._whole = data.like(arrays)
        stop = self.events + data.events
        for whole, array in zip(self._whole.arrays(), data.arrays(), strict=True):
            whole[self.events : stop] = array
        self.events = stop

    def read(self, spans: Sequence[tuple[int, int]]) -> TrainingData:
        """Return the events of each span, one span after another."""
        if self._whole is None:
            raise ValueError("no events")
        arrays = self._whole.arrays()
        return joined([self._whole.like([array[first:last] for array in arrays]) for first, last in spans])

    def pieces(self) -> Iterator[TrainingData]:
        """Return all events at once."""
        if self._whole is not None:
            yield self._whole


class OnDisk:
    """Events in temporary files without a name, one for each array; they are gone with the process, however it ends."""

    def __init__(self) -> None:
        self._like: TrainingData | None = None
        self._files: list[BinaryIO] = []
        self._open = ExitStack()
        weakref.finalize(self, self._open.close)
        self.events = 0

    def append(self, data: TrainingData) -> None:
        """Add events.

        Args:
            data: the events.

        Raises:
            TrainingError: there is no space for them.
        """
        try:
            if self._like is None:
                self._like = data.like([array[:0] for array in data.arrays()])
                for _ in data.arrays():
                    self._files.append(self._open.enter_context(tempfile.TemporaryFile(buffering=0)))  # noqa: SIM115
            for file, array in zip(self._files, data.arrays(), strict=True):
                rest = _bytes(np.ascontiguousarray(array))
                while len(rest):
                    rest = rest[file.write(rest) :]
        except OSError as error:
            raise TrainingError(
                f"{tempfile.gettempdir()}: the training events cannot be put there ({error.strerror}); they are more "
                "than training.memory_mib; raise it, or set TMPDIR to a directory with more space"
            ) from None
        self.events += data.events

    def read(self, spans: Sequence[tuple[int, int]]) -> TrainingData:
        """Return the events of each span, one span after another."""
        if self._like is None:
            raise ValueError("no events")
        events = sum(last - first for first, last in spans)
        arrays = []
        for file, like in zip(self._files, self._like.arrays(), strict=True):
            array = aligned((events, *like.shape[1:]), like.dtype)
            rest, size = _bytes(array), like.dtype.itemsize * int(np.prod(like.shape[1:]))
            for first, last in spans:
                _fill(file, rest[: (last - first) * size], first * size)
                rest = rest[(last - first) * size :]
            arrays.append(array)
        return self._like.like(arrays)

    def pieces(self) -> Iterator[TrainingData]:
        """Return all events in order, so many at a time."""
        for start in range(0, self.events, PIECE_EVENTS):
            yield self.read([(start, min(start + PIECE_EVENTS, self.events))])


def _bytes(array: np.ndarray) -> memoryview:
    """Return the memory of a contiguous array."""
    return array.reshape(-1).view(np.uint8).data


def _fill(file: BinaryIO, buffer: memoryview, offset: int) -> None:
    while len(buffer):
        count = os.preadv(file.fileno(), [buffer], offset)
        if not count:
            raise TrainingError("a temporary file with training events is shorter than it was; is its disk full?")
        buffer, offset = buffer[count:], offset + count
