"""Training a dense network 60 → 3 × 128 → 1 on events in memory: time of an epoch."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from pathlib import Path

from bench.measure import Contender, Rival, RivalMissing, Row, interleaved
from bench.samples import arrays, samples

SCRIPT = "contender_training.py"
FLOOR = "in_graph"
KERAS = "Keras `fit` with NumPy"
LOADER, SLICED, LIGHTNING = "PyTorch, DataLoader", "PyTorch, hand-sliced tensors", "PyTorch Lightning"
WAYS = {KERAS: "keras_fit", LOADER: "torch_loader", SLICED: "torch_sliced", LIGHTNING: "lightning"}
WANTED = {KERAS: 1.5, LOADER: 2.0, SLICED: 1.0, LIGHTNING: 1.0}


def rows(quick: bool) -> list[Row]:
    """Measure an epoch at each batch size."""
    events, repeats = (40_000, 3) if quick else (400_000, 7)
    return [row(events, batch, repeats) for batch in (256, 1024, 8192)]


def row(events: int, batch: int, repeats: int) -> Row:
    """Measure an epoch at one batch size."""
    contenders: dict[str, Contender] = {}
    missing: dict[str, str] = {}
    here = Path(sys.executable)
    with ExitStack() as open_:
        for name, way in {"ours": "ours", FLOOR: FLOOR, **WAYS}.items():
            folder = samples(events) if way == "ours" else arrays(events)
            given = {} if name in WAYS and name != KERAS else {"python": here}
            try:
                contenders[name] = open_.enter_context(closing(Rival(SCRIPT, way, str(folder), str(batch), **given)))
            except RivalMissing as why:
                missing[name] = str(why)
        taken = interleaved(contenders, repeats, warmup=2)
    return Row(
        f"train dense 3 × 128, batch {batch:,}, {events:,} events",
        taken["ours"],
        taken[FLOOR],
        {name: taken[name] for name in WAYS if name in taken},
        missing=missing,
        at_most=1 / 0.9,
        at_least=WANTED,
        note="seconds an epoch; ours with validation, checkpoint, history and progress; floor: an in-graph loop "
        "written by hand on tensors in memory",
    )
