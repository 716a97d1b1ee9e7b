"""Which plots a run makes, and from which events."""

from __future__ import annotations

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
from nntrainer.plots import inputs as input_plots
from nntrainer.plots import style
from nntrainer.plots.save import save
from nntrainer.progress import Progress, silent
from nntrainer.rundir import RunDir

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nntrainer.dataset.inspection import Inspection

Columns = dict[str, np.ndarray]
NUMBERS = "numbers.json"
"""What the input plots show, beside them."""


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


def draw_inputs(config: Config, run: RunDir, *, progress: Progress | None = None) -> list[Path]:
    """Draw every input feature for every class, and the correlations in each class.

    Args:
        config: the configuration.
        run: the run directory.
        progress: told how far the work has come.

    Returns:
        The files, under ``plots/Inputs``; ``numbers.json`` among them holds the contents of all histograms.
    """
    progress = progress or silent()
    style_of(config)
    wanted = network_inputs(config)
    folder = run.plots("Inputs")
    paths: list[Path] = []
    numbers: dict[str, dict[str, Any]] = {}

    def keep(figure: Figure, name: str) -> None:
        paths.extend(save(figure, folder / name))
        progress.advance(1)

    def draw(title: str, file: str, unit: str, values: Columns, weights: Columns) -> None:
        histograms = input_plots.feature_histograms(unit, values, weights, config.evaluation.bins)
        keep(input_plots.feature(title, unit, histograms, config.data.signal_label), file)
        numbers[file] = {name: one.as_dict() for name, one in histograms.items()}

    with configured_dataset(config) as dataset:
        label, weight = dataset.column("label"), reporting_weights(config, dataset)
        rows = {name: np.flatnonzero(label == index) for index, name in enumerate(dataset.labels)}
        weights = {name: weight[take] for name, take in rows.items()}
        total = len(wanted.events) + sum(2 * len(block.fields) for block in wanted.objects.values())
        progress.start("input plots", total + len(rows), unit="plots")
        for field in wanted.events:
            column = dataset.column(field.name)
            draw(field.name, field.name, field.unit, {name: column[take] for name, take in rows.items()}, weights)
        for collection, block in wanted.objects.items():
            table = dataset.objects(collection)
            of_class = {name: table[take] for name, take in rows.items()}
            leading = {name: part[:, :1] for name, part in of_class.items()}
            for field in block.fields:
                for word, file, parts in (("", "", of_class), ("leading ", "leading_", leading)):
                    values = {name: _valid(part, field.name) for name, part in parts.items()}
                    spread = {name: _per_object(part, weights[name]) for name, part in parts.items()}
                    draw(f"{word}{field.name}", f"{collection}_{file}{field.name}", field.unit, values, spread)
        names = [field.name for field in wanted.events]
        if len(names) > 1:
            columns = np.stack([dataset.column(name) for name in names], axis=-1)
            for name, take in rows.items():
                matrix = input_plots.correlation_matrix(columns[take], weights[name])
                keep(input_plots.correlation(names, matrix, name), f"correlation_{name}")
                numbers[f"correlation_{name}"] = {"features": names, "matrix": plain(matrix)}
    write_json(folder / NUMBERS, numbers)
    progress.finish()
    return [*paths, folder / NUMBERS]


def _valid(table: np.ndarray, field: str) -> np.ndarray:
    return np.asarray(table[field][table["valid"].astype(bool)])


def _per_object(table: np.ndarray, weight: np.ndarray) -> np.ndarray:
    valid = table["valid"].astype(bool)
    return np.broadcast_to(weight[:, None], valid.shape)[valid]


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
    return save(input_plots.field(name, unit, counts, edges), path)[0]
