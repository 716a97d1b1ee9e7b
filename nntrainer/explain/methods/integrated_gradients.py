"""Integrated gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from nntrainer.config.registry import EXPLAINERS, ExplainerOptions
from nntrainer.dataset.inputs import Inputs
from nntrainer.explain.attribution import Attribution
from nntrainer.explain.baseline import mean_event
from nntrainer.explain.batches import batches
from nntrainer.explain.sample import Columns, Sample, valid_of
from nntrainer.explain.subject import Subject
from nntrainer.progress import Progress

BATCH = 64
ROWS = 8192
"""Points whose derivatives are held at a time."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(2)
NODES, WEIGHTS = (1 + NODES) / 2, WEIGHTS / 2
"""Points of a piece of the line from 0 to 1, and their weights (Gauss and Legendre)."""
POWER = 3
"""The first pieces end at (k/n)³: on the baseline all objects of a collection lie upon one another, and logarithms of
distances, which some networks take of pairs, change fastest beside it."""
SHARE = 6.0
"""Pieces lack in both directions, and most of them little: each may lack so much more than its part of the
tolerance."""
HALVINGS = 16
"""How often pieces are halved, at most."""
MOST = 1024
"""An event that has had so many points gets no more: where rounding is all that is lacking, they would not help."""


@EXPLAINERS.register("integrated_gradients")
class IntegratedGradients(ExplainerOptions):
    """Gradients along the straight line from a baseline to the event (arXiv 1703.01365).

    A value contributes its distance from the baseline times the mean derivative along the line, so that contributions
    add up to the output minus that of the baseline, but for the error of the integral. Pieces of the line on which they
    do not are halved until they do. The baseline is the mean event: mean event features, and in each slot that the
    event fills the mean object of the collection.
    """

    name: Literal["integrated_gradients"] = "integrated_gradients"
    pieces: PositiveInt = Field(24, description="Pieces of the line to begin with, of two points each.")
    tolerance: PositiveFloat = Field(
        0.01,
        description="What contributions may lack, relative to the change of the output or a tenth of its mean.",
    )

    def explain(self, subject: Subject, sample: Sample, progress: Progress, deadline: float) -> Attribution:
        """Return the contributions.

        Args:
            subject: what is explained.
            sample: the events.
            progress: told of each event.
            deadline: when to stop.

        Returns:
            The contributions; ``base`` is the output of the baseline, and ``arrays`` has the number of ``points``.
        """
        mean, lines = mean_event(sample), []
        for rows in batches(len(sample), BATCH, progress, deadline):
            line = _Lines(subject, sample.take(rows), mean)
            line.integrate(self.pieces, self.tolerance)
            lines.append(line)
        total, base, output, points = (
            np.concatenate([getattr(line, name) for line in lines]) for name in ("total", "base", "output", "points")
        )
        values = sample.columns.unflat(total.astype(np.float32))
        return Attribution(self.name, "integrated gradients", values, base, output, arrays={"points": points})


@dataclass
class _Pieces:
    """Pieces of the lines of events: the event, both ends between 0 and 1, and the outputs there; (pieces,) each."""

    event: np.ndarray
    left: np.ndarray
    right: np.ndarray
    at_left: np.ndarray
    at_right: np.ndarray

    def take(self, rows: np.ndarray) -> _Pieces:
        return _Pieces(*(array[rows] for array in vars(self).values()))

    def with_more(self, more: _Pieces) -> _Pieces:
        pairs = zip(vars(self).values(), vars(more).values(), strict=True)
        return _Pieces(*(np.concatenate(both) for both in pairs))


