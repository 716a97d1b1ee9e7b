"""Several workers: the only place that knows Horovod."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from nntrainer.errors import HOROVOD, MissingDependencyError, TrainingError
from nntrainer.threads import cores


def require_horovod(workers: int) -> None:
    """Check that Horovod is there for more than one worker.

    Args:
        workers: workers asked for.

    Raises:
        MissingDependencyError: Horovod is not installed.
    """
    if workers > 1 and importlib.util.find_spec("horovod") is None:
        raise MissingDependencyError(
            f"training.workers is {workers}, which needs Horovod, and it is not installed: {HOROVOD}, "
            "or train with `training.workers=1`"
        )


class Workers:
    """This process among all that train together.

    Attributes:
        rank: number of this process.
        size: number of processes.
        local_rank: number of this process on its machine.
        local_size: number of processes on its machine.

    Args:
        horovod: ``horovod.tensorflow`` after its ``init``; None for a process on its own.
    """

    def __init__(self, horovod: Any = None) -> None:
        self._hvd = horovod
        self.rank = horovod.rank() if horovod is not None else 0
        self.size = horovod.size() if horovod is not None else 1
        self.local_rank = horovod.local_rank() if horovod is not None else 0
        self.local_size = horovod.local_size() if horovod is not None else 1

    @property
    def chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def average(self, tensors: list[Any]) -> list[Any]:
        """Return the averages over workers of tensors, also inside a graph.

        Args:
            tensors: float32 tensors of the same shapes on every worker.

        Returns:
            As many tensors.
        """
        if self.size == 1:
            return tensors
        import tensorflow as tf

        # As one row of numbers: what workers exchange costs by the message, and a network has many small tensors.
        row = tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)
        row = self._hvd.allreduce(row, op=self._hvd.Average, name="average")
        parts = tf.split(row, [tensor.shape.num_elements() for tensor in tensors])
        return [tf.reshape(part, tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def average_variables(self, variables: Sequence[Any]) -> None:
        """Set Keras variables to their averages over workers.

        Args:
            variables: Keras variables.
        """
        if self.size > 1 and variables:
            averages = self.average([variable.value.value() for variable in variables])
            for variable, value in zip(variables, averages, strict=True):
                variable.assign(value)

    def total(self, values: np.ndarray) -> np.ndarray:
        """Return the sums over workers.

        Args:
            values: float64 array.

        Returns:
            The sums, float64, the same on every worker.
        """
        if self.size == 1:
            return values
        return np.asarray(self._hvd.allreduce(values, op=self._hvd.Sum, name="total"))

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on any worker; the same answer on every worker."""
        return bool(self.total(np.array([float(flag)]))[0] > 0) if self.size > 1 else flag

    def everyone(self, text: str) -> list[str]:
        """Return the texts of all workers, by rank."""
        return [text] if self.size == 1 else list(self._hvd.allgather_object(text))

    def from_chief(self, text: str | None) -> str | None:
        """Return the text that the chief gave."""
        return text if self.size == 1 else self._hvd.broadcast_object(text, root_rank=0, name="from_chief")

    def broadcast(self, variables: Sequence[Any]) -> None:
        """Set Keras variables to the chief's values.

        Args:
            variables: Keras variables.
        """
        if self.size > 1:
            self._hvd.broadcast_variables([variable.value for variable in variables], root_rank=0)


def alone() -> Workers:
    """Return the one worker of a training in this process."""
    return Workers()


def join(workers: int) -> Workers:
    """Join the other workers that the launcher started.

    Args:
        workers: how many there should be.

    Returns:
        This process among them.

    Raises:
        TrainingError: the launcher started another number.
    """
    require_horovod(workers)
    import horovod.tensorflow as hvd

    hvd.init()
    if hvd.size() != workers:
        raise TrainingError(f"training.workers is {workers}, but {hvd.size()} processes were started")
    return Workers(hvd)


def set_up_devices(local_rank: int, workers: int, threads: int, sliced: bool) -> None:
    """Give this process its GPU and its share of the cores, and make its operations repeatable.

    Args:
        local_rank: number of this process on this machine.
        workers: processes on this machine.
        threads: CPU threads; 0 shares the cores evenly.
        sliced: on CPUs, have several operations at once with a thread each, one for each slice of a batch (as
            ``nntrainer.training.steps`` cuts it), instead of one operation at a time on all threads.

    Raises:
        TrainingError: there are GPUs, but fewer than workers.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus and len(gpus) < workers:
        raise TrainingError(
            f"{workers} workers of training.workers run on this machine, which has {len(gpus)} GPUs; each needs its own"
        )
    # In a process where TensorFlow has run before, as in a notebook, devices and threads stay as they are.
    with contextlib.suppress(RuntimeError):
        threads = threads or max(1, cores() // workers)
        sliced = sliced and not gpus
        tf.config.threading.set_intra_op_parallelism_threads(1 if sliced else threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads if sliced else 2)
        if gpus:
            tf.config.set_visible_devices(gpus[local_rank], "GPU")
            tf.config.experimental.set_memory_growth(gpus[local_rank], True)
    tf.config.experimental.enable_op_determinism()


def built_with() -> dict[str, Any]:
    """Return Horovod's version, and what it can exchange tensors with: ``Gloo``, ``NCCL``, ``MPI``."""
    import horovod
    import horovod.tensorflow as hvd

    ways = {"Gloo": hvd.gloo_built(), "NCCL": hvd.nccl_built(), "MPI": hvd.mpi_built()}
    return {"version": horovod.__version__, "with": [name for name, built in ways.items() if built]}
