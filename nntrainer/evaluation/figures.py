"""Which plots a run makes, and from which events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nntrainer.config import Config
from nntrainer.dataset.dataset import Dataset, open_dataset
from nntrainer.dataset.schema import network_inputs
from nntrainer.dataset.weights import apply_policy
from nntrainer.errors import NNTrainerError
from nntrainer.evaluation.weighted import plain
from nntrainer.files import write_json
from nntrainer.plots import inputs, style
from nntrainer.plots.press import Press
from nntrainer.plots.save import save
from nntrainer.rundir import RunDir

if TYPE_CHECKING:
    from nntrainer.dataset.inspection import Inspection

NUMBERS = "numbers.json"
"""What the input plots show, beside them."""
ROWS = 50_000
"""Events that are read at once."""
TOGETHER = 2**29
"""Bytes of entries in memory; where all features are more, the files are read several times."""


def configured_dataset(config: Config) -> Dataset:
    """Open the converted samples of a configuration as one dataset."""
    return open_dataset(config)


def reporting_weights(config: Config, dataset: Dataset) -> np.ndarray:
    """Return the weights (n,) float64 of everything that is reported, by the configured policy."""
    weight = dataset.column("weight").astype(np.float64)
    return apply_policy(weight, config.preparation.negative_weights.reporting, dataset.sample_index)


def style_of(config: Config) -> None:
    """Set the words that every plot of this configuration carries."""
    style.apply(label=config.evaluation.label, description=config.evaluation.description)


@dataclass(frozen=True)
class _Shown:
    """A field of events or of a collection, all of its objects or the leading ones, as an input plot shows it."""

    title: str
    file: str
    unit: str
    field: str
    collection: str = ""
    leading: bool = False

    @property
    def entries(self) -> tuple[str, bool]:
        """What has the same entries, and so the same weights."""
        return self.collection, self.leading


def draw_inputs(config: Config, run: RunDir, press: Press) -> Path:
    """Draw every input feature for every class, and the correlations in each class.

    Args:
        config: the configuration.
        run: the run directory.
        press: draws the plots, under ``plots/Inputs``.

    Returns:
        ``numbers.json`` beside the plots, with the contents of all histograms.
    """
    style_of(config)
    folder = run.plots("Inputs")
    wanted = network_inputs(config)
    shown = [_Shown(field.name, field.name, field.unit, field.name) for field in wanted.events]
    for collection, block in wanted.objects.items():
        for field in block.fields:
            shown.append(_Shown(field.name, f"{collection}_{field.name}", field.unit, field.name, collection))
            title, file = f"leading {field.name}", f"{collection}_leading_{field.name}"
            shown.append(_Shown(title, file, field.unit, field.name, collection, True))
    numbers: dict[str, dict[str, Any]] = {}
    with configured_dataset(config) as dataset:
        classes = range(len(dataset.labels))
        press.expect("input plots", len(shown) + len(dataset.labels))
        names = [field.name for field in wanted.events]
        correlations = [inputs.Correlations(len(names)) for _ in classes] if len(names) > 1 else []
        most = max(1, TOGETHER // max(8 * dataset.n, 1))
        for start in range(0, len(shown), most):
            together = shown[start : start + most]
            values, weights = _entries(config, dataset, together, names, correlations if start == 0 else [])
            for one in together:
                samples = {name: values.pop((one, c)) for c, name in enumerate(dataset.labels)}
                spread = {name: weights[one.entries, c] for c, name in enumerate(dataset.labels)}
                filled = inputs.feature_histograms(one.unit, samples, spread, config.evaluation.bins)
                press.draw(folder / one.file, inputs.feature, one.title, one.unit, filled, config.data.signal_label)
                numbers[one.file] = {name: each.as_dict() for name, each in filled.items()}
        for name, found in zip(dataset.labels, correlations, strict=False):
            matrix = found.matrix()
            press.draw(folder / f"correlation_{name}", inputs.correlation, names, matrix, name)
            numbers[f"correlation_{name}"] = {"features": names, "matrix": plain(matrix)}
    write_json(folder / NUMBERS, numbers)
    return folder / NUMBERS


def _entries(
    config: Config, dataset: Dataset, shown: Sequence[_Shown], names: Sequence[str], correlations: Sequence[Any]
) -> tuple[dict[tuple[_Shown, int], np.ndarray], dict[tuple[tuple[str, bool], int], np.ndarray]]:
    """Read entries and weights by class, and add up correlations, in one pass over the files.

    Args:
        config: the configuration.
        dataset: the events.
        shown: what to read.
        names: the event features.
        correlations: of the event features, for each class; none where they are known.

    Returns:
        The entries (N,) of what is shown by class, and the weights (N,) float64 by what has them and class.
    """
    label, weight = dataset.column("label"), reporting_weights(config, dataset)
    fields = list(names) if correlations else [one.field for one in shown if not one.collection]
    collections = list(dict.fromkeys(one.collection for one in shown if one.collection))
    values: dict[Any, list[np.ndarray]] = {(one, c): [] for one in shown for c in range(len(dataset.labels))}
    weights: dict[Any, list[np.ndarray]] = {(one.entries, c): [] for one, c in values}
    start = 0
    for _, events, objects in dataset.pieces(ROWS, fields or ["label"], collections):
        stop = start + len(events)
        for c in np.unique(label[start:stop]):
            rows = np.flatnonzero(label[start:stop] == c)
            mine = weight[start:stop][rows]
            columns = {name: events[name][rows] for name in fields}
            if correlations:
                correlations[c].add(np.stack(list(columns.values()), axis=-1), mine)
            slots: dict[tuple[str, bool], np.ndarray] = {}
            for one in shown:
                if not one.collection:
                    values[one, c].append(columns[one.field])
                    continue
                if one.entries not in slots:
                    valid = objects[one.collection]["valid"][rows].astype(bool)
                    slots[one.entries] = valid[:, :1] if one.leading else valid
                there = slots[one.entries]
                values[one, c].append(objects[one.collection][one.field][rows][:, : there.shape[1]][there])
            for entries in dict.fromkeys(one.entries for one in shown):
                spread = mine
                if entries in slots:
                    spread = np.broadcast_to(mine[:, None], slots[entries].shape)[slots[entries]]
                weights[entries, c].append(spread)
        start = stop
    nothing = [np.zeros(0)]
    return tuple({key: np.concatenate(parts or nothing) for key, parts in each.items()} for each in (values, weights))  # type: ignore[return-value]


def draw_field(found: Inspection, path: Path) -> Path:
    """Draw the histogram of an inspected field.

    Args:
        found: what ``inspect`` returned for one field.
        path: the PNG or PDF file.

    Returns:
        The file.

    Raises:
        NNTrainerError: the file is to be of another kind.
    """
    if path.suffix.lower() not in (".png", ".pdf"):
        raise NNTrainerError(f"{path}: --plot writes PNG or PDF, not '{path.suffix}'")
    if found.detail is None:
        raise NNTrainerError(f"{path}: --plot needs --field: name the field to draw")
    name, unit = found.detail.name, found.detail.unit
    counts, edges = np.asarray(found.detail.counts, np.float64), np.asarray(found.detail.edges)
    return save(inputs.field(name, unit, counts, edges), path)[0]
