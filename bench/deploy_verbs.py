"""deploy with 1 000 jobs: rendering them, and telling their state when all have ended."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.measure import ROOT, Contender, Row, interleaved, timed

EVENTS = ROOT / "tests" / "golden" / "htcondor" / "events.log"
"""What a real pool wrote."""
FINISHED = {"000", "001", "005", "006", "040"}
"""The events of a job that ends well: submitted, started, ended, its size, its files."""


def deploy(*arguments: object, code: int = 0) -> None:
    """Run deploy as its users do, in a process of its own."""
    command = [sys.executable, "-m", "deploy", *map(str, arguments)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    if done.returncode != code:
        raise SystemExit(f"{' '.join(command)} ended with exit code {done.returncode}: {done.stdout[-500:]}")


def configuration(folder: Path, jobs: int) -> Path:
    """Write a configuration of so many jobs: two trainings, an evaluation, and one injection and conversion a file."""
    converts = min(20, jobs // 10)
    files = jobs - 3 - converts
    samples = [
        {
            "name": f"sample{number}",
            "label": "signal" if number == 0 else "background",
            "files": [f"root://host//ntuples/sample{number}/{i}.root" for i in range(number, files, converts)],
        }
        for number in range(converts)
    ]
    content = {
        "name": "many",
        "data": {"tree": "events", "samples": samples, "weight": "weight", "directory": "datasets"},
        "features": {"events": ["x", "y"]},
        "preparation": {"folds": 2},
        "model": "dense",
        "deploy": {"inject_jobs": files},
    }
    path = folder / "many.yaml"
    path.write_text(json.dumps(content))
    return path


def finished_run(config: Path, runs: Path, site: str, name: str) -> Path:
    """Make a run directory as after a submission whose jobs have all ended well; return it."""
    from deploy import runs as directories
    from deploy.backends import backend_named
    from deploy.cli import _batch
    from deploy.jobs import JobHandle
    from nntrainer.files import now

    loaded, batch = _batch(config, site, None, name, None, runs, tune=False, jobs=None)
    rendered = backend_named(batch.site.backend).render(batch)
    run = directories.create(batch.run, loaded, batch.site, batch.jobs, rendered, batch.sources)
    run.update(jobs=[JobHandle("run", "1", now(), {"schedd": "schedd"}).as_dict()])
    logs = run.path / "logs"
    logs.mkdir(exist_ok=True)
    (logs / "condor.log").write_text(
        "".join(events(2 + i, f"DAG Node: {job.name}") for i, job in enumerate(batch.jobs))
    )
    (run.path / "rendered" / "run.dag.dagman.log").write_text(events(1, ""))
    stage = {"state": "done", "seconds": 12.3, "detail": "1,000 events", "outputs": ["a", "b"], "key": "0" * 64}
    (run.path / "parts").mkdir(exist_ok=True)
    for job in batch.jobs:
        files = [{"path": f"scored/{job.name}-{i}.root", "size": 1, "sha256": "0" * 64} for i in range(5)]
        record = {"format": 1, "name": "many", "part": job.name, "state": "done", "stages": {job.stage: stage}}
        (run.path / "parts" / f"{job.name}.json").write_text(json.dumps({**record, "files": files}, indent=1))
    return run.path


def events(cluster: int, note: str) -> str:
    """Return the events of a job that ended well, from those that a real pool wrote of another."""
    made = []
    for event in EVENTS.read_text().split("...\n"):
        if not re.match(r"\d{3} \(764\.", event) or event[:3] not in FINISHED:
            continue
        event = event.replace("(764.", f"({cluster}.").replace("return value 2", "return value 0")
        event = event.replace("exit-code 2", "exit-code 0")
        made.append(re.sub(r"    DAG Node: .*\n", f"    {note}\n" if note else "", event))
    return "...\n".join([*made, ""])


def local_run(config: Path, runs: Path, name: str) -> Path:
    """Make the directory of a run on this machine that ended well, a minute ago."""
    from deploy import runs as directories
    from deploy.cli import _batch
    from deploy.jobs import JobHandle
    from nntrainer.files import now

    loaded, batch = _batch(config, "local", None, name, None, runs, tune=False, jobs=None)
    run = directories.create(batch.run, loaded, batch.site, batch.jobs, {}, batch.sources)
    run.update(jobs=[JobHandle("run", "999999", now(), {"host": "elsewhere", "started": "0"}).as_dict()])
    stages = {each: {"state": "done", "seconds": 1.0, "detail": "", "outputs": []} for each in ("convert", "train")}
    (run.path / "run.json").write_text(json.dumps({"format": 1, "state": "done", "stages": stages}, indent=1))
    return run.path


def rows(quick: bool) -> list[Row]:
    """Measure the verbs."""
    jobs, repeats = (100, 3) if quick else (1000, 5)
    with tempfile.TemporaryDirectory(prefix="nntrainer-bench-") as name:
        folder = Path(name)
        config = configuration(folder, jobs)
        run = finished_run(config, folder / "runs", "lxplus", "finished")
        small = folder / "small"
        small.mkdir()
        first = local_run(configuration(small, 30), folder / "local", "0")
        for number in range(1, jobs):
            shutil.copytree(first, first.with_name(str(number)))
        rendered: list[Path] = []

        def render() -> None:
            # A new folder each time: ext4 is slow at making files where as many have just been removed.
            rendered.append(folder / f"rendered{len(rendered)}")
            deploy("render", config, "--site", "lxplus", "--runs", folder / "runs", "-o", rendered[-1])

        contenders: dict[str, Contender] = {
            f"deploy render of {jobs:,} jobs": timed(render),
            f"deploy status of {jobs:,} finished jobs, from HTCondor's event log and the parts' records": timed(
                lambda: deploy("status", run, "--runs", folder / "runs")
            ),
            f"deploy list of {jobs:,} finished local runs, from their records": timed(
                lambda: deploy("list", "--runs", folder / "local")
            ),
        }
        samples = interleaved(contenders, repeats)
        made = len(list(rendered[-1].glob("*.sub")))
        if made != jobs:
            raise SystemExit(f"{made} submit files were rendered, not {jobs}")
    note = "the whole command, Python's start included"
    return [
        Row(work, times, below=2.0 if "render" in work else None, note=note if "render" in work else "")
        for work, times in samples.items()
    ]
