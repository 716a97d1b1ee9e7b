"""Small converted samples to train on, and a training in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nntrainer.config import Config
from nntrainer.config.parts import dataset_path
from nntrainer.dataset.schema import schema_of
from nntrainer.dataset.store import StoreWriter

SCRIPT = """
import sys
from nntrainer.config import load_config
from nntrainer.errors import Interrupted
from nntrainer.rundir import RunDir
from nntrainer.training.train import train
try:
    train(load_config(sys.argv[1], environment={}), RunDir(sys.argv[2]), folds=[0])
except Interrupted as stop:
    print(stop, file=sys.stderr)
    sys.exit(stop.exit_code)
"""


def _write(config: Config, events: int) -> None:
    """Write dataset files in which the classes differ in the mean of every feature."""
    schema = schema_of(config)
    for index, sample in enumerate(config.data.samples):
        random = np.random.default_rng(index)
        rows = np.zeros(events, schema.dtype())
        rows["eventNumber"] = random.integers(0, 2**40, events)
        rows["label"] = config.data.labels.index(sample.label)
        rows["weight"] = random.uniform(0.5, 1.5, events)
        for name in ("x", "y", "z"):
            rows[name] = random.normal(100.0 + 3 * index, 10.0, events)
        objects = {}
        for name, block in schema.objects.items():
            slots = np.zeros((events, block.max), block.dtype())
            slots["valid"] = np.arange(block.max) < random.integers(0, block.max + 1, events)[:, None]
            slots["pt"] = np.where(slots["valid"], random.exponential(5e4 * (1 + index), slots.shape), 0)
            objects[name] = slots
        path = dataset_path(config, sample.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        attrs = {
            "sample": sample.name,
            "labels": list(config.data.labels),
            "signal": config.data.signal_label,
        }
        with StoreWriter(path, schema, attrs) as writer:
            writer.append(rows, objects)


@pytest.fixture(scope="session")
def make_config(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Config]:
    """Return a function that makes a configuration with converted samples of 3000 events each."""
    directory = tmp_path_factory.mktemp("datasets")

    def make(*, labels: int = 2, events: int = 3000, model: Any = None, **training: Any) -> Config:
        names = [f"class{index}" for index in range(labels)]
        config = Config.model_validate(
            {
                "name": "toy",
                "data": {
                    "samples": [{"name": name, "files": [f"{name}.root"], "label": name} for name in names],
                    "directory": directory / str(events),
                },
                "features": {
                    "events": ["x", "y", "z"],
                    "objects": {"jets": {"max": 2, "features": ["pt"]}},
                },
                "preparation": {"folds": 3},
                "model": model or {"name": "dense", "layers": [16, 8], "dropout": 0.1},
                "training": {"epochs": 3, "batch_size": 64, "threads": 1, "tensorboard": False, **training},
            }
        )
        if not all(dataset_path(config, name).exists() for name in names):
            _write(config, events)
        return config

    return make


@pytest.fixture
def start_training() -> Any:
    """Return a function that starts the training of fold 0 in a process; it is killed at the end."""
    started = []

    def start(config: Config, run: Path) -> subprocess.Popen[str]:
        run.mkdir(parents=True, exist_ok=True)
        (run / "given.json").write_text(json.dumps(config.dump()))
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", SCRIPT, str(run / "given.json"), str(run)],
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
