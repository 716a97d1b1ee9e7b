"""What a training tells: ``history.csv``, ``training.json``, TensorBoard, the event log of a batch job."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nntrainer.files import now, read_json, write_json, write_text

COLUMNS = (
    "epoch",
    "loss",
    "val_loss",
    "accuracy",
    "val_accuracy",
    "learning_rate",
    "seconds",
    "events_per_s",
)


def write_history(path: Path, history: Sequence[dict[str, float]]) -> None:
    """Write ``history.csv``: one row an epoch, epochs from 1, the learning rate of its last step.

    Args:
        path: the file.
        history: the rows.
    """
    # A task of which one epoch's events have no truth has no column in its row.
    more = dict.fromkeys(name for row in history for name in row if name not in COLUMNS)
    columns = [name for name in COLUMNS if not history or name in history[0]] + list(more)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="nan", lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_text(path, text.getvalue())


def read_history(directory: Path) -> list[dict[str, float]]:
    """Return the rows of ``history.csv`` in a fold's directory, as numbers."""
    with (directory / "history.csv").open(encoding="utf-8", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def read_training(directory: Path) -> dict[str, Any]:
    """Return ``training.json`` of a fold's directory, empty where there is none or it is damaged."""
    return read_json(directory / "training.json")


def write_training(directory: Path, **values: Any) -> None:
    """Write ``training.json``.

    Args:
        directory: the fold's directory.
        **values: what it holds; the time is added.
    """
    write_json(directory / "training.json", {**values, "updated": now()})


class TensorBoard:
    """Event files with the columns of the history; does nothing when not asked for.

    Args:
        directory: where they go.
        wanted: whether to write any.
    """

    def __init__(self, directory: Path, wanted: bool) -> None:
        self._writer: Any = None
        if wanted:
            import tensorflow as tf

            self._writer = tf.summary.create_file_writer(str(directory))

    def add(self, row: dict[str, float]) -> None:
        """Add the row of an epoch."""
        if self._writer is None:
            return
        import tensorflow as tf

        with self._writer.as_default():
            for name, value in row.items():
                if name != "epoch":
                    tf.summary.scalar(name, value, step=int(row["epoch"]))
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()


class EventLog:
    """How far a training is, as lines in the event log of the HTCondor job that runs it; elsewhere it does nothing.

    Where files come back only at a job's end, nothing else tells while it runs. A log of many epochs stays short:
    a line comes after ten seconds at the earliest, and after a hundredth of the time the training has taken.
    """

    def __init__(self) -> None:
        self._wanted = "_CONDOR_CHIRP_CONFIG" in os.environ
        self._start = self._last = time.monotonic()

    def tell(self, epochs: int, best_val_loss: float) -> None:
        """Write how many epochs are done and their smallest validation loss, unless it was told just now."""
        now = time.monotonic()
        if not self._wanted or now - self._last < max(10.0, (now - self._start) / 100):
            return
        self._last = now
        try:
            from htchirp import HTChirp

            with HTChirp() as slot:
                slot.ulog(f"{epochs} epochs, best val loss {best_val_loss:.4f}")
        except Exception:  # whatever a site's HTCondor answers, the training goes on
            self._wanted = False
