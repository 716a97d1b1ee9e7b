"""`nntrainer explain`: a sample, each method on it, what they say and whether they agree."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nntrainer.config import Config, load_config
from nntrainer.config.models import digest
from nntrainer.config.parts import dataset_path
from nntrainer.config.registry import EXPLAINERS, ExplainerOptions
from nntrainer.dataset.conversion import convert
from nntrainer.errors import ExplainError, MissingDependencyError
from nntrainer.evaluation.figures import configured_dataset, style_of
from nntrainer.evaluation.weighted import plain
from nntrainer.explain import store
from nntrainer.explain.agreement import agreement, copies
from nntrainer.explain.attribution import FEATURES, Attribution, Found, Importance, importances, joined
from nntrainer.explain.figures import draw as draw_found
from nntrainer.explain.options import method_of
from nntrainer.explain.sample import Sample, draw
from nntrainer.explain.subject import Subject, explained, load_subject, model_path
from nntrainer.files import read_json, sha256, write_json
from nntrainer.plots import explain as plots
from nntrainer.plots.save import save
from nntrainer.progress import Progress, silent
from nntrainer.provenance import provenance
from nntrainer.rundir import RunDir, config_file

ALL = "all"
PLOTS = "Explain"
AGREEMENT = "agreement.json"
EVENTS, SECONDS = 2000, 300.0


@dataclass(frozen=True)
class Explained:
    """What a method says.

    Attributes:
        method: its name.
        explainer: what computed it.
        levels: the importances by level.
        events: number of events explained.
        asked: number of events of the sample.
        seconds: the time it took.
        skipped: whether it was up to date.
    """

    method: str
    explainer: str
    levels: dict[str, Importance]
    events: int
    asked: int
    seconds: float
    skipped: bool


@dataclass(frozen=True)
class Report:
    """What all methods say.

    Attributes:
        run: the run directory.
        title: what is explained.
        methods: what each method says.
        refused: methods that do not fit this network, by name, and why.
        shared: groups of features that cannot be told apart, with ``features`` and ``correlation``.
        agreement: ``methods`` and ``spearman``, the rank correlation of the features for each pair of them.
    """

    run: RunDir
    title: str
    methods: tuple[Explained, ...]
    refused: dict[str, str] = field(default_factory=dict)
    shared: list[dict[str, Any]] = field(default_factory=list)
    agreement: dict[str, Any] = field(default_factory=dict)


def explain(
    path: Path,
    methods: Sequence[str] | None = None,
    *,
    events: int = EVENTS,
    seconds: float = SECONDS,
    label: str | None = None,
    seed: int | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Explain the networks of a run.

    Args:
        path: the run directory; its samples are converted where that is missing.
        methods: names of methods; ``all`` for those that work on this network; the quick ones of them if absent.
        events: how many events to explain, of all classes together.
        seconds: the longest time for a method.
        label: the class to explain; the signal if absent.
        seed: seed of sample and methods; the configuration's if absent.
        options: by method options of its own.
        force: do it again where it is up to date.
        progress: told how far the work has come.

    Returns:
        What the methods say; also in ``explain`` and ``plots/Explain`` of the run directory.

    Raises:
        RunError: it is not a run directory, or the run is not trained.
        ExplainError: a method does not fit the network, or there is nothing to explain.
        ConfigError: there is no such method or option.
    """
    run, config = open_run(path)
    progress = progress or silent()
    _, of = explained(config, label)
    seed = config.seed if seed is None else seed
    with run.lock():
        models = [model_path(run, fold) for fold in range(config.preparation.k)]
        chosen, refused = select(config, methods, options)
        if not all(dataset_path(config, sample.name).exists() for sample in config.data.samples):
            convert(config, progress=progress)
        with configured_dataset(config) as dataset:
            sample = draw(config, dataset, events, seed)
            sources = [attrs.get("sources") for attrs in dataset.attrs]
        subject = cache(lambda fold: load_subject(config, run, fold, label))
        models_now = [sha256(each) for each in models]
        same = digest([config.digest(), models_now, sources, of, events, seed])
        style_of(config)
        found = []
        for method in chosen:
            found.append(_one(method, subject, sample, run, same, seconds, force, progress))
        compared, shared = _compare(run, subject(0).title, same, sample)
        run.list_results()
    return Report(run, subject(0).title, tuple(found), refused, shared, compared)


def open_run(path: Path) -> tuple[RunDir, Config]:
    """Return a run directory and its configuration.

    Args:
        path: the directory.

    Returns:
        Both.

    Raises:
        RunError: it is not one.
    """
    config = load_config(config_file(path), environment={})
    return RunDir(path), config


