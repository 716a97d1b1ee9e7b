"""The command line of deploy: argument parsing only, one function a verb."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nntrainer.errors import NNTrainerError

if TYPE_CHECKING:
    from deploy.runs import Run

DONE, FAILED, USER_ERROR, STILL_RUNNING = 0, 1, 2, 3

app = typer.Typer(
    name="deploy",
    help="Run a training somewhere, follow it, bring the results back. "
    "Exit codes: 0 done, 1 job failed, 2 user error, 3 still running.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

RunName = Annotated[str, typer.Argument(metavar="RUN", help="Run directory, name/run, or name: the latest of it.")]
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
    except KeyboardInterrupt:
        print("interrupted; the job goes on", file=sys.stderr)
        sys.exit(130)


@app.command()
def submit(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML configuration.")],
    site: Annotated[str | None, typer.Option(help="Where; deploy.site of the configuration by default.")] = None,
    site_file: Annotated[Path | None, typer.Option("--site-file", help="A site file of your own.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; time and digest by default.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key: training.epochs=3."),
    ] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Check the configuration, make a run directory, start the job, and return at once."""
    from deploy import runs as run_directories
    from deploy.backends.local import LocalBackend
    from deploy.plan import plan
    from deploy.sites import load_site
    from nntrainer.config import load_config

    loaded = load_config(config, overrides or ())
    where = load_site(site or loaded.deploy.site, site_file)
    run = run_directories.create(loaded, runs, name)
    run.update(site=where.name, backend=where.backend, jobs=[])
    backend = LocalBackend()
    for job in plan(run, where):
        run.update(jobs=[*run.read("deploy.json")["jobs"], backend.submit(run, job).as_dict()])
    print(run.path)


@app.command()
def status(run: RunName, runs: Runs = Path("runs"), as_json: Json = False) -> None:
    """Show the stages of a run."""
    from deploy.runs import find

    found = find(run, runs)
    state, record = _state(found), found.read("run.json")
    if as_json:
        deploy = found.read("deploy.json")
        print(json.dumps({"run": str(found.path), "state": state, "deploy": deploy, "record": record}, indent=1))
    else:
        _show(found, state, record)
    raise typer.Exit(_code(state))


@app.command()
def logs(
    run: RunName,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the job ends.")] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Print what the job printed."""
    from deploy.runs import FINISHED, find

    found = find(run, runs)
    position = 0
    while True:
        ended = _state(found) in FINISHED  # asked before reading, so that the last lines are not missed
        if found.log.exists():
            with found.log.open("rb") as handle:
                handle.seek(position)
                text = handle.read()
                position = handle.tell()
            sys.stdout.write(text.decode("utf-8", errors="replace"))
            sys.stdout.flush()
        if not follow or ended:
            return
        time.sleep(0.3)


@app.command()
def wait(
    run: RunName,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds to wait at most.")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Wait until the job ends; the exit code tells how."""
    from deploy.runs import FINISHED, find

    found = find(run, runs)
    deadline = None if timeout is None else time.monotonic() + timeout
    while (state := _state(found)) not in FINISHED and (deadline is None or time.monotonic() < deadline):
        time.sleep(0.3)
    print(f"{found.path}: {state}")
    if state not in ("done", "running", "queued"):
        _tail(found)
    raise typer.Exit(_code(state))


@app.command()
def gather(
    run: RunName,
    to: Annotated[Path | None, typer.Option(help="Copy the outputs here; by default they stay in the run.")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Verify every output against the manifest, copying first where --to is given."""
    from deploy.gather import gather as gather_run
    from deploy.runs import FINISHED, find

    found = find(run, runs)
    state = _state(found)
    if state not in FINISHED:
        print(f"{found.path}: {state}; nothing gathered yet", file=sys.stderr)
        raise typer.Exit(STILL_RUNNING)
    if state != "done":
        print(f"{found.path}: {state}; nothing gathered", file=sys.stderr)
        raise typer.Exit(FAILED)
    done = gather_run(found, to)
    print(f"{done.path}: {done.files} files, {done.bytes / 1e6:.1f} MB verified, {done.copied} copied now")


@app.command()
def cancel(run: RunName, runs: Runs = Path("runs")) -> None:
    """End a run; training saves a checkpoint first."""
    from deploy.backends.local import LocalBackend
    from deploy.runs import FINISHED, find

    found = find(run, runs)
    if (state := _state(found)) in FINISHED:
        print(f"{found.path}: {state} already")
        return
    found.update(cancelled=True)
    for job in found.jobs():
        LocalBackend().cancel(job)
    print(f"{found.path}: {_state(found)}")


@app.command("list")
def list_(runs: Runs = Path("runs"), as_json: Json = False) -> None:
    """List all runs."""
    from deploy.runs import list_runs

    rows = [
        {"run": str(run.path), "site": run.read("deploy.json").get("site", ""), "state": _state(run)}
        for run in list_runs(runs)
    ]
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        _table(f"Runs in {runs}", ["run", "site", "state"], [list(row.values()) for row in rows])


@app.command()
def sites(name: Annotated[str | None, typer.Argument(help="Only this one.")] = None, as_json: Json = False) -> None:
    """List the sites."""
    from deploy.sites import find_sites, load_site

    found = [load_site(each) for each in ([name] if name else find_sites())]
    if as_json:
        print(json.dumps([site.model_dump() for site in found], indent=1))
    else:
        _table("Sites", ["site", "backend", "description"], [[s.name, s.backend, s.description] for s in found])


def _state(run: Run) -> str:
    from deploy.backends.local import LocalBackend
    from deploy.runs import state_of

    deploy = run.read("deploy.json")
    if not deploy.get("jobs"):  # started by `nntrainer run`, not by deploy
        return str(run.read("run.json").get("state", "queued"))
    backend = LocalBackend()
    alive = [backend.alive(job) for job in run.jobs()]
    # The exit code is read after the process was looked for, so that one which just ended is not called lost.
    ended = run.read("logs/exit.json")
    return state_of(deploy, run.read("run.json"), ended, None if None in alive else any(alive))


def _code(state: str) -> int:
    return {"done": DONE, "running": STILL_RUNNING, "queued": STILL_RUNNING}.get(state, FAILED)


def _show(run: Run, state: str, record: dict[str, Any]) -> None:
    rows = []
    for name, stage in record.get("stages", {}).items():
        seconds = f"{stage['seconds']:.1f} s" if "seconds" in stage else ""
        shown = state if stage["state"] == "running" and state in ("lost", "cancelled", "failed") else stage["state"]
        rows.append([name, shown, seconds, stage.get("detail", ""), len(stage.get("outputs", [])) or ""])
    _table(f"{run.path}: {state}", ["stage", "state", "time", "result", "files"], rows)
    if state in ("failed", "lost"):
        _tail(run)


def _tail(run: Run, lines: int = 5) -> None:
    if run.log.exists():
        text = run.log.read_text(encoding="utf-8", errors="replace").splitlines()
        print("\n".join(text[-lines:]), file=sys.stderr)


def _table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console().print(table)
