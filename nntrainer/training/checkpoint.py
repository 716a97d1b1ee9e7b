"""Everything a training needs to go on as if it had never stopped, in one HDF5 file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nntrainer.errors import TrainingError

FORMAT = 2


@dataclass
class Patience:
    """Counts epochs without improvement.

    Attributes:
        best: the lowest value so far.
        epoch: the epoch it was reached in, from 0; -1 before the first.
        waited: epochs since.
    """

    best: float = float("inf")
    epoch: int = -1
    waited: int = 0

    def update(self, value: float, epoch: int, min_delta: float) -> bool:
        """Take the value of an epoch.

        Args:
            value: the value, lower is better.
            epoch: the epoch.
            min_delta: smallest change that counts.

        Returns:
            Whether it is an improvement.
        """
        if value < self.best - min_delta or self.epoch < 0:
            self.best, self.epoch, self.waited = value, epoch, 0
            return True
        self.waited += 1
        return False


@dataclass
class State:
    """Where a training stands.

    Attributes:
        epoch: epochs completed.
        step: steps done in the current epoch.
        sums: sums over the current epoch so far: weight·loss, weight·correct, weight.
        own: what each worker has for itself within an epoch, by rank; empty in a state between epochs.
        train_seconds: time spent in steps of the current epoch.
        epoch_seconds: time spent in the current epoch altogether.
        history: one row for each completed epoch.
        stopping: of the best epoch, and of early stopping.
        plateau: of ``reduce_on_plateau``.
        reduction: product of its reductions.
        finished: whether the last epoch has been reached or training has stopped early.
    """

    epoch: int = 0
    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    own: list[list[float]] = field(default_factory=list)
    train_seconds: float = 0.0
    epoch_seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    stopping: Patience = field(default_factory=Patience)
    plateau: Patience = field(default_factory=Patience)
    reduction: float = 1.0
    finished: bool = False

    def to_json(self) -> str:
        """Return the state as JSON; floats keep every bit."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> State:
        """Return the state from JSON."""
        values = json.loads(text)
        for name in ("stopping", "plateau"):
            values[name] = Patience(**values[name])
        return cls(**values)


class Saver:
    """Writes checkpoints, aside and renamed, while training goes on; close it at the end."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def save(
        self, path: Path, digest: str, state: State, variables: Sequence[Any], best: Sequence[np.ndarray] | None
    ) -> None:
        """Take down the values of now, and begin to write them once the checkpoint before is written.

        Args:
            path: the file.
            digest: identity of configuration and data.
            state: where the training stands.
            variables: Keras variables of the model (seeds of dropout included) and the optimizer.
            best: values of the model's variables at the best epoch, if they are kept; never changed in place.
        """
        values = [(variable.path, np.array(variable.value)) for variable in variables]
        self.wait()
        self._writing = self._thread.submit(_write, path, digest, state.to_json(), values, best)

    def wait(self) -> None:
        """Wait until all is written; what went wrong is raised here."""
        if self._writing is not None:
            self._writing.result()

    def close(self) -> None:
        """Wait, whatever has gone wrong."""
        self._thread.shutdown()


def _write(
    path: Path, digest: str, state: str, values: Sequence[tuple[str, np.ndarray]], best: Sequence[np.ndarray] | None
) -> None:
    import h5py

    part = path.with_name(path.name + ".part")
    with h5py.File(part, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["digest"] = digest
        # As a dataset: an attribute holds at most 64 KiB, and the history grows.
        file["state"] = np.frombuffer(state.encode(), np.uint8)
        group = file.create_group("variables")
        for index, (name, value) in enumerate(values):
            group[f"{index:05d}"] = value
            group[f"{index:05d}"].attrs["path"] = name
        if best is not None:
            group = file.create_group("best")
            for index, array in enumerate(best):
                group[f"{index:05d}"] = array
    with part.open("rb") as written:
        os.fsync(written.fileno())
    os.replace(part, path)


def load(path: Path, digest: str, variables: Sequence[Any]) -> tuple[State, list[np.ndarray] | None] | None:
    """Read a checkpoint into the variables.

    Args:
        path: the file.
        digest: identity that the checkpoint must have.
        variables: Keras variables, in the order in which they were saved; they are set.

    Returns:
        The state and the best values, or None where there is no checkpoint.

    Raises:
        TrainingError: the checkpoint is damaged or belongs to another configuration or other data.
    """
    import h5py

    if not path.exists():
        return None
    try:
        with h5py.File(path, "r") as file:
            if file.attrs["format"] != FORMAT or file.attrs["digest"] != digest:
                raise TrainingError(
                    f"{path}: this checkpoint belongs to another configuration or other data; delete it "
                    "or give another --run-dir"
                )
            state = State.from_json(bytes(file["state"][()]).decode())
            arrays = [file["variables"][name][()] for name in sorted(file["variables"])]
            best = [file["best"][name][()] for name in sorted(file["best"])] if "best" in file else None
    except (OSError, KeyError, ValueError) as error:
        raise TrainingError(
            f"{path}: this checkpoint cannot be read ({error}); delete it to start this fold afresh"
        ) from None
    if [array.shape for array in arrays] != [tuple(variable.shape) for variable in variables]:
        raise TrainingError(f"{path}: this checkpoint holds another network; delete it to start this fold afresh")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return state, best
