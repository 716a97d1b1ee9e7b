"""What is kept of an explanation: ``explain/<method>.h5`` and ``explain/<method>.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nntrainer.evaluation.weighted import plain
from nntrainer.explain.attribution import Attribution, Found, Importance
from nntrainer.explain.sample import Sample
from nntrainer.files import aside, write_json

FOLDER = "explain"


def write_events(path: Path, found: Found, sample: Sample, title: str) -> None:
    """Write what was found of each event as HDF5, aside and renamed.

    Args:
        path: the file.
        found: what was found.
        sample: these events, in the same order.
        title: what is explained.
    """
    import h5py

    with aside(path, shared=True) as part, h5py.File(part, "w") as file:
        file.attrs["method"], file.attrs["explainer"], file.attrs["target"] = found.method, found.explainer, title
        of_event = {
            "eventNumber": sample.event_number,
            "label": sample.label,
            "weight": sample.weight,
            "fold": sample.fold,
        }
        if isinstance(found, Attribution):
            of_event |= {"base": found.base, "output": found.output}
        for name, array in of_event.items():
            file[name] = array
        for name, array in found.arrays.items():
            file[f"arrays/{name}"] = array
        for name, array in sample.inputs.items():
            file[f"inputs/{name}"] = array
            if isinstance(found, Attribution) and name in found.values:
                file[f"values/{name}"] = found.values[name]
        for name in sample.columns.inputs:
            features = sample.columns.events if name == "events" else sample.columns.objects[name]
            file[f"inputs/{name}"].attrs["features"] = list(features)


def write_importances(path: Path, levels: Mapping[str, Importance], **facts: Any) -> None:
    """Write the importances as JSON, the most important first at each level.

    Args:
        path: the file.
        levels: the importances by level.
        **facts: what else is told.
    """
    tables = {
        level: {
            "unit": each.unit,
            "parts": [
                {"name": each.names[i], "value": plain(each.value[i]), "error": plain(each.error[i])}
                for i in each.order()
            ],
        }
        for level, each in levels.items()
    }
    write_json(path, {"format": 1, **facts, "importances": tables})


def levels_of(known: Mapping[str, Any]) -> dict[str, Importance]:
    """Return the importances that a file holds, by level; NaN where it has none."""
    found = {}
    for level, table in known["importances"].items():
        parts = table["parts"]
        value, error = (
            np.array([each[key] for each in parts], np.float64) for key in ("value", "error")
        )  # None is NaN
        found[level] = Importance(tuple(each["name"] for each in parts), value, error, table["unit"])
    return found
