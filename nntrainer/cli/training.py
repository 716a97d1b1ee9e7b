"""The verbs that train: run, train, find-lr, tune, trade-off."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nntrainer.cli.app import (
    ConfigFile,
    Force,
    Overrides,
    Root,
    RunOption,
    app,
    load,
    load_trainable,
    print_results,
    run_dir_of,
    run_stages_of,
)
from nntrainer.cli.report import track_finished
from nntrainer.console import print_table, starting
from nntrainer.errors import NNTrainerError


def _stages(incomplete: str) -> list[tuple[str, str]]:
    from nntrainer.stages import STAGES

    return starting(((name, stage.__doc__ or "") for name, stage in STAGES.items()), incomplete)


@app.command()
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    run_dir: RunOption = None,
    runs: Root = Path("runs"),
    stage: Annotated[
        list[str] | None,
        typer.Option(help="Only this stage; may be repeated.", autocompletion=_stages),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this part, as one of several jobs: convert-SAMPLE, train-fold0, evaluate, inject-0of1."
        ),
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Make a new run directory.")] = False,
    force: Force = False,
    no_track: Annotated[
        bool, typer.Option("--no-track", help="Do not log it where the tracking block says, as jobs elsewhere.")
    ] = False,
) -> None:
    """Run everything: convert, input plots, train, evaluate, export, inject, report."""
    if part:
        from nntrainer.pipeline import run_parts
        from nntrainer.progress import for_terminal

        if stage or new or run_dir is None:
            raise NNTrainerError("--part works in the run directory that --run-dir names, without --stage and --new")
        done = run_parts(load(config, overrides), part, run_dir=run_dir, force=force, progress=for_terminal())
        print_results(done)
        return
    loaded = load_trainable(config, overrides) if not stage or "train" in stage else load(config, overrides)
    done = run_stages_of(loaded, run_dir, runs, stage, new=new, force=force)
    if loaded.tracking is not None and not stage and not no_track:
        track_finished(done, loaded)


@app.command()
def train(
    config: ConfigFile,
    overrides: Overrides = None,
    run_dir: RunOption = None,
    runs: Root = Path("runs"),
    fold: Annotated[list[int] | None, typer.Option(help="Only this fold; may be repeated.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Horovod processes on this machine.")] = None,
) -> None:
    """Convert what is missing, then train: all folds or some."""
    from nntrainer.progress import for_terminal
    from nntrainer.training.train import train as train_folds

    more = [f"training.workers={workers}"] if workers is not None else []
    loaded = load_trainable(config, [*(overrides or ()), *more])
    directory = run_dir_of(loaded, run_dir, runs)
    with directory.lock():
        from nntrainer.dataset.conversion import convert as convert_samples

        convert_samples(loaded, progress=for_terminal())
        done = train_folds(loaded, directory, folds=fold, progress=for_terminal())
    rows = [[each.fold, each.epochs, f"{each.seconds:.1f} s", each.model.relative_to(directory.path)] for each in done]
    print_table(f"Trained in {directory.path}", [">fold", ">epochs", ">time", "model"], rows)


@app.command(name="find-lr")
def find_lr(
    config: ConfigFile,
    overrides: Overrides = None,
    fold: Annotated[int, typer.Option(min=0, help="Whose training events.")] = 0,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory for JSON and plot.")] = Path("find-lr"),
    smallest: Annotated[float, typer.Option(help="First learning rate.")] = 1e-6,
    largest: Annotated[float, typer.Option(help="Last learning rate.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Updates of a fresh network.")] = 300,
) -> None:
    """Convert what is missing, then suggest a learning rate: the loss while the rate grows."""
    from nntrainer.dataset.conversion import convert as convert_samples
    from nntrainer.progress import for_terminal
    from nntrainer.training.find_lr import find_lr as test_rates

    loaded, progress = load_trainable(config, overrides), for_terminal()
    convert_samples(loaded, progress=progress)
    path = output / f"{loaded.name}_fold{fold}"
    found = test_rates(loaded, fold, path, smallest=smallest, largest=largest, steps=steps, progress=progress)
    at = f"{path}.json, .png, .pdf"
    print(f"suggested: training.optimizer.learning_rate={found.suggested:.2g} ({at})")


@app.command()
def tune(
    config: ConfigFile,
    overrides: Overrides = None,
    run_dir: RunOption = None,
    runs: Root = Path("runs"),
    jobs: Annotated[int, typer.Option(min=1, help="Processes on this machine that do trials at a time.")] = 1,
    new: Annotated[bool, typer.Option("--new", help="Make a new run directory.")] = False,
) -> None:
    """Search the best values of the keys in the tune block; called again, it goes on."""
    from nntrainer.pipeline import search
    from nntrainer.progress import for_terminal
    from nntrainer.tuning.report import rows_of

    loaded = load_trainable(config, overrides)
    result = search(loaded, run_dir=run_dir, root=runs, jobs=jobs, new=new, progress=for_terminal())
    print_table(*rows_of(loaded, result.run))
    print(result.run.path / "tune" / "best.yaml")


@app.command(name="trade-off")
def trade_off(
    config: ConfigFile,
    overrides: Overrides = None,
    run_dir: RunOption = None,
    runs: Root = Path("runs"),
    strengths: Annotated[
        str, typer.Option(help="Strengths of training.decorrelation, separated by commas; 0 is without.")
    ] = "0,0.5,1,2,5",
) -> None:
    """Train with several strengths of the decorrelation: what independence of the nuisance costs in AUC."""
    from nntrainer.progress import for_terminal
    from nntrainer.tuning.trade_off import FOLDER, block_of, draw, strengths_of
    from nntrainer.tuning.trade_off import trade_off as train_each

    loaded = load_trainable(config, overrides)
    block_of(loaded)
    wanted = strengths_of(strengths)
    directory = run_dir_of(loaded, run_dir, runs)
    with directory.lock():
        found = train_each(loaded, directory, wanted, for_terminal())
        draw(loaded, directory, found)
    rows = []
    for point in found["points"]:
        one = point["distance_correlation"]["background"]
        numbers = [(point["auc"], point["auc_error"]), (one["value"], one["error"]), (point["inverse_jsd"],)]
        rows.append([f"{point['strength']:g}", *(" ± ".join(map(_number, each)) for each in numbers)])
    columns = [">strength", ">AUC", f">distance correlation with {found['nuisance']}", ">1/JSD"]
    print_table(f"Trade-off in {directory.path / FOLDER}", columns, rows)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
