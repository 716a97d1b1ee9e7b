"""The libraries of some methods: whether they are there, and without their warnings."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nntrainer.config.registry import ExplainerOptions
from nntrainer.errors import require


class OfLibrary(ExplainerOptions):
    """Options of a method that is done by the library of its name."""

    def check(self, config: Any) -> None:
        """Check that the library is there.

        Args:
            config: the configuration; any will do.

        Raises:
            MissingDependencyError: the library is not installed.
        """
        require(self.name, f"the method '{self.name}'", "explain")


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore warnings of a library, of what it compiles with and of what it calls."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
