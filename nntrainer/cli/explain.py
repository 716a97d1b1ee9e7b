"""The verb that looks into trained networks: explain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nntrainer.cli.app import Force, app
from nntrainer.console import print_table

if TYPE_CHECKING:
    from nntrainer.explain.explain import Report

SHOWN = 20
WIDE = 3
"""With more methods a table shows ranks only."""


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The directory of a trained run.")],
    method: Annotated[
        list[str] | None,
        typer.Option(help="shap, lime, …; 'all' for all that work on this network. May be repeated."),
    ] = None,
    events: Annotated[int, typer.Option(min=10, help="Events to explain, of all classes together.")] = 2000,
    time: Annotated[float, typer.Option(min=1, help="Longest time for a method in seconds.")] = 300,
    label: Annotated[str | None, typer.Option("--class", help="The class to explain; the signal if absent.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed; the configuration's if absent.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="Of a method: METHOD.OPTION=VALUE, e.g. lrp.rule=gamma. May be repeated.")
    ] = None,
    force: Force = False,
) -> None:
    """Tell what each input contributes to the output of a trained network."""
    from nntrainer.explain.explain import explain as explain_run
    from nntrainer.explain.options import parsed
    from nntrainer.progress import for_terminal

    done = explain_run(
        run,
        method,
        events=events,
        seconds=time,
        label=label,
        seed=seed,
        options=parsed(option or []),
        force=force,
        progress=for_terminal(),
    )
    _methods(done)
    _features(done)
    _agreement(done)
    _words(done)


def _methods(done: Report) -> None:
    rows = [
        [
            each.method,
            each.explainer,
            f"{each.events:,} of {each.asked:,}",
            "up to date" if each.skipped else f"{each.seconds:.1f} s",
        ]
        for each in done.methods
    ]
    print_table(f"{done.title} in {done.run.path}", ["method", "by", ">events", ">time"], rows)


def _features(done: Report) -> None:
    """Print the importance and the rank of each feature by each method, by mean rank."""
    from nntrainer.explain.attribution import FEATURES

    tables = {each.method: each.levels[FEATURES] for each in done.methods if FEATURES in each.levels}
    if not tables:
        return
    ranks: dict[str, dict[str, int]] = {}
    for name, one in tables.items():
        for rank, place in enumerate(one.order(), start=1):
            ranks.setdefault(one.names[place], {})[name] = rank
    order = sorted(ranks, key=lambda feature: sum(ranks[feature].values()) / len(ranks[feature]))
    rows = []
    for feature in order[:SHOWN]:
        cells = [feature]
        for name, one in tables.items():
            own = ranks[feature].get(name)
            if own is None:
                cells.append("")
                continue
            place = one.names.index(feature)
            number = f"{one.value[place]:.3g} ± {one.error[place]:.2g}"
            cells.append(f"{number} ({own})" if len(tables) <= WIDE else str(own))
        rows.append(cells)
    more = f", {SHOWN} of {len(order)}" if len(order) > SHOWN else ""
    what = "Importance (and rank)" if len(tables) <= WIDE else "Rank by importance"
    print_table(f"{what} of features{more}", ["feature", *(f">{name}" for name in tables)], rows)


def _agreement(done: Report) -> None:
    methods = done.agreement["methods"]
    if len(methods) < 2:
        return
    rows = [
        [name, *("" if value is None else f"{value:.2f}" for value in values)]
        for name, values in zip(methods, done.agreement["spearman"], strict=True)
    ]
    print_table("Rank correlation of features by importance", ["", *(f">{name}" for name in methods)], rows)


def _words(done: Report) -> None:
    for each in done.shared:
        names = " and ".join(each["features"])
        print(f"{names} tell (nearly) the same, correlation {each['correlation']:.3f}: they share their importance")
    for one in done.methods:
        if one.events < one.asked:
            print(f"{one.method}: time was up after {one.events:,} of {one.asked:,} events; --time gives it more")
    for name, why in done.refused.items():
        print(f"{name}: not done: {why}")
    print(f"{done.run.path / 'explain'}, {done.run.path / 'plots' / 'Explain'}")
