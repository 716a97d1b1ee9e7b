"""Training on more events than the memory given: time of an epoch, and peak memory of a whole training."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.measure import Rival, Row, interleaved
from bench.samples import config, samples
from bench.training import SCRIPT

MEMORY_MIB, PLENTY_MIB = 256, 8192
BATCH = 1024
GENERATOR = "Keras `fit` with a generator"


def rows(quick: bool) -> list[Row]:
    """Measure an epoch from disk and from memory, and the peak memory of short and long samples."""
    events, repeats = (200_000, 2) if quick else (2_000_000, 5)
    here = Path(sys.executable)
    folder = samples(events)
    memory = 32 if quick else MEMORY_MIB
    ways: dict[str, tuple[str, *tuple[int, ...]]] = {
        "ours": ("ours", memory),
        "in memory": ("ours", PLENTY_MIB),
        GENERATOR: ("keras_generator",),
    }
    with ExitStack() as open_:
        contenders = {
            name: open_.enter_context(
                closing(Rival(SCRIPT, way, str(folder), str(BATCH), *map(str, more), python=here))
            )
            for name, (way, *more) in ways.items()
        }
        taken = interleaved(contenders, repeats)
    made = [
        Row(
            f"train from disk, memory_mib: {memory}, batch {BATCH:,}, {events:,} events",
            taken["ours"],
            taken["in memory"],
            {GENERATOR: taken[GENERATOR]},
            at_most=1 / 0.8,
            note="seconds an epoch with validation and checkpoint; floor: the same with all events in memory; "
            "the generator reads stretches of one batch in random order",
        )
    ]
    short = peak_mib(folder, memory)
    longer = peak_mib(samples(4 * events), memory)
    what = f"peak memory of a training from disk, memory_mib: {memory}"
    made.append(Row(f"{what}, {events:,} events", [short], unit="MiB", below=1024))
    made.append(Row(f"{what}, {4 * events:,} events", [longer], [short], unit="MiB", at_most=1.1, below=1024))
    return made


def peak_mib(folder: Path, memory: int) -> float:
    """Return the peak of the resident memory of a process that trains for an epoch, reading included, in MiB."""
    command = [sys.executable, __file__, str(folder), str(memory)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    """Be that process."""
    from nntrainer.rundir import RunDir
    from nntrainer.training.train import train

    folder, memory = Path(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="nntrainer-bench-") as run:
        train(config(folder, batch_size=8 * BATCH, memory_mib=memory, epochs=1), RunDir(Path(run)))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
