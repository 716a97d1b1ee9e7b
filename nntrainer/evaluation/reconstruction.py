"""How often particles are found right, how well m and pT come out, and what simple choices would do."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.config.targets import Assignment, PairEvaluation, Particle, Regression
from nntrainer.dataset.dataset import Dataset
from nntrainer.dataset.schema import slot_fields, value_field
from nntrainer.evaluation.figures import reporting_weights
from nntrainer.evaluation.predict import Scores
from nntrainer.evaluation.weighted import Fraction, Record, plain, ratio
from nntrainer.networks.candidates import candidates
from nntrainer.networks.model import GEV
from nntrainer.plots import reconstruction as plots
from nntrainer.plots.press import Press
from nntrainer.rundir import RunDir

NETWORK = "network"
NEAREST_MASS, SMALLEST_DR = "nearest mass", "smallest ΔR"
PT_EDGES = np.array([0.0, 50, 100, 150, 200, 250, 300, 400, 600])


@dataclass(frozen=True)
class Spread(Record):
    """Median of a distribution, half of its central 68 %, and the number of events."""

    median: float
    width: float
    events: int


def fraction(passed: np.ndarray, weight: np.ndarray) -> Fraction:
    """Return what fraction of the weight passes.

    Args:
        passed: (n,) bool.
        weight: (n,) signed weights.

    Returns:
        f = Σw(passed)/Σw and its error √(Σw²[(1-f)² or f²])/|Σw|, which is the binomial one for equal weights; NaN
        without events.
    """
    total = float(weight.sum())
    value = float(ratio(weight[passed].sum(), total))
    square = np.square(weight) * np.where(passed, (1 - value) ** 2, value**2)
    return Fraction(value, float(ratio(np.sqrt(square.sum()), abs(total))), len(weight))


def spread(values: np.ndarray, weight: np.ndarray) -> Spread:
    """Return the median and half of the width of the central 68.3 % of the weight; NaN without events."""
    if not len(values):
        return Spread(np.nan, np.nan, 0)
    order = np.argsort(values)
    summed = np.cumsum(weight[order])
    # Signed weights may make the sum fall for a while: what has been reached stays reached.
    reached = np.maximum.accumulate(summed) / summed[-1]
    low, median, high = (values[order][np.searchsorted(reached, level)] for level in (0.1587, 0.5, 0.8413))
    return Spread(float(median), float(high - low) / 2, len(values))


def measure_reconstruction(
    config: Config, run: RunDir, dataset: Dataset, found: Scores, press: Press
) -> dict[str, Any]:
    """Measure and draw every particle and every regression that the models find.

    Args:
        config: the configuration.
        run: the run directory; figures go to ``plots/Reconstruction``.
        dataset: the events.
        found: what the models make of them.
        press: draws the plots.

    Returns:
        ``reconstruction`` by particle: fractions of events with all objects right, by the network and by baselines,
        of all events and of matchable ones, against pT; medians and widths of m and of the pT response. ``regression``
        by target: median and width of the difference to the truth. Empty where nothing but the class is learnt.
    """
    weight = reporting_weights(config, dataset)
    result: dict[str, Any] = {}
    for target in config.assignments.values():
        table = dataset.objects(target.collection)
        for name, particle in target.particles.items():
            events = _Events(config, dataset, found, weight, table, target, name, particle)
            result.setdefault("reconstruction", {})[name] = _particle(run, name, events, press)
    for name, regression in config.regressions.items():
        truth, value = dataset.column(value_field(name)), found.decoded[name]
        rows = np.flatnonzero(np.isfinite(truth) & (found.fold >= 0))
        measured = spread(value[rows].astype(np.float64) - truth[rows], weight[rows])
        result.setdefault("regression", {})[name] = {"unit": regression.unit, **measured.as_dict()}
    return result


class _Events:
    """The test events in which a particle may be, as arrays.

    Args:
        config: the configuration.
        dataset: all events.
        found: what the models make of them.
        weight: (n,) weights of all events.
        table: (n, max) objects of the particle's collection.
        target: the target of which the particle is one.
        name: of the particle.
        particle: its configuration.

    Attributes:
        choices: for the network and each baseline (n, k) slots in the order of the ids, -1 for none.
        right: for each of them (n,) bool.
        matchable: (n,) bool, all objects are among the slots.
        weight: (n,) float64.
        pt: (n,) true pT in GeV, NaN where it is not known.
        sums: for each choice, and for the true objects as ``truth``, (n, 2) m and pT in GeV; or empty.
    """

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        found: Scores,
        weight: np.ndarray,
        table: np.ndarray,
        target: Assignment,
        name: str,
        particle: Particle,
    ) -> None:
        block = config.features.objects[target.collection]
        options = config.evaluation.reconstruction.get(name, PairEvaluation())
        truth = np.stack([dataset.column(each) for each in slot_fields(name, len(particle.ids))], axis=-1)
        # Events of classes in which no event has any of the objects have no such particle.
        label = dataset.column("label")
        there = np.isin(label, np.unique(label[(truth >= 0).any(axis=1)]))
        rows = np.flatnonzero(there & (found.fold >= 0))
        truth, table, self.weight = truth[rows].astype(np.int64), table[rows], weight[rows]
        self.matchable = (truth >= 0).all(axis=1)
        self.choices = {NETWORK: found.decoded[f"{name}_indices"][rows]}
        vectors = None
        if (names := block.four_vector) is not None:
            unit = GEV[next(each.unit for each in block.features if each.name == names.pt)]
            vectors = _four_vectors(table, names.model_dump(), unit)
        if vectors is not None and len(particle.ids) == 2:
            self.choices |= _baselines(table, vectors, options)
        known = candidates(particle, block.max)
        number = known.number(truth)
        self.right = {
            key: (number >= 0) & (known.number(chosen.astype(np.int64)) == number)
            for key, chosen in self.choices.items()
        }
        self.sums = (
            {} if vectors is None else {k: _sums(vectors, v) for k, v in {**self.choices, "truth": truth}.items()}
        )
        self.pt, self.pt_name = self._true_pt(config, dataset, rows, options)

    def _true_pt(
        self, config: Config, dataset: Dataset, rows: np.ndarray, options: PairEvaluation
    ) -> tuple[np.ndarray, str]:
        if options.truth_pt is None:
            pt = self.sums["truth"][:, 1] if self.sums else np.full(len(rows), np.nan)
            return pt, "true objects"
        target = config.data.targets.get(options.truth_pt)
        if isinstance(target, Regression):
            column, unit = dataset.column(value_field(options.truth_pt)), target.unit
        else:
            column = dataset.column(options.truth_pt)
            features = config.features.spectators + config.features.events
            unit = next(each.unit for each in features if each.name == options.truth_pt)
        pt = column[rows].astype(np.float64) * GEV.get(unit, 1.0)
        return np.where(pt > 0, pt, np.nan), options.truth_pt


def _four_vectors(table: np.ndarray, names: dict[str, str | None], gev: float) -> np.ndarray:
    """Return (n, N, 4) E, px, py, pz in GeV, zero in empty slots."""
    columns = {key: table[name].astype(np.float64) for key, name in names.items() if name}
    pt, eta = columns["pt"] * gev, columns.get("eta", np.zeros(table.shape))
    vector = [pt * np.cos(columns["phi"]), pt * np.sin(columns["phi"]), pt * np.sinh(eta)]
    if "e" in columns:
        energy = columns["e"] * gev
    else:
        energy = np.sqrt(sum(np.square(each) for each in vector) + np.square(columns.get("mass", 0.0) * gev))
    return np.where(table["valid"][..., None], np.stack([energy, *vector], axis=-1), 0.0)


def _sums(vectors: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """Return (n, 2) mass and pT of the sum of objects in these (n, k) slots, NaN where one is -1."""
    total = np.take_along_axis(vectors, np.maximum(slots, 0)[..., None].astype(np.int64), axis=1).sum(axis=1)
    square = np.square(total)
    mass = np.sqrt(np.maximum(square[:, 0] - square[:, 1:].sum(axis=1), 0.0))
    result = np.stack([mass, np.sqrt(square[:, 1] + square[:, 2])], axis=-1)
    return np.where((slots >= 0).all(axis=1)[:, None], result, np.nan)


def _baselines(table: np.ndarray, vectors: np.ndarray, options: PairEvaluation) -> dict[str, np.ndarray]:
    """Return the (n, 2) slots that simple rules choose: smallest ΔR, and with tags the mass nearest the given one."""
    pairs = np.array(list(combinations(range(vectors.shape[1]), 2)))
    a, b = pairs.T
    px, py, pz = np.moveaxis(vectors[..., 1:], -1, 0)
    pt = np.hypot(px, py)
    eta, phi = np.arcsinh(ratio(pz, pt, 0.0)), np.arctan2(py, px)
    turn = np.abs(phi[:, a] - phi[:, b])
    dr = np.hypot(eta[:, a] - eta[:, b], np.minimum(turn, 2 * np.pi - turn))
    total = vectors[:, a] + vectors[:, b]
    mass = np.sqrt(np.maximum(np.square(total[..., 0]) - np.square(total[..., 1:]).sum(axis=-1), 0.0))
    tagged = table["valid"] & (True if options.tag is None else table[options.tag] >= options.tag_minimum)

    def best(cost: np.ndarray) -> np.ndarray:
        cost = np.where(tagged[:, a] & tagged[:, b], cost, np.inf)
        chosen = pairs[cost.argmin(axis=1)]
        return np.where(np.isfinite(cost.min(axis=1))[:, None], chosen, -1)

    found = {SMALLEST_DR: best(dr)}
    if options.tag is not None:
        found = {NEAREST_MASS: best(np.abs(mass - options.mass_gev)), **found}
    return found


def _particle(run: RunDir, name: str, events: _Events, press: Press) -> dict[str, Any]:
    folder, weight = run.plots("Reconstruction"), events.weight
    result: dict[str, Any] = {"pt_of": events.pt_name, "pt_edges_gev": PT_EDGES.tolist()}
    curves: dict[str, dict[str, list[Fraction]]] = {"all": {}, "matchable": {}}
    chosen = {"all": np.ones(len(weight), bool), "matchable": events.matchable}
    place = np.searchsorted(PT_EDGES, events.pt, side="right") - 1  # NaN comes last, beyond all bins
    for key, right in events.right.items():
        numbers: dict[str, Any] = {}
        for kind, rows in chosen.items():
            numbers[kind] = fraction(right[rows], weight[rows]).as_dict()
            bins = [rows & (place == index) for index in range(len(PT_EDGES) - 1)]
            curves[kind][key] = [fraction(right[each], weight[each]) for each in bins]
            numbers[f"{kind}_by_pt"] = [each.as_dict() for each in curves[kind][key]]
        result[key] = numbers
    result["matchable"] = fraction(events.matchable, weight).as_dict()
    for kind, drawn in curves.items():
        if np.isfinite(events.pt).any():
            press.draw(folder / f"{name}_right_{kind}", plots.fractions, name, kind, PT_EDGES, drawn)
    if events.sums:
        rows = events.matchable
        masses = {key: (values[rows, 0], weight[rows]) for key, values in events.sums.items()}
        responses = {key: (values[rows, 1] / events.pt[rows] - 1, weight[rows]) for key, values in events.sums.items()}
        for given, end in ((masses, "mass"), (responses, "pt_response")):
            samples = {key: (v[np.isfinite(v)], w[np.isfinite(v)]) for key, (v, w) in given.items()}
            for key, each in samples.items():
                result.setdefault(key, {})[f"{end}_gev" if end == "mass" else end] = spread(*each).as_dict()
            if all(len(values) for values, _ in samples.values()):
                press.draw(folder / f"{name}_{end}", plots.masses if end == "mass" else plots.responses, name, samples)
    return {key: plain(value) if not isinstance(value, dict) else value for key, value in result.items()}
