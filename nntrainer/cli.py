"""The command line of nntrainer: argument parsing only, one function a verb."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nntrainer.console import print_table
from nntrainer.errors import Interrupted, NNTrainerError

if TYPE_CHECKING:
    from nntrainer.config import Config
    from nntrainer.pipeline import RunResult
    from nntrainer.rundir import RunDir

app = typer.Typer(
    name="nntrainer",
    help="ROOT ntuples in; trained networks, plots, ONNX models and scored ntuples out.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML configuration.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key: training.epochs=3.")
]
RunOption = Annotated[
    Path | None,
    typer.Option("--run-dir", help="Run directory; the latest of this configuration, or a new one."),
]
Root = Annotated[Path, typer.Option("--runs", help="Directory of all runs.")]
Force = Annotated[bool, typer.Option("--force", help="Do it again although it is up to date.")]


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    global _debug
    _debug = debug


_debug = False


def main() -> None:
    """Run the command line; errors of the user become one sentence and exit code 2."""
    try:
        app()
    except Interrupted as stop:
        _say(f"interrupted: {stop}")
        sys.exit(Interrupted.exit_code)
    except NNTrainerError as error:
        if _debug:
            raise
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        if _debug or (error.name or "").startswith(("nntrainer", "deploy")):
            raise
        _say(f"error: the package '{error.name}' is not installed; `pip install nntrainer[train]` has everything")
        sys.exit(2)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(130)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _load(path: Path, overrides: list[str] | None) -> Config:
    from nntrainer.config import load_config

    return load_config(path, overrides or ())


def _check_own(config: Config) -> None:
    """Build a network that people wrote themselves, before anything is made for it; others are not even imported."""
    if config.model.own:
        from nntrainer.networks.model import check_model

        check_model(config)


def _run_dir(config: Config, run_dir: Path | None, root: Path) -> RunDir:
    from nntrainer.rundir import RunDir, find_or_create

    directory = RunDir(run_dir) if run_dir is not None else find_or_create(config, root)
    directory.claim(config)
    return directory


@app.command()
def check(
    config: ConfigFile,
    overrides: Overrides = None,
    data: Annotated[bool, typer.Option("--data", help="Open the files and check every branch.")] = False,
) -> None:
    """Check a configuration; with --data, also its files and branches."""
    loaded = _load(config, overrides)
    _check_own(loaded)
    if not data:
        print(f"{config}: valid (digest {loaded.digest()[:8]})")
        return
    from nntrainer.dataset.check import check_data

    rows = [[each.sample, each.files, f"{each.entries:,}", each.branches] for each in check_data(loaded)]
    print_table(f"{config}: valid", ["sample", ">files", ">entries", ">branches read"], rows)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this network, in full.")] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Papers, inputs, options and defaults, too.")
    ] = False,
) -> None:
    """List the networks that model.name may ask for, with their options."""
    from nntrainer.config import catalogue
    from nntrainer.config.registry import NETWORKS

    chosen = {each: NETWORKS.get(each) for each in ([name] if name else NETWORKS.names())}
    if not name and not verbose:
        rows = [[each, catalogue.network_types(part), catalogue.summary(part)] for each, part in chosen.items()]
        print_table("Networks", ["model.name", "network_type", "what it is"], rows)
        return
    for each, part in chosen.items():
        print(f"{each} (network_type {catalogue.network_types(part)})\n{catalogue.description(part)}")
        rows = [list(option) for option in catalogue.options(part)]
        print_table("", ["option", "type", "default", "what it does"], rows)
        print()


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what works here: packages, GPUs, memory, disk. Exit code 0 if all that is installed does, 1 if not."""
    from nntrainer.doctor import examine

    report = examine()
    if as_json:
        print(json.dumps(report.as_dict(), indent=1))
    else:
        print_table("nntrainer doctor", ["", "", "found"], [[row.state, row.name, row.text] for row in report.rows])
    if not report.usable:
        sys.exit(1)


@app.command()
def generate(
    output: Annotated[Path, typer.Argument(help="Directory for the files.")],
    events: Annotated[int, typer.Option(min=1, help="Events of each sample.")] = 20_000,
    sample: Annotated[list[str] | None, typer.Option(help="ttH, ttbb, ttcc, ttlight; all by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 42,
    files: Annotated[int, typer.Option(min=1, help="Files a sample.")] = 1,
    tree: Annotated[list[str] | None, typer.Option(help="Trees; nominal_Loose by default.")] = None,
    channel: Annotated[str, typer.Option(help="ljets or dilepton.")] = "ljets",
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

    done = convert_samples(_load(config, overrides), samples=sample, force=force, progress=for_terminal())
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
    mode: Annotated[str, typer.Option(help="friend, copy or inplace.")] = "friend",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="In place: add the branches to the ntuples themselves.")
    ] = False,
    force: Force = False,
) -> None:
    """Add CP observables to the dataset files, or to ntuples."""
    from nntrainer.progress import for_terminal

    loaded = _load(config, overrides)
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


