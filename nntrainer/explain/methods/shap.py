"""SHAP values, by the library of that name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from pydantic import Field, PositiveInt

from nntrainer.config.registry import EXPLAINERS
from nntrainer.explain.attribution import Attribution
from nntrainer.explain.baseline import fixed, full_events
from nntrainer.explain.batches import batches
from nntrainer.explain.libraries import OfLibrary, quiet
from nntrainer.explain.sample import Sample
from nntrainer.explain.subject import Subject
from nntrainer.progress import Progress

POOL = 256
"""Events of the sample that each event's background is drawn from."""
BATCH = 16


@EXPLAINERS.register("shap")
class ShapValues(OfLibrary):
    """Shapley values of all input values (SHAP, arXiv 1705.07874), by the library's PermutationExplainer.

    Each event is compared with a few others of the sample, drawn for it alone. One after the other, in random order and
    back, their values are replaced by the event's, and what that changes is what a value contributes. Contributions add
    up to the output minus the mean output of those others exactly. The objects that the event has stay there: where a
    compared event has fewer, it borrows from others.
    """

    name: Literal["shap"] = "shap"
    evaluations: PositiveInt = Field(
        400, description="Evaluations of the network that an event with all slots filled may take; decides how many "
        "events it is compared with, at least one."
    )  # fmt: skip

    def explain(self, subject: Subject, sample: Sample, progress: Progress, deadline: float) -> Attribution:
        """Return the contributions.

        Args:
            subject: what is explained.
            sample: the events.
            progress: told of each event.
            deadline: when to stop.

        Returns:
            The contributions; ``base`` is the mean output of the events that an event is compared with.
        """
        table = np.asarray(sample.columns.flat(sample.inputs), np.float32)
        there, pool = sample.columns.there(sample.inputs), full_events(sample, POOL)
        count = max(self.evaluations // (2 * table.shape[1] + 1), 1)
        values, base = np.zeros(table.shape, np.float32), np.zeros(len(sample))
        done = 0
        for rows in batches(len(sample), BATCH, progress, deadline):
            for row in range(rows.start, rows.stop):
                seed = int(np.random.default_rng([sample.seed, row]).integers(2**31))
                drawn = np.random.default_rng(seed).choice(len(pool), min(count, len(pool)), replace=False)
                masker = _Masker(pool[drawn], there[row])
                values[row], base[row] = _explain(subject, sample, row, table[row], masker, seed)
            done = rows.stop
        output = subject.target({name: array[:done] for name, array in sample.inputs.items()})
        return Attribution(
            self.name,
            "shap.PermutationExplainer",
            sample.columns.unflat(values[:done]),
            base[:done],
            output,
            facts={"background_events": count},
        )


class _Masker:
    """What the library asks for events in which only some columns are those of the event explained.

    Args:
        background: (events, columns) to take the others from.
        there: (columns,) bool, False for those of empty slots.
    """

    immutable_outputs = True

    def __init__(self, background: np.ndarray, there: np.ndarray) -> None:
        self._background, self._there = background, there

    def shape(self, row: np.ndarray) -> tuple[int, int]:
        """Return number of events and columns."""
        return len(self._background), self._background.shape[1]

    def invariants(self, row: np.ndarray) -> np.ndarray:
        """Return where taking the event's column changes nothing, bool (events, columns)."""
        return ~self._there | (self._background == row)

    def __call__(self, mask: np.ndarray, row: np.ndarray) -> tuple[np.ndarray]:
        """Return (events, columns): the event's where the mask is True."""
        return (np.where(mask, row, self._background),)


def _explain(
    subject: Subject, sample: Sample, row: int, event: np.ndarray, masker: _Masker, seed: int
) -> tuple[np.ndarray, float]:
    """Return the (columns,) contributions of one event, and the base."""

    def target(table: np.ndarray) -> np.ndarray:
        return subject.target(sample.columns.unflat(table) | fixed(sample, np.full(len(table), row)))

    evaluations = 2 * int((~masker.invariants(event)).any(axis=0).sum()) + 1
    with quiet(), _numpy_seed_kept():
        import shap

        found = shap.PermutationExplainer(target, masker, seed=seed)(
            event[np.newaxis], max_evals=evaluations, batch_size=evaluations, silent=True
        )
    return found.values[0], float(found.base_values[0])


@contextmanager
def _numpy_seed_kept() -> Iterator[None]:
    """Leave NumPy's global random state, which the library seeds, as it was."""
    before: Any = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(before)
