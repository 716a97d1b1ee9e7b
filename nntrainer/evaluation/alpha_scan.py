"""The α-scan: how well an observable, or the network's score, tells CP-mixing angles from α = 0."""

from __future__ import annotations

from typing import Any

import numpy as np

from nntrainer.config import Config, Sample
from nntrainer.config.observables import AlphaScan
from nntrainer.config.observables import Template as TemplateBlock
from nntrainer.config.registry import OBSERVABLES
from nntrainer.dataset.conversion import convert
from nntrainer.dataset.dataset import Dataset, open_dataset
from nntrainer.dataset.inputs import dataset_inputs
from nntrainer.dataset.observables import TABLE, add_observables
from nntrainer.dataset.split import masks
from nntrainer.errors import ConfigError, RunError, nearest, one_of
from nntrainer.evaluation.decision import bin_index
from nntrainer.evaluation.figures import reporting_weights, style_of
from nntrainer.evaluation.likelihood import Template, compare, excluded_from
from nntrainer.evaluation.predict import predictions, probabilities
from nntrainer.evaluation.weighted import plain
from nntrainer.files import write_json
from nntrainer.plots import alpha_scan as plots
from nntrainer.plots.histograms import Histogram
from nntrainer.plots.save import save
from nntrainer.progress import Progress, silent
from nntrainer.provenance import provenance
from nntrainer.rundir import RunDir

LEVELS = (0.68, 0.95)
SCORE = "score"
NUMBERS = "alpha_scan.json"


def alpha_scan(config: Config, run: RunDir, *, progress: Progress | None = None) -> dict[str, Any]:
    """Scan the CP-mixing angle, and draw it.

    Args:
        config: the configuration, with ``evaluation.alpha_scan``.
        run: the run directory, with trained models where a template is the score.
        progress: told how far the work has come.

    Returns:
        What is written to ``alpha_scan.json``, see `measure`; plots are ``plots/Evaluation/alpha_*``.

    Raises:
        ConfigError: the block is missing, or a template is not known or has an empty bin.
        RunError: a template is the score and the network is not trained.
    """
    result = measure(config, run, progress=progress)
    style_of(config)
    folder = run.plots("Evaluation")
    angles, curves = result["alpha"], {}
    for name, one in result["templates"].items():
        drawn = {
            f"α = {alpha:g}°": Histogram(np.array(one["edges"]), np.array(values), np.array(errors))
            for alpha, values, errors in zip(angles, one["yields"], one["errors"], strict=True)
        }
        save(plots.templates(drawn, name, one["unit"]), folder / f"alpha_template_{name}")
        q = np.array([np.inf if each is None else each for each in one["q"]])
        curves[name] = (np.array(angles), q, one["noise"])
    floating = result["normalisation"] == "floating"
    save(plots.scan(curves, result["thresholds"], floating=floating), folder / "alpha_scan")
    result |= {"config_digest": config.digest(), "provenance": provenance()}
    write_json(run.path / NUMBERS, result)
    return result


def measure(config: Config, run: RunDir, *, progress: Progress | None = None) -> dict[str, Any]:
    """Compute the expected exclusion of each angle for each template.

    The samples of the scan are converted like those of the training, with the same features and selection, into
    dataset files of their own. An event is scored by the model that never saw events of its number.

    Args:
        config: the configuration, with ``evaluation.alpha_scan``.
        run: the run directory, with trained models where a template is the score.
        progress: told how far the work has come.

    Returns:
        Plain data: angles, thresholds, and for each template bins, yields, −2Δ ln L and what is excluded.

    Raises:
        ConfigError: the block is missing, or a template is not known or has an empty bin.
        RunError: a template is the score and the network is not trained.
    """
    from scipy.stats import chi2

    block = config.evaluation.alpha_scan
    if block is None:
        raise ConfigError(
            "the configuration has no block 'evaluation.alpha_scan'; name the samples of each angle in it"
        )
    _check(config, block)
    if any(each.name == SCORE for each in block.templates):
        _trained(config, run)
    scanned = scan_config(config, block)
    convert(scanned, progress=progress or silent())
    if config.observables is not None:
        add_observables(scanned, progress=progress or silent())
    result: dict[str, Any] = {
        "alpha": [each.alpha for each in block.samples],
        "normalisation": block.normalisation,
        "luminosity_ipb": config.data.luminosity_ipb,
        "thresholds": {f"{level:.0%} CL": float(chi2.ppf(level, 1)) for level in LEVELS},
        "templates": {},
    }
    with open_dataset(scanned) as dataset:
        weight = reporting_weights(scanned, dataset)
        for each in block.templates:
            values, unit = _values(config, run, dataset, each.name)
            edges, templates = _templates(block, each, dataset, values, weight)
            result["templates"][each.name] = {"unit": unit, **_scan(block, edges, templates)}
    return result


def block_of(config: Config) -> AlphaScan:
    """Return the block ``evaluation.alpha_scan``, or raise a ConfigError where there is none."""
    if config.evaluation.alpha_scan is None:
        raise ConfigError(
            "the configuration has no block 'evaluation.alpha_scan'; name the samples of each angle in it"
        )
    return config.evaluation.alpha_scan


def scan_config(config: Config, block: AlphaScan) -> Config:
    """Return the configuration with the scan's samples in place of the training's: signals first, in order."""
    signals = [
        Sample(name=f"alpha_{each.alpha:g}", files=each.files, label=f"alpha_{each.alpha:g}") for each in block.samples
    ]
    others = [Sample(name=name, files=files, label="background") for name, files in block.backgrounds.items()]
    data = config.data.model_copy(update={"samples": (*signals, *others), "signal": None})
    return config.model_copy(update={"data": data})


