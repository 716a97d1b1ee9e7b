"""Integrated gradients."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from nntrainer.config.registry import EXPLAINERS, ExplainerOptions
from nntrainer.explain.attribution import Attribution
from nntrainer.explain.baseline import mean_event
from nntrainer.explain.batches import batches
from nntrainer.explain.sample import Sample, valid_of
from nntrainer.explain.subject import BATCH as ROWS
from nntrainer.explain.subject import Subject
from nntrainer.progress import Progress

BATCH = 64
FINER = (1, 4, 16)
"""How many times the points are taken for events whose contributions do not add up with fewer."""
POWER = 3
"""The line's parameter is s³ with s at the points of Gauss and Legendre. On the baseline all objects of a collection
lie upon one another, and logarithms of distances, which some networks take of pairs, change fastest beside it."""


@EXPLAINERS.register("integrated_gradients")
class IntegratedGradients(ExplainerOptions):
    """Gradients along the straight line from a baseline to the event (arXiv 1703.01365).

    A value contributes its distance from the baseline times the mean derivative along the line, so that contributions
    add up to the output minus that of the baseline, but for the error of the integral. The baseline is the mean event:
    mean event features, and in each slot that the event fills the mean object of the collection.
    """

    name: Literal["integrated_gradients"] = "integrated_gradients"
    points: PositiveInt = Field(32, description="Points on the line (Gauss-Legendre).")
    tolerance: PositiveFloat = Field(
        0.005, description="What contributions may lack, relative to the change of the output, before points are added."
    )

    def explain(self, subject: Subject, sample: Sample, progress: Progress, deadline: float) -> Attribution:
        """Return the contributions.

        Args:
            subject: what is explained.
            sample: the events.
            progress: told of each event.
            deadline: when to stop.

        Returns:
            The contributions; ``base`` is the output of the baseline.
        """
        mean, parts = mean_event(sample), []
        for rows in batches(len(sample), BATCH, progress, deadline):
            parts.append(self._batch(subject, sample.take(rows), mean))
        values = {name: np.concatenate([each[0][name] for each in parts]) for name in sample.columns.inputs}
        base, output, points = (np.concatenate([each[i] for each in parts]) for i in (1, 2, 3))
        return Attribution(self.name, "integrated gradients", values, base, output, arrays={"points": points})

    def _batch(self, subject: Subject, sample: Sample, mean: dict[str, np.ndarray]) -> tuple[Any, ...]:
        """Return contributions by input, base, output and the number of points of some events."""
        inputs = sample.inputs
        start = {
            name: np.where(valid_of(inputs, name), mean[name].astype(np.float32), inputs[name])
            for name in sample.columns.inputs
        }
        base, output = subject.target(inputs | start), subject.target(inputs)
        values = {name: np.zeros(inputs[name].shape, np.float32) for name in start}
        points, left = np.zeros(len(sample), np.int32), np.arange(len(sample))
        for finer in FINER:
            points[left] = self.points * finer
            some = {name: array[left] for name, array in inputs.items()}
            mine = _integral(subject, {name: each[left] for name, each in start.items()}, some, self.points * finer)
            total = np.zeros(len(left))
            for name, each in mine.items():
                values[name][left] = each
                total += each.reshape(len(left), -1).sum(axis=1, dtype=np.float64)
            change = output[left] - base[left]
            left = left[np.abs(change - total) > self.tolerance * np.abs(change)]
            if not len(left):
                break
        return values, base, output, points


def _integral(
    subject: Subject, start: dict[str, np.ndarray], inputs: dict[str, np.ndarray], points: int
) -> dict[str, np.ndarray]:
    """Return distance times mean gradient along the lines from start to inputs, float32 by input."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    nodes, weights = (1 + nodes) / 2, weights / 2
    places, weights = nodes**POWER, weights * POWER * nodes ** (POWER - 1)
    way = {name: inputs[name] - start[name] for name in start}
    total = {name: np.zeros(each.shape) for name, each in way.items()}
    events = len(next(iter(inputs.values())))
    together = max(ROWS // events, 1)
    for first in range(0, points, together):
        some = slice(first, first + together)
        count = len(places[some])
        at = {name: np.tile(each, (count, *[1] * (each.ndim - 1))) for name, each in inputs.items()}
        for name, each in way.items():
            step = places[some].reshape(-1, *[1] * each.ndim) * each
            at[name] = (start[name] + step).reshape(at[name].shape).astype(np.float32)
        for name, each in subject.gradients(at)[1].items():
            total[name] += np.tensordot(weights[some], each.reshape(count, *way[name].shape), axes=1)
    return {name: (way[name] * each).astype(np.float32) for name, each in total.items()}
