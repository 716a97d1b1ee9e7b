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

from nntrainer.console import print_table
from nntrainer.errors import NNTrainerError

if TYPE_CHECKING:
    from deploy.runs import Run, Seen

DONE, FAILED, USER_ERROR, STILL_RUNNING = 0, 1, 2, 3
POLL_S = 0.3

app = typer.Typer(
    name="deploy",
    help="Run a training somewhere, follow it, bring the results back. "
    "Exit codes: 0 done, 1 job failed, 2 user error, 3 still running.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

RunName = Annotated[str, typer.Argument(metavar="RUN", help="Run directory, name/run, or name: the latest of it.")]
SiteFile = Annotated[Path | None, typer.Option("--site-file", help="A site file of your own.")]
Runs = Annotated[Path, typer.Option("--runs", help="Directory of all runs.")]
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
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML configuration.")],
    site: Annotated[str | None, typer.Option(help="Where; deploy.site of the configuration by default.")] = None,
    site_file: SiteFile = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; time and digest by default.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key: training.epochs=3."),
    ] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Check the configuration, make a run directory, start the job, and return at once."""
    from deploy import runs as run_directories
    from deploy.backends import backend_named
    from deploy.plan import plan
    from deploy.sites import load_site
    from nntrainer.config import load_config

    loaded = load_config(config, overrides or ())
    where = load_site(site or (None if site_file else loaded.deploy.site), site_file)
    backend_named(where.backend).check(where)
    run = run_directories.create(loaded, runs, name, where)
    run_directories.submit(run, plan(run.path, where, Path.cwd()))
    print(run.path)


@app.command()
def status(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="The run; the latest of all if absent.")] = None,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Show the stages of a run."""
    from deploy.runs import find, look

    found = find(run, runs)
    seen = look(found)
    if as_json:
        shown = {"run": str(found.path), "state": seen.state, "note": seen.note}
        print(json.dumps({**shown, "deploy": seen.deploy, "record": seen.record}, indent=1))
    else:
        _show(found, seen)
    raise typer.Exit(_code(seen.state))


@app.command()
def logs(
    run: RunName,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the job ends.")] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Print what the job printed."""
    from deploy.runs import FINISHED, find, look

    found = find(run, runs)
    position = 0
    with _following():
        while True:
            ended = look(found).state in FINISHED  # asked before reading, so that the last lines are not missed
            position = _print_from(found.log, position)
            if not follow or ended:
                return
            time.sleep(POLL_S)


@app.command()
def wait(
    run: RunName,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds to wait at most.")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Wait until the job ends; the exit code tells how."""
    from deploy.runs import FINISHED, find, look

    found = find(run, runs)
    deadline = None if timeout is None else time.monotonic() + timeout
    with _following():
        while (seen := look(found)).state not in FINISHED and (deadline is None or time.monotonic() < deadline):
            time.sleep(POLL_S)
    print(_line(found, seen))
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
    from deploy.gather import gather as gather_run
    from deploy.runs import find, look

    found = find(run, runs)
    seen = look(found)
    if seen.state != "done":
        print(f"{_line(found, seen)}; nothing gathered", file=sys.stderr)
        raise typer.Exit(_code(seen.state))
    done = gather_run(found, to)
    print(f"{done.path}: {done.files} files, {done.bytes / 1e6:.1f} MB verified, {done.copied} copied now")


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
    name: Annotated[str | None, typer.Argument(help="Only this one, in full.")] = None,
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


def _code(state: str) -> int:
    return {"done": DONE, "running": STILL_RUNNING, "queued": STILL_RUNNING}.get(state, FAILED)


def _line(run: Run, seen: Seen) -> str:
    return f"{run.path}: {seen.state}" + (f" ({seen.note})" if seen.note else "")


@contextmanager
def _following() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted; the job goes on", file=sys.stderr)
        raise typer.Exit(130) from None


def _print_from(log: Path, position: int) -> int:
    """Print a log from a position on and return where it ends; bytes, for a letter may be half written."""
    if not log.exists():
        return position
    with log.open("rb") as handle:
        handle.seek(position)
        while block := handle.read(1 << 20):
            sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
        return handle.tell()


def _show(run: Run, seen: Seen) -> None:
    rows = []
    for name, stage in seen.record.get("stages", {}).items():
        seconds = f"{stage['seconds']:.1f} s" if stage.get("seconds") is not None else ""
        state = stage.get("state", "")
        # The job had no time to note how this stage ended.
        state = seen.state if state == "running" and seen.state in ("lost", "cancelled", "failed") else state
        rows.append([name, state, seconds, stage.get("detail", ""), len(stage.get("outputs", [])) or ""])
    print_table(_line(run, seen), ["stage", "state", ">time", "result", ">files"], rows)
    if seen.state in ("failed", "lost"):
        _tail(run)


def _tail(run: Run, lines: int = 5) -> None:
    if run.log.exists():
        text = run.log.read_text(encoding="utf-8", errors="replace").splitlines()
        print("\n".join(text[-lines:]), file=sys.stderr)
