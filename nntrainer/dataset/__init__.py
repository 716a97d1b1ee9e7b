"""The HDF5 side: convert, open, inspect, split."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_WHERE = {
    "open_store": "nntrainer.dataset.store",
    "open_dataset": "nntrainer.dataset.dataset",
    "Dataset": "nntrainer.dataset.dataset",
}


class _Package(ModuleType):
    """Keeps ``convert`` the function: importing the module of that name would set the module in its place."""

    @property
    def convert(self) -> Any:
        """See :func:`nntrainer.dataset.convert.convert`."""
        return importlib.import_module("nntrainer.dataset.convert").convert

    @convert.setter
    def convert(self, module: ModuleType) -> None:
        pass


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
