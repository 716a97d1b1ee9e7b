"""The α-scan: likelihoods by hand, and the scan of toy samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from nntrainer.config import Config
from nntrainer.errors import ConfigError, RunError
from nntrainer.evaluation.alpha_scan import alpha_scan, measure
from nntrainer.evaluation.likelihood import Template, compare, excluded_from, fitted_strength, minus_two_log_ratio
from nntrainer.ntuples.toy import generate
from nntrainer.rundir import RunDir


def template(signal: list[float], background: list[float] | None = None) -> Template:
    s = np.array(signal, float)
    return Template(s, 0.01 * s, np.zeros(len(s)) if background is None else np.array(background, float))


def test_likelihood_by_hand() -> None:
    # Poisson −2 ln L: 2(ν − n ln ν) of the hypothesis less that of ν = n.
    n, nu = np.array([10.0, 20.0]), np.array([12.0, 15.0])
    by_hand = 2 * ((12 - 10 * np.log(12)) - (10 - 10 * np.log(10)) + (15 - 20 * np.log(15)) - (20 - 20 * np.log(20)))
    assert minus_two_log_ratio(n, nu) == pytest.approx(by_hand)
    assert minus_two_log_ratio(n, n) == 0
    assert minus_two_log_ratio(np.array([0.0, 5.0]), np.array([1.0, 5.0])) == pytest.approx(2)
    assert minus_two_log_ratio(np.array([1.0]), np.array([0.0])) == np.inf
    # Large yields: (ν − n)²/n.
    assert minus_two_log_ratio(np.array([1e6]), np.array([1e6 + 1000])) == pytest.approx(1.0, rel=1e-3)


def test_floating_rate_counts_shapes_only() -> None:
    truth, doubled = template([10, 20, 30]), template([20, 40, 60])
    assert compare(truth, doubled, floating=False).q > 10
    found = compare(truth, doubled, floating=True)
    assert (found.q, found.strength) == (pytest.approx(0, abs=1e-9), pytest.approx(0.5))
    assert compare(truth, template([30, 20, 10]), floating=True).q > 5


def test_fitted_rate_beside_background_is_the_most_likely() -> None:
    one = template([5, 10, 3], [50, 20, 30])
    data = np.array([53.0, 38.0, 30.0])
    best = minimize_scalar(
        lambda mu: minus_two_log_ratio(data, mu * one.signal + one.background),
        bounds=(0, 10),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert fitted_strength(data, one) == pytest.approx(best.x, abs=1e-5)
    assert fitted_strength(np.array([40.0, 10, 20]), one) == 0


def test_excluded_from() -> None:
    angle, nothing = np.array([-90, -45, 0, 45, 90.0]), np.zeros(5)
    # √q is 2 at 45° and 4 at 90°: it crosses √9 half way. The less excluded sign decides.
    assert excluded_from(angle, np.array([25, 9, 0, 4, 16.0]), nothing, 9.0) == pytest.approx(67.5)
    assert excluded_from(angle, np.array([25, 9, 0, 4, 8.0]), nothing, 9.0) is None
    assert excluded_from(angle, np.array([25, 9, 0, 4, 16.0]), np.array([9, 5, 0, 4, 12.0]), 3.84) == pytest.approx(
        89, 2
    )


def config_of(folder: Path, angles: dict[float, str], **changes: Any) -> Config:
    scan = {
        "samples": [{"alpha": alpha, "files": str(folder / f"{name}.root")} for alpha, name in angles.items()],
        "templates": [{"name": "b4", "bins": 6}, {"name": "delta_eta_tt", "bins": 6}],
        **changes.pop("scan", {}),
    }
    blocks: dict[str, Any] = {
        "name": "scan",
        "data": {
            "directory": folder / "datasets",
            "luminosity_ipb": changes.pop("luminosity", 140_000),
            "weight": "float64(weight_mc) * xsec_times_BR / totalEventsWeighted",
            "samples": [
                {"name": "even", "files": str(folder / "a0.root"), "label": "even"},
                {"name": "odd", "files": str(folder / "a90.root"), "label": "odd"},
            ],
        },
        "features": {"events": ["nJets", {"name": "HT_all", "unit": "MeV"}]},
        "model": "dense",
        "observables": {
            name: {key: f"truth_{branch}_{key}" for key in ("pt", "eta", "phi", "m")}
            for name, branch in (("top", "top"), ("antitop", "tbar"))
        },
        "evaluation": {"alpha_scan": scan},
    }
    return Config.model_validate(blocks | changes)


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alpha")
    for alpha in (0, 45, 90):
        (path,) = generate(folder, samples=("ttH",), events=4000, seed=7 + alpha, alpha_deg=alpha)
        path.rename(folder / f"a{alpha}.root")
    return folder


ANGLES = {0: "a0", 45: "a45", 90: "a90"}


def test_exclusion_grows_with_angle_and_luminosity(toys: Path, tmp_path: Path) -> None:
    one = measure(config_of(toys, ANGLES, luminosity=20_000), RunDir(tmp_path / "one"))
    ten = alpha_scan(config_of(toys, ANGLES, luminosity=200_000), RunDir(tmp_path / "ten"))
    for name in ("b4", "delta_eta_tt"):
        q = np.array(one["templates"][name]["q"])
        assert q[0] == 0
        assert q[2] > q[1] > 0
        np.testing.assert_allclose(ten["templates"][name]["q"], 10 * q, rtol=1e-4)
        small, large = (each["templates"][name]["excluded_from"]["0.95"] for each in (one, ten))
        assert large is not None
        assert small is None or large < small
    assert ten["templates"]["delta_eta_tt"]["q"][2] > ten["templates"]["b4"]["q"][2]
    written = json.loads((tmp_path / "ten" / "alpha_scan.json").read_text())
    assert written["templates"] == ten["templates"]
    plots = {path.name for path in (tmp_path / "ten" / "plots" / "Evaluation").glob("*.png")}
    assert plots == {"alpha_scan.png", "alpha_template_b4.png", "alpha_template_delta_eta_tt.png"}


@pytest.mark.parametrize("normalisation", ["fixed", "floating"])
def test_the_same_events_exclude_nothing(toys: Path, tmp_path: Path, normalisation: str) -> None:
    scan = {"normalisation": normalisation}
    found = measure(config_of(toys, {0: "a0", 90: "a0"}, scan=scan), RunDir(tmp_path))
    for one in found["templates"].values():
        assert one["q"] == pytest.approx([0, 0], abs=1e-9)
        assert one["excluded_from"] == {"0.68": None, "0.95": None}


def test_other_events_of_the_same_angle_exclude_nothing(toys: Path, tmp_path: Path) -> None:
    (path,) = generate(tmp_path, samples=("ttH",), events=4000, seed=99, alpha_deg=0)
    path.rename(toys / "again.root")
    found = measure(config_of(toys, {0: "a0", 90: "again"}), RunDir(tmp_path / "run"))
    for one in found["templates"].values():
        assert 0.1 * one["noise"][1] < one["q"][1] < 3 * one["noise"][1]  # finite simulation, as announced
        assert one["excluded_from"]["0.95"] is None


def test_background_weakens_the_exclusion(toys: Path, tmp_path: Path) -> None:
    generate(toys, samples=("ttbb",), events=2000, seed=5, overwrite=True)
    plain = measure(config_of(toys, ANGLES), RunDir(tmp_path / "plain"))
    scan = {"backgrounds": {"ttbb": str(toys / "ttbb.root")}}
    diluted = measure(config_of(toys, ANGLES, scan=scan), RunDir(tmp_path / "diluted"))
    for name, one in plain["templates"].items():
        assert diluted["templates"][name]["q"][2] < 0.5 * one["q"][2]


def test_sentences(toys: Path, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    with pytest.raises(RunError, match="fold 0 is not trained; run `nntrainer train`"):
        measure(config_of(toys, ANGLES, scan={"templates": ["score"]}), run)
    with pytest.raises(ConfigError, match=r"'b44' is not known.*Did you mean 'b4'"):
        measure(config_of(toys, ANGLES, scan={"templates": ["b44"]}), run)
    with pytest.raises(ConfigError, match="'pT_H' is not known; it is an observable: name the particles"):
        measure(config_of(toys, ANGLES, scan={"templates": ["pT_H"]}), run)
    with pytest.raises(ConfigError, match=r"bin 1 of 'b4'.*no positive yield"):
        measure(config_of(toys, ANGLES, scan={"templates": [{"name": "b4", "edges": [-9, -8, 1]}]}), run)
    with pytest.raises(ConfigError, match=r"no block 'evaluation\.alpha_scan'"):
        alpha_scan(
            config_of(toys, ANGLES).model_copy(update={"evaluation": Config.model_fields["evaluation"].default}), run
        )
    with pytest.raises(ValueError, match="must have alpha: 0"):
        config_of(toys, {45: "a45", 90: "a90"})
