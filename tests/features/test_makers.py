"""Feature makers against hand-computed events, the package vector and the toy ntuple's own variables."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import pytest
import vector
from pydantic import ValidationError

from nntrainer.config.registry import MAKERS
from nntrainer.errors import ConfigError
from nntrainer.features.collection import BLOCK

SLOTS = 4
PT_TETRAHEDRON = 100 * np.sqrt(2 / 3)
ETA_TETRAHEDRON = float(np.arcsinh(1 / np.sqrt(2)))
PI = np.pi

# (pt, eta, phi, e, tag) of each object; e = 100 for the first two events, so that sums are easy.
EVENTS: list[list[tuple[float, float, float, float, float]]] = [
    [(100, 0, 0, 100, 5), (100, 0, PI, 100, 1)],
    [
        (PT_TETRAHEDRON, ETA_TETRAHEDRON, PI / 4, 100, 1),
        (PT_TETRAHEDRON, -ETA_TETRAHEDRON, -PI / 4, 100, 4),
        (PT_TETRAHEDRON, -ETA_TETRAHEDRON, 3 * PI / 4, 100, 4),
        (PT_TETRAHEDRON, ETA_TETRAHEDRON, -3 * PI / 4, 100, 5),
    ],
    [],
    [(50, 1, 3, 90, 5)],
    [(80, 0.4, 3.0, 100, 5), (60, -0.3, -3.0, 70, 4), (40, 1.2, 0.5, 80, 2)],
]
LEPTONS = [(0.5, 0.0), (0.0, 0.0), (0.0, 0.0), (1.0, -3.0), (-0.5, 2.5)]
PAIRS, TETRAHEDRON, ONE, NONE = (0, 1, 4), 1, 3, 2


def objects(events: list[list[tuple[float, ...]]]) -> dict[str, dict[str, np.ndarray]]:
    # What lies in unused slots must not matter, so it is as bad as it can be.
    table = {name: np.full((len(events), SLOTS), np.nan, np.float32) for name in ("pt", "eta", "phi", "e", "tag")}
    valid = np.zeros((len(events), SLOTS), bool)
    for row, event in enumerate(events):
        for slot, values in enumerate(event):
            valid[row, slot] = True
            for name, value in zip(table, values, strict=True):
                table[name][row, slot] = value
    lepton = {"lepton_eta": np.full((len(events), 1), np.nan), "lepton_phi": np.full((len(events), 1), np.nan)}
    there = np.array([len(event) > 0 for event in events])[:, None]
    for row, (eta, phi) in enumerate(LEPTONS[: len(events)]):
        lepton["lepton_eta"][row], lepton["lepton_phi"][row] = (eta, phi) if there[row] else (np.nan, np.nan)
    return {"jets": {"valid": valid, **table}, "leptons": {"valid": there, **lepton}}


NAMES = {"pt": "pt", "eta": "eta", "phi": "phi", "e": "e"}
READ = {
    "ht": ("pt",),
    "object_count": (),
    "sphericity": ("pt", "eta", "phi"),
    "aplanarity": ("pt", "eta", "phi"),
    "transverse_mass": ("pt", "phi"),
    "lepton_angle": ("eta", "phi"),
    "met_angle": ("phi",),
}


def maker(name: str, **options: Any) -> Any:
    columns = {key: NAMES[key] for key in READ.get(name, ("pt", "eta", "phi", "e"))}
    return MAKERS.get(name).model_validate({"maker": name, "collection": "jets", **columns, **options})


def make(name: str, **options: Any) -> list[np.ndarray]:
    made = maker(name, **options).make({}, objects(EVENTS))
    assert all(values.dtype == np.float32 and values.shape == (len(EVENTS),) for values in made.values())
    return list(made.values())


def test_back_to_back_and_tetrahedron_by_hand() -> None:
    def first_two(name: str, **options: Any) -> np.ndarray:
        return np.array([values[:2] for values in make(name, **options)])

    assert first_two("sphericity")[0] == pytest.approx([0, 1], abs=1e-6)
    assert first_two("aplanarity")[0] == pytest.approx([0, 0.5], abs=1e-6)
    assert first_two("centrality")[0] == pytest.approx([1, np.sqrt(2 / 3)])
    moments = first_two("fox_wolfram")
    # Legendre polynomials at cos θ = -1, and at -1/3 with 12 ordered pairs and 4 diagonal terms over 16.
    assert moments[:, 0] == pytest.approx([1, 0, 1, 0, 1], abs=1e-6)
    assert moments[:, 1] == pytest.approx([1, 0, 0, 5 / 9, 7 / 27], abs=1e-6)
    assert first_two("ht")[0] == pytest.approx([200, 4 * PT_TETRAHEDRON])
    assert first_two("pair_extreme", quantity="mass", extreme="max")[0] == pytest.approx([200, 200 * np.sqrt(2 / 3)])
    assert first_two("pair_extreme", quantity="dr", extreme="min")[0] == pytest.approx(
        [PI, np.hypot(PI / 2, 2 * ETA_TETRAHEDRON)]
    )
    assert first_two("pair_extreme", quantity="z")[0] == pytest.approx([0.5, 0.5])
    assert first_two("pair_extreme", quantity="kt")[0, 0] == pytest.approx(100 * PI)


def test_counts_and_thresholds() -> None:
    assert make("object_count")[0].tolist() == [2, 4, 0, 1, 3]
    assert make("object_count", select="tag", at_least=4)[0].tolist() == [1, 3, 0, 1, 2]
    assert make("ht", select="tag", at_least=5)[0] == pytest.approx([100, PT_TETRAHEDRON, 0, 50, 80])
    assert make("four_vector", components=["pt"], select="tag", at_least=4)[0][1] == pytest.approx(PT_TETRAHEDRON)
    tagged = make("pair_extreme", select="tag", at_least=4, default=-1)[0]
    # Two tagged jets across φ = π: |Δφ| = 2π - 6.
    assert tagged == pytest.approx([-1, tagged[1], -1, -1, np.hypot(0.7, 2 * PI - 6)], abs=1e-6)


@pytest.mark.parametrize("quantity", ["dr", "deta", "dphi", "mass"])
@pytest.mark.parametrize("extreme", ["min", "max", "mean"])
def test_pairs_against_vector(quantity: str, extreme: str) -> None:
    (made,) = make("pair_extreme", quantity=quantity, extreme=extreme, default=-9)
    for row, event in enumerate(EVENTS):
        jets = [vector.obj(pt=pt, eta=eta, phi=phi, energy=e) for pt, eta, phi, e, _ in event]
        values = []
        for i, one in enumerate(jets):
            for other in jets[i + 1 :]:
                values.append(
                    {
                        "dr": one.deltaR(other),
                        "deta": abs(one.deltaeta(other)),
                        "dphi": abs(one.deltaphi(other)),
                        "mass": (one + other).mass,
                    }[quantity]
                )
        expected = {"min": min, "max": max, "mean": np.mean}[extreme](values) if values else -9
        assert made[row] == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_nearest_mass_against_vector() -> None:
    mass, dr = make("invariant_mass_nearest", target=100, quantities=["mass", "dr"], default=-5)
    for row in PAIRS:
        jets = [vector.obj(pt=pt, eta=eta, phi=phi, energy=e) for pt, eta, phi, e, _ in EVENTS[row]]
        pairs = [(one, other) for i, one in enumerate(jets) for other in jets[i + 1 :]]
        masses = np.array([(one + other).mass for one, other in pairs])
        away = np.abs(masses - 100)
        # All pairs of the tetrahedron have the same mass: which of them is taken hangs on the last digit.
        nearest = np.flatnonzero(away < away.min() + 1e-4)
        assert mass[row] == pytest.approx(masses[nearest[0]], rel=1e-5)
        distances = [one.deltaR(other) for one, other in (pairs[i] for i in nearest)]
        assert np.isclose(distances, dr[row], rtol=1e-5).any()
        assert len(nearest) == 1 or row == TETRAHEDRON
    assert mass[[ONE, NONE]].tolist() == dr[[ONE, NONE]].tolist() == [-5, -5]


def test_four_vectors_against_vector() -> None:
    components = ["px", "py", "pz", "e", "pt", "log_pt", "mass"]
    first = make("four_vector", components=components, default=-7)
    total = make("four_vector", components=components, index=None, default=-7)
    second = make("four_vector", components=["pt"], index=1, default=-7)[0]
    for row, event in enumerate(EVENTS):
        jets = [vector.obj(pt=pt, eta=eta, phi=phi, energy=e) for pt, eta, phi, e, _ in event]
        assert second[row] == pytest.approx(event[1][0] if len(event) > 1 else -7)
        for made, expected in ((first, jets[:1]), (total, jets)):
            if not expected:
                assert [values[row] for values in made] == [-7] * len(components)
                continue
            p = expected[0]
            for jet in expected[1:]:
                p = p + jet
            wanted = [p.px, p.py, p.pz, p.energy, p.pt, None, max(p.mass, 0)]
            for name, values, value in zip(components, made, wanted, strict=True):
                if value is not None:
                    assert values[row] == pytest.approx(value, rel=1e-4, abs=2e-2), name
    # The sum of jets back to back has no transverse momentum to take the logarithm of, up to rounding.
    assert first[5][0] == pytest.approx(np.log(100))


def test_transverse_mass_by_hand() -> None:
    events = {"met_met": np.array([100, 50, 10, 50, 30]), "met_phi": np.array([PI, 0, 0, 3, 1])}
    (made,) = maker("transverse_mass", default=-1).make(events, objects(EVENTS)).values()
    assert made[0] == pytest.approx(np.sqrt(2 * 100 * 100 * 2))
    assert made[1] == pytest.approx(np.sqrt(2 * PT_TETRAHEDRON * 50 * (1 - np.sqrt(0.5))), rel=1e-5)
    assert made[2] == -1
    assert made[3] == pytest.approx(0, abs=1e-3)
    assert made[4] == pytest.approx(np.sqrt(2 * 80 * 30 * (1 - np.cos(2))), rel=1e-5)


def test_angles_by_hand_and_against_vector() -> None:
    met_phi = np.array([PI / 2, 0, 0, 3.0, -2.5])
    for extreme in ("min", "max", "mean", "leading"):
        dr, deta, dphi = (
            make("lepton_angle", extreme=extreme, quantity=q, default=-1)[0] for q in ("dr", "deta", "dphi")
        )
        (met,) = maker("met_angle", extreme=extreme, default=-1).make({"met_phi": met_phi}, objects(EVENTS)).values()
        for row, event in enumerate(EVENTS):
            if not event:
                assert [x[row] for x in (dr, deta, dphi, met)] == [-1] * 4
                continue
            lepton = vector.obj(pt=1, eta=LEPTONS[row][0], phi=LEPTONS[row][1], mass=0)
            missing = vector.obj(pt=1, phi=met_phi[row])
            jets = [vector.obj(pt=pt, eta=eta, phi=phi, energy=e) for pt, eta, phi, e, _ in event]
            one = {"min": min, "max": max, "mean": np.mean, "leading": lambda x: x[0]}[extreme]
            assert dr[row] == pytest.approx(one([jet.deltaR(lepton) for jet in jets]), rel=1e-5)
            assert deta[row] == pytest.approx(one([abs(jet.deltaeta(lepton)) for jet in jets]), rel=1e-5, abs=1e-6)
            assert dphi[row] == pytest.approx(one([abs(jet.deltaphi(lepton)) for jet in jets]), rel=1e-5, abs=1e-6)
            assert met[row] == pytest.approx(one([abs(jet.deltaphi(missing)) for jet in jets]), rel=1e-5, abs=1e-6)
    # By hand: jets at φ = 0 and π, a lepton at η = 1/2 and φ = 0, missing momentum across.
    assert make("lepton_angle")[0][0] == pytest.approx(0.5)
    assert make("lepton_angle", extreme="max")[0][0] == pytest.approx(np.hypot(0.5, PI))
    tagged = make("lepton_angle", select="tag", at_least=4, quantity="dphi", default=-1)[0]
    assert tagged == pytest.approx([0, PI / 4, -1, 2 * PI - 6, 0.5], abs=1e-6)


def test_angles_without_lepton() -> None:
    table = objects(EVENTS)
    table["leptons"]["valid"][0] = False
    values = maker("lepton_angle", default=-1).make({}, table)["jets_min_dr_lepton"]
    assert values[0] == -1
    assert values[1] > 0
    with pytest.raises(ConfigError, match="needs the collection 'leptons'"):
        maker("lepton_angle").check([], {"jets": ["eta", "phi"]})


def all_makers() -> list[Any]:
    return [maker(name) for name in MAKERS.names()]


@pytest.mark.parametrize("each", all_makers(), ids=lambda each: each.maker)
def test_no_objects_one_object_no_events_one_slot(each: Any) -> None:
    met = {"met_met": np.ones(5, np.float32), "met_phi": np.ones(5, np.float32)}
    table = objects(EVENTS)
    for values in each.make(met, table).values():
        assert np.isfinite(values).all()
        assert values[NONE] == 0
    none = {group: {name: column[:0] for name, column in columns.items()} for group, columns in table.items()}
    assert all(values.shape == (0,) for values in each.make({k: v[:0] for k, v in met.items()}, none).values())
    one_slot = table | {"jets": {name: column[:, :1] for name, column in table["jets"].items()}}
    assert all(np.isfinite(values).all() for values in each.make(met, one_slot).values())


@pytest.mark.parametrize("each", all_makers(), ids=lambda each: each.maker)
def test_nan_stays_in_its_event(each: Any) -> None:
    table = objects(EVENTS)
    met = {"met_met": np.ones(5, np.float32), "met_phi": np.ones(5, np.float32)}
    before = each.make(met, table)
    for name in each.fields():
        table["jets"][name][4, 0] = np.nan
    for name, values in each.make(met, table).items():
        assert np.array_equal(values[:4], before[name][:4])
        assert each.maker == "object_count" or np.isnan(values[4]), name


def test_blocks_do_not_show() -> None:
    repeats = BLOCK // len(EVENTS) + 2
    many = {"jets": {name: np.tile(column, (repeats, 1)) for name, column in objects(EVENTS)["jets"].items()}}
    each = maker("invariant_mass_nearest", target=100)
    few = each.make({}, objects(EVENTS))["nearest_mass"]
    assert np.array_equal(each.make({}, many)["nearest_mass"], np.tile(few, repeats))


def test_mass_instead_of_energy() -> None:
    table = objects(EVENTS)
    p = table["jets"]["pt"].astype(float) * np.cosh(table["jets"]["eta"].astype(float))
    table["jets"]["m"] = np.sqrt(np.maximum(table["jets"]["e"].astype(float) ** 2 - p**2, 0)).astype(np.float32)
    with_energy = maker("pair_extreme", quantity="mass").make({}, table)["jets_min_mass"]
    with_mass = maker("pair_extreme", quantity="mass", mass="m").make({}, table)["jets_min_mass"]
    assert with_mass == pytest.approx(with_energy, rel=1e-4)


def test_against_the_variables_of_the_toy_ntuple() -> None:
    from nntrainer.ntuples.toy import generate_arrays

    toy = generate_arrays("ttH", 500, seed=3)
    slots = int(ak.max(ak.num(toy["jet_pt"])))
    names = {name: f"jet_{name}" for name in ("pt", "eta", "phi", "e")}
    branches = {**names, "tag": "jet_tagWeightBin_DL1r_Continuous"}
    jets = {
        name: ak.to_numpy(ak.fill_none(ak.pad_none(toy[branch], slots, clip=True), 0))
        for name, branch in branches.items()
    }
    jets["valid"] = np.arange(slots) < ak.to_numpy(ak.num(toy["jet_pt"]))[:, None]
    b = {"select": "tag", "at_least": 4, "default": -999}
    comparisons = [
        (maker("ht"), ["HT_jets"]),
        (maker("object_count"), ["nJets"]),
        (maker("object_count", select="tag", at_least=4), ["nBTags_DL1r_70"]),
        (maker("aplanarity"), ["Aplanarity_jets"]),
        (maker("fox_wolfram", moments=[2]), ["H2_jets"]),
        (maker("pair_extreme", extreme="mean", **b), ["dRbb_avg_70"]),
        (maker("pair_extreme", quantity="deta", extreme="max", **b), ["dEtabb_MaxdEta_70"]),
        (maker("pair_extreme", quantity="deta", extreme="max"), ["dEtajj_MaxdEta"]),
        (
            maker("invariant_mass_nearest", quantities=["mass", "dr"], **b),
            ["Mbb_HiggsMass_70", "dRbb_HiggsMass_70"],
        ),
    ]
    for each, wanted in comparisons:
        for values, branch in zip(each.make({}, {"jets": jets}).values(), wanted, strict=True):
            assert values == pytest.approx(np.asarray(toy[branch], float), rel=2e-3, abs=2e-5), branch


def test_check_names_what_is_missing() -> None:
    fields = {"jets": ["pt", "eta", "phi", "energy"]}
    with pytest.raises(ConfigError, match=r"'ht' needs 'jet_pt'.*features\.objects\.jets\.features"):
        MAKERS.get("ht").model_validate({"maker": "ht"}).check([], fields)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"collection 'jet'.*Did you mean 'jets'"):
        maker("ht", collection="jet").check([], fields)
    with pytest.raises(ConfigError, match=r"needs 'met_met'.*Did you mean 'met_meT'"):
        maker("transverse_mass").check(["met_meT", "met_phi"], fields)
    maker("pair_extreme").check([], fields)  # ΔR needs no energy
    with pytest.raises(ConfigError, match="needs 'e'"):
        maker("pair_extreme", quantity="mass").check([], fields)


def test_options_are_closed() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'sphericity'"):
        MAKERS.get("spericity")
    with pytest.raises(ValidationError, match="at_least"):
        maker("ht", select="tag")
    with pytest.raises(ValidationError):
        maker("fox_wolfram", moments=[5])
    with pytest.raises(ValidationError):
        maker("sphericity", e="e")


def test_outputs_match_what_is_made() -> None:
    met = {"met_met": np.ones(5), "met_phi": np.ones(5)}
    for each in all_makers():
        names = [name for name, _, _ in each.outputs()]
        assert list(each.make(met, objects(EVENTS))) == names
        assert len(set(names)) == len(names)
