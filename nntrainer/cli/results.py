"""The verbs after the training: evaluate, alpha-scan, export, inject."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nntrainer.cli.app import (
    ConfigFile,
    Overrides,
    Root,
    RunOption,
    app,
    load,
    load_trainable,
    run_dir_of,
    run_stages_of,
)
from nntrainer.console import one_word, print_table
from nntrainer.errors import NNTrainerError


@app.command()
def evaluate(
    config: ConfigFile, overrides: Overrides = None, run_dir: RunOption = None, runs: Root = Path("runs")
) -> None:
    """Draw and measure how well the trained network does."""
    run_stages_of(load_trainable(config, overrides), run_dir, runs, ["convert", "inputs", "train", "evaluate"])


@app.command("alpha-scan")
def alpha_scan(
    config: ConfigFile, overrides: Overrides = None, run_dir: RunOption = None, runs: Root = Path("runs")
) -> None:
    """Compare CP-mixing angles: the exclusion to expect of each against data of α = 0."""
    from nntrainer.evaluation.alpha_scan import alpha_scan as scan
    from nntrainer.evaluation.alpha_scan import block_of
    from nntrainer.progress import for_terminal

    loaded = load(config, overrides)
    block_of(loaded)
    directory = run_dir_of(loaded, run_dir, runs)
    with directory.lock():
        found = scan(loaded, directory, progress=for_terminal())
    rows = [
        [name, *(_angle(limit) for limit in one["excluded_from"].values()), f"{max(one['q']):.3g}"]
        for name, one in found["templates"].items()
    ]
    columns = [f">|α| excluded from, {cl} % CL" for cl in (68, 95)]
    print_table(f"Scan of α in {directory.path}", ["template", *columns, ">largest −2Δ ln L"], rows)


@app.command()
def export(
    config: ConfigFile, overrides: Overrides = None, run_dir: RunOption = None, runs: Root = Path("runs")
) -> None:
    """Write the trained networks as ONNX and check them against Keras."""
    run_stages_of(load_trainable(config, overrides), run_dir, runs, ["convert", "train", "export"])


@app.command()
def inject(
    files: Annotated[list[str], typer.Argument(help="Ntuples to score: paths, globs or root:// addresses.")],
    model: Annotated[
        list[Path] | None,
        typer.Option(help="ONNX model; one for each fold or the one of all folds, also of several trainings."),
    ] = None,
    run: Annotated[Path | None, typer.Option("--run-dir", help="Take the models of this run.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory for the scored files.")] = Path("scored"),
    tree: Annotated[list[str] | None, typer.Option(help="Tree to score; '*' for all. May be repeated.")] = None,
    mode: Annotated[
        str | None,
        typer.Option(help="friend, copy or inplace.", autocompletion=one_word("friend", "copy", "inplace")),
    ] = None,
    branch: Annotated[str | None, typer.Option(help="Prefix of the score branches.")] = None,
    suffix: Annotated[str | None, typer.Option(help="Suffix of a friend tree's name.")] = None,
    default: Annotated[float | None, typer.Option(help="Score of events outside the selection.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads that score; 0 for all cores.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="In place: add the branches to the ntuples themselves.")
    ] = False,
    overwrite_branch: Annotated[
        bool, typer.Option("--overwrite-branch", help="In place: score branches that exist give way to new ones.")
    ] = False,
) -> None:
    """Score ntuples with exported models, without TensorFlow."""
    from nntrainer.files import expand
    from nntrainer.inject.inject import inject as inject_files
    from nntrainer.inject.score import BATCH
    from nntrainer.progress import for_terminal
    from nntrainer.threads import cores

    models = list(model or [])
    if run is not None:
        models += sorted((run / "models").glob("*.onnx"))
    if not models:
        where = f"{run / 'models'} holds no ONNX file" if run is not None else "no model is given"
        raise NNTrainerError(
            f"{where}; give --model FILE.onnx for each fold or of all folds, or --run-dir with exported models"
        )
    done = inject_files(
        models,
        expand(files),
        trees=tree,
        mode=mode,
        output=output,
        progress=for_terminal(),
        overwrite=overwrite,
        replace=replace,
        overwrite_branch=overwrite_branch or None,
        default=default,
        branch=branch,
        suffix=suffix,
        threads=threads,
    )
    rows = [
        [
            each.file,
            each.tree,
            each.branch,
            *(f"{n:,}" for n in (each.events, each.scored, each.defaulted, each.seen)),
            f"{each.seconds:.1f} s",
            "" if each.skipped else each.output,
        ]
        for each in done
    ]
    columns = ["file", "tree", "branch", ">events", ">scored", ">not selected", ">seen in training", ">time", "output"]
    print_table(f"Scored by {threads or cores()} threads in batches of {BATCH:,}", columns, rows)
    for skipped in dict.fromkeys(each.skipped for each in done if each.skipped):
        print(f"skipped: {skipped}")


def _angle(limit: float | None) -> str:
    return "none" if limit is None else f"{limit:.1f}°"
