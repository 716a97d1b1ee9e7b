"""How long the plots of many features take: all inputs of two classes, and the page that shows them.

``python bench/plots.py [--features 200] [--events 60000]`` converts nothing: it writes dataset files of random
numbers, half of which tell the classes apart, and does the stages ``inputs`` and ``report`` of a new run. Processor
seconds count the processes that draw, too. ``taskset -c 0`` before it shows what one core takes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

CLASSES = ("signal", "other")


def config(folder: Path, features: int) -> Any:
    """Return a configuration of two samples with so many features."""
    from nntrainer.config import Config

    return Config.model_validate(
        {
            "name": "plots",
            "data": {
                "samples": [{"name": name, "files": [f"{name}.root"], "label": name} for name in CLASSES],
                "signal": "signal",
                "directory": str(folder / "datasets"),
            },
            "features": {"events": [{"name": f"x{i:03d}", "unit": "MeV"} for i in range(features)]},
            "model": {"name": "dense"},
        }
    )


def write(made: Any, events: int) -> None:
    """Write the dataset files of a configuration: normal and exponential features in turns, weights of both signs."""
    from nntrainer.config.parts import dataset_path
    from nntrainer.dataset.schema import schema_of
    from nntrainer.dataset.store import StoreWriter

    schema = schema_of(made)
    for number, sample in enumerate(made.data.samples):
        random = np.random.default_rng(number)
        rows = np.zeros(events // len(CLASSES), schema.dtype())
        rows["eventNumber"] = np.arange(len(rows)) * len(CLASSES) + number
        rows["label"] = made.data.labels.index(sample.label)
        rows["weight"] = np.where(random.random(len(rows)) < 0.1, -1, 1)
        for i, feature in enumerate(made.features.events):
            draw = random.exponential if i % 2 else random.standard_normal
            rows[feature.name] = 1e5 * (draw(size=len(rows)) + 0.1 * number * (i % 4 < 2))
        attrs = {"sample": sample.name, "labels": list(made.data.labels), "signal": made.data.signal_label}
        with StoreWriter(dataset_path(made, sample.name), schema, attrs) as writer:
            writer.append(rows, {})


def main() -> None:
    """Draw and print times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=200)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--keep", type=Path, help="a folder for what is made, which is kept")
    options = parser.parse_args()
    from nntrainer.progress import silent
    from nntrainer.rundir import RunDir
    from nntrainer.stages import STAGES

    with tempfile.TemporaryDirectory(prefix="nntrainer-") as temporary:
        folder = options.keep or Path(temporary)
        made = config(folder, options.features)
        write(made, options.events)
        run = RunDir(folder / "run")
        run.claim(made)
        print(f"{options.features} features, {options.events:,} events, {len(os.sched_getaffinity(0))} cores")
        for stage in ("inputs", "report"):
            begun, wall = os.times(), time.monotonic()
            detail, _ = STAGES[stage](made, run, silent())
            ended = os.times()
            used = sum(ended[:4]) - sum(begun[:4])
            print(f"{stage}: {time.monotonic() - wall:.1f} s, {used:.1f} processor seconds; {detail}")


if __name__ == "__main__":
    main()
