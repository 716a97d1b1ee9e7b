"""Several runs beside one another: what they are, where their configurations differ, numbers and plots."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nntrainer.report.blocks import (
    Block,
    Cell,
    Figure,
    Figures,
    Section,
    Text,
    cell,
    measured,
    number,
    percent,
    seconds,
    table,
)
from nntrainer.report.figures import Album, in_order, title_of
from nntrainer.report.findings import findings
from nntrainer.report.read import Run
from nntrainer.report.results import FIRST

Metric = tuple[str, Callable[[Run], tuple[float | None, float | None]]]
MOST = 26
"""Runs are called by letters."""
FOLDERS = ("Evaluation", "Validation", "Reconstruction", "Explain")
"""Plots that are shown; those of the inputs say nothing about a training, and come last."""


def letters(runs: Sequence[Run]) -> list[str]:
    """Return a letter for each run."""
    return [chr(ord("A") + i) for i in range(len(runs))]


def sections(runs: Sequence[Run], album: Album) -> list[Section]:
    """Return the sections of a page about several runs.

    Args:
        runs: the runs, at most MOST.
        album: gives the images.

    Returns:
        The sections.
    """
    return [
        Section("runs", "Runs", (_runs(runs),)),
        Section("configuration", "Where their configurations differ", (_differences(runs),)),
        Section("metrics", "Metrics", tuple(_metrics(runs))),
        Section("found", "Warnings and notes", tuple(_found(runs))),
        *_plots(runs, album),
    ]


def _runs(runs: Sequence[Run]) -> Block:
    rows = [
        (
            letter,
            run.name,
            run.digest[:8],
            run.key("model", "name", default=""),
            str(run.provenance.get("git_commit", ""))[:12],
            run.provenance.get("host", ""),
            min((str(each["started"]) for each in run.records if each.get("started")), default=""),
        )
        for letter, run in zip(letters(runs), runs, strict=True)
    ]
    return table("", ("run", "directory", "digest", "network", "commit", "host", "begun"), rows)


def _differences(runs: Sequence[Run]) -> Block:
    flat = [dict(flattened(run.config)) for run in runs]
    names = list(dict.fromkeys(name for each in flat for name in each))
    rows = [
        (name, *(each.get(name, "–") for each in flat)) for name in names if len({each.get(name) for each in flat}) > 1
    ]
    if not rows:
        return Text("All have the same configuration.")
    return table("", ("key", *letters(runs)), rows)


def flattened(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the keys of a configuration with dots, and their values as text, without those that are empty.

    Mappings in lists are told apart by their names where they have any, else by their positions.
    """
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        value = {str(each.get("name", i)): each for i, each in enumerate(value)}
    if isinstance(value, dict):
        inside = [item for key, each in value.items() for item in flattened(each, f"{prefix}.{key}".lstrip("."))]
        # A feature's name is told already; where nothing else is, it is there.
        named = [item for item in inside if item[0] != f"{prefix}.name" or not prefix.endswith(f".{item[1]}")]
        yield from named or ([(prefix, "yes")] if inside else [])
    elif value not in (None, "", []):
        yield prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _metrics(runs: Sequence[Run]) -> Iterator[Block]:
    rows = []
    for name, measure in _names(runs):
        found = [measure(run) for run in runs]
        if any(value is not None for value, _ in found):
            rows.append((name, *(Cell(measured(value, error), value) for value, error in found)))
    note = "Uncertainties are statistical, and runs that are tested on the same events share most of theirs."
    yield table("", ("metric", *letters(runs)), rows, note)
    folds = [
        (
            letter,
            fold,
            one.get("epochs"),
            one.get("best_epoch"),
            cell(one.get("best_val_loss")),
            one.get("parameters"),
            cell(one.get("seconds"), seconds(one.get("seconds"))),
        )
        for letter, run in zip(letters(runs), runs, strict=True)
        for fold, one in run.training.items()
    ]
    if folds:
        columns = ("run", "fold", "epochs", "best epoch", "validation loss", "parameters", "time")
        yield table("Trainings", columns, folds)


