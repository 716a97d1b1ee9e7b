"""What a run directory tells, read into plain data; nothing is opened but text and images."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nntrainer.config.parts import RECORDS
from nntrainer.errors import RunError
from nntrainer.rundir import config_file

KNOWN = ("run.json", "metrics.json", "manifest.json", "deploy.json", "alpha_scan.json")
"""JSON files that have places of their own on the page."""
NOT_READ = ("training", RECORDS, "plots", "models", "datasets", "ntuples", "logs", "rendered", "tune", "scored")
"""Directories whose JSON files are no results of a measurement."""


@dataclass(frozen=True)
class Run:
    """A run directory as plain data; what is not there is empty.

    Attributes:
        path: the directory.
        config: ``config.yaml``.
        records: ``run.json`` and the records of parts, each with ``part``, earliest first.
        metrics: ``metrics.json``.
        training: ``training.json`` by fold.
        export: ``models/export.json``.
        alpha_scan: ``alpha_scan.json``.
        deploy: ``deploy.json``.
        more: other JSON files that hold results, by path without suffix: ``explain/shap``, ``validation/lorentz``.
        plots: PNG files by directory under ``plots``, sorted.
    """

    path: Path
    config: dict[str, Any]
    records: tuple[dict[str, Any], ...]
    metrics: dict[str, Any]
    training: dict[int, dict[str, Any]]
    export: dict[str, Any]
    alpha_scan: dict[str, Any]
    deploy: dict[str, Any]
    more: dict[str, Any]
    plots: dict[str, tuple[Path, ...]]

    @property
    def name(self) -> str:
        """Name of the training and of the run."""
        path = self.path.resolve()
        return f"{self.config.get('name', path.parent.name)}/{path.name}"

    @property
    def provenance(self) -> dict[str, Any]:
        """What measured the run, else what began it."""
        found = [self.metrics.get("provenance"), *(record.get("provenance") for record in self.records)]
        return next((each for each in found if each), {})

    @property
    def digest(self) -> str:
        """SHA-256 of the configuration, empty where nothing tells it."""
        found = [self.metrics.get("config_digest"), *(record.get("config_digest") for record in self.records)]
        return str(next((each for each in found if each), ""))

    @property
    def stages(self) -> list[tuple[dict[str, Any], str, dict[str, Any]]]:
        """Record, name and entry of each stage, in the order in which they began."""
        found = [(record, *item) for record in self.records for item in record.get("stages", {}).items()]
        return sorted(found, key=lambda each: str(each[2].get("started", "")))

    def key(self, *path: str, default: Any = None) -> Any:
        """Return a value of the configuration, or the default."""
        value: Any = self.config
        for each in path:
            value = value.get(each) if isinstance(value, dict) else None
        return default if value is None else value


def read_run(path: Path) -> Run:
    """Read a run directory.

    Args:
        path: the directory.

    Returns:
        What it holds.

    Raises:
        RunError: it is not a run directory, or a file in it is damaged.
    """
    path = Path(path)
    config = config_file(path)
    records = [_json(path / "run.json"), *(_json(each) for each in sorted((path / RECORDS).glob("*.json")))]
    folds = sorted((path / "training").glob("fold[0-9]*/training.json"))
    return Run(
        path,
        _yaml(config),
        tuple(sorted((each for each in records if each), key=lambda each: str(each.get("started", "")))),
        _json(path / "metrics.json"),
        {int(each.parent.name.removeprefix("fold")): _json(each) for each in folds},
        _json(path / "models" / "export.json"),
        _json(path / "alpha_scan.json"),
        _json(path / "deploy.json"),
        {str(each.relative_to(path).with_suffix("")): _read(each) for each in _others(path)},
        {folder: tuple(files) for folder, files in _plots(path)},
    )


def history(run: Run) -> dict[str, dict[str, list[float]]]:
    """Return the epochs of each fold, by column; of a fold whose training is not measured yet, too.

    Args:
        run: the run.

    Returns:
        Lists of floats by column, by ``fold <i>``.
    """
    known: dict[str, dict[str, list[float]]] = dict(run.metrics.get("history", {}))
    for fold in run.training:
        path = run.path / "training" / f"fold{fold}" / "history.csv"
        if f"fold {fold}" not in known and path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            known[f"fold {fold}"] = {key: [float(row[key]) for row in rows] for key in (rows[0] if rows else {})}
    return known


def _others(path: Path) -> Iterator[Path]:
    for each in sorted((*path.glob("*.json"), *path.glob("*/*.json"))):
        relative = each.relative_to(path)
        if relative.parts[0] not in (*KNOWN, *NOT_READ):
            yield each


def _plots(path: Path) -> Iterator[tuple[str, list[Path]]]:
    for folder in sorted({each.parent for each in (path / "plots").rglob("*.png")}):
        yield str(folder.relative_to(path / "plots")), sorted(folder.glob("*.png"))


def _json(path: Path) -> dict[str, Any]:
    # Batch jobs make empty files of the names of their outputs before they begin.
    value = _read(path) if path.is_file() and path.stat().st_size else {}
    if not isinstance(value, dict):
        raise RunError(f"{path}: this is not what nntrainer writes there: a mapping is expected")
    return value


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: the file is damaged or cannot be read: {error}") from None


def _yaml(path: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RunError(f"{path}: the configuration cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(value, dict):
        raise RunError(f"{path}: this is not a configuration: a mapping is expected")
    return value
