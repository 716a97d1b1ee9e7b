"""The libraries of some methods: whether they are there, and without their warnings."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from nntrainer.errors import MissingDependencyError


def require(package: str) -> None:
    """Check that the library of a method is there.

    Args:
        package: the library.

    Raises:
        MissingDependencyError: it is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingDependencyError(
            f"the method '{package}' needs the package '{package}', and it is not installed: "
            "`pip install 'nntrainer[explain]'` brings it"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore warnings of a library, of what it compiles with and of what it calls."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
