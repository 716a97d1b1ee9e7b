"""Which plots an explanation makes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nntrainer.config.registry import ExplainerOptions
from nntrainer.explain.attribution import COLLECTIONS, FEATURES, SLOTS, Attribution, Found, Importance, groups
from nntrainer.explain.sample import Sample
from nntrainer.plots import explain as plots
from nntrainer.plots.save import save


def draw(
    method: ExplainerOptions, found: Found, levels: Mapping[str, Importance], sample: Sample, title: str, folder: Path
) -> list[Path]:
    """Draw what a method found.

    Args:
        method: the method.
        found: what it found.
        levels: the importances.
        sample: the events, those of which it was found.
        title: what is explained.
        folder: where the plots go.

    Returns:
        The files: ``<method>_importance`` where features are told, ``<method>_objects`` where there are objects,
        ``<method>_contributions`` where contributions to single events are known, and the method's own.
    """
    any_level = next(iter(levels.values()))
    axis = f"{any_level.unit[0].upper()}{any_level.unit[1:]}"
    if isinstance(found, Attribution):
        axis += f" to the {title}"
    about = f"{found.explainer}, {found.events:,} events"
    figures = {}
    if (features := levels.get(FEATURES)) is not None:
        figures["importance"] = plots.importance(features.names, features.value, features.error, axis, about)
    panels = {
        name: (levels[level].names, levels[level].value, levels[level].error)
        for level, name in ((SLOTS, "Objects"), (COLLECTIONS, "All together"))
        if level in levels
    }
    if sample.columns.objects and panels:
        figures["objects"] = plots.slots(panels, axis, about)
    if isinstance(found, Attribution) and features is not None:
        figures["contributions"] = plots.contributions(_rows(found, features, sample), title, about, seed=sample.seed)
    figures |= method.figures(found, sample)
    return [path for name, each in figures.items() for path in save(each, folder / f"{method.name}_{name}")]


def _rows(found: Attribution, features: Importance, sample: Sample) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return name, contributions and values of the features, the most important one first; empty slots left out."""
    values, inputs = sample.columns.flat(found.values), sample.columns.flat(sample.inputs)
    there, parts = sample.columns.there(sample.inputs), groups(sample.columns)[FEATURES]
    rows = []
    for name in (features.names[i] for i in features.order()[: plots.MOST]):
        take, places = there[:, parts[name]], parts[name]
        rows.append((name, values[:, places][take], inputs[:, places][take]))
    return rows
