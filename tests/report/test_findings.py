"""Each rule speaks beyond its threshold, and is silent below it."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from nntrainer.report.findings import RULES, check, findings
from nntrainer.report.read import Run

AUC = {"test": 0.8, "test_error": 0.004, "train": 0.81, "train_error": 0.003, "folds_mean": 0.8, "folds_spread": 0.004}
SAMPLE = {
    "sample": "s",
    "events": 10_000,
    "negative_fraction": 0.2,
    "effective_events": 3600.0,
    "duplicates": 0,
    "overflow": {"jets": 400},
}
CURVE = {"mean": [0.1, 0.5], "fraction": [0.1, 0.62], "error": [0.01, 0.05]}
GOOD: dict[str, Any] = {
    "config": {"training": {"epochs": 10}},
    "records": ({"started": "2026", "stages": {"train": {"state": "done"}, "report": {"state": "running"}}},),
    "metrics": {
        "auc": AUC,
        "folds": [{"auc": 0.8, "auc_error": 0.003}, {"auc": 0.8, "auc_error": 0.003}],
        "scores": {"s": {"s": {"ks_distance": 0.02, "ks_p_value": 0.02}, "b": {"ks_p_value": None}}},
        "events": {"s": 1000, "b": 1000},
        "samples": [SAMPLE],
        "roc": {"s vs b": {"monotonic": True}},
        "calibration": {"s": CURVE},
        "binned": {"trusted": [True, True]},
        "history": {"fold 0": {"epoch": [1.0, 2.0], "loss": [0.5, 0.4], "val_loss": [0.5, 0.4]}},
        "provenance": {"git_commit": "b419757"},
    },
    "training": {0: {"state": "done", "epochs": 10, "best_epoch": 9}},
    "export": {"tolerance": 1e-5, "models": [{"file": "fold0.onnx", "difference": 5e-6}]},
    "more": {"validation/x": {"warnings": []}},
}


def run_of(values: dict[str, Any]) -> Run:
    empty: dict[str, Any] = {"path": Path("r"), "alpha_scan": {}, "deploy": {}, "plots": {}, "export": {}, "more": {}}
    return Run(**{**empty, **values})


def changed(key: str, value: Any) -> Run:
    values = deepcopy(GOOD)
    *path, last = key.split("/")
    place: Any = values
    for each in path:
        place = place[int(each)] if isinstance(place, list | tuple) or each == "0" else place[each]
    place[int(last) if last == "0" else last] = value
    return run_of(values)


def test_a_good_run_gives_nothing_and_every_rule_looks() -> None:
    checked = check(run_of(GOOD))
    assert [one.rule.name for one in checked if not one.known] == []
    assert findings(run_of(GOOD)) == []


def test_a_run_that_tells_nothing_is_not_called_good() -> None:
    bare = run_of({"config": {}, "records": (), "metrics": {}, "training": {}})
    assert not any(one.known for one in check(bare))


@pytest.mark.parametrize(
    ("rule", "key", "value", "words"),
    [
        ("Stages", "records/0/stages/train/state", "failed", "train is failed"),
        ("Train against test: score", "metrics/scores/s/s/ks_p_value", 0.009, "p = 0.009"),
        ("Train against test: AUC", "metrics/auc/train", 0.8151, "0.0151 ± 0.0050, 3.0 standard deviations"),
        ("Separation", "metrics/auc", {**AUC, "test": 0.511, "train": 0.5}, "hardly better than chance"),
        ("Folds", "metrics/auc/folds_spread", 0.0061, "2.0 times"),
        ("Duplicates", "metrics/samples/0/duplicates", 1, "1 events of s share"),
        (
            "Losses",
            "metrics/history/fold 0/val_loss",
            [0.5, float("nan")],
            "val_loss of fold 0 is not finite in epoch 2",
        ),
        ("ONNX", "export/models/0/difference", 5.1e-6, "fold0.onnx and Keras differ by 5.1e-06"),
        ("ONNX", "export/models/0/difference", float("nan"), "differ by nan"),
        ("Other measurements", "more", {"validation/x": {"warnings": ["look here"]}}, "validation/x: look here"),
        ("Few events", "metrics/events/s", 999, "s has 999 events"),
        ("Negative weights", "metrics/samples/0/negative_fraction", 0.251, "25.1 %"),
        ("ROC curve", "metrics/roc/s vs b/monotonic", False, "s vs b turns back"),
        ("Objects cut off", "metrics/samples/0/overflow", {"jets": 501}, "features.objects.jets.max"),
        ("Last epoch", "training/0/best_epoch", 10, "epoch 10"),
        ("First epoch", "training/0/best_epoch", 1, "never got better"),
        ("Calibration", "metrics/calibration/s", {**CURVE, "error": [0.01, 0.03]}, "near 0.50, 62 ± 3 % are s"),
        ("Bins", "metrics/binned/trusted", [True, False], "1 of 2 bins"),
        ("Code", "metrics/provenance/git_commit", "b419757-dirty", "b419757-dirty"),
    ],
)
def test_beyond_its_threshold(rule: str, key: str, value: Any, words: str) -> None:
    (found,) = findings(changed(key, value))
    assert found.rule.name == rule and words in found.sentence


def test_all_rules_are_tested_and_documented() -> None:
    names = [rule.name for rule in RULES]
    text = (Path(__file__).parents[2] / "docs" / "report.md").read_text()
    assert len(set(names)) == len(names) == 18
    for rule in RULES:
        assert f"| {rule.name} | {rule.threshold} | {rule.level} |" in text, rule.name


def test_warnings_come_first() -> None:
    run = changed("metrics/events/s", 5)
    run.metrics["samples"][0]["duplicates"] = 3
    assert [each.rule.level for each in findings(run)] == ["warning", "note"]
    assert json.dumps([each.sentence for each in findings(run)])
