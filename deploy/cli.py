"""The command line of deploy: argument parsing only, one function a verb."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nntrainer.console import print_table, starting
from nntrainer.errors import NNTrainerError

if TYPE_CHECKING:
    from deploy.backends.base import Batch
    from deploy.jobs import Finding
    from deploy.runs import Run
    from nntrainer.config import Config

DONE, FAILED, USER_ERROR, STILL_RUNNING = 0, 1, 2, 3
POLL_S, WATCH_S = 0.3, 5.0


def _sites(incomplete: str) -> list[tuple[str, str]]:
    from deploy.sites import find_sites

    return starting(((name, "") for name in find_sites()), incomplete)


def _runs(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Complete a run: below --runs where it was given before, else below runs."""
    from deploy.runs import list_runs

    found = [run.path for run in list_runs(context.params.get("runs") or Path("runs"))]
    return starting(((f"{path.parent.name}/{path.name}", "") for path in found), incomplete)


app = typer.Typer(
    name="deploy",
    help="Run a training somewhere, follow it, bring the results back. "
    "Exit codes: 0 done, 1 job failed, 2 user error, 3 still running.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML configuration.")]
SiteName = Annotated[
    str | None,
    typer.Option("--site", help="Where; deploy.site of the configuration by default.", autocompletion=_sites),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key: training.epochs=3.")
]
RunName = Annotated[
    str,
    typer.Argument(metavar="RUN", help="Run directory, name/run, or name: the latest of it.", autocompletion=_runs),
]
SiteFile = Annotated[Path | None, typer.Option("--site-file", help="A site file of your own.")]
Runs = Annotated[Path, typer.Option("--runs", help="Directory of all runs.")]
Tune = Annotated[bool, typer.Option("--tune", help="Search what the tune block says, instead of a run.")]
Jobs = Annotated[int | None, typer.Option("--jobs", min=1, help="With --tune: jobs that do trials at a time; 4.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_debug = False


@app.callback()
def _options(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    global _debug
    _debug = debug


def main() -> None:
    """Run the command line; errors of the user become one sentence and exit code 2."""
    try:
        app()
    except NNTrainerError as error:
        if _debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except OSError as error:
        if _debug:
            raise
        print(f"error: {error.filename or 'the system'}: {error.strerror}", file=sys.stderr)
        sys.exit(USER_ERROR)


@app.command()
def submit(
    config: ConfigFile,
    site: SiteName = None,
    site_file: SiteFile = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; time and digest by default.")] = None,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    tune: Tune = False,
    jobs: Jobs = None,
) -> None:
    """Check, make a run directory, submit its jobs, and return at once."""
    from deploy import runs as run_directories
    from deploy.backends import backend_named
    from deploy.preflight import preflight, refuse_errors

    loaded, batch = _batch(config, site, site_file, name, overrides, runs, tune, jobs)
    findings = preflight(batch, loaded)
    refuse_errors(findings)
    _warn(findings)
    rendered = backend_named(batch.site.backend).render(batch)
    run = run_directories.create(_given(batch.run, runs), loaded, batch.site, batch.jobs, rendered, batch.sources)
    run_directories.submit(run)
    print(run.path)


@app.command()
def render(
    config: ConfigFile,
    site: SiteName = None,
    site_file: SiteFile = None,
    name: Annotated[str, typer.Option(help="Name of the run that would be made.")] = "rendered",
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    tune: Tune = False,
    jobs: Jobs = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the files here; printed if absent.")
    ] = None,
) -> None:
    """Show exactly what would be submitted, and submit nothing."""
    from deploy.backends import backend_named
    from nntrainer.files import write_text

    _, batch = _batch(config, site, site_file, name, overrides, runs, tune, jobs)
    for file, text in backend_named(batch.site.backend).render(batch).items():
        if output is None:
            print(f"# ---- {file}\n{text}")
        else:
            output.mkdir(parents=True, exist_ok=True)
            write_text(output / file, text)
            print(output / file)


@app.command()
def check(
    config: ConfigFile,
    site: SiteName = None,
    site_file: SiteFile = None,
    name: Annotated[str | None, typer.Option(help="Name of the run that would be made.")] = None,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    tune: Tune = False,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Find out what would go wrong at a site before anything is submitted."""
    from dataclasses import asdict

    from deploy.preflight import preflight

    loaded, batch = _batch(config, site, site_file, name, overrides, runs, tune, jobs)
    findings = preflight(batch, loaded)
    errors = [each for each in findings if each.level == "error"]
    if as_json:
        print(json.dumps([asdict(each) for each in findings], indent=1))
    elif findings:
        rows = [[each.level, each.where, each.what, each.fix] for each in findings]
        print_table(f"{config} at {batch.site.name}", ["", "where", "what", "what to do"], rows)
    else:
        print(f"{config}: ready for {batch.site.name} ({len(batch.jobs)} jobs)")
    raise typer.Exit(USER_ERROR if errors else DONE)


def _batch(
    config: Path,
    site: str | None,
    site_file: Path | None,
    name: str | None,
    overrides: list[str] | None,
    runs: Path,
    tune: bool,
    jobs: int | None,
) -> tuple[Config, Batch]:
    """Return the configuration as the jobs read it, and the jobs of a run that is not made yet."""
    from deploy.backends.base import Batch
    from deploy.errors import PreflightError
    from deploy.plan import plan, plan_search, resolved
    from deploy.runs import directory_of, text_of
    from deploy.sandbox import sandboxed
    from deploy.sites import load_site
    from nntrainer.config import load_config

    if jobs is not None and not tune:
        raise PreflightError("--jobs says how many jobs of a search do trials at a time; give --tune, too")
    loaded = load_config(config, overrides or ())
    where = load_site(site or (None if site_file else loaded.deploy.site), site_file)
    directory = Path.cwd()
    run = (directory / directory_of(loaded, runs, name)).resolve()
    loaded, sources = sandboxed(resolved(loaded, where, directory), where)
    planned = plan_search(loaded, where, run, directory, jobs or 4) if tune else plan(loaded, where, run, directory)
    return loaded, Batch(run, where, tuple(planned), sources=sources, config=text_of(loaded))


def _given(run: Path, runs: Path) -> Path:
    """Return the run directory as the user names it: relative where --runs is."""
    return runs / run.parent.name / run.name


def _warn(findings: list[Finding]) -> None:
    for each in findings:
        print(f"{each.level}: {each.where}: {each.what}; {each.fix}", file=sys.stderr)


@app.command()
def status(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="The run; the latest of all if absent.", autocompletion=_runs),
    ] = None,
    runs: Runs = Path("runs"),
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every few seconds until it ends.")] = False,
    as_json: Json = False,
) -> None:
    """Show the jobs and stages of a run."""
    from deploy.runs import FINISHED, find, look
    from deploy.view import as_dict, show

    found = find(run, runs)
    with _following():
        while (seen := look(found)).state not in FINISHED and watch:
            show(found, seen, clear=True)
            time.sleep(WATCH_S)
    if as_json:
        print(json.dumps(as_dict(found, seen), indent=1))
    else:
        show(found, seen)
    if seen.state in ("failed", "lost"):
        _tail(found)
    raise typer.Exit(_code(seen.state))


@app.command()
def logs(
    run: RunName,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the jobs end.")] = False,
    job: Annotated[str | None, typer.Option(help="Only this job, such as train-fold0.")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Print what the jobs printed."""
    from deploy.runs import FINISHED, find, logs_of, look

    found = find(run, runs)
    positions: dict[Path, int] = {}
    pause = POLL_S
    with _following():
        while True:
            ended = look(found).state in FINISHED  # asked before reading, so that the last lines are not missed
            paths, before = logs_of(found, job), dict(positions)
            for path in paths:
                positions[path] = _print_from(path, positions.get(path, 0), len(paths) > 1)
            if not follow or ended:
                return
            time.sleep(pause)
            # While nothing comes, a batch system is asked more and more seldom.
            pause = POLL_S if positions != before else min(pause * 1.2, WATCH_S)


@app.command()
def wait(
    run: RunName,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds to wait at most.")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Wait until the job ends; the exit code tells how."""
    from deploy.runs import FINISHED, find, look
    from deploy.view import line

    found = find(run, runs)
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = POLL_S
    with _following():
        while (seen := look(found)).state not in FINISHED and (deadline is None or time.monotonic() < deadline):
            time.sleep(pause)
            pause = min(pause * 1.2, WATCH_S)  # a batch system is asked gently
    print(line(found, seen))
    if seen.state in FINISHED and seen.state != "done":
        _tail(found)
    raise typer.Exit(_code(seen.state))


@app.command()
def gather(
    run: RunName,
    to: Annotated[Path | None, typer.Option(help="Copy the outputs here; by default they stay in the run.")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Verify every output against the manifest, copying first where --to is given."""
    from deploy.errors import GatherError
    from deploy.gather import gather as gather_run
    from deploy.gather import track
    from deploy.runs import find, look
    from deploy.view import line

    found = find(run, runs)
    seen = look(found)
    if seen.state != "done":
        print(f"{line(found, seen)}; nothing gathered", file=sys.stderr)
        raise typer.Exit(_code(seen.state))
    done = gather_run(found, to)
    print(f"{done.path}: {done.files} files, {done.bytes / 1e6:.1f} MB verified, {done.copied} copied now")
    try:
        if logged := track(done.path):
            print(logged)
    except GatherError as error:
        print(f"warning: {error}", file=sys.stderr)


@app.command()
def cancel(
    run: RunName,
    grace: Annotated[float, typer.Option(min=0, help="Seconds it may take to save its state.")] = 30.0,
    runs: Runs = Path("runs"),
) -> None:
    """End a run; training saves a checkpoint first."""
    from deploy.runs import cancel as cancel_run
    from deploy.runs import find

    found = find(run, runs)
    print(f"{found.path}: {cancel_run(found, grace)}")


@app.command()
def retry(run: RunName, runs: Runs = Path("runs")) -> None:
    """Start again what failed, was held or lost; what is done stays done."""
    from deploy.runs import find
    from deploy.runs import retry as retry_run

    found = find(run, runs)
    print(f"{found.path}: started again: {', '.join(retry_run(found))}")


@app.command("rm")
def rm(run: RunName, runs: Runs = Path("runs")) -> None:
    """Remove a run that has ended, and all it left elsewhere."""
    from deploy.runs import find, remove

    found = find(run, runs)
    remove(found)
    print(f"{found.path}: removed")


@app.command("list")
def list_(runs: Runs = Path("runs"), as_json: Json = False) -> None:
    """List all runs."""
    from deploy.errors import DeployError
    from deploy.runs import list_runs, look

    rows = []
    for run in list_runs(runs):
        try:
            seen = look(run)
            rows.append({"run": str(run.path), "site": seen.deploy.get("site", ""), "state": seen.state})
        except DeployError as error:  # one damaged record hides no other run
            rows.append({"run": str(run.path), "site": "", "state": f"damaged: {error}"})
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        print_table(f"Runs in {runs}", ["run", "site", "state"], [list(row.values()) for row in rows])


@app.command()
def sites(
    name: Annotated[str | None, typer.Argument(help="Only this one, in full.", autocompletion=_sites)] = None,
    site_file: SiteFile = None,
    as_json: Json = False,
) -> None:
    """List the sites."""
    from deploy.sites import find_sites, load_site

    one = name or site_file
    found = [load_site(name, site_file)] if one else [load_site(each) for each in find_sites()]
    if as_json:
        print(json.dumps([site.model_dump(mode="json") for site in found], indent=1))
    elif one:
        import yaml

        print(yaml.safe_dump(found[0].model_dump(mode="json"), sort_keys=False, allow_unicode=True), end="")
    else:
        print_table("Sites", ["site", "backend", "description"], [[s.name, s.backend, s.description] for s in found])


@app.command()
def schema() -> None:
    """Print the JSON Schema of a site file, for editors: configs/sites/schema.json is this."""
    from deploy.sites import schema as made
    from nntrainer.config.schema import page

    print(page(made()), end="")


def _code(state: str) -> int:
    return {"done": DONE, "running": STILL_RUNNING, "queued": STILL_RUNNING, "held": STILL_RUNNING}.get(state, FAILED)


@contextmanager
def _following() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted; the job goes on", file=sys.stderr)
        raise typer.Exit(130) from None


def _print_from(log: Path, position: int, titled: bool) -> int:
    """Print a log from a position on and return where it ends; bytes, for a letter may be half written."""
    if not log.exists():
        return position
    with log.open("rb") as handle:
        handle.seek(position)
        if titled and log.stat().st_size > position:
            print(f"==> {log.stem} <==", flush=True)
        while block := handle.read(1 << 20):
            sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
        return handle.tell()


def _tail(run: Run, lines: int = 5) -> None:
    """Print the end of the logs of what failed."""
    from deploy.runs import failed_logs

    for path in failed_logs(run):
        text = path.read_text(encoding="utf-8", errors="replace").splitlines()
        print("\n".join(text[-lines:]), file=sys.stderr)