def _names(runs: Sequence[Run]) -> Iterator[Metric]:
    """Yield the numbers that any of the runs has."""

    def at(*path: str) -> Callable[[Run], Any]:
        def value(run: Run) -> Any:
            found: Any = run.metrics
            for each in path:
                found = found.get(each) if isinstance(found, dict) else None
            return found

        return value

    def pair(value: Callable[[Run], Any], error: Callable[[Run], Any] = lambda run: None) -> Any:
        return lambda run: (value(run), error(run))

    def keys(*path: str) -> list[str]:
        return list(dict.fromkeys(key for run in runs for key in at(*path)(run) or {}))

    yield "AUC, test events", pair(at("auc", "test"), at("auc", "test_error"))
    yield "AUC, training events", pair(at("auc", "train"), at("auc", "train_error"))
    yield "AUC, mean of folds ± spread", pair(at("auc", "folds_mean"), at("auc", "folds_spread"))
    for name in keys("roc"):
        yield f"AUC {name}", pair(at("roc", name, "auc"), at("roc", name, "auc_error"))
    yield "accuracy", pair(at("confusion", "accuracy"))
    for output in keys("scores"):
        for name in keys("scores", output):
            yield f"KS p-value, output {output} of {name}", pair(at("scores", output, name, "ks_p_value"))
    for efficiency in dict.fromkeys(p["wanted"] for run in runs for p in run.metrics.get("working_points", [])):
        yield f"1/ε_b at ε_s = {percent(efficiency, 0)}", pair(partial(_rejection, efficiency))
    yield "binned significance of the score", pair(at("binned", "total"))
    for name in keys("discriminants"):
        yield f"binned significance of the discriminant of {name}", pair(at("discriminants", name, "binned", "total"))
    for name in keys("reconstruction"):
        for kind in ("matchable", "all"):
            of = ("reconstruction", name, "network", kind)
            yield f"{name} right, {kind} events", pair(at(*of, "value"), at(*of, "error"))
    for name in keys("regression"):
        yield f"width of {name}", pair(at("regression", name, "width"))
    yield "training time in s", pair(lambda run: sum(one.get("seconds") or 0 for one in run.training.values()) or None)


def _rejection(wanted: float, run: Run) -> float | None:
    points = run.metrics.get("working_points", [])
    return next((point["rejection"] for point in points if point["wanted"] == wanted), None)


def _found(runs: Sequence[Run]) -> Iterator[Block]:
    rows = [
        (letter, Cell(each.rule.level, mark="warning" if each.rule.level == "warning" else ""), each.sentence)
        for letter, run in zip(letters(runs), runs, strict=True)
        for each in findings(run)
    ]
    yield table("", ("run", "level", "what"), rows) if rows else Text("Nothing was found in any of them.")


def _plots(runs: Sequence[Run], album: Album) -> Iterator[Section]:
    there = list(dict.fromkeys(folder for run in runs for folder in run.plots))
    ordered = [each for each in FOLDERS if each in there]
    ordered += [each for each in there if each not in FOLDERS and each != "Inputs"]
    ordered += [each for each in there if each == "Inputs"]
    for folder in ordered:
        paths = {path.stem: path for run in runs for path in run.plots.get(folder, ())}
        rows = [_row(runs, folder, path.stem, album) for path in in_order(list(paths.values()), FIRST)]
        yield Section(f"plots-{number(ordered.index(folder))}", f"Plots: {folder}", tuple(rows))


def _row(runs: Sequence[Run], folder: str, name: str, album: Album) -> Block:
    drawn: list[Figure] = []
    for letter, run in zip(letters(runs), runs, strict=True):
        paths = [path for path in run.plots.get(folder, ()) if path.stem == name]
        drawn += album.take(run, paths, f"{letter}: {title_of(Path(name))}")
    return Figures(title_of(Path(name)), tuple(drawn))
