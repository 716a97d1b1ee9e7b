"""Each observable against an event computed by hand and against the package vector; symmetries; NaN where undefined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
import vector
from pydantic import ValidationError

from nntrainer.config import Config
from nntrainer.config.observables import Observables
from nntrainer.config.registry import OBSERVABLES
from nntrainer.dataset.conversion import convert
from nntrainer.dataset.dataset import open_dataset
from nntrainer.dataset.inspect import inspect
from nntrainer.dataset.observables import add_observables
from nntrainer.errors import ConfigError, InputError, NNTrainerError
from nntrainer.inject.observables import inject_observables
from nntrainer.observables.compute import compute, formulas
from nntrainer.observables.momenta import Event, four_vectors

NAMES = ("top", "antitop", "higgs", "lepton", "antilepton")
ODD = "triple_product"


def random_events(n: int, seed: int = 4) -> dict[str, np.ndarray]:
    """Return the particles, (4, n) each, with leptons of any direction."""
    rng = np.random.default_rng(seed)
    masses = {"top": 172.5, "antitop": 172.5, "higgs": 125.0, "lepton": 0.1, "antilepton": 0.1}
    return {
        name: four_vectors(
            rng.exponential(80, n) + 5, rng.normal(0, 1.2, n), rng.uniform(-np.pi, np.pi, n), m=np.full(n, m)
        )
        for name, m in masses.items()
    }


def observe(lab: dict[str, np.ndarray], frame: Any = "lab") -> dict[str, np.ndarray]:
    event = Event.of(lab, frame)
    return {name: OBSERVABLES.get(name)().compute(event) for name in OBSERVABLES.names()}


def as_vector(p: np.ndarray) -> Any:
    return vector.array({"px": p[0], "py": p[1], "pz": p[2], "E": p[3]})


def by_hand() -> dict[str, np.ndarray]:
    # Momenta (3, 4, 0) and (-3, 4, 12), energies for masses √11 and √27; Higgs along x; leptons of ±90° in azimuth.
    return {
        "top": np.array([[3.0], [4], [0], [6]]),
        "antitop": np.array([[-3.0], [4], [12], [14]]),
        "higgs": np.array([[6.0], [8], [0], [20]]),
        "antilepton": np.array([[0.0], [1], [0], [1]]),
        "lepton": np.array([[1.0], [0], [1], [np.sqrt(2)]]),
    }


def test_by_hand() -> None:
    found = {name: float(values[0]) for name, values in observe(by_hand()).items()}
    assert found["b1"] == pytest.approx(7 / 25)
    assert found["b2"] == pytest.approx(7 / (5 * 13))
    assert found["b3"] == pytest.approx(-9 / 25)
    assert found["b4"] == 0
    assert found["delta_phi_tt"] == pytest.approx(np.arccos(7 / 25))
    assert found["delta_eta_tt"] == pytest.approx(np.arcsinh(12 / 5))
    assert found["delta_phi_ll"] == pytest.approx(np.pi / 2)
    assert found["pT_H"] == 10
    assert found["m_tt"] == pytest.approx(np.sqrt(20**2 - 8**2 - 12**2))
    assert found["m_ttH"] == pytest.approx(np.sqrt(40**2 - 6**2 - 16**2 - 12**2))
    # Q = (0, 8, 12; 20): along = (20·0 − 12·6)/√(192 + 64) = −72/16; p* from masses √11, √27 and √192.
    star = np.sqrt((192 - (np.sqrt(11) + np.sqrt(27)) ** 2) * (192 - (np.sqrt(11) - np.sqrt(27)) ** 2)) / (
        2 * np.sqrt(192)
    )
    assert found["cos_theta_cs"] == pytest.approx(72 / 16 / star)


def test_triple_product_by_hand() -> None:
    # t t̄ is at rest already: t along x, ℓ⁺ along y, ℓ⁻ along (0, 1, 1): x̂·(ŷ × (0, 1, 1)/√2) = 1/√2.
    lab = by_hand() | {"top": np.array([[3.0], [0], [0], [5]]), "antitop": np.array([[-3.0], [0], [0], [5]])}
    lab |= {"lepton": np.array([[0.0], [2], [2], [np.sqrt(8)]])}
    assert observe(lab)[ODD][0] == pytest.approx(1 / np.sqrt(2))


@pytest.mark.parametrize("frame", ["lab", "ttH"])
def test_against_vector(frame: Any) -> None:
    lab = random_events(500)
    found = observe(lab, frame)
    particles = {name: as_vector(p) for name, p in lab.items()}
    t, tbar, h, minus, plus = (particles[name] for name in NAMES)
    system = t + tbar + h
    in_tt = [each.boostCM_of_p4(t + tbar) for each in (t, plus, minus)]
    beams = [vector.obj(px=0, py=0, pz=sign, E=1).boostCM_of_p4(t + tbar).to_Vector3D().unit() for sign in (1.0, -1.0)]
    expected = {
        "m_tt": (t + tbar).mass,
        "m_ttH": system.mass,
        "cos_theta_cs": np.abs(in_tt[0].to_Vector3D().unit().dot((beams[0] - beams[1]).unit())),
        ODD: in_tt[0].to_Vector3D().unit().dot(in_tt[1].to_Vector3D().unit().cross(in_tt[2].to_Vector3D().unit())),
    }
    if frame == "ttH":
        t, tbar, h, minus, plus = (each.boostCM_of_p4(system) for each in (t, tbar, h, minus, plus))
        assert np.abs((t + tbar + h).p).max() < 1e-9
    z = vector.obj(x=0.0, y=0.0, z=1.0)
    across = t.to_Vector3D().cross(z).dot(tbar.to_Vector3D().cross(z))
    expected |= {
        "b1": np.cos(t.deltaphi(tbar)),
        "b2": across / (t.p * tbar.p),
        "b3": t.px * tbar.px / (t.pt * tbar.pt),
        "b4": np.cos(t.theta) * np.cos(tbar.theta),
        "delta_eta_tt": np.abs(t.deltaeta(tbar)),
        "delta_phi_tt": np.abs(t.deltaphi(tbar)),
        "delta_phi_ll": np.abs(plus.deltaphi(minus)),
        "pT_H": h.pt,
    }
    assert set(expected) == set(found)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-8, err_msg=name)


def test_parity_and_cp() -> None:
    lab = random_events(300)
    mirrored = {name: p * np.array([[-1], [-1], [-1], [1]]) for name, p in lab.items()}
    swapped = {"top": "antitop", "antitop": "top", "higgs": "higgs", "lepton": "antilepton", "antilepton": "lepton"}
    conjugated = {name: mirrored[swapped[name]] for name in lab}
    before = observe(lab, "ttH")
    assert np.abs(before[ODD]).max() > 0.3
    for image in (mirrored, conjugated):
        for name, values in observe(image, "ttH").items():
            if name != ODD:
                np.testing.assert_allclose(values, before[name], rtol=1e-6, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(observe(mirrored)[ODD], -before[ODD])
    # CP exchanges t and t̄, which are back to back where the product is taken, and the leptons.
    np.testing.assert_allclose(observe(conjugated)[ODD], -before[ODD], rtol=1e-6)


def test_rotation_about_the_beam_changes_b3_alone() -> None:
    lab = random_events(100)
    c, s = np.cos(0.7), np.sin(0.7)
    turned = {name: np.stack([c * p[0] - s * p[1], s * p[0] + c * p[1], p[2], p[3]]) for name, p in lab.items()}
    before, after = observe(lab), observe(turned)
    for name in before:
        same = np.allclose(after[name], before[name], rtol=1e-6, atol=1e-9)
        assert same == (name != "b3"), name


def particle(name: str, **changes: str) -> dict[str, str]:
    return {key: f"truth_{name}_{key}" for key in ("pt", "eta", "phi", "m")} | changes


TOPS = {"top": particle("top"), "antitop": particle("tbar")}


def test_missing_particles_are_nan() -> None:
    block = Observables.model_validate({**TOPS, "higgs": particle("higgs")})
    columns = {
        key: np.full(4, {"pt": 50.0, "eta": 0.3, "phi": 0.1, "m": 125.0}[key.rpartition(".")[2]])
        for key in formulas(block)
    }
    columns["higgs.pt"][:] = [50, -999, np.nan, 50]
    columns["antitop.phi"] = np.array([1, 1, 1, np.inf])
    found = compute(block, columns)
    assert np.isnan(found["pT_H"]).tolist() == [False, True, True, False]
    assert np.isnan(found["b1"]).tolist() == [False, False, False, True]
    assert np.isnan(found["m_ttH"]).tolist() == [False, True, True, True]
    assert set(found) == {name for name in OBSERVABLES.names() if name not in ("delta_phi_ll", ODD)}
    boosted = compute(block.model_copy(update={"frame": "ttH"}), columns)
    assert np.isnan(boosted["b1"]).tolist() == [False, True, True, True]


def test_energy_or_mass() -> None:
    with_mass = four_vectors(*(np.array([x]) for x in (30.0, 0.5, 1.0)), m=np.array([5.0]))
    again = four_vectors(*(np.array([x]) for x in (30.0, 0.5, 1.0)), e=with_mass[3])
    np.testing.assert_allclose(again, with_mass)
    assert with_mass[3, 0] == pytest.approx(vector.obj(pt=30, eta=0.5, phi=1.0, mass=5).E)


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ({}, "four-vector of at least one particle"),
        ({**TOPS, "frame": "ttH"}, "frame 'ttH' needs the four-vector of 'higgs'"),
        ({**TOPS, "compute": ["pT_h"]}, "no observable 'pT_h'.*Did you mean 'pT_H'"),
        ({**TOPS, "compute": ["pT_H"]}, "'pT_H' needs the four-vector of 'higgs'"),
        ({"top": {**particle("top"), "e": "x"}}, "either 'm' or 'e'"),
        ({"top": particle("top", pt="__import__('os')")}, "not allowed"),
        ({"top": particle("top")}, "no observable can be computed"),
    ],
)
def test_bad_blocks(block: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Observables.model_validate(block)


def test_every_observable_names_its_source() -> None:
    for name in OBSERVABLES.names():
        text = OBSERVABLES.get(name).__doc__ or ""
        assert any(source in text for source in ("hep-ph/9602226", "2406.03950", "1603.03632", "1507.07926")), name
        assert OBSERVABLES.get(name).formula


# Files


def config_of(files: list[Path], folder: Path, **block: Any) -> Config:
    return Config.model_validate(
        {
            "name": "cp",
            "data": {
                "directory": folder / "datasets",
                "selection": "nJets >= 5",
                "chunk_events": 150,
                "samples": [{"name": f.stem, "files": str(f), "label": f.stem} for f in files],
                "variables": {"top_pt": "truth_top_pt / 1000 * 1000"},
            },
            "features": {"events": ["nJets"]},
            "model": "dense",
            "observables": {**TOPS, "top": particle("top", pt="top_pt"), "higgs": particle("higgs"), **block},
        }
    )


def test_datasets_and_ntuples(toy_files: list[Path], tmp_path: Path) -> None:
    config = config_of(toy_files, tmp_path)
    with pytest.raises(NNTrainerError, match="nntrainer convert"):
        add_observables(config)
    convert(config)
    before = {path: open_dataset(path).events() for path in sorted((tmp_path / "datasets").rglob("*.h5"))}
    done = add_observables(config)
    assert [each.missing["pT_H"] for each in done] == [0, len(before[done[1].path])]  # tt+bb has no Higgs boson
    assert [each.missing["b1"] for each in done] == [0, 0]
    for path, events in before.items():
        assert np.array_equal(open_dataset(path).events(), events)
        assert not list(path.parent.glob("*.part"))

    # In the file: the rows of the selected entries, from the branches.
    with uproot.open(toy_files[0]) as file:
        tree = file["nominal_Loose"].arrays(library="np")
    with open_dataset(config) as data:
        mine = data.column("entry")[data.sample_index == 0]
        b1, higgs = (data.column(name, "observables")[data.sample_index == 0] for name in ("b1", "pT_H"))
        with pytest.raises(NNTrainerError, match="no field 'b7'"):
            data.column("b7", "observables")
    np.testing.assert_allclose(b1, np.cos(tree["truth_top_phi"] - tree["truth_tbar_phi"])[mine], atol=1e-5)
    np.testing.assert_allclose(higgs, tree["truth_higgs_pt"][mine], rtol=1e-6)
    assert "b4" in [field.name for group in inspect(done[0].path).groups for field in group.fields]

    # Up to date, until the block or the ntuples change or the file is converted again.
    stamps = [each.path.stat().st_mtime_ns for each in done]
    assert all(each.skipped for each in add_observables(config))
    assert [each.path.stat().st_mtime_ns for each in done] == stamps
    framed = config_of(toy_files, tmp_path, frame="ttH")
    assert framed.data_digest() == config.data_digest()
    assert not any(each.skipped for each in add_observables(framed))
    with open_dataset(config) as data:
        assert not np.allclose(data.column("b1", "observables")[data.sample_index == 0], b1)
    convert(config, force=True)
    assert not any(each.skipped for each in add_observables(config))

    # In ntuples: every entry, selected or not.
    friends = inject_observables(config, [str(toy_files[0])], output=tmp_path / "friends")
    inplace = inject_observables(config, [str(toy_files[0])], output=tmp_path / "inplace", mode="inplace")
    with uproot.open(friends[0].output) as friend, uproot.open(inplace[0].output) as whole:
        branches = friend["nominal_Loose_obs"].arrays(library="np")
        assert np.array_equal(branches["eventNumber"], tree["eventNumber"])
        assert np.array_equal(whole["nominal_Loose"]["obs_b4"].array(library="np"), branches["obs_b4"])
        np.testing.assert_array_equal(branches["obs_b1"][mine], b1)
        assert len(branches["obs_b1"]) == 400
    with pytest.raises(NNTrainerError, match="--overwrite"):
        inject_observables(config, [str(toy_files[0])], output=tmp_path / "friends")


def test_missing_branch_and_missing_block(toy_files: list[Path], tmp_path: Path) -> None:
    config = config_of(toy_files[:1], tmp_path, antitop=particle("tbarr"))
    convert(config)
    with pytest.raises(InputError, match="truth_tbarr_eta.*Did you mean 'truth_tbar_eta'"):
        add_observables(config)
    with pytest.raises(ConfigError, match="no block 'observables'"):
        add_observables(config.model_copy(update={"observables": None}))


def test_leptons_of_a_dilepton_toy() -> None:
    from nntrainer.dataset.build import evaluate
    from nntrainer.ntuples.toy import generate_arrays

    toy = generate_arrays("ttH", 300, seed=5, channel="dilepton")

    def lepton(sign: str) -> dict[str, str]:
        first = {key: f"at(el_{key}[el_charge {sign} 0], 0, -1)" for key in ("pt", "eta", "phi", "e")}
        there = f"count(el_pt[el_charge {sign} 0]) > 0"
        return {k: f"where({there}, {v}, at(mu_{k}[mu_charge {sign} 0], 0, -1))" for k, v in first.items()}

    block = Observables.model_validate({**TOPS, "lepton": lepton("<"), "antilepton": lepton(">")})
    config = config_of([Path("none.root")], Path("."), **block.model_dump(exclude={"higgs", "frame"}))
    found = compute(block, evaluate(config, formulas(block), toy, start=0, entries=300))
    assert np.isfinite(found["delta_phi_ll"]).all()
    assert 0.02 < np.abs(found[ODD]).mean() < 0.6
    assert abs(np.sign(found[ODD]).mean()) < 0.25  # the toy has no spin correlation: nothing prefers a sign
