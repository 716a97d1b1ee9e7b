"""What comes of a search: the best configuration, a table of the trials, plots."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nntrainer.config import Config
from nntrainer.config.load import varied
from nntrainer.config.tuning import Tune, text
from nntrainer.errors import MissingDependencyError
from nntrainer.files import now, write_json, write_text
from nntrainer.plots import style
from nntrainer.plots import tuning as plots
from nntrainer.plots.save import save
from nntrainer.rundir import RunDir
from nntrainer.tuning.engine import Result
from nntrainer.tuning.search import FOLDER, all_results, best_of, search_of

TITLES = {"val_loss": "Validation loss", "val_accuracy": "Validation accuracy", "val_auc": "Validation AUC"}
FACTS = ("epochs", "seconds", "worker", "host", "started", "finished", "error")


def report(config: Config, run: RunDir) -> tuple[str, list[Path]]:
    """Write the best configuration, the table of trials and the plots of a search.

    Args:
        config: the configuration.
        run: the run directory.

    Returns:
        A line for people, and the files: ``best.yaml``, ``trials.csv``, ``trials.json`` and ``plots`` in ``tune``.

    Raises:
        TuningError: no trial ended well.
    """
    search, results = search_of(config), all_results(config, run)
    best, folder = best_of(search, results), run.path / FOLDER
    weight = _importances(search, results)
    write_text(folder / "best.yaml", _best_yaml(config, search, results, best))
    write_text(folder / "trials.csv", _csv(search, results))
    write_json(
        folder / "trials.json",
        {
            "objective": search.objective,
            "direction": search.better,
            "best": best.number,
            "importances": weight,
            "trials": [_plain(each) for each in results],
        },
    )
    drawn = _draw(config, search, results, weight, folder / "plots")
    detail = f"{_count(results)}; best {search.objective} {best.value:.4f} in trial {best.number}"
    return detail, [folder / name for name in ("best.yaml", "trials.csv", "trials.json")] + drawn


def rows_of(config: Config, run: RunDir) -> tuple[str, list[str], list[list[str]]]:
    """Return title, columns and rows of a table of the trials, the best ones first."""
    search, results = search_of(config), all_results(config, run)
    sign = 1 if search.better == "minimize" else -1
    order = ("done", "pruned", "running", "failed")
    ranked = sorted(results, key=lambda each: (order.index(each.state), sign * (each.value or 0), each.number))
    last = [key.rpartition(".")[2] for key in search.parameters]
    names = list(search.parameters) if len(set(last)) < len(last) else last
    columns = [">trial", "state", f">{search.objective}", ">epochs", ">time", *(f">{name}" for name in names)]
    rows = []
    for each in ranked:
        value = "" if each.value is None else f"{each.value:.5f}"
        seconds = each.facts.get("seconds")
        rows.append(
            [
                str(each.number),
                each.state,
                value,
                str(each.facts.get("epochs", "")),
                "" if seconds is None else f"{seconds:.1f} s",
                *(_short(each.values.get(key, "")) for key in search.parameters),
            ]
        )
    return f"Search in {run.path / FOLDER}: {_count(results)}", columns, rows


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else text(value)


def _count(results: Sequence[Result]) -> str:
    states = [each.state for each in results]
    others = [f"{states.count(state)} {state}" for state in ("pruned", "failed", "running") if state in states]
    return ", ".join([f"{len(results)} trials", *others])


def _importances(search: Tune, results: list[Result]) -> dict[str, float]:
    from nntrainer.tuning.optuna_engine import importances

    try:
        return importances(search, results)
    except MissingDependencyError:  # a search with Hyperopt goes without
        return {}


def _best_yaml(config: Config, search: Tune, results: Sequence[Result], best: Result) -> str:
    dump = varied(config, best.values).dump()
    values = "".join(f"#   {key}: {text(value)}\n" for key, value in best.values.items())
    return (
        f"# The best of a search over {len(search.parameters)} keys with {search.engine} ({search.sampler}, pruner "
        f"{search.pruner}), {now()}: train it with `nntrainer run`.\n"
        f"# {_count(results)}; trial {best.number} has {search.objective} {best.value:.6g}, the mean over folds "
        f"{', '.join(map(str, search.folds))}, with\n"
        f"{values}"
        f"# The smallest of many such values looks better than it is: what the network is worth say its test events.\n"
        f"{yaml.safe_dump(dump, sort_keys=False, allow_unicode=True)}"
    )


def _csv(search: Tune, results: Sequence[Result]) -> str:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(["trial", "state", search.objective, *search.parameters, *FACTS])
    for each in results:
        value = "" if each.value is None else each.value
        keys = [text(each.values[key]) if key in each.values else "" for key in search.parameters]
        writer.writerow([each.number, each.state, value, *keys, *(each.facts.get(name, "") for name in FACTS)])
    return written.getvalue()


def _plain(result: Result) -> dict[str, Any]:
    return {
        "number": result.number,
        "state": result.state,
        "value": result.value,
        "values": dict(result.values),
        "steps": {str(step): value for step, value in sorted(result.steps.items())},
        **{name: result.facts[name] for name in FACTS if name in result.facts},
    }


def _draw(
    config: Config, search: Tune, results: Sequence[Result], weight: dict[str, float], folder: Path
) -> list[Path]:
    style.apply(label=config.evaluation.label, description=config.evaluation.description)
    title, smaller = TITLES[search.objective], search.better == "minimize"
    some = [each for each in results if each.value is not None]
    number = np.array([each.number for each in some])
    value = np.array([each.value for each in some], np.float64)
    done = np.array([each.state == "done" for each in some])
    paths = save(plots.history(number, value, done, title, smaller=smaller), folder / "history")
    curves = [
        (
            np.array(sorted(each.steps)),
            np.array([each.steps[step] for step in sorted(each.steps)]),
            each.state == "done",
        )
        for each in results
        if each.steps
    ]
    if curves:
        best = best_of(search, list(results))
        at = [each.number for each in results if each.steps].index(best.number) if best.steps else None
        paths += save(plots.epochs(curves, at, title), folder / "epochs")
    if weight:
        paths += save(plots.importances(weight), folder / "importances")
    for key, values in search.parameters.items():
        given = [each.values[key] for each in some]
        if values.choices is None:
            x, names = np.array(given, np.float64), None
        else:
            names = [text(choice) for choice in values.choices]
            x = np.array([names.index(text(each)) for each in given], np.float64)
        figure = plots.slice_(key, x, value, done, number, title, log=values.log, names=names, smaller=smaller)
        paths += save(figure, folder / f"slice_{key}")
    return paths
