"""What a search asks of the library behind it, and what it knows of its trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from nntrainer import errors
from nntrainer.config import Config
from nntrainer.config.models import digest
from nntrainer.config.tuning import Range, Tune
from nntrainer.errors import NNTrainerError

State = Literal["running", "done", "pruned", "failed"]


class TuningError(NNTrainerError):
    """A search cannot start, go on, or say what is best."""


@dataclass(frozen=True)
class Share:
    """Which trials of a search a journal holds: every ``of``-th from ``index`` on; all of them by default."""

    index: int = 0
    of: int = 1

    def number(self, position: int) -> int:
        """Return the number in the search of the trial at a position of the journal."""
        return position * self.of + self.index


@dataclass(frozen=True)
class Trial:
    """A trial that a worker has to do.

    Attributes:
        number: its number in the search, from 0; names its directory.
        values: the values of the searched keys.
        handle: what the engine finds it again by.
    """

    number: int
    values: Mapping[str, Any]
    handle: Any = None


@dataclass(frozen=True)
class Result:
    """What is known of a trial.

    Attributes:
        number: its number in the search, from 0.
        state: running, done, pruned (given up) or failed.
        values: the values of the searched keys.
        value: the objective; of a pruned trial its last intermediate value; None where there is none.
        steps: intermediate values by epoch, from 1.
        facts: plain data: worker, host, started, finished, seconds, epochs, error.
    """

    number: int
    state: State
    values: Mapping[str, Any]
    value: float | None = None
    steps: Mapping[int, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """A search in a journal, which goes on where it was."""

    def ask(self, worker: str) -> Trial | None:
        """Return the next trial, None when there are enough.

        What a worker of this name began and did not end, as when it was killed, comes first.
        """

    def report(self, trial: Trial, step: int, value: float) -> bool:
        """Note the value after a step, from 1, and return whether to give the trial up."""

    def tell(self, trial: Trial, state: State, value: float | None, facts: Mapping[str, Any]) -> None:
        """Note how a trial ended."""

    def results(self) -> list[Result]:
        """Return what is known of all trials, by number."""


def open_engine(config: Config, search: Tune, folder: Path, share: Share | None = None) -> Engine:
    """Open the journal of a search, or begin one.

    Args:
        config: the configuration.
        search: its tune block.
        folder: the directory of the journal; made when missing.
        share: which trials it holds.

    Returns:
        The engine.

    Raises:
        MissingDependencyError: the library is not installed.
        TuningError: the journal belongs to another search.
    """
    require(search.engine)
    folder.mkdir(parents=True, exist_ok=True)
    if search.engine == "optuna":
        from nntrainer.tuning.optuna_engine import OptunaEngine

        return OptunaEngine(config, search, folder, share or Share())
    from nntrainer.tuning.hyperopt_engine import HyperoptEngine

    return HyperoptEngine(config, search, folder, share or Share())


def require(package: str) -> None:
    """Check that the library of an engine is there, or raise a MissingDependencyError."""
    errors.require(package, f"tune.engine '{package}'", "tune")


def identity(search: Tune) -> str:
    """Return a digest of what may not change while a search goes on."""
    dump = search.model_dump(mode="json")
    kept = {key: dump[key] for key in ("parameters", "objective", "engine", "folds")}
    return digest([kept, search.sampler == "grid"])


def refuse_other(folder: Path, mine: str, theirs: str) -> None:
    """Refuse a journal of another search.

    Args:
        folder: its directory.
        mine: the identity of the search that is asked for.
        theirs: the identity in the journal.

    Raises:
        TuningError: they differ.
    """
    if mine != theirs:
        raise TuningError(
            f"{folder}: this search has other parameters, objective, engine or folds than the configuration now; give "
            "--new for another run directory, or take the tune block back"
        )


def seed_of(config: Config, number: int) -> int:
    """Return the seed of a trial's values: whichever process draws them, they are the same."""
    return int(digest(["tune", config.seed, number])[:8], 16) % 2**31


def is_integer(config: Config, key: str, values: Range) -> bool:
    """Return whether the values of a range are whole numbers: its ends are, and the key holds no other number now."""
    here: Any = config.dump()
    for name in key.split("."):
        here = here.get(name) if isinstance(here, dict) else None
    return values.integer and not isinstance(here, float)


def grid_point(search: Tune, number: int) -> dict[str, Any]:
    """Return the values of a trial in a grid; the last key changes fastest."""
    point = {}
    for key, values in reversed(search.parameters.items()):
        points = values.points() or []
        number, index = divmod(number, len(points))
        point[key] = points[index]
    return {key: point[key] for key in search.parameters}
