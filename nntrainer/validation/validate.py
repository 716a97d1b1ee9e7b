"""``nntrainer validate``: compare a reference with other samples or trees, and write what is found."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nntrainer.config import Config
from nntrainer.errors import InputError, RunError, nearest, one_of, require
from nntrainer.evaluation.figures import style_of
from nntrainer.files import write_json
from nntrainer.plots.save import save
from nntrainer.progress import Progress, silent
from nntrainer.provenance import provenance
from nntrainer.rundir import RunDir
from nntrainer.validation import figures, outliers, stability
from nntrainer.validation.columns import columns_of, table
from nntrainer.validation.samples import Events, Side, check, others_of, read, reference_of
from nntrainer.validation.two_sample import FOLDS, Table, two_sample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TESTS = ("inputs", "scores", "outliers")
EVENTS = 300_000
LEVEL = 0.01
"""Samples are said to differ where the p-value is smaller."""
FOLDER = "validation"
_VARIATION = re.compile(r"(_+1?(up|down))$", re.IGNORECASE)
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Comparison:
    """A reference and what it was compared with: one sample or tree, or the up and down of one systematic.

    Attributes:
        name: of the files.
        reference: name of the reference.
        variations: by name of the other side, what each test found, plain data.
        path: the JSON file.
        plots: folder of the plots.
    """

    name: str
    reference: str
    variations: dict[str, dict[str, Any]]
    path: Path
    plots: Path


@dataclass
class _Work:
    """What all comparisons of a call share."""

    config: Config
    run: RunDir | None
    tests: Sequence[str]
    reference: Events
    folds: int
    progress: Progress
    ensemble: Any = None
    detectors: Any = None


def validate(
    config: Config,
    *,
    run: RunDir | None = None,
    output: Path | None = None,
    sample: str | None = None,
    against: str | None = None,
    trees: Sequence[str] = (),
    weight: str | None = None,
    tests: Sequence[str] = ("inputs",),
    name: str | None = None,
    events: int | None = EVENTS,
    folds: int = FOLDS,
    progress: Progress | None = None,
) -> list[Comparison]:
    """Compare samples or trees.

    Args:
        config: the configuration.
        run: the run directory; ``scores`` and ``outliers`` need its models.
        output: directory of the results, instead of the run directory.
        sample: the reference, a sample of the configuration; all of them if absent.
        against: another sample of the configuration, or files with ``:tree``.
        trees: trees of the files of ``against``, or else of the reference; names or patterns.
        weight: weight of the other side in place of ``data.weight``.
        tests: of ``inputs``, ``scores``, ``outliers``.
        name: of the results; made of the names of both sides if absent.
        events: events of each side, at most; all if None.
        folds: folds of the two-sample test.
        progress: told how far the work has come.

    Returns:
        The comparisons; ``<output>/validation/<name>.json`` and ``<output>/plots/Validation/<name>/`` hold them.

    Raises:
        InputError: a sample, file, tree or branch is missing, both sides are the same, or one has no events.
        RunError: a test needs a trained network and there is none.
        MissingDependencyError: scikit-learn is not installed.
    """
    progress = progress or silent()
    require("scikit-learn", "comparing samples", "explain", module="sklearn")
    place = _place(run, output, tests)
    first = reference_of(config, sample)
    others = others_of(config, first, against=against, trees=trees, weight=weight)
    groups = _groups(others)
    if name is not None and len(groups) > 1:
        raise InputError(f"--name '{name}' is for one comparison, and these are {len(groups)}; leave it out")
    ensemble = _models(config, run, tests)
    everything = reference_of(config, None)
    for side in {id(each): each for each in (first, *others, *([everything] if "outliers" in tests else []))}.values():
        check(side)
    style_of(config)
    reference = read(first, most=events, progress=progress)
    work = _Work(config, run, tests, reference, folds, progress, ensemble)
    if run is not None and "outliers" in tests:
        training = reference if sample is None else read(everything, most=events, progress=progress)
        work.detectors = outliers.Detectors(config, run, training, progress)
    done = []
    for base, sides in groups.items():
        title = _UNSAFE.sub("_", name or f"{first.name}-vs-{base}").strip("_") or "comparison"
        done.append(_group(work, sides, title, place, events))
    if output is None:
        place.list_results()
    return done


def _place(run: RunDir | None, output: Path | None, tests: Sequence[str]) -> RunDir:
    """Return where results go, and check that the tests are known and have what they need."""
    for test in tests:
        if test not in TESTS:
            raise InputError(f"there is no test '{test}'; tests are {one_of(TESTS)}.{nearest(test, TESTS)}")
        if run is None and test != "inputs":
            raise RunError(f"the test '{test}' looks at a trained network; give a run directory, or --test inputs")
    if output is not None and output.exists() and not output.is_dir():
        raise InputError(f"{output}: --output must be a directory, and this is a file")
    if output is not None:
        return RunDir(output)
    if run is None:
        raise RunError("the results need a place: give a run directory or --output")
    return run


def _models(config: Config, run: RunDir | None, tests: Sequence[str]) -> Any:
    if run is None or not {"scores", "outliers"} & set(tests):
        return None
    outliers.check_trained(config, run)
    return stability.models_of(run, config.preparation.k) if "scores" in tests else None


def _groups(others: Sequence[Side]) -> dict[str, list[Side]]:
    """Return the sides by systematic: up and down of one are drawn together."""
    groups: dict[str, list[Side]] = {}
    for side in others:
        groups.setdefault(_VARIATION.sub("", side.name), []).append(side)
    return {(base if len(sides) > 1 else sides[0].name): sides for base, sides in groups.items()}


def _group(work: _Work, sides: Sequence[Side], title: str, place: RunDir, most: int | None) -> Comparison:
    folder = place.plots("Validation") / title
    shutil.rmtree(folder, ignore_errors=True)  # what was drawn of the comparison of this name before
    found: dict[str, dict[str, Any]] = {}
    scored: dict[str, Any] = {}
    for side in sides:
        other = read(side, most=most, progress=work.progress)
        suffix = f"_{side.name}" if len(sides) > 1 else ""

        def keep(figure: Figure, file: str, suffix: str = suffix) -> None:
            save(figure, folder / _UNSAFE.sub("_", f"{file}{suffix}"))

        found[side.name] = {"events": len(other), "sum_of_weights": float(other.weight.sum())}
        if "inputs" in work.tests:
            found[side.name]["inputs"] = _inputs(work, other, keep)
        if "outliers" in work.tests:
            found[side.name]["outliers"] = _outliers(work, other, keep)
        if "scores" in work.tests:
            scored[side.name] = stability.scored(work.ensemble, other)
    if scored:
        for name, one in _scores(
            work, scored, lambda figure, file: save(figure, folder / _UNSAFE.sub("_", file))
        ).items():
            found[name]["scores"] = one
    path = place.path / FOLDER / f"{title}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    reference = work.reference
    about = {"name": reference.name, "events": len(reference), "sum_of_weights": float(reference.weight.sum())}
    result = {"reference": about, "variations": found, "plots": str(folder.relative_to(place.path))}
    write_json(path, result | {"config_digest": work.config.digest(), "provenance": provenance()})
    return Comparison(title, reference.name, found, path, folder)


Keep = Callable[["Figure", str], Any]


def _inputs(work: _Work, other: Events, keep: Keep) -> dict[str, Any]:
    config, columns = work.config, columns_of(work.config)
    first, second = (Table(table(config, each.inputs), each.weight, each.event) for each in (work.reference, other))
    found = two_sample(first, second, columns, folds=work.folds, seed=config.seed, progress=work.progress)
    names = (work.reference.name, other.name)
    for name, figure in figures.of_inputs(found, (first, second), columns, names, config.evaluation.bins).items():
        keep(figure, f"inputs_{name}")
    return {"differ": bool(found.p_value < LEVEL), "level": LEVEL, **found.as_dict()}


def _outliers(work: _Work, other: Events, keep: Keep) -> dict[str, Any]:
    found = work.detectors.compare(work.reference, other)
    for name, one in found.items():
        keep(figures.of_outliers(name, one, (work.reference.name, other.name)), f"outliers_{name}")
    return {name: one.as_dict() for name, one in found.items()}


def _scores(work: _Work, others: Mapping[str, Any], keep: Keep) -> dict[str, dict[str, Any]]:
    if work.run is None:
        return {}
    data = work.config.data
    labels, signal = list(data.labels), data.labels.index(data.signal_label)
    reference = stability.scored(work.ensemble, work.reference)
    cuts = stability.cuts_of(work.run, reference, signal, work.config.evaluation.working_points)
    for name, figure in figures.of_scores(reference, others, labels, data.signal_label, cuts).items():
        keep(figure, f"scores_{name}")
    return {name: stability.compare(reference, one, labels, signal, cuts) for name, one in others.items()}
