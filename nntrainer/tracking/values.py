"""What a tracking server is told of a run: parameters and metrics by name."""

from __future__ import annotations

import json
from typing import Any

from nntrainer.config import Config
from nntrainer.report.read import Run

LONGEST = 500
"""Characters of a parameter; servers refuse longer ones."""


def parameters(config: Config) -> dict[str, str]:
    """Return the configuration with dotted keys, without what changes no result; texts of 500 characters at most."""
    dump = {key: value for key, value in config.dump().items() if key not in ("deploy", "tracking", "tune")}
    return {key: text if len(text) <= LONGEST else text[: LONGEST - 1] + "…" for key, text in _flat(dump)}


def _flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    if isinstance(value, dict) and value:
        found = [_flat(each, f"{prefix}.{key}" if prefix else str(key)) for key, each in value.items()]
        return [item for each in found for item in each]
    return [(prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))]


def final_metrics(run: Run) -> dict[str, float]:
    """Return the numbers a run is judged by, by name.

    Args:
        run: the run.

    Returns:
        Finite numbers only.
    """
    metrics = run.metrics
    found: dict[str, Any] = {f"auc/{name}": value for name, value in metrics.get("auc", {}).items()}
    found |= {f"auc/fold{fold['fold']}": fold["auc"] for fold in metrics.get("folds", [])}
    found |= {f"auc/{name}": one["auc"] for name, one in metrics.get("roc", {}).items()}
    found["accuracy"] = metrics.get("confusion", {}).get("accuracy")
    for output, classes in metrics.get("scores", {}).items():
        found |= {f"ks_p_value/{output}/{name}": one["ks_p_value"] for name, one in classes.items()}
    for point in metrics.get("working_points", []):
        found[f"rejection/{point['wanted']:g}"] = point["rejection"]
    found["significance/score"] = metrics.get("binned", {}).get("total")
    for name, one in metrics.get("discriminants", {}).items():
        found[f"significance/discriminant {name}"] = one.get("binned", {}).get("total")
    for name, one in metrics.get("reconstruction", {}).items():
        found |= {f"reconstruction/{name}/{kind}": one["network"][kind]["value"] for kind in ("all", "matchable")}
    for name, one in metrics.get("regression", {}).items():
        found[f"regression/{name}/width"] = one["width"]
    for fold, one in run.training.items():
        found |= {f"fold{fold}/{key}": one.get(key) for key in ("best_epoch", "best_val_loss", "seconds")}
    return {name: float(value) for name, value in found.items() if _finite(value)}


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < float("inf")
