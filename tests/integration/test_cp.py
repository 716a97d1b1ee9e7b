"""The example of the CP structure, small: trained between α = 0° and 90°, evaluated, scanned."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nntrainer.config import load_config
from nntrainer.dataset.dataset import open_dataset
from nntrainer.evaluation.alpha_scan import measure
from nntrainer.ntuples.toy import generate
from nntrainer.pipeline import run

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "configs" / "examples" / "cp.yaml"


def test_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for alpha in (0, 15, 30, 45, 60, 75, 90):
        (path,) = generate(Path("cp"), samples=("ttH",), events=1500, seed=100 + alpha, alpha_deg=alpha)
        path.rename(f"cp/ttH_alpha{alpha}.root")
    small = ["training.epochs=2", "evaluation.bootstrap=5", "evaluation.discriminants={odd: {even: 1}}"]
    config = load_config(EXAMPLE, small)
    done = run(config, stages=["convert", "train", "evaluate"])
    with open_dataset(config) as data:
        assert np.isfinite(data.column("pT_H", "observables")).all()
    metrics = json.loads(done.run.metrics.read_text())
    binned, ratio = metrics["binned"], metrics["discriminants"]["odd"]
    assert sum(binned["signal"]) == pytest.approx(metrics["sum_of_weights"]["odd"])
    assert 2 <= len(binned["signal"]) <= 8  # z_s + z_b
    # The logit of the score orders events as the score does: same bins, same significance.
    assert ratio["binned"]["signal"] == pytest.approx(binned["signal"])
    assert ratio["auc"] == pytest.approx(metrics["auc"]["test"], abs=1e-6)
    names = {path.stem for path in done.run.plots("Evaluation").glob("*.png")}
    assert {"binned_score", "discriminant_odd", "binned_discriminant_odd", "threshold_scan_odd"} <= names
    found = measure(config, done.run)
    assert list(found["templates"]) == ["score", "b4", "delta_eta_tt", "pT_H"]
    assert found["templates"]["pT_H"]["excluded_from"]["0.95"] < 90
    for one in found["templates"].values():
        assert one["q"][0] == 0