def _check(config: Config, block: AlphaScan) -> None:
    """Refuse a template that is neither the score nor a column."""
    known = [SCORE]
    if config.observables is not None:
        known += config.observables.names()
    known += [each.name for each in config.features.events + config.features.spectators]
    for each in block.templates:
        if each.name not in known:
            more = ""
            if each.name in OBSERVABLES.names():
                more = "; it is an observable: name the particles that it needs under 'observables'"
            raise ConfigError(
                f"evaluation.alpha_scan.templates: '{each.name}' is not known{more}; there are {one_of(known)}."
                f"{nearest(each.name, known)}"
            )


def _trained(config: Config, run: RunDir) -> None:
    missing = [fold for fold in range(config.preparation.k) if not (run.fold(fold) / "model.keras").exists()]
    if missing:
        raise RunError(
            f"{run.path}: the score needs the trained network, and fold {missing[0]} is not trained; "
            "run `nntrainer train` with this configuration first"
        )


def _values(config: Config, run: RunDir, dataset: Dataset, name: str) -> tuple[np.ndarray, str]:
    """Return the values (n,) of a template's variable, and its unit."""
    if name == SCORE:
        return _score(config, run, dataset), ""
    if config.observables is not None and name in config.observables.names():
        unit = config.observables.unit if OBSERVABLES.get(name).energy else ""
        return dataset.column(name, TABLE), unit
    units = {field.name: field.unit for field in dataset.schema.events}
    return dataset.column(name), units[name]


def _score(config: Config, run: RunDir, dataset: Dataset) -> np.ndarray:
    """Return P(signal) of each event, (n,), by the model that never saw events of its number; NaN without one."""
    from nntrainer.networks.model import load_model

    labels = config.data.labels
    inputs, numbers = dataset_inputs(config, dataset), dataset.column("eventNumber")
    signal, found = labels.index(config.data.signal_label), np.full(len(numbers), np.nan)
    for fold in range(config.preparation.k):
        rows = np.flatnonzero(masks(config, numbers, fold).test)
        model = load_model(run.fold(fold) / "model.keras", config.model)
        found[rows] = probabilities(predictions(model, inputs, rows), signal, len(labels))[:, signal]
    return found


def _templates(
    block: AlphaScan, wanted: TemplateBlock, dataset: Dataset, values: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, list[Template]]:
    """Return the bins and the templates at each angle, in the order of the samples.

    Events without a value are left out, and the others of their sample weighted up: with fractions instead of folds
    only a part of the events has a score.
    """
    index, there = dataset.sample_index, np.isfinite(values)
    weight = weight.copy()
    for i in range(len(dataset.samples)):
        mine = index == i
        whole, kept = weight[mine].sum(), weight[mine & there].sum()
        if not kept > 0:
            raise ConfigError(
                f"evaluation.alpha_scan: '{wanted.name}' of sample '{dataset.samples[i]}' has no positive sum of "
                f"weights ({int((mine & there).sum()):,} of {int(mine.sum()):,} events have a value)"
            )
        if wanted.name == SCORE:
            weight[mine] *= whole / kept
    signals = index < len(block.samples)
    edges = np.array(wanted.edges) if wanted.edges is not None else _quantiles(values[signals & there], wanted.bins)
    bins = len(edges) - 1
    place = np.where(there, bin_index(np.where(there, values, 0.0), edges), 0)

    def filled(events: np.ndarray, power: int) -> np.ndarray:
        return np.bincount(place[events], weight[events] ** power, bins)

    background = filled(there & ~signals, 1)
    templates = [
        Template(filled(mine, 1), filled(mine, 2), background)
        for i in range(len(block.samples))
        for mine in (there & (index == i),)
    ]
    for sample, one in zip(block.samples, templates, strict=True):
        if np.any(one.signal + one.background <= 0):
            empty = int(np.flatnonzero(one.signal + one.background <= 0)[0])
            raise ConfigError(
                f"evaluation.alpha_scan: at α = {sample.alpha:g}° bin {empty + 1} of '{wanted.name}' "
                f"({edges[empty]:g} to {edges[empty + 1]:g}) has no positive yield; give it fewer bins or other edges"
            )
    return edges, templates


def _quantiles(values: np.ndarray, bins: int) -> np.ndarray:
    """Return edges that share the values of all angles equally; the outermost leave one in 500 outside."""
    shares = np.linspace(0, 1, bins + 1)
    shares[[0, -1]] = 0.002, 0.998
    edges = np.unique(np.quantile(values.astype(np.float64), shares))
    return edges if edges.size > 2 else np.array([edges[0], edges[0] + 0.5, edges[0] + 1.0])


def _scan(block: AlphaScan, edges: np.ndarray, templates: list[Template]) -> dict[str, Any]:
    from scipy.stats import chi2

    angles = np.array([each.alpha for each in block.samples])
    truth = templates[int(np.flatnonzero(angles == 0)[0])]
    found = [compare(truth, one, floating=block.normalisation == "floating") for one in templates]
    q = np.array([each.q for each in found])
    noise = np.array([0.0 if one is truth else each.noise for one, each in zip(templates, found, strict=True)])
    return {
        "edges": plain(edges),
        "yields": [plain(one.signal) for one in templates],
        "errors": [plain(np.sqrt(one.variance)) for one in templates],
        "background": plain(truth.background),
        "q": plain(q),
        "p_value": plain(chi2.sf(np.maximum(q - noise, 0.0), 1)),
        "strength": [each.strength for each in found],
        "noise": plain(noise),
        "excluded_from": {
            f"{level:.2f}": excluded_from(angles, q, noise, float(chi2.ppf(level, 1))) for level in LEVELS
        },
    }
