"""What the events of a dataset are, in numbers: for the record of a run, which outlives its dataset files."""

from __future__ import annotations

from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.dataset.dataset import Dataset
from nntrainer.dataset.split import masks


def samples(dataset: Dataset) -> list[dict[str, Any]]:
    """Describe each sample.

    Args:
        dataset: the converted samples.

    Returns:
        Plain data for each: sample, label, tree, selection; entries read and events selected, with their signed sums
        of weights; fraction of events with negative weights; effective events (Σw)²/Σw²; events that share their event
        id with another one of the sample; events with more objects than are kept, by collection; source files.
    """
    weight, event_number = dataset.column("weight").astype(np.float64), dataset.column("eventNumber")
    found = []
    for index, attrs in enumerate(dataset.attrs):
        mine = dataset.sample_index == index
        weights, squares = weight[mine], float(np.square(weight[mine]).sum())
        found.append(
            {
                "sample": attrs["sample"],
                "label": attrs["label"],
                "tree": attrs["tree"],
                "selection": attrs["selection"],
                "entries": attrs["entries"]["before"],
                "events": attrs["entries"]["after"],
                "sum_of_weights_before": attrs["sum_of_weights"]["before"],
                "sum_of_weights": attrs["sum_of_weights"]["after"],
                "negative_fraction": float(np.mean(weights < 0)),
                "effective_events": float(weights.sum() ** 2 / squares) if squares else 0.0,
                "duplicates": int(mine.sum() - len(np.unique(event_number[mine]))),
                "overflow": attrs["overflow"],
                "files": [{key: each[key] for key in ("path", "size", "uuid", "entries")} for each in attrs["sources"]],
            }
        )
    return found


def splits(config: Config, dataset: Dataset) -> list[dict[str, int]]:
    """Count the events that train, validate and test for each fold.

    Args:
        config: the configuration.
        dataset: the converted samples.

    Returns:
        ``fold``, ``train``, ``validation`` and ``test`` for each.
    """
    event_number = dataset.column("eventNumber")
    counted = []
    for fold in range(config.preparation.k):
        split = masks(config, event_number, fold)
        roles = {name: int(getattr(split, name).sum()) for name in ("train", "validation", "test")}
        counted.append({"fold": fold, **roles})
    return counted
