"""The verbs that make and look at data: check, generate, convert, observables, inspect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from nntrainer.cli.app import ConfigFile, Force, Overrides, app, load, load_trainable
from nntrainer.console import one_word, print_table
from nntrainer.errors import NNTrainerError


@app.command()
def check(
    config: ConfigFile,
    overrides: Overrides = None,
    data: Annotated[bool, typer.Option("--data", help="Open the files and check every branch.")] = False,
) -> None:
    """Check a configuration; with --data, also its files and branches."""
    loaded = load_trainable(config, overrides)
    if not data:
        print(f"{config}: valid (digest {loaded.digest()[:8]})")
        return
    from nntrainer.dataset.check import check_data

    rows = [[each.sample, each.files, f"{each.entries:,}", each.branches] for each in check_data(loaded)]
    print_table(f"{config}: valid", ["sample", ">files", ">entries", ">branches read"], rows)


@app.command()
def generate(
    output: Annotated[Path, typer.Argument(help="Directory for the files.")],
    events: Annotated[int, typer.Option(min=1, help="Events of each sample.")] = 20_000,
    sample: Annotated[
        list[str] | None,
        typer.Option(
            help="ttH, ttbb, ttcc, ttlight; all by default.",
            autocompletion=one_word("ttH", "ttbb", "ttcc", "ttlight"),
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 42,
    files: Annotated[int, typer.Option(min=1, help="Files a sample.")] = 1,
    tree: Annotated[list[str] | None, typer.Option(help="Trees; nominal_Loose by default.")] = None,
    channel: Annotated[
        str, typer.Option(help="ljets or dilepton.", autocompletion=one_word("ljets", "dilepton"))
    ] = "ljets",
    alpha: Annotated[float, typer.Option(help="CP-mixing angle of ttH in degrees.")] = 0.0,
    extras: Annotated[bool, typer.Option("--extras", help="Add branches nobody asked for.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Generate toy ttH(bb), tt+bb, tt+cc and tt+light ntuples."""
    from nntrainer.ntuples.toy import generate as generate_toy
    from nntrainer.progress import for_terminal

    options: dict[str, Any] = {"samples": tuple(sample)} if sample else {}
    if tree:
        options["trees"] = tuple(tree)
    for path in generate_toy(
        output,
        events=events,
        seed=seed,
        files=files,
        channel=channel,
        alpha_deg=alpha,
        extras=extras,
        overwrite=overwrite,
        progress=for_terminal(),
        **options,
    ):
        print(path)


@app.command()
def convert(
    config: ConfigFile,
    overrides: Overrides = None,
    sample: Annotated[list[str] | None, typer.Option(help="Only this sample; may be repeated.")] = None,
    force: Force = False,
) -> None:
    """Convert ROOT ntuples to HDF5 dataset files."""
    from nntrainer.dataset.conversion import convert as convert_samples
    from nntrainer.progress import for_terminal

    done = convert_samples(load(config, overrides), samples=sample, force=force, progress=for_terminal())
    rows = [
        [
            each.sample,
            f"{each.entries:,}",
            f"{each.events:,}",
            f"{each.sum_after:.6g}",
            "up to date" if each.skipped else f"{each.seconds:.1f} s",
            each.path,
        ]
        for each in done.samples
    ]
    print_table("Converted", ["sample", ">entries", ">selected", ">sum of weights", ">time", "file"], rows)
    for each in done.samples:
        for name, count in each.overflow.items():
            if count:
                print(f"{each.sample}: {count:,} events have more {name} than are kept")
    for name, count in done.duplicates.items():
        if count:
            print(f"{name}: {count:,} event ids occur more than once")


@app.command()
def observables(
    config: ConfigFile,
    overrides: Overrides = None,
    sample: Annotated[list[str] | None, typer.Option(help="Only this sample; may be repeated.")] = None,
    ntuple: Annotated[
        list[str] | None, typer.Option("--ntuple", help="Write them as branches of this ntuple instead; path or glob.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory for those files.")] = Path("observables"),
    mode: Annotated[
        str,
        typer.Option(help="friend, copy or inplace.", autocompletion=one_word("friend", "copy", "inplace")),
    ] = "friend",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="In place: add the branches to the ntuples themselves.")
    ] = False,
    force: Force = False,
) -> None:
    """Add CP observables to the dataset files, or to ntuples."""
    from nntrainer.progress import for_terminal

    loaded = load(config, overrides)
    if ntuple:
        from nntrainer.files import expand
        from nntrainer.inject.observables import inject_observables

        options: dict[str, Any] = {"output": output, "mode": mode, "overwrite": overwrite, "replace": replace}
        written = inject_observables(loaded, expand(ntuple), progress=for_terminal(), **options)
        lines = [[one.file, one.tree, f"{one.events:,}", f"{one.seconds:.1f} s", one.output] for one in written]
        print_table("Observables", ["file", "tree", ">events", ">time", "output"], lines)
        return
    from nntrainer.dataset.conversion import convert as convert_samples
    from nntrainer.dataset.observables import add_observables, block_of

    block_of(loaded)
    convert_samples(loaded, samples=sample, progress=for_terminal())
    done = add_observables(loaded, samples=sample, force=force, progress=for_terminal())
    rows = [
        [
            each.sample,
            f"{each.events:,}",
            ", ".join(each.names),
            f"{max(each.missing.values()):,}",
            "up to date" if each.skipped else f"{each.seconds:.1f} s",
            each.path,
        ]
        for each in done
    ]
    print_table("Observables", ["sample", ">events", "observables", ">at most missing", ">time", "file"], rows)


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="An HDF5 dataset file or a ROOT file.")],
    field: Annotated[str | None, typer.Option(help="Only this field, in detail.")] = None,
    head: Annotated[int, typer.Option(min=0, help="Show the first rows.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="Draw the field into this file (PNG or PDF).")] = None,
    tree: Annotated[str | None, typer.Option(help="Only this tree of a ROOT file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what is in an HDF5 or ROOT file."""
    from nntrainer.dataset.inspect import inspect as inspect_file

    if plot is not None and field is None:
        raise NNTrainerError("--plot needs --field: name the field to draw")
    found = inspect_file(path, field=field, head=head, tree=tree)
    if as_json:
        print(json.dumps(found.as_dict(), indent=1, default=str))
    else:
        from rich.console import Console

        from nntrainer.dataset.inspect_view import render

        Console().print(*render(found), sep="\n")
    if plot is not None:
        from nntrainer.evaluation.figures import draw_field

        print(draw_field(found, plot))
