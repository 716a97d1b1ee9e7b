"""The verb that compares samples: validate."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nntrainer.cli.app import Overrides, Root, RunOption, app, load
from nntrainer.console import print_table
from nntrainer.errors import NNTrainerError

if TYPE_CHECKING:
    from nntrainer.config import Config
    from nntrainer.rundir import RunDir
    from nntrainer.validation.validate import Comparison

SHOWN = 8


@app.command()
def validate(
    where: Annotated[
        Path, typer.Argument(metavar="CONFIG|RUN", help="The YAML configuration, or a run directory with its models.")
    ],
    sample: Annotated[
        str | None, typer.Option(help="The reference: a sample of the configuration; all of them by default.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="What it is compared with: a sample, or files: 'other/ttbb_*.root[:TREE]'.")
    ] = None,
    against_tree: Annotated[
        list[str] | None, typer.Option(help="Compare with this tree; 'JET_*' for several. May be repeated.")
    ] = None,
    against_weight: Annotated[
        str | None, typer.Option(metavar="FORMULA", help="Weight there, in place of data.weight; 1 for data.")
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(help="inputs, scores or outliers; inputs for a configuration, all for a run. May be repeated."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Directory of the results; the run directory by default.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the results; made of both sides by default.")] = None,
    events: Annotated[int, typer.Option(min=0, help="Events of each side, at most; 0 for all.")] = 300_000,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the classifier.")] = 5,
    overrides: Overrides = None,
    run_dir: RunOption = None,
    runs: Root = Path("runs"),
) -> None:
    """Compare samples, generators or systematic trees: inputs, scores, and how unlike the training events they are."""
    from nntrainer.progress import for_terminal
    from nntrainer.validation.validate import TESTS
    from nntrainer.validation.validate import validate as compare

    loaded, run = _found(where, overrides, run_dir)
    tests = list(dict.fromkeys(test or (TESTS if where.is_dir() else TESTS[:1])))
    if run is None and (output is None or tests != ["inputs"]):
        from nntrainer.rundir import find_or_create

        run = find_or_create(loaded, runs)
    if run is not None:
        run.claim(loaded)
    with run.lock() if run is not None and output is None else nullcontext():
        done = compare(
            loaded,
            run=run,
            output=output,
            sample=sample,
            against=against,
            trees=against_tree or (),
            weight=against_weight,
            tests=tests,
            name=name,
            events=events or None,
            folds=folds,
            progress=for_terminal(),
        )
    for each in done:
        _show(each)


def _found(where: Path, overrides: list[str] | None, run_dir: Path | None) -> tuple[Config, RunDir | None]:
    """Return the configuration, and the run directory that is named."""
    from nntrainer.rundir import RunDir, config_file

    if not where.is_dir():
        return load(where, overrides), RunDir(run_dir) if run_dir is not None else None
    file = config_file(where)
    if run_dir is not None or overrides:
        raise NNTrainerError(f"{where} is a run directory, whose configuration is fixed; leave out --run-dir and --set")
    return load(file, None), RunDir(where)


def _show(done: Comparison) -> None:
    for name, found in done.variations.items():
        title = f"{name} against {done.reference}"
        if "inputs" in found:
            _show_inputs(title, found["inputs"])
        if "scores" in found:
            _show_scores(title, found["scores"])
        if "outliers" in found:
            rows = [
                [
                    measure,
                    _pm(one["auc"], one["auc_error"], 4),
                    _pm(100 * one["beyond"], 100 * one["beyond_error"], 2) + " %",
                ]
                for measure, one in found["outliers"].items()
            ]
            columns = ["measure", ">AUC", f">beyond what 1 % of {done.reference} exceed"]
            print_table(f"{title}: unlike the training events?", columns, rows)
    print(f"{done.path}\n{done.plots}/")


def _show_inputs(title: str, found: dict[str, Any]) -> None:
    classifier, means = found["classifier"], found["means"]
    rows = [
        ["classifier", f"AUC {_pm(classifier['auc'], classifier['auc_error'], 4)}", _p(classifier["p_value"])],
        ["all means", f"T² {means['t_squared']:.1f} of {means['free']}", _p(means["p_value"])],
        ["single features", f"{len(found['features'])} features", _p(found["features_p_value"])],
        ["together", "the samples differ" if found["differ"] else "no difference seen", _p(found["p_value"])],
    ]
    print_table(f"{title}: inputs", ["test", "result", ">p-value"], rows)
    rows = [
        [
            each["feature"],
            _pm(each["importance"], each["importance_error"], 4),
            _pm(each["shift"], each["shift_error"], 3),
            f"{each['ks_distance']:.3f}",
            _p(each["p_value"]),
        ]
        for each in found["features"][:SHOWN]
    ]
    columns = ["feature", ">importance", ">shift of the mean / σ", ">KS distance", ">p-value"]
    print_table("Features that differ most", columns, rows)


def _show_scores(title: str, found: dict[str, Any]) -> None:
    rows = []
    for label, one in found["classes"].items():
        points = one["working_points"]
        worst = max(points, key=lambda each: abs(each["change"] or 0.0), default=None)
        rows.append(
            [
                label,
                f"{one['yield_ratio']:.4f}",
                _pm(one["mean_shift"], one["mean_shift_error"], 5),
                f"{one['ks_distance']:.4f}",
                _p(one["ks_p_value"]),
                f"{_pm(worst['change'], worst['change_error'], 4)} at {worst['threshold']:.3f}" if worst else "",
            ]
        )
    columns = [
        "class",
        ">yield ratio",
        ">shift of the mean",
        ">KS distance",
        ">p-value",
        ">largest change of an efficiency",
    ]
    print_table(f"{title}: score", columns, rows)
    if "auc" in found:
        auc = found["auc"]
        change = _pm(auc["change"], auc["change_error"], 5)
        print(f"AUC {_pm(auc['reference'], auc['reference_error'], 4)}, there {auc['other']:.4f}: change {change}")


def _pm(value: float | None, error: float | None, digits: int) -> str:
    if value is None or error is None:
        return "–"
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"
