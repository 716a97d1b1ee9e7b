"""Configurations with a search, on converted toy events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nntrainer.config import Config, load_config

PARAMETERS = {
    "training.optimizer.learning_rate": {"low": 1.0e-4, "high": 1.0e-1, "log": True},
    "model.layers": {"choices": [[4], [8, 4]]},
}


@pytest.fixture(scope="session")
def write_search(tmp_path_factory: pytest.TempPathFactory, toy_files: list[Path]) -> Callable[..., Path]:
    """Return a function that writes a configuration with this tune block."""
    folder = tmp_path_factory.mktemp("search")

    def write(path: Path, training: dict[str, Any] | None = None, **search: Any) -> Path:
        names = ("ttH", "ttbb")
        files = {name: str(next(file for file in toy_files if file.name.startswith(name))) for name in names}
        whole = {
            "name": "small",
            "data": {
                "samples": [{"name": name, "files": files[name], "label": name} for name in names],
                "directory": str(folder / "datasets"),
            },
            "features": {"events": ["HT_all", "Centrality_all", "dRbb_avg_70"]},
            "model": {"name": "dense", "layers": [4], "dropout": 0.1},
            "training": {"epochs": 2, "batch_size": 64, "threads": 1, "tensorboard": False, **(training or {})},
            "tune": {"parameters": PARAMETERS, "sampler": "random", "trials": 3, **search},
        }
        path.write_text(yaml.safe_dump(whole))
        return path

    return write


@pytest.fixture
def make_search(write_search: Callable[..., Path], tmp_path: Path) -> Callable[..., Config]:
    """Return a function that makes such a configuration."""
    return lambda **more: load_config(write_search(tmp_path / "search.yaml", **more), environment={})
