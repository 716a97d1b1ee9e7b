"""Peak memory of converting and injecting generated files of 2 and 8 million events.

Each is a process of its own, so that its peak is its own. Bounds: below 1 GiB resident, and for the longer file at
most 10 % more than for the shorter one. Run it with ``make bench-memory``; it takes minutes and some 10 GiB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

LIMIT_BYTES = 2**30
GROWTH = 0.10
LONGER = 4
CONFIG = Path(__file__).resolve().parent.parent / "configs" / "tth.yaml"


def load(folder: Path) -> Any:
    """Return the configuration of the demo with one sample of each class: the file, and a short background."""
    from nntrainer.config import load_config

    samples = [
        {"name": "signal", "files": str(folder / "ttH.root"), "label": "ttH"},
        {"name": "background", "files": str(folder / "small" / "ttbb.root"), "label": "ttbar"},
    ]
    overrides = [f"data.samples={json.dumps(samples)}", f"data.directory={folder / 'datasets'}"]
    return load_config(CONFIG, overrides, {})


def step_generate(folder: Path, events: int) -> None:
    """Write the ntuples."""
    from nntrainer.ntuples.toy import generate

    generate(folder, samples=("ttH",), events=events)
    generate(folder / "small", samples=("ttbb",), events=5000)


def step_convert(folder: Path, events: int) -> None:
    """Convert the long file."""
    from nntrainer.dataset.conversion import convert

    (done,) = convert(load(folder), samples=["signal"], force=True).samples
    if done.entries != events:
        raise SystemExit(f"{done.entries} entries were converted, not {events}")


def step_export(folder: Path, events: int) -> None:
    """Write models that inject can score with; training them would change nothing."""
    from bench.ntuples import export_untrained

    export_untrained(load(folder), folder / "run")


def step_friend(folder: Path, events: int, mode: str = "friend") -> None:
    """Score the long file."""
    from nntrainer.inject.inject import inject

    models = sorted((folder / "run" / "models").glob("fold*.onnx"))
    (done,) = inject(models, [str(folder / "ttH.root")], output=folder / mode, mode=mode, overwrite=True)
    if done.events != events or not done.scored:
        raise SystemExit(f"{done.events} events were scored, not {events}")


def step_copy(folder: Path, events: int) -> None:
    """Copy the long file with scores."""
    step_friend(folder, events, "copy")


def step_inplace(folder: Path, events: int) -> None:
    """Add scores to a copy of the long file."""
    step_friend(folder, events, "inplace")


STEPS: dict[str, Callable[[Path, int], None]] = {
    "generate": step_generate,
    "convert": step_convert,
    "export": step_export,
    "friend": step_friend,
    "copy": step_copy,
    "inplace": step_inplace,
}
MEASURED = ("convert", "friend", "copy", "inplace")


def measure(step: str, folder: Path, events: int) -> tuple[int, float]:
    """Run a step in a process of its own; return its peak resident bytes and its seconds."""
    started = time.monotonic()
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder), "--events", str(events)]
    process = subprocess.Popen(command, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{step} of {events} events failed with exit code {process.returncode}")
    return usage.ru_maxrss * 1024, time.monotonic() - started


def main() -> int:
    """Measure, print a table, and return 1 when a bound is violated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000, help="events of the shorter file")
    parser.add_argument("--folder", type=Path, help="where the files go; a temporary folder if absent")
    parser.add_argument("--only", nargs="+", choices=MEASURED, default=MEASURED, help="what to measure; all if absent")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        STEPS[given.step](given.folder, given.events)
        return 0
    root = given.folder or Path(tempfile.mkdtemp(prefix="nntrainer-memory-"))
    peaks: dict[tuple[str, int], int] = {}
    lengths = (given.events, LONGER * given.events)
    try:
        for events in lengths:
            folder = root / str(events)
            shutil.rmtree(folder, ignore_errors=True)
            for step in (each for each in STEPS if each not in MEASURED or each in given.only):
                peaks[step, events], seconds = measure(step, folder, events)
                rate = f"{events / seconds:>11,.0f} events/s" if step in MEASURED else ""
                mib = peaks[step, events] / 2**20
                print(f"{step:<10}{events:>12,} events{mib:>9,.0f} MiB{seconds:>8.1f} s{rate}", flush=True)
            shutil.rmtree(folder)
    finally:
        if given.folder is None:
            shutil.rmtree(root, ignore_errors=True)
    bad = 0
    for step in given.only:
        short, long = (peaks[step, events] for events in lengths)
        fine = max(short, long) < LIMIT_BYTES and long <= short * (1 + GROWTH)
        bad += not fine
        verdict = "ok" if fine else "FAILED"
        print(f"{step:<10}{short / 2**20:>9,.0f} MiB, {LONGER} times as long {long / short - 1:+.1%}: {verdict}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
