"""A run with everything a page can show."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

METHOD = {
    "method": "permutation",
    "target": "logit of P(s)",
    "events": 2000,
    "stopped_early": False,
    "importance": {
        "events": {"names": ["x", "y"], "value": [0.21, 0.04], "error": [0.01, 0.005], "unit": "AUC"},
        "jets": [{"name": "jets[0].pt", "importance": 0.4, "error": 0.1}, {"name": "jets[1].pt", "importance": 0.1}],
    },
}
VALIDATION = {
    "test": "two samples & <b>a classifier</b>",
    "warnings": ["the classifier tells them apart (AUC 0.61)"],
    "features": {"x": {"auc": 0.61, "passed": False}, "y": {"auc": 0.5, "passed": True}},
    "curve": [0.1] * 500,
}


@pytest.fixture(scope="session")
def rich_run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished run, with what `explain` and `validate` write, and its page made anew."""
    from nntrainer.report.page import report

    path = tmp_path_factory.mktemp("rich") / finished_run.name
    shutil.copytree(finished_run, path)
    for name, found in {
        "explain/permutation": METHOD,
        "explain/agreement": {"methods": {"a": {"b": 0.9}, "b": {"b": 1.0}}},
        "validation/two_sample": VALIDATION,
    }.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / f"{name}.json").write_text(json.dumps(found))
    plot = next((path / "plots" / "Evaluation").glob("roc.png"))
    for folder in ("Explain", "Lorentz"):
        (path / "plots" / folder).mkdir()
        shutil.copy(plot, path / "plots" / folder / f"a_{folder}_plot.png")
    report([path])
    return path
