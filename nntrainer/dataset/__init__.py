"""The HDF5 side: convert, open, inspect, split."""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "convert": "nntrainer.dataset.conversion",
    "open_store": "nntrainer.dataset.store",
    "open_dataset": "nntrainer.dataset.dataset",
    "Dataset": "nntrainer.dataset.dataset",
}


def __getattr__(name: str) -> Any:
    # When first asked for: a command's help must not wait for NumPy and HDF5.
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
