"""Everything that can go wrong because of what a user gave us, under one root."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable


class NNTrainerError(Exception):
    """Root of the errors a user can mend: one clear sentence, shown without a traceback, exit code 2."""

    exit_code = 2


class ConfigError(NNTrainerError):
    """The YAML, an override or an environment variable is not a valid configuration."""


class ExpressionError(ConfigError):
    """A selection, weight or variable uses something outside the whitelist."""


class InputError(NNTrainerError):
    """A ROOT file, tree or branch is missing, damaged or not what the configuration says."""


class StoreError(NNTrainerError):
    """An HDF5 dataset file is missing, incomplete, of another format or does not hold what is asked."""


class TrainingError(NNTrainerError):
    """Training cannot start or go on."""


class ExportError(NNTrainerError):
    """A model cannot be written as ONNX, or the ONNX file disagrees with the network."""


class InjectError(NNTrainerError):
    """Scores cannot be written beside or into an ntuple."""


class InPlaceError(InjectError):
    """A ROOT file cannot take a branch in place: damaged, foreign, read-only, or of a structure that is not known."""


class RunError(NNTrainerError):
    """A run directory is missing, damaged or belongs to another configuration."""


class ExplainError(NNTrainerError):
    """A network cannot be explained in the way that is asked for."""


class TrackingError(NNTrainerError):
    """A finished run cannot be logged: the server does not answer, or refuses."""


class MissingDependencyError(NNTrainerError):
    """A package of an extra is not installed."""


def require(package: str, what: str, extra: str, module: str | None = None) -> None:
    """Check that a package of an extra is there, without importing it.

    Args:
        package: the package.
        what: what needs it, the beginning of the sentence.
        extra: the extra of nntrainer that brings it.
        module: its module, where that is called otherwise.

    Raises:
        MissingDependencyError: it is not installed.
    """
    if importlib.util.find_spec(module or package) is None:
        raise MissingDependencyError(
            f"{what} needs the package '{package}', and it is not installed: "
            f"`pip install 'nntrainer[{extra}]'` brings it"
        )


HOROVOD = (
    "`make horovod` builds and installs it in a checkout; elsewhere install the wheel that "
    "`scripts/horovod_wheel.sh PYTHON` prints"
)
"""How to get what more than one worker needs."""


class Interrupted(Exception):
    """Work stopped on request with its state saved; the same command goes on from there."""

    exit_code = 85


def nearest(given: str, allowed: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the closest allowed word, or an empty string when none is close."""
    close = difflib.get_close_matches(given, list(allowed), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def one_of(words: Iterable[str]) -> str:
    """Return the words quoted and separated by commas, shortened when there are many."""
    listed = [f"'{word}'" for word in words]
    return ", ".join(listed[:12]) + (f" and {len(listed) - 12} more" if len(listed) > 12 else "")
