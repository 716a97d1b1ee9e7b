"""Ntuples to measure with: 60 flat features, 5 jagged ones of up to 12 objects, and what else fills a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.measure import cached

TREE = "events"
FLAT = [f"x{i:02d}" for i in range(60)]
"""Features; eventNumber and weight are there besides."""
JAGGED = [f"jet_{name}" for name in ("pt", "eta", "phi", "m", "tag")]
SLOTS = 12
CLUSTER = 65536
"""Entries in a basket: about what ROOT's 30 MB of clusters come to."""
LEVELS = {"zlib": 1, "zstd": 5}


def columns(events: int, seed: int, others: int = 0) -> dict[str, Any]:
    """Return some events: momenta, angles and counts, as numbers that are no more random than measured ones."""
    import awkward as ak
    import numpy as np

    random = np.random.default_rng(seed)
    counts = random.integers(4, SLOTS + 3, events)  # some events have more objects than are kept
    total = int(counts.sum())
    made: dict[str, Any] = {
        "eventNumber": np.arange(events, dtype=np.uint64) + np.uint64(seed * events),
        "weight": random.normal(1, 0.2, events).astype(np.float32),
    }
    for number, name in enumerate([*FLAT, *(f"other{i:03d}" for i in range(others))]):
        if number % 10 == 0:
            made[name] = random.poisson(4, events).astype(np.int32)
        elif number % 2:
            made[name] = random.exponential(5e4, events).astype(np.float32)
        else:
            made[name] = random.normal(size=events).astype(np.float32)
    objects = {
        "pt": random.exponential(5e4, total),
        "eta": random.normal(size=total),
        "phi": random.uniform(-np.pi, np.pi, total),
        "m": random.exponential(1e4, total),
        "tag": random.integers(1, 6, total),
    }
    made["jet"] = ak.zip({name: ak.unflatten(values.astype(np.float32), counts) for name, values in objects.items()})
    return made


def ntuple(events: int, compression: str, others: int = 0) -> Path:
    """Return a file of the user's cache with the tree; flat branches nobody asks for besides, if wanted."""

    def build(folder: Path) -> None:
        import uproot

        how = {"zlib": uproot.ZLIB, "zstd": uproot.ZSTD}[compression](LEVELS[compression])
        with uproot.recreate(folder / "events.root", compression=how) as file:
            first = columns(min(CLUSTER, events), 0, others)
            tree = file.mktree(
                TREE, {name: values.type if name == "jet" else values.dtype for name, values in first.items()}
            )
            tree.extend(first)
            for seed, start in enumerate(range(CLUSTER, events, CLUSTER), 1):
                tree.extend(columns(min(CLUSTER, events - start), seed, others))

    return cached(f"ntuple-{compression}", build, Path(__file__).read_text(), events, others) / "events.root"


def config(path: Path, directory: Path, *, objects: bool = True) -> Any:
    """Return a configuration that converts all of a file."""
    from nntrainer.config import Config

    jets = {"max": SLOTS, "features": JAGGED}
    samples = [
        {"name": "signal", "files": str(path), "label": "signal"},
        {"name": "background", "files": str(path), "label": "background"},
    ]
    return Config.model_validate(
        {
            "name": "bench",
            "data": {"tree": TREE, "samples": samples, "directory": str(directory), "weight": "weight"},
            "features": {"events": FLAT, "objects": {"jets": jets} if objects else {}},
            "preparation": {"folds": 2},
            "model": {"name": "dense", "layers": [128, 128, 128]},
        }
    )


def models() -> list[Path]:
    """Return exported networks of 3×128, one for each of two folds, for the flat features; training changes no time."""

    def build(into: Path) -> None:
        subprocess.run(
            [sys.executable, __file__, str(into)], check=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        )

    return sorted((cached("models", build, Path(__file__).read_text()) / "run" / "models").glob("fold*.onnx"))


def make_models(folder: Path) -> None:
    """Make the networks; in a process of its own, since TensorFlow's threads would be in the way of others."""
    export_untrained(config(ntuple(CLUSTER, "zlib"), folder / "datasets", objects=False), folder / "run")


def export_untrained(settings: Any, folder: Path) -> None:
    """Convert the events of a configuration and export networks that are fitted to them and not trained."""
    import numpy as np

    from nntrainer.dataset.conversion import convert
    from nntrainer.dataset.dataset import open_dataset
    from nntrainer.export.onnx_export import export, parity_events
    from nntrainer.networks.inputs import fit_scaling
    from nntrainer.networks.model import build_model
    from nntrainer.rundir import RunDir

    run = RunDir(folder)
    convert(settings)
    for fold in range(settings.preparation.k):
        with open_dataset(settings) as dataset:
            inputs = parity_events(settings, fold, dataset)
        scaling = fit_scaling("standard", inputs, np.arange(len(inputs["events"])))
        build_model(settings, scaling, seed=fold).save(run.fold(fold) / "model.keras")
    export(settings, run)


def told(**what: object) -> str:
    """Return what a rival's process is told, for its command line."""
    return json.dumps({name: str(value) if isinstance(value, Path) else value for name, value in what.items()})


if __name__ == "__main__":
    make_models(Path(sys.argv[1]))
