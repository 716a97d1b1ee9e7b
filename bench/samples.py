"""Converted samples to train on: two classes, 60 features, as many training events as asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import cached

FEATURES = [f"x{i:02d}" for i in range(60)]
LAYERS = [128, 128, 128]
TRAIN_PERCENT, VALIDATION_PERCENT = 98, 1
CHUNK = 50_000


def config(folder: Path, **training: Any) -> Any:
    """Return a configuration that trains a dense network on the samples of a folder.

    Args:
        folder: where the samples are or go.
        **training: keys of its training block.

    Returns:
        The configuration.
    """
    from nntrainer.config import Config

    parts = {"train": TRAIN_PERCENT, "validation": VALIDATION_PERCENT, "test": 100 - TRAIN_PERCENT - VALIDATION_PERCENT}
    return Config.model_validate(
        {
            "name": "bench",
            "data": {
                "samples": [{"name": name, "files": [f"{name}.root"], "label": name} for name in ("signal", "other")],
                "signal": "signal",
                "directory": str(folder),
            },
            "features": {"events": FEATURES},
            "preparation": {"fractions": {name: percent / 100 for name, percent in parts.items()}},
            "model": {"name": "dense", "layers": LAYERS},
            "training": {"epochs": 1000, "tensorboard": False, **training},
        }
    )


def events(random: np.random.Generator, sample: int, number: int) -> np.ndarray:
    """Return the features of some events, (number, 60) float32; half of them tell the samples apart, a little."""
    features = random.standard_normal((number, len(FEATURES)), np.float32)
    features[:, ::2] += np.float32(0.1 * sample)
    return features


def samples(train: int) -> Path:
    """Return a folder of the user's cache with converted samples of so many training events, and a few to validate."""

    def build(folder: Path) -> None:
        from nntrainer.config.parts import dataset_path
        from nntrainer.dataset.schema import schema_of
        from nntrainer.dataset.store import StoreWriter

        made = config(folder)
        schema = schema_of(made)
        total = train * 100 // TRAIN_PERCENT // 200 * 200
        for number, sample in enumerate(made.data.samples):
            path = folder / dataset_path(made, sample.name).relative_to(folder)
            attrs = {"sample": sample.name, "labels": list(made.data.labels), "signal": made.data.signal_label}
            random = np.random.default_rng(number)
            with StoreWriter(path, schema, attrs) as writer:
                for start in range(0, total // 2, CHUNK):
                    rows = np.zeros(min(CHUNK, total // 2 - start), schema.dtype())
                    rows["eventNumber"] = np.arange(start, start + len(rows)) + number * total // 2
                    rows["label"] = made.data.labels.index(sample.label)
                    rows["weight"] = 1
                    for name, column in zip(FEATURES, events(random, number, len(rows)).T, strict=True):
                        rows[name] = column
                    writer.append(rows, {})

    return cached("samples", build, Path(__file__).read_text(), train)


def arrays(train: int) -> Path:
    """Return a folder of the user's cache with as many events as ``x.npy``, ``y.npy`` and ``w.npy``, shuffled."""

    def build(folder: Path) -> None:
        random = np.random.default_rng(0)
        x = np.concatenate([events(random, sample, train // 2) for sample in range(2)])
        order = random.permutation(len(x))
        np.save(folder / "x.npy", x[order])
        np.save(folder / "y.npy", (order >= train // 2).astype(np.float32))
        np.save(folder / "w.npy", np.ones(len(x), np.float32))

    return cached("training-arrays", build, Path(__file__).read_text(), train)
