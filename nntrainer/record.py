"""The record of a run: which stage is done, with what result, from which inputs."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nntrainer.config import Config
from nntrainer.errors import RunError
from nntrainer.files import now, write_json
from nntrainer.progress import Progress
from nntrainer.provenance import provenance
from nntrainer.rundir import RunDir
from nntrainer.stages import STAGES

Work = Callable[[Config, RunDir, Progress], tuple[str, list[Path]]]


@dataclass(frozen=True)
class StageResult:
    """What a stage did.

    Attributes:
        name: the stage.
        skipped: whether its outputs were up to date.
        seconds: the time it took, when it last ran.
        detail: one line for people.
        outputs: paths relative to the run directory, or absolute where they lie elsewhere.
    """

    name: str
    skipped: bool
    seconds: float
    detail: str
    outputs: tuple[str, ...]


def read_record(path: Path) -> dict[str, Any]:
    """Return a record, empty where there is none.

    Args:
        path: the record.

    Returns:
        What it holds.

    Raises:
        RunError: it cannot be read.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: the record cannot be read: {error}") from None


class Record:
    """``run.json``, or the record of a part: kept up to date while the stages run.

    Args:
        run: the run directory.
        config: the configuration.
        path: the record.
        key: digest of what decides the outputs; a stage with another key in the record is done again.
        part: the part, where it is not the whole run.
    """

    def __init__(self, run: RunDir, config: Config, path: Path, key: str, part: str | None = None) -> None:
        self.run, self.config, self.path, self.key = run, config, path, key
        old = read_record(path)
        self.data: dict[str, Any] = {
            "format": 1,
            "name": config.name,
            "part": part,
            "config_digest": config.digest(),
            "digest": self.key,
            "state": "running",
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": now(),
            "finished": None,
            "provenance": provenance(),
            "stages": old.get("stages", {}),
        }
        self.write()

    def write(self) -> None:
        """Write the record, aside and renamed."""
        write_json(self.path, self.data)

    def close(self, state: str, **more: Any) -> None:
        """Write how it ended; stages that were running ended so, too."""
        self.data |= {"state": state, "finished": now(), **more}
        for stage in self.data["stages"].values():
            if stage["state"] == "running":
                stage["state"] = state
        self.write()

    def stage(self, name: str, work: Work, progress: Progress, force: bool) -> StageResult:
        """Do a stage, unless its outputs are up to date.

        Args:
            name: the stage.
            work: does it.
            progress: told how far the work has come.
            force: do it in any case.

        Returns:
            What it did.
        """
        there = self.data["stages"].get(name, {})
        if not force and self._up_to_date(there):
            return StageResult(name, True, there["seconds"], there["detail"], tuple(there["outputs"]))
        # What comes after a stage that runs again is made again, too.
        following = list(STAGES)[list(STAGES).index(name) + 1 :] if name in STAGES else []
        for later in following:
            self.data["stages"].pop(later, None)
        self.data["stages"][name] = {"state": "running", "started": now(), "key": self.key}
        self.write()
        start = time.monotonic()
        detail, outputs = work(self.config, self.run, progress)
        seconds = round(time.monotonic() - start, 2)
        shown = tuple(self._shown(path) for path in outputs)
        self.data["stages"][name] |= {
            "state": "done",
            "finished": now(),
            "seconds": seconds,
            "detail": detail,
            "outputs": list(shown),
        }
        self.write()
        return StageResult(name, False, seconds, detail, shown)

    def _up_to_date(self, stage: dict[str, Any]) -> bool:
        if stage.get("state") != "done" or stage.get("key") != self.key:
            return False
        return all((self.run.path / output).exists() for output in stage["outputs"])

    def _shown(self, path: Path) -> str:
        path, root = Path(path).resolve(), self.run.path.resolve()
        return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