def select(
    config: Config, names: Sequence[str] | None, options: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[list[ExplainerOptions], dict[str, str]]:
    """Choose methods.

    Args:
        config: the configuration.
        names: as in ``explain``.
        options: as in ``explain``.

    Returns:
        The methods, and why others do not fit, by name.

    Raises:
        ConfigError: there is no such method.
        ExplainError: one that is named does not fit.
        MissingDependencyError: the package of one that is named is not installed.
    """
    options = options or {}
    if names and ALL not in names:
        chosen = [method_of(name, options.get(name, {})) for name in dict.fromkeys(names)]
        for method in chosen:
            method.check(config)
        return chosen, {}
    fitting, refused = [], {}
    for name in EXPLAINERS.names():
        method = method_of(name, options.get(name, {}))
        if not names and not method.quick:
            continue
        try:
            method.check(config)
            fitting.append(method)
        except (ExplainError, MissingDependencyError) as error:
            refused[name] = str(error)
    return fitting, refused


def _one(
    method: ExplainerOptions,
    subject: Any,
    sample: Sample,
    run: RunDir,
    same: str,
    seconds: float,
    force: bool,
    progress: Progress,
) -> Explained:
    folder = run.path / store.FOLDER
    table, of_events = folder / f"{method.name}.json", folder / f"{method.name}.h5"
    known = read_json(table)
    enough = known.get("events") == known.get("asked") or known.get("time_limit_s", 0) >= seconds
    key = digest([same, method.model_dump(mode="json")])
    if not force and known.get("key") == key and enough and of_events.exists():
        numbers = (known["events"], known["asked"], known["seconds"])
        return Explained(method.name, known["explainer"], store.levels_of(known), *numbers, True)
    folder.mkdir(exist_ok=True)
    table.unlink(missing_ok=True)  # written last: what is there is whole
    start = time.monotonic()
    progress.start(method.name, len(sample))
    rows, found = _all_folds(method, subject, sample, start + seconds, progress)
    progress.finish()
    some = sample.take(rows)
    levels = importances(found, some) if isinstance(found, Attribution) else found.levels
    took = round(time.monotonic() - start, 2)
    title = subject(0).title
    plotted = draw_found(method, found, levels, some, title, run.plots(PLOTS))
    store.write_events(of_events, found, some, title)
    facts = {"missing": _missing(found, some)} if isinstance(found, Attribution) else {}
    store.write_importances(
        table,
        levels,
        method=method.name,
        explainer=found.explainer,
        target=title,
        options=method.model_dump(mode="json"),
        events=len(rows),
        asked=len(sample),
        seconds=took,
        time_limit_s=seconds,
        **facts,
        **found.facts,
        plots=[str(each.relative_to(run.path)) for each in plotted],
        key=key,
        sample=same,
        provenance=provenance(),
    )
    return Explained(method.name, found.explainer, levels, len(rows), len(sample), took, False)


def _all_folds(
    method: ExplainerOptions, subject: Any, sample: Sample, deadline: float, progress: Progress
) -> tuple[np.ndarray, Found]:
    """Explain each event by the model that never saw it; a fold has the time that its share of the events is."""
    parts, left = [], len(sample)
    for fold in np.unique(sample.fold):
        rows = np.flatnonzero(sample.fold == fold)
        now = time.monotonic()
        model: Subject = subject(int(fold))
        mine = sample.take(rows)
        mine = replace(mine, inputs=model.prepared(mine.inputs))
        found = method.explain(model, mine, progress, now + (deadline - now) * len(rows) / left)
        left -= len(rows)
        parts.append((rows[: found.events], found))
    return joined(parts)


def _missing(found: Attribution, sample: Sample) -> dict[str, Any]:
    """Return how far contributions are from adding up to output minus base."""
    missing, change = np.abs(found.missing()), np.abs(found.output - found.base)
    weight = np.abs(sample.weight)
    return {
        "mean": plain(np.average(missing, weights=weight)),
        "mean_change": plain(np.average(change, weights=weight)),
        "events_within_1_percent": plain(np.mean(missing <= 0.01 * change + 1e-6)),
    }


def _compare(run: RunDir, title: str, same: str, sample: Sample) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Write and draw how far methods agree, those of earlier calls that explain the same events among them."""
    known = {path.stem: read_json(path) for path in sorted((run.path / store.FOLDER).glob("*.json"))}
    levels = {name: store.levels_of(each) for name, each in known.items() if each.get("sample") == same}
    of = {name: each[FEATURES] for name, each in levels.items() if FEATURES in each}
    result, shared = agreement(of), copies(sample)
    write_json(run.path / store.FOLDER / AGREEMENT, {"format": 1, "target": title, **result, "shared": shared})
    if len(of) > 1:
        matrix = np.array(result["spearman"], np.float64)  # None becomes NaN
        save(plots.agreement(result["methods"], matrix), run.plots(PLOTS) / "agreement")
    return result, shared
