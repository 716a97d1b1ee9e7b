"""The run directory: where everything that one run makes lies, and its record."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nntrainer.config import Config
from nntrainer.config.models import digest
from nntrainer.config.parts import RECORDS
from nntrainer.errors import RunError, nearest
from nntrainer.files import expand, now, sha256, write_json, write_text

NO_RESULTS = {"manifest.json", "run.json", "deploy.json", ".lock", "logs", "rendered", RECORDS, "datasets", "ntuples"}
UNFINISHED = {".part", ".lock"}


class RunDir:
    """Paths inside a run directory.

    Args:
        path: the directory; made when missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)

    def _made(self, *parts: str) -> Path:
        path = self.path.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def config_file(self) -> Path:
        """The configuration as resolved."""
        return self.path / "config.yaml"

    @property
    def run_json(self) -> Path:
        """State, host, versions and stages; written by this package only."""
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        """Every number the plots show."""
        return self.path / "metrics.json"

    @property
    def history(self) -> Path:
        """The epochs of all folds."""
        return self.path / "history.csv"

    @property
    def manifest(self) -> Path:
        """Path, size and SHA-256 of each output; written last."""
        return self.path / "manifest.json"

    @property
    def models(self) -> Path:
        """Keras and ONNX models."""
        return self._made("models")

    @property
    def logs(self) -> Path:
        """Logs of workers and jobs."""
        return self._made("logs")

    def plots(self, kind: str) -> Path:
        """Return ``plots/Inputs``, ``plots/Validation`` or ``plots/Evaluation``."""
        return self._made("plots", kind)

    def fold(self, fold: int) -> Path:
        """Return where the training of a fold keeps its state."""
        return self._made("training", f"fold{fold}")

    def claim(self, config: Config) -> None:
        """Write the resolved configuration, or check that the directory already belongs to it.

        Args:
            config: the configuration.

        Raises:
            RunError: the directory holds the run of another configuration.
        """
        import yaml

        from nntrainer.config import load_config

        if self.config_file.exists():
            there = load_config(self.config_file, environment={})
            if there.digest() != config.digest():
                raise RunError(
                    f"{self.path}: this run directory belongs to another configuration "
                    f"({there.digest()[:8]}, not {config.digest()[:8]}); give another --run-dir"
                )
            return
        write_text(self.config_file, yaml.safe_dump(config.dump(), sort_keys=False, allow_unicode=True))

    @contextmanager
    def lock(self, part: str | None = None, *, wait: bool = False) -> Iterator[None]:
        """Hold the run directory, or a part of it.

        Args:
            part: the part; the whole run directory if absent.
            wait: wait until another process lets go of it, instead of refusing.

        Yields:
            Nothing; it is held meanwhile.

        Raises:
            RunError: another process works in it.
        """
        path = self._made(RECORDS) / f"{part}.lock" if part else self.path / ".lock"
        with path.open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise RunError(f"{self.path}: another process is working in this run directory") from None
            yield

    def results(self, paths: Iterable[str] = (".",)) -> list[dict[str, Any]]:
        """Return path, size and SHA-256 of every result: what is not a record, a log, an input or a dataset.

        Args:
            paths: files and directories of the run directory to look at; the others are not of it.

        Returns:
            Plain data, sorted by path.
        """
        root, found = self.path.resolve(), set()
        for each in paths:
            path = root / each
            found |= set(path.rglob("*")) if path.is_dir() else {path}
        files = []
        for path in sorted(found):
            relative = path.relative_to(root) if path.is_relative_to(root) else None
            if relative is None or not path.is_file() or relative.parts[0] in NO_RESULTS or path.suffix in UNFINISHED:
                continue
            files.append({"path": str(relative), "size": path.stat().st_size, "sha256": sha256(path)})
        return files

    def write_manifest(self) -> None:
        """Write ``manifest.json``: path, size and SHA-256 of every result."""
        write_json(self.manifest, {"created": now(), "files": self.results()})

    def list_results(self) -> None:
        """Write the manifest again where there is one: that of a finished run lists all results."""
        if self.manifest.exists():
            self.write_manifest()

    def renew(self, name: str) -> None:
        """Note in the manifest and in the records of parts that a result they list was made anew since.

        Args:
            name: path in the run directory.
        """
        (entry,) = self.results([name])
        for path in (self.manifest, *sorted((self.path / RECORDS).glob("*.json"))):
            listed = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            files = listed.get("files", [])
            if any(each["path"] == name and each != entry for each in files):
                write_json(path, {**listed, "files": [entry if each["path"] == name else each for each in files]})


def config_file(path: Path) -> Path:
    """Return the configuration of a run directory.

    Args:
        path: the directory.

    Returns:
        Its ``config.yaml``.

    Raises:
        RunError: it is not a run directory; the latest one in it or the nearest name is told.
    """
    file = path / "config.yaml"
    if file.is_file():
        return file
    inside = sorted(each.parent for each in path.glob("*/config.yaml"))
    beside = [each.name for each in path.parent.iterdir() if each.is_dir()] if path.parent.is_dir() else []
    what = "is a file" if path.is_file() else "has no config.yaml" if path.is_dir() else "does not exist"
    hint = f" The latest run in it is {inside[-1]}." if inside else nearest(path.name, beside)
    raise RunError(
        f"{path} is not a run directory: it {what}; give the directory of a run, such as "
        f"runs/<name>/<time>-<digest>, which `nntrainer run` names.{hint}"
    )


def run_digest(config: Config) -> str:
    """Return the digest of the configuration and of the identity of every input file."""
    from nntrainer.ntuples.reader import identity

    files = {sample.name: expand(sample.files) for sample in config.data.samples}
    keys = {name: [identity(path).key() for path in paths] for name, paths in files.items()}
    return digest([config.digest(), keys])


def find_or_create(config: Config, root: Path, *, new: bool = False) -> RunDir:
    """Return the latest run directory of this configuration and these inputs, or a new one.

    Args:
        config: the configuration.
        root: the directory of all runs; a run is ``root/<name>/<time>-<digest>``.
        new: make a new one in any case.

    Returns:
        The run directory.
    """
    short = run_digest(config)[:8]
    existing = sorted((root / config.name).glob(f"[0-9]*-{short}"))
    if existing and not new:
        return RunDir(existing[-1])
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return RunDir(root / config.name / f"{stamp}-{short}")
