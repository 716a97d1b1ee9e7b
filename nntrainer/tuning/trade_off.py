"""What independence of a nuisance costs: trainings of several strengths, and their AUC against the dependence."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.config.adversarial import Decorrelation
from nntrainer.config.load import varied
from nntrainer.dataset.conversion import convert
from nntrainer.errors import ConfigError
from nntrainer.evaluation.curves import auc_bootstrap
from nntrainer.evaluation.dependence import of_one
from nntrainer.evaluation.figures import configured_dataset, reporting_weights, style_of
from nntrainer.evaluation.predict import scores
from nntrainer.files import write_json
from nntrainer.plots import dependence as plots
from nntrainer.plots.save import save
from nntrainer.progress import Progress
from nntrainer.provenance import provenance
from nntrainer.rundir import RunDir
from nntrainer.training.train import train

FOLDER = "trade-off"
NUMBERS = "trade_off.json"
STRENGTH = "training.decorrelation.strength"


def block_of(config: Config) -> Decorrelation:
    """Return the decorrelation block.

    Args:
        config: the configuration.

    Returns:
        The block.

    Raises:
        ConfigError: there is none.
    """
    if config.training.decorrelation is None:
        raise ConfigError(
            "the configuration has no block training.decorrelation; name a nuisance in it, such as "
            "decorrelation: {nuisance: Mbb}"
        )
    return config.training.decorrelation


def strengths_of(text: str) -> list[float]:
    """Return the strengths that a text such as ``0,0.5,1`` names, rising, each once.

    Args:
        text: numbers from 0, separated by commas.

    Returns:
        The numbers.

    Raises:
        ConfigError: the text is something else.
    """
    try:
        found = sorted({float(each) for each in text.split(",")})
    except ValueError:
        found = []
    if not found or not all(0 <= each < float("inf") for each in found):
        raise ConfigError(f"--strengths {text!r}: write numbers from 0, separated by commas, such as 0,0.5,1,2,5")
    return found


def trade_off(config: Config, run: RunDir, strengths: Sequence[float], progress: Progress) -> dict[str, Any]:
    """Train all folds with each strength, and measure AUC and dependence on the nuisance.

    What was trained before is taken as it is, so that a stopped call goes on and another strength can be added.

    Args:
        config: the configuration, with ``training.decorrelation``.
        run: the run directory; a training is a run directory of its own below ``trade-off``.
        strengths: the strengths.
        progress: told how far the work has come.

    Returns:
        What is written to ``trade-off/trade_off.json``: the nuisance and a point for each strength.

    Raises:
        ConfigError: there is no decorrelation.
        Interrupted: stopped on request, with a checkpoint.
    """
    nuisance = block_of(config).nuisance
    # It warns of many graphs made in one process: each training and each model has its own.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    convert(config, progress=progress)
    points = [_point(varied(config, {STRENGTH: each}), run, each, progress) for each in strengths]
    result = {
        "nuisance": nuisance,
        "points": points,
        "config_digest": config.digest(),
        "provenance": provenance(),
    }
    write_json(run.path / FOLDER / NUMBERS, result)
    return result


def _point(config: Config, run: RunDir, strength: float, progress: Progress) -> dict[str, Any]:
    mine = RunDir(run.path / FOLDER / f"strength_{strength:g}")
    mine.claim(config)
    train(config, mine, progress=progress)
    with configured_dataset(config) as dataset:
        found = scores(config, mine, dataset)
        signal = dataset.labels.index(config.data.signal_label)
        test = found.fold >= 0
        nuisance = dataset.column(block_of(config).nuisance).astype(np.float64)
        test &= np.isfinite(nuisance)
        target, score = (dataset.column("label") == signal)[test], found.test[test, signal]
        weight = reporting_weights(config, dataset)[test]
        auc, error = auc_bootstrap(target, score, weight, replicas=config.evaluation.bootstrap, seed=config.seed)
        dependence, _ = of_one(target, score, nuisance[test], weight, seed=config.seed)
    kept = ("distance_correlation", "jsd", "jsd_error", "jsd_independent", "inverse_jsd")
    measured = {key: dependence.get(key) for key in kept}
    return {"strength": strength, "auc": auc, "auc_error": error, **measured}


def draw(config: Config, run: RunDir, result: dict[str, Any]) -> list[Path]:
    """Draw AUC against distance correlation, and against the Jensen–Shannon divergence.

    Args:
        config: the configuration.
        run: the run directory.
        result: what `trade_off` returned.

    Returns:
        The files.
    """
    style_of(config)
    points, name, paths = result["points"], result["nuisance"], []
    auc = _column(points, "auc"), _column(points, "auc_error")
    strength = _column(points, "strength")
    background = [point["distance_correlation"]["background"] for point in points]
    drawn = {
        "trade_off": (background, ("value", "error", "independent"), f"Distance correlation of the score with {name}"),
        "trade_off_jsd": (points, ("jsd", "jsd_error", "jsd_independent"), f"JSD of {name} after half of the signal"),
    }
    for file, (rows, keys, title) in drawn.items():
        value, error, floor = (_column(rows, key) for key in keys)
        if np.isfinite(value).any():
            figure = plots.trade_off(strength, auc, (value, error), title, floor=float(np.nanmean(floor)))
            paths += save(figure, run.path / FOLDER / file)
    return paths


def _column(rows: Sequence[dict[str, Any]], key: str) -> np.ndarray:
    return np.array([row[key] for row in rows], np.float64)