class _Lines:
    """The lines of some events from the baseline to the event.

    Args:
        subject: what is explained.
        sample: the events.
        mean: the baseline.

    Attributes:
        base: (n,) output on the baseline.
        output: (n,) output of the event.
        total: (n, columns) contributions.
        points: (n,) how many points the integral has taken.
    """

    def __init__(self, subject: Subject, sample: Sample, mean: dict[str, np.ndarray]) -> None:
        self._subject, self._sample = subject, sample
        columns: Columns = sample.columns
        start = {
            name: np.where(valid_of(sample.inputs, name), mean[name], sample.inputs[name]) for name in columns.inputs
        }
        self._start = columns.flat(start).astype(np.float64)
        self._way = columns.flat(sample.inputs) - self._start
        self.total, self.points = np.zeros(self._way.shape), np.zeros(len(sample), np.int64)
        everyone = np.arange(len(sample))
        self.base, self.output = (self._subject.target(self._at(everyone, np.full(len(sample), t))) for t in (0.0, 1.0))

    def _at(self, event: np.ndarray, place: np.ndarray) -> Inputs:
        """Return the inputs at places (k,) on the lines of events (k,)."""
        table = (self._start[event] + place[:, np.newaxis] * self._way[event]).astype(np.float32)
        inputs, columns = self._sample.inputs, self._sample.columns
        fixed = {name: array[event] for name, array in inputs.items() if name not in columns.inputs}
        return columns.unflat(table) | fixed

    def integrate(self, number: int, tolerance: float) -> None:
        """Fill ``total``: halve pieces on which contributions lack more than their share of the tolerance.

        Of events that still lack more than the tolerance, pieces that lack more than the event's mean are halved, too.
        """
        change = np.abs(self.output - self.base)
        allowed = tolerance * np.maximum(change, 0.1 * change.mean())
        pieces = self._first(number)
        contribution = self._contributions(pieces)
        for _ in range(HALVINGS):
            event = pieces.event
            lacks = pieces.at_right - pieces.at_left - contribution.sum(axis=1)
            total, size, count = (np.bincount(event, each) for each in (lacks, np.abs(lacks), np.ones_like(lacks)))
            share = SHARE * allowed / number
            share = np.where(np.abs(total) > allowed, np.minimum(share, size / count), share)
            rough = (np.abs(lacks) > share[event]) & (self.points[event] < MOST)
            if not rough.any():
                break
            halves = self._halves(pieces.take(rough))
            contribution = np.concatenate([contribution[~rough], self._contributions(halves)])
            pieces = pieces.take(~rough).with_more(halves)
        np.add.at(self.total, pieces.event, contribution)

    def _first(self, pieces: int) -> _Pieces:
        events, ends = len(self.output), (np.arange(pieces + 1) / pieces) ** POWER
        event, place = np.repeat(np.arange(events), pieces - 1), np.tile(ends[1:-1], events)
        between = self._outputs(event, place).reshape(events, pieces - 1)
        there = np.concatenate([self.base[:, np.newaxis], between, self.output[:, np.newaxis]], axis=1)
        left, right = (np.tile(each, events) for each in (ends[:-1], ends[1:]))
        return _Pieces(np.repeat(np.arange(events), pieces), left, right, there[:, :-1].ravel(), there[:, 1:].ravel())

    def _halves(self, pieces: _Pieces) -> _Pieces:
        middle = (pieces.left + pieces.right) / 2
        there = self._outputs(pieces.event, middle)
        lower, upper = (pieces.left, middle, pieces.at_left, there), (middle, pieces.right, there, pieces.at_right)
        ends = (np.concatenate(both) for both in zip(lower, upper, strict=True))
        return _Pieces(np.tile(pieces.event, 2), *ends)

    def _outputs(self, event: np.ndarray, place: np.ndarray) -> np.ndarray:
        return self._subject.target(self._at(event, place)) if len(event) else np.zeros(0)

    def _contributions(self, pieces: _Pieces) -> np.ndarray:
        """Return (pieces, columns) distances times derivatives, integrated over each piece."""
        found = np.zeros((len(pieces.event), self._way.shape[1]))
        np.add.at(self.points, pieces.event, len(NODES))
        for first in range(0, len(found), ROWS // len(NODES)):
            rows = slice(first, first + ROWS // len(NODES))
            width = pieces.right[rows] - pieces.left[rows]
            place = pieces.left[rows, np.newaxis] + width[:, np.newaxis] * NODES
            gradients = self._subject.gradients(self._at(np.repeat(pieces.event[rows], len(NODES)), place.ravel()))[1]
            slopes = self._sample.columns.flat(gradients).reshape(*place.shape, -1)
            mean = np.einsum("pnc,n->pc", slopes, WEIGHTS)
            found[rows] = width[:, np.newaxis] * mean * self._way[pieces.event[rows]]
        return found