@app.command("alpha-scan")
def alpha_scan(
    config: ConfigFile, overrides: Overrides = None, run_dir: RunOption = None, runs: Root = Path("runs")
) -> None:
    """Compare CP-mixing angles: the exclusion to expect of each against data of α = 0."""
    from nntrainer.evaluation.alpha_scan import alpha_scan as scan
    from nntrainer.evaluation.alpha_scan import block_of
    from nntrainer.progress import for_terminal

    loaded = _load(config, overrides)
    block_of(loaded)
    directory = _run_dir(loaded, run_dir, runs)
    with directory.lock():
        found = scan(loaded, directory, progress=for_terminal())
    rows = [
        [name, *(_angle(limit) for limit in one["excluded_from"].values()), f"{max(one['q']):.3g}"]
        for name, one in found["templates"].items()
    ]
    columns = [f">|α| excluded from, {cl} % CL" for cl in (68, 95)]
    print_table(f"Scan of α in {directory.path}", ["template", *columns, ">largest −2Δ ln L"], rows)


def _angle(limit: float | None) -> str:
    return "none" if limit is None else f"{limit:.1f}°"


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
    loaded = _load(config, [*(overrides or ()), *more])
    _check_own(loaded)
    directory = _run_dir(loaded, run_dir, runs)
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

    loaded, progress = _load(config, overrides), for_terminal()
    convert_samples(loaded, progress=progress)
    path = output / f"{loaded.name}_fold{fold}"
    found = test_rates(loaded, fold, path, smallest=smallest, largest=largest, steps=steps, progress=progress)
    at = f"{path}.json, .png, .pdf"
    print(f"suggested: training.optimizer.learning_rate={found.suggested:.2g} ({at})")


@app.command()
def evaluate(
    config: ConfigFile, overrides: Overrides = None, run_dir: RunOption = None, runs: Root = Path("runs")
) -> None:
    """Draw and measure how well the trained network does."""
    _stages(_load(config, overrides), run_dir, runs, ["convert", "inputs", "train", "evaluate"])


@app.command()
def export(
    config: ConfigFile, overrides: Overrides = None, run_dir: RunOption = None, runs: Root = Path("runs")
) -> None:
    """Write the trained networks as ONNX and check them against Keras."""
    _stages(_load(config, overrides), run_dir, runs, ["convert", "train", "export"])


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
    mode: Annotated[str | None, typer.Option(help="friend, copy or inplace.")] = None,
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


@app.command()
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    run_dir: RunOption = None,
    runs: Root = Path("runs"),
    stage: Annotated[list[str] | None, typer.Option(help="Only this stage; may be repeated.")] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this part, as one of several jobs: convert-SAMPLE, train-fold0, evaluate, inject-0of1."
        ),
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Make a new run directory.")] = False,
    force: Force = False,
) -> None:
    """Run everything: convert, input plots, train, evaluate, export, inject."""
    if part:
        from nntrainer.pipeline import run_parts
        from nntrainer.progress import for_terminal

        if stage or new or run_dir is None:
            raise NNTrainerError("--part works in the run directory that --run-dir names, without --stage and --new")
        done = run_parts(_load(config, overrides), part, run_dir=run_dir, force=force, progress=for_terminal())
        _results(done)
        return
    _stages(_load(config, overrides), run_dir, runs, stage, new=new, force=force)


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

    loaded = _load(config, overrides)
    result = search(loaded, run_dir=run_dir, root=runs, jobs=jobs, new=new, progress=for_terminal())
    print_table(*rows_of(loaded, result.run))
    print(result.run.path / "tune" / "best.yaml")


def _stages(config: Config, run_dir: Path | None, runs: Path, stages: list[str] | None, **options: bool) -> RunResult:
    from nntrainer.pipeline import run as run_stages
    from nntrainer.progress import for_terminal

    _check_own(config)
    result = run_stages(config, run_dir=run_dir, root=runs, stages=stages, progress=for_terminal(), **options)
    _results(result)
    return result


def _results(result: RunResult) -> None:
    rows = [
        [
            each.name,
            "up to date" if each.skipped else "done",
            f"{each.seconds:.1f} s",
            each.detail,
            _files(each.outputs),
        ]
        for each in result.stages
    ]
    print_table(f"Run {result.run.path}", ["stage", "state", ">time", "result", "files"], rows)


def _files(outputs: tuple[str, ...]) -> str:
    parents = list(dict.fromkeys(str(Path(path).parent) for path in outputs))
    return f"{len(outputs)} in {parents[0]}" if len(parents) == 1 else f"{len(outputs)} files"
