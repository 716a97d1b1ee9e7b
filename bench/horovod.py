"""Weak scaling: the same events a worker, on one worker and on two that average their gradients, a thread each."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.measure import Contender, Row, interleaved
from bench.samples import config, samples

EPOCHS = 4


def rows(quick: bool) -> list[Row]:
    """Measure an epoch of one worker and of two with twice the events, at two batch sizes."""
    events, repeats = (20_000, 1) if quick else (200_000, 5)
    made = []
    for batch in (1024, 8192):
        contenders = {"one": workers(1, events, batch), "two": workers(2, 2 * events, batch)}
        taken = interleaved(contenders, repeats, warmup=0)
        made.append(
            Row(
                f"Horovod 1 → 2 workers, a thread each, batch {batch:,}, {events:,} events a worker",
                taken["two"],
                taken["one"],
                at_most=1 / 0.9,
                note="seconds an epoch without validation; floor: one worker",
            )
        )
    return made


def workers(number: int, events: int, batch: int) -> Contender:
    """Return a contender that starts so many workers and returns their fastest epoch but for the first."""
    from nntrainer.progress import silent
    from nntrainer.training.launch import launch
    from nntrainer.training.record import read_training

    folder = samples(events)

    def contender() -> float:
        made = config(folder, batch_size=batch, workers=number, threads=1, epochs=EPOCHS)
        with tempfile.TemporaryDirectory(prefix="nntrainer-bench-") as name:
            directory = Path(name)
            launch(made, 0, directory, directory / "log", silent())
            record = read_training(directory)
            lines = (directory / "history.csv").read_text().splitlines()
        column = lines[0].split(",").index("events_per_s")
        return float(record["events_per_epoch"]) / max(float(line.split(",")[column]) for line in lines[2:])

    return contender
