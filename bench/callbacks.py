"""What checkpoint, history, progress and requests to stop add to an epoch."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from pathlib import Path

from bench.measure import Contender, Rival, Row, interleaved
from bench.samples import samples
from bench.training import SCRIPT


def rows(quick: bool) -> list[Row]:
    """Measure an epoch with and without them; epochs differ by more than they cost, so there are many."""
    events, repeats = (40_000, 3) if quick else (400_000, 40)
    batch, here, folder = 1024, Path(sys.executable), str(samples(events))
    with ExitStack() as open_:
        contenders: dict[str, Contender] = {
            way: open_.enter_context(closing(Rival(SCRIPT, way, folder, str(batch), python=here)))
            for way in ("ours", "bare")
        }
        taken = interleaved(contenders, repeats, warmup=2)
    row = Row(
        f"callbacks of a training, batch {batch:,}, {events:,} events",
        taken["ours"],
        taken["bare"],
        at_most=1.02,
        note="seconds an epoch; floor: the same without checkpoint, history, progress and requests to stop",
    )
    return [row]
