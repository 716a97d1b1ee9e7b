"""LIME, by the library of that name."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field, PositiveInt

from nntrainer.config.registry import EXPLAINERS
from nntrainer.errors import ExplainError
from nntrainer.explain.attribution import Attribution
from nntrainer.explain.baseline import fixed
from nntrainer.explain.batches import batches
from nntrainer.explain.libraries import OfLibrary, quiet
from nntrainer.explain.sample import Sample
from nntrainer.explain.subject import Subject
from nntrainer.progress import Progress

BATCH = 16


@EXPLAINERS.register("lime")
class Lime(OfLibrary):
    """Local linear models of the network (LIME, arXiv 1602.04938), by the library's LimeTabularExplainer.

    Around each event values are drawn from normal laws as wide as those of the sample, and a linear model is fitted to
    the outputs, nearer ones counting more. A value contributes its coefficient times its distance from the sample's
    mean; base is what the linear model gives at the mean. The sum is the linear model's output, not the network's: how
    well they agree is told (R²). Columns are those of the objects that are there.
    """

    name: Literal["lime"] = "lime"
    samples: PositiveInt = Field(250, description="Evaluations of the network for each event.")

    def explain(self, subject: Subject, sample: Sample, progress: Progress, deadline: float) -> Attribution:
        """Return the contributions.

        Args:
            subject: what is explained.
            sample: the events.
            progress: told of each event.
            deadline: when to stop.

        Returns:
            The contributions to the local linear models.
        """
        table = sample.columns.flat(sample.inputs).astype(np.float64)
        there = sample.columns.there(sample.inputs)
        surrogates = _Surrogates(table, there, sample.columns.names())
        values, base, score = np.zeros(table.shape, np.float32), np.zeros(len(sample)), np.zeros(len(sample))
        done = 0
        for rows in batches(len(sample), BATCH, progress, deadline):
            for row in range(rows.start, rows.stop):
                target = _target(subject, sample, row, table[row], there[row])
                seed = int(np.random.default_rng([sample.seed, row]).integers(2**31))
                of_row = surrogates.explain(table[row], there[row], target, self.samples, seed)
                values[row, there[row]], base[row], score[row] = of_row
            done = rows.stop
        return Attribution(
            self.name,
            "lime.lime_tabular.LimeTabularExplainer",
            sample.columns.unflat(values[:done]),
            base[:done],
            subject.target({name: array[:done] for name, array in sample.inputs.items()}),
            facts={"mean_r2": float(score[:done].mean())},
            arrays={"r2": score[:done]},
        )


class _Surrogates:
    """The library's explainers, one for each set of columns that an event can have.

    Args:
        table: (n, columns) values of the sample.
        there: (n, columns) bool, False for those of empty slots.
        names: of the columns.
    """

    def __init__(self, table: np.ndarray, there: np.ndarray, names: list[str]) -> None:
        known = np.where(there, table, np.nan)
        some = there.any(axis=0)
        known[:, ~some] = 0.0
        self._names, self._mean, self._width = np.array(names), np.nanmean(known, axis=0), np.nanstd(known, axis=0)
        self._known: dict[bytes, Any] = {}

    def explain(
        self, row: np.ndarray, there: np.ndarray, target: Any, samples: int, seed: int
    ) -> tuple[np.ndarray, float, float]:
        """Return contributions of the columns that are there, the base, and R²."""
        with quiet():
            explainer = self._explainer(there)
            # Both draw from it: an event's numbers must not depend on those before it.
            explainer.random_state = explainer.base.random_state = np.random.RandomState(seed)
            count = int(there.sum())
            found = explainer.explain_instance(row[there], target, num_features=count, num_samples=samples)
        coefficients = np.zeros(count)
        for place, value in found.local_exp[1]:
            coefficients[place] = value
        distance = (row[there] - explainer.scaler.mean_) / explainer.scaler.scale_
        return coefficients * distance, float(found.intercept[1]), float(found.score)

    def _explainer(self, there: np.ndarray) -> Any:
        key = there.tobytes()
        if key not in self._known:
            from lime.lime_tabular import LimeTabularExplainer

            # Two events with the mean and the width of the sample are all that it reads of training data.
            mean, width = self._mean[there], self._width[there]
            self._known[key] = LimeTabularExplainer(
                np.stack([mean - width, mean + width]),
                mode="regression",
                feature_names=list(self._names[there]),
                feature_selection="none",
                discretize_continuous=False,
                sample_around_instance=True,
            )
        return self._known[key]


def _target(subject: Subject, sample: Sample, row: int, event: np.ndarray, there: np.ndarray) -> Any:
    def target(drawn: np.ndarray) -> np.ndarray:
        table = np.tile(event, (len(drawn), 1))
        table[:, there] = drawn
        inputs = sample.columns.unflat(table.astype(np.float32))
        found = subject.target(inputs | fixed(sample, np.full(len(table), row)))
        if not np.isfinite(found).all():
            raise ExplainError(
                "the method 'lime' draws values from normal laws, negative momenta among them, and of some this "
                "network makes what is not finite; take another method"
            )
        return found

    return target
