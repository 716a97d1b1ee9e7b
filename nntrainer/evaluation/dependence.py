"""How much the network's score depends on a nuisance, such as a mass: numbers and plots."""

from __future__ import annotations

from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.dataset.dataset import Dataset
from nntrainer.evaluation.correlation import distance_correlation, jensen_shannon
from nntrainer.evaluation.curves import roc
from nntrainer.evaluation.decide import Draw
from nntrainer.evaluation.weighted import plain, ratio
from nntrainer.plots import dependence as plots
from nntrainer.plots.histograms import Histogram, histogram

CUTS = (0.9, 0.7, 0.5, 0.3)
"""Signal efficiencies of the cuts that are drawn."""
JSD_AT = 0.5
"""Signal efficiency of the cut at which the shapes before and after are compared."""
BINS = 20
FEW = 12
"""A column with at most so many values is a label: each value is a bin."""
REPLICAS = 20


def nuisances(config: Config) -> list[str]:
    """Return the columns on which the score's dependence is measured."""
    decorrelation = config.training.decorrelation
    first = [decorrelation.nuisance] if decorrelation is not None else []
    return list(dict.fromkeys([*first, *config.evaluation.dependence]))


def measure_dependence(
    config: Config, dataset: Dataset, target: np.ndarray, score: np.ndarray, weight: np.ndarray, draw: Draw
) -> dict[str, Any]:
    """Measure and draw the dependence on each nuisance.

    Args:
        config: the configuration.
        dataset: the events.
        target: bool (N,), True for signal.
        score: float (N,), P(signal) by a model that never saw the event; NaN where there is none.
        weight: float (N,), signed.
        draw: draws plots.

    Returns:
        Plain data for ``metrics.json``, by nuisance.
    """
    result = {}
    for name in nuisances(config):
        nuisance = dataset.column(name)
        take = np.isfinite(score) & np.isfinite(nuisance)
        unit = next(field.unit for field in dataset.schema.events if field.name == name)
        scale = 1e-3 if unit == "MeV" else 1.0
        events = (target[take], score[take], nuisance[take].astype(np.float64) * scale, weight[take])
        found, drawn = of_one(*events, seed=config.seed)
        found["unit"] = "GeV" if unit == "MeV" else unit
        result[name] = found
        if drawn:
            title = f"{name} [{found['unit']}]" if found["unit"] else name
            draw(f"dependence_{name}_shapes", plots.shapes, drawn, title, note_of(found))
            draw(f"dependence_{name}_efficiency", plots.efficiencies, found["cuts"], drawn[None].edges, title)
    return result


def of_one(
    target: np.ndarray, score: np.ndarray, nuisance: np.ndarray, weight: np.ndarray, *, seed: int
) -> tuple[dict[str, Any], dict[float | None, Histogram]]:
    """Measure the dependence of a score on a nuisance.

    Args:
        target: bool (N,), True for signal.
        score: float (N,).
        nuisance: float (N,), finite.
        weight: float (N,), signed.
        seed: seed of the bootstrap.

    Returns:
        Plain data: ``distance_correlation`` in background and in signal; ``jsd`` and ``inverse_jsd`` of the
        background's shapes before and after the cut with half of the signal, with uncertainties; and for several
        ``cuts`` the background's efficiency in bins of the nuisance. And the shapes of the background by signal
        efficiency, before any cut under None; nothing where there is no background or signal to speak of.
    """
    result: dict[str, Any] = {"distance_correlation": {}}
    for name, mask in (("background", ~target), ("signal", target)):
        found = distance_correlation(score[mask], nuisance[mask], weight[mask], replicas=REPLICAS, seed=seed)
        result["distance_correlation"][name] = found.as_dict()
    curve = roc(target, score, weight)
    if not np.isfinite(curve.auc):
        return result | {"reason": "signal or background has no positive sum of weights"}, {}
    back, cut_on, sums = nuisance[~target], score[~target], weight[~target]
    edges = edges_of(back)
    before = histogram(back, sums, edges)
    drawn: dict[float | None, Histogram] = {None: before}
    result["edges"], result["cuts"] = edges.tolist(), []
    for wanted in CUTS:
        at = int(np.argmax(curve.tpr >= wanted - 1e-12))
        passed = cut_on >= curve.thresholds[at]
        after = histogram(back[passed], sums[passed], edges)
        drawn[wanted] = after
        efficiency, error = efficiency_of(before, after)
        result["cuts"].append(
            {
                "signal_efficiency": wanted,
                "threshold": float(curve.thresholds[at]),
                "background_efficiency": float(curve.fpr[at]),
                "efficiency": plain(efficiency),
                "error": plain(error),
            }
        )
        if wanted == JSD_AT:
            result |= _jsd(back, sums, passed, edges, before, after, seed)
    return result, drawn


def edges_of(values: np.ndarray) -> np.ndarray:
    """Return bins with equally many events, or one for each of few values."""
    distinct = np.unique(values)
    if len(distinct) <= FEW:
        middles = (distinct[1:] + distinct[:-1]) / 2
        step = float(np.diff(distinct).min()) if len(distinct) > 1 else 1.0
        return np.concatenate([[distinct[0] - step / 2], middles, [distinct[-1] + step / 2]])
    edges = np.unique(np.quantile(values, np.linspace(0.0, 1.0, BINS + 1)))
    # The last events lie far out: bins end where a hundredth of them is left, and take what is beyond.
    low, high = np.quantile(values, (0.01, 0.99))
    edges[0], edges[-1] = max(edges[0], low), min(edges[-1], high)
    return edges[np.append(True, np.diff(edges) > 0)]


def efficiency_of(before: Histogram, after: Histogram) -> tuple[np.ndarray, np.ndarray]:
    """Return the efficiency in each bin and its uncertainty, for weighted events of which ``after`` are a part."""
    efficiency = ratio(after.values, before.values)
    failed = np.maximum(before.errors**2 - after.errors**2, 0.0)
    variance = (1 - efficiency) ** 2 * after.errors**2 + efficiency**2 * failed
    return efficiency, ratio(np.sqrt(variance), np.abs(before.values))


def _jsd(
    values: np.ndarray,
    weight: np.ndarray,
    passed: np.ndarray,
    edges: np.ndarray,
    before: Histogram,
    after: Histogram,
    seed: int,
) -> dict[str, float | None]:
    jsd = jensen_shannon(before.values, after.values)
    # What a cut without any dependence would show, which finitely many events do not make zero.
    rng = np.random.default_rng(seed)
    index = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    spread, independent = [], []
    for _ in range(REPLICAS):
        times = weight * rng.poisson(1.0, len(weight))
        both = [np.bincount(index, each, len(edges) - 1) for each in (times, times * passed)]
        spread.append(jensen_shannon(*both))
        other = np.bincount(index, weight * rng.permutation(passed), len(edges) - 1)
        independent.append(jensen_shannon(before.values, other))
    error = float(np.std(spread, ddof=1))
    return {
        "jsd": plain(jsd),
        "jsd_error": plain(error),
        "jsd_independent": plain(float(np.mean(independent))),
        "inverse_jsd": plain(1 / jsd if jsd > 0 else float("inf")),
    }


def note_of(found: dict[str, Any]) -> list[str]:
    """Return what is written into the plot of the shapes."""
    one = found["distance_correlation"]["background"]
    lines = ["background"]
    if one["value"] is not None and one["error"] is not None:
        lines.append(f"distance correlation {one['value']:.3f} ± {one['error']:.3f}")
    if found["inverse_jsd"] is not None:
        lines.append(f"1/JSD at half of the signal {found['inverse_jsd']:.3g}")
    return lines
