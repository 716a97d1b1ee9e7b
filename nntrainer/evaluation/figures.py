"""Which plots a run makes, and from which events."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nntrainer.config import Config
from nntrainer.dataset.dataset import Dataset, open_dataset
from nntrainer.dataset.schema import Field, network_inputs
from nntrainer.dataset.weights import apply_policy
from nntrainer.errors import NNTrainerError
from nntrainer.plots import inputs as input_plots
from nntrainer.plots import style
from nntrainer.plots.save import save
from nntrainer.progress import Progress, silent
from nntrainer.rundir import RunDir

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nntrainer.dataset.inspection import Inspection


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
        The files, under ``plots/Inputs``.
    """
    progress = progress or silent()
    style_of(config)
    wanted = network_inputs(config)
    folder = run.plots("Inputs")
    with configured_dataset(config) as dataset:
        label, weight = dataset.column("label"), reporting_weights(config, dataset)
        rows = {name: np.flatnonzero(label == index) for index, name in enumerate(dataset.labels)}
        weights = {name: weight[take] for name, take in rows.items()}
        total = len(wanted.events) + sum(2 * len(block.fields) for block in wanted.objects.values())
        progress.start("input plots", total + len(rows), unit="plots")
        paths: list[Path] = []

        def keep(figure: Figure, name: str) -> None:
            paths.extend(save(figure, folder / name))
            progress.advance(1)

        def draw(field: Field, values: dict[str, np.ndarray], weights: dict[str, np.ndarray], title: str) -> Figure:
            return input_plots.feature(
                title, field.unit, values, weights, config.data.signal_label, bins=config.evaluation.bins
            )

        for field in wanted.events:
            column = dataset.column(field.name)
            keep(
                draw(field, {name: column[take] for name, take in rows.items()}, weights, field.name),
                field.name,
            )
        for collection, block in wanted.objects.items():
            table = dataset.objects(collection)
            for field in block.fields:
                inclusive = {name: _valid(table[take], field.name) for name, take in rows.items()}
                spread = {name: _per_object(table[take], weights[name]) for name, take in rows.items()}
                keep(draw(field, inclusive, spread, field.name), f"{collection}_{field.name}")
                first = {name: table[take][:, :1] for name, take in rows.items()}
                leading = {name: _valid(part, field.name) for name, part in first.items()}
                spread = {name: _per_object(part, weights[name]) for name, part in first.items()}
                keep(
                    draw(field, leading, spread, f"leading {field.name}"),
                    f"{collection}_leading_{field.name}",
                )
        names = [field.name for field in wanted.events]
        if len(names) > 1:
            columns = np.stack([dataset.column(name) for name in names], axis=-1)
            for name, take in rows.items():
                keep(input_plots.correlation(names, columns[take], weights[name], name), f"correlation_{name}")
        progress.finish()
    return paths


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
