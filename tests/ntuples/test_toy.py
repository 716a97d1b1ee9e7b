"""The toy generator: kinematics, detector, and that a seed means the same events however they are written."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
import vector

from nntrainer.errors import InputError
from nntrainer.ntuples import toy_physics
from nntrainer.ntuples.toy import SAMPLES, generate, generate_arrays
from nntrainer.ntuples.toy_branches import event_numbers
from nntrainer.ntuples.toy_detector import JET_MASS, JET_MASS_SIGMA, TAG_EFFICIENCY, tag_bins
from nntrainer.ntuples.toy_physics import GEV, M_HIGGS, M_TOP, M_W, PROCESSES, hard_process, mass

N = 3000
JER = "JET_JER_EffectiveNP_1__1up"


@pytest.fixture(scope="module")
def arrays() -> dict[str, dict]:
    return {sample: generate_arrays(sample, N, 7) for sample in SAMPLES}


@pytest.fixture(scope="module")
def pair(arrays: dict[str, dict]) -> tuple[ak.Array, ak.Array]:
    """Jets of ttH as vectors, and the truthmatch."""
    a = arrays["ttH"]
    return objects(a, "jet"), a["jet_truthmatch"]


def objects(a: dict, collection: str) -> ak.Array:
    vector.register_awkward()
    fields = {name: a[f"{collection}_{name.lower()}"] for name in ("pt", "eta", "phi", "E")}
    fields = {name: ak.values_astype(values, np.float64) for name, values in fields.items()}
    return ak.zip(fields, with_name="Momentum4D")


def content(path: Path, tree: str = "nominal_Loose") -> ak.Array:
    with uproot.open(path) as file:
        return file[tree].arrays()


def same(one: dict, other: dict, skip: tuple[str, ...] = ()) -> bool:
    assert set(one) == set(other)
    return all(ak.array_equal(one[name], other[name]) for name in one if name not in skip)


# --- truth -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", ["ljets", "dilepton"])
def test_truth_masses_and_decays(channel: str) -> None:
    event = hard_process(np.random.default_rng(1), "ttH", 4000, channel=channel)
    assert np.allclose(mass(event.tops), M_TOP, rtol=1e-6)
    assert np.allclose(mass(event.pair), M_HIGGS, rtol=1e-6)
    assert abs(np.median(mass(event.w_bosons)) - M_W) < 0.1 * GEV
    assert 1.7 * GEV < np.subtract(*np.percentile(mass(event.w_bosons), [75, 25])) < 2.4 * GEV  # the width
    assert np.allclose(event.partons[..., 4:6].sum(axis=2), event.pair, rtol=1e-9, atol=1.0)
    # each top is its b, the W's daughters, and nothing else
    leptons, neutrinos, partons = event.leptons, event.neutrinos, event.partons
    first = partons[..., 0] + leptons[..., 0] + neutrinos[..., 0]
    second = partons[..., 1] + (
        partons[..., 2:4].sum(axis=2) if channel == "ljets" else leptons[..., 1] + neutrinos[..., 1]
    )
    assert np.allclose(mass(first), M_TOP, rtol=1e-6)
    assert np.allclose(mass(second), M_TOP, rtol=1e-6)
    positive = event.charge[:, 0] > 0
    assert np.allclose(first, np.where(positive, event.tops[..., 0], event.tops[..., 1]), atol=1.0)
    if channel == "dilepton":
        assert not event.present[:, 2:4].any()
        assert np.array_equal(event.charge.sum(axis=1), np.zeros(4000))


@pytest.mark.parametrize("sample", SAMPLES)
def test_transverse_momentum_balances(sample: str) -> None:
    event = hard_process(np.random.default_rng(2), sample, 2000)
    total = event.partons.sum(axis=2) + event.leptons.sum(axis=2) + event.neutrinos.sum(axis=2)
    assert np.abs(total[:2]).max() < 1.0  # MeV
    assert np.hypot(*event.pair[:2]).mean() > 20 * GEV


def test_higgs_decays_isotropically() -> None:
    event = hard_process(np.random.default_rng(3), "ttH", 20000)
    b, parent = event.partons[..., 4], event.pair
    # E of a daughter is linear in its cos θ*; which of the two is the harder one only changes the sign
    momentum = np.sqrt((parent[:3] ** 2).sum(axis=0))
    cosine = (2 * b[3] - parent[3]) / momentum / np.sqrt(1 - (2 * 4.8 * GEV / M_HIGGS) ** 2)
    counts, _ = np.histogram(np.abs(cosine), bins=10, range=(0, 1))
    assert counts.sum() == 20000
    assert ((counts - 2000) ** 2 / 2000).sum() < 28  # chi2 of 9 degrees of freedom, p = 0.001


def test_alpha_changes_tth_only() -> None:
    def draw(sample: str, alpha: float) -> toy_physics.Event:
        return hard_process(np.random.default_rng(4), sample, 8000, alpha_deg=alpha)

    even, odd, negative = (draw("ttH", alpha) for alpha in (0, 90, -90))
    assert np.hypot(*odd.pair[:2]).mean() < 0.8 * np.hypot(*even.pair[:2]).mean()

    def deta(event: toy_physics.Event) -> float:
        eta = np.arcsinh(event.tops[2] / np.hypot(event.tops[0], event.tops[1]))
        return np.abs(eta[:, 0] - eta[:, 1]).mean()

    assert deta(odd) < 0.95 * deta(even)
    assert np.array_equal(odd.pair, negative.pair)
    assert np.array_equal(draw("ttbb", 90).partons, draw("ttbb", 0).partons)


def test_splitting_pairs_are_close_and_soft() -> None:
    draws = {sample: hard_process(np.random.default_rng(5), sample, 8000) for sample in ("ttH", "ttbb")}

    def dr(event: toy_physics.Event) -> np.ndarray:
        p = event.partons[..., 4:6]
        eta, phi = np.arcsinh(p[2] / np.hypot(p[0], p[1])), np.arctan2(p[1], p[0])
        return np.hypot(eta[:, 0] - eta[:, 1], (phi[:, 0] - phi[:, 1] + np.pi) % (2 * np.pi) - np.pi)

    assert np.median(dr(draws["ttbb"])) < 0.6 * np.median(dr(draws["ttH"]))
    assert np.median(mass(draws["ttbb"].pair)) < 30 * GEV
    assert np.median(np.hypot(*draws["ttbb"].pair[:2])) < np.median(np.hypot(*draws["ttH"].pair[:2]))


# --- detector ----------------------------------------------------------------------------------------------


def test_tag_bins_have_the_named_efficiencies() -> None:
    n = 400_000
    for flavour, efficiencies in TAG_EFFICIENCY.items():
        bins = tag_bins(np.random.default_rng(6).random(n), np.full(n, flavour, np.int8))
        assert set(np.unique(bins)) == {1, 2, 3, 4, 5}
        for threshold, efficiency in zip((2, 3, 4, 5), efficiencies, strict=True):
            assert abs((bins >= threshold).mean() - efficiency) < 5 * np.sqrt(efficiency / n)


def test_tag_efficiency_in_events(arrays: dict[str, dict]) -> None:
    """In events with two tags apart from the jet, the preselection does not bias it."""
    a = arrays["ttH"]
    tagged = a["jet_tagWeightBin_DL1r_Continuous"] >= 4
    others = ak.sum(tagged, axis=1)[:, None] - tagged
    for flavour, expected in ((5, 0.70), (4, 0.05), (0, 0.0025)):
        chosen = ak.flatten(tagged[(others >= 2) & (a["jet_truthflav"] == flavour)])
        assert abs(ak.mean(chosen) - expected) < 5 * np.sqrt(expected / len(chosen)) + 0.003


@pytest.mark.parametrize("sample", SAMPLES)
def test_jets_are_in_acceptance_ordered_and_apart(arrays: dict[str, dict], sample: str) -> None:
    a = arrays[sample]
    pt, eta = a["jet_pt"], a["jet_eta"]
    assert ak.all(pt[:, :-1] >= pt[:, 1:])
    assert ak.min(pt) >= 25 * GEV
    assert ak.max(np.abs(eta)) <= 2.5
    assert np.all(ak.to_numpy(ak.num(pt)) == a["nJets"])
    assert a["nJets"].min() == 4
    jets = objects(a, "jet")
    one, other = ak.unzip(ak.combinations(jets, 2))
    assert ak.min(one.deltaR(other)) > 0.4 - 1e-5
    assert ak.min(jets.mass2) > 0
    assert np.array_equal(a["nElectrons"] + a["nMuons"], np.ones(N))
    assert np.all(ak.to_numpy(ak.num(a["el_pt"])) == a["nElectrons"])
    corrected = a["jet_pt_softmu_corr"] / pt
    assert ak.min(corrected) >= 1
    if sample == "ttlight":  # light pairs: b jets come from top quarks, at most two
        assert ak.all(ak.sum(a["jet_truthflav"] == 5, axis=1) <= 2)


def test_the_mass_of_a_jet_does_not_tell_its_flavour(pair: tuple[ak.Array, ak.Array], arrays: dict[str, dict]) -> None:
    """The median of m / pT, which merged jets raise in every flavour alike, and the width of the logarithm."""
    jets, _ = pair
    ratio, flavour = ak.flatten(jets.mass / jets.pt), ak.flatten(arrays["ttH"]["jet_truthflav"])
    logarithm = {code: np.log(ak.to_numpy(ratio[flavour == code])) for code in (0, 5)}
    assert abs(np.median(np.exp(logarithm[0])) - JET_MASS) < 0.005
    assert abs(np.median(logarithm[0]) - np.median(logarithm[5])) < 0.05
    widths = [np.subtract(*np.percentile(each, [84, 16])) / 2 for each in logarithm.values()]
    assert widths == pytest.approx([JET_MASS_SIGMA] * 2, rel=0.15)


def test_truthmatch_finds_higgs_w_and_top(pair: tuple[ak.Array, ak.Array], arrays: dict[str, dict]) -> None:
    jets, match = pair
    assert set(np.unique(ak.flatten(match))) == set(range(7))
    for parton in range(1, 7):
        assert ak.max(ak.sum(match == parton, axis=1)) == 1

    def resonance(*partons: int) -> ak.Array:
        whole = ak.all([ak.any(match == parton, axis=1) for parton in partons], axis=0)
        first = ak.firsts(jets[whole][match[whole] == partons[0]])
        return sum((ak.firsts(jets[whole][match[whole] == parton]) for parton in partons[1:]), first)

    for partons, truth in (((1, 2), M_HIGGS), ((5, 6), M_W), ((4, 5, 6), M_TOP)):
        found = resonance(*partons)
        assert len(found) > 300
        assert 0.85 < np.median(ak.to_numpy(ak.drop_none(found.mass))) / truth < 1.05
    assert ak.all(arrays["ttH"]["jet_truthflav"][(match >= 1) & (match <= 4)] == 5)
    for sample in ("ttbb", "ttlight"):
        assert set(np.unique(ak.flatten(arrays[sample]["jet_truthmatch"]))) == {0, 3, 4, 5, 6}


def test_event_variables_agree_with_vector(arrays: dict[str, dict]) -> None:
    a = arrays["ttH"]
    jets = objects(a, "jet")
    tagged = jets[a["jet_tagWeightBin_DL1r_Continuous"] >= 4]
    lepton = ak.firsts(ak.concatenate([objects(a, "el"), objects(a, "mu")], axis=1))
    one, other = ak.unzip(ak.combinations(tagged, 2))
    dr, m = one.deltaR(other), (one + other).mass
    nearest = ak.argmin(np.abs(m - M_HIGGS), axis=1, keepdims=True)
    closest = ak.argmin(dr, axis=1, keepdims=True)
    system = ak.firsts((one + other)[closest])
    energy = ak.sum(jets.E, axis=1) + lepton.E
    total = ak.sum(jets.p, axis=1) + lepton.p
    px, py, pz = (ak.sum(getattr(jets, axis), axis=1) + getattr(lepton, axis) for axis in ("px", "py", "pz"))
    all_one, all_other = ak.unzip(ak.cartesian([jets, jets]))
    cosine = (all_one.px * all_other.px + all_one.py * all_other.py + all_one.pz * all_other.pz) / (
        all_one.p * all_other.p
    )
    h2 = ak.sum(all_one.p * all_other.p * (1.5 * cosine**2 - 0.5), axis=1) / ak.sum(jets.E, axis=1) ** 2
    expected = {
        "nBTags_DL1r_70": ak.num(tagged),
        "HT_jets": ak.sum(jets.pt, axis=1),
        "HT_all": ak.sum(jets.pt, axis=1) + lepton.pt,
        "Centrality_all": (ak.sum(jets.pt, axis=1) + lepton.pt) / energy,
        "H0_all": (total / energy) ** 2,
        "H1_all": (px**2 + py**2 + pz**2) / energy**2,
        "H2_jets": h2,
        "dRbb_avg_70": ak.mean(dr, axis=1),
        "dRbb_HiggsMass_70": ak.firsts(dr[nearest]),
        "Mbb_HiggsMass_70": ak.firsts(m[nearest]),
        "Mbb_MindR_70": ak.firsts(m[closest]),
        "dRlepbb_MindR_70": system.deltaR(lepton),
        "dRlj_MindR": ak.min(jets.deltaR(lepton), axis=1),
        "dEtabb_MaxdEta_70": ak.max(np.abs(one.eta - other.eta), axis=1),
        "dEtajj_MaxdEta": ak.max(jets.eta, axis=1) - ak.min(jets.eta, axis=1),
        "mwt_mwt": np.sqrt(2 * lepton.pt * a["met_met"] * (1 - np.cos(lepton.phi - a["met_phi"]))),
    }
    for name, values in expected.items():
        assert np.allclose(a[name], ak.to_numpy(values), rtol=2e-4, atol=2e-4), name
    p = np.stack([ak.to_numpy(ak.fill_none(ak.pad_none(getattr(jets, c), 12), 0.0)) for c in ("px", "py", "pz")])
    tensor = np.einsum("anj,bnj->nab", p, p)
    eigenvalues = np.linalg.eigvalsh(tensor) / np.trace(tensor, axis1=1, axis2=2)[:, None]
    assert np.allclose(a["Aplanarity_jets"], 1.5 * eigenvalues[:, 0], atol=1e-4)
    assert ak.min(a["dRlj_MindR"]) > 0.4 - 1e-5


def test_missing_momentum_follows_the_neutrino(arrays: dict[str, dict]) -> None:
    a = arrays["ttH"]
    assert 40 * GEV < a["met_met"].mean() < 110 * GEV
    assert 40 * GEV < np.median(a["mwt_mwt"]) < M_W  # the Jacobian peak of W → ℓν


# --- weights, ids, yields ----------------------------------------------------------------------------------


def test_weights(arrays: dict[str, dict]) -> None:
    for sample, process in PROCESSES.items():
        a = arrays[sample]
        error = 5 * np.sqrt(process.negative_fraction / N)
        assert abs((a["weight_mc"] < 0).mean() - process.negative_fraction) < error
        for name in ("weight_pileup", "weight_leptonSF", "weight_jvt", "weight_bTagSF_DL1r_Continuous"):
            assert a[name].min() > 0
            assert abs(a[name].mean() - 1) < 0.05
            assert a[name].std() > 0.005
    assert {name: p.negative_fraction for name, p in PROCESSES.items()}["ttbb"] == 0.2
    yields = {s: (a["weight_mc"] * a["xsec_times_BR"] / a["totalEventsWeighted"]).sum() for s, a in arrays.items()}
    assert yields["ttH"] < 0.1 * yields["ttbb"] < 0.1 * yields["ttcc"] < 0.1 * yields["ttlight"]


def test_yields_do_not_depend_on_how_many_events() -> None:
    few, many = generate_arrays("ttbb", 1000, 7), generate_arrays("ttbb", 4000, 7)
    assert np.allclose(4 * few["totalEventsWeighted"][0], many["totalEventsWeighted"][0])
    assert same({k: v[:1000] for k, v in many.items()}, few, skip=("totalEventsWeighted",))


def test_event_ids(arrays: dict[str, dict]) -> None:
    ids = {sample: a["eventNumber"] for sample, a in arrays.items()}
    everything = np.concatenate(list(ids.values()))
    assert everything.dtype == np.uint64
    assert np.unique(everything).size == len(SAMPLES) * N
    assert everything.max() < 2**53  # exact as a double
    for modulus in (2, 3, 4, 5, 10):
        for numbers in ids.values():
            counts = np.bincount((numbers % np.uint64(modulus)).astype(int), minlength=modulus)
            assert ((counts - N / modulus) ** 2 / (N / modulus)).sum() < 35
    # nor does the size of the id tell the sample
    medians = np.array([np.median(numbers.astype(float)) for numbers in ids.values()]) / everything.max()
    assert np.all(np.abs(medians - 0.5) < 0.06)
    assert not np.isin(event_numbers(1, np.arange(5000), 8), ids["ttH"]).any()


def test_higgs_truth_only_for_signal(arrays: dict[str, dict]) -> None:
    assert np.allclose(arrays["ttH"]["truth_higgs_m"], M_HIGGS, rtol=1e-5)
    assert np.all(arrays["ttbb"]["truth_higgs_m"] == -999)
    for sample in SAMPLES:
        assert np.allclose(arrays[sample]["truth_top_m"], M_TOP, rtol=1e-4)
        assert np.all(arrays[sample]["HF_SimpleClassification"] == PROCESSES[sample].hf_class)
        for name, values in arrays[sample].items():
            assert np.all(np.isfinite(ak.to_numpy(ak.flatten(values, axis=None)))), name


# --- files -------------------------------------------------------------------------------------------------


class Told:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.totals: list[int | None] = []
        self.done: list[int] = []

    def start(self, description: str, total: int | None, unit: str = "events") -> None:
        self.totals.append(total)
        self.done.append(0)

    def advance(self, n: int) -> None:
        self.done[-1] += n

    def note(self, text: str) -> None: ...

    def finish(self) -> None: ...


def test_file_equals_arrays_whatever_chunk_and_files(tmp_path: Path) -> None:
    expected = generate_arrays("ttH", N, 7, extras=True)
    seen = Told()
    options = {"samples": ("ttH",), "events": N, "seed": 7, "extras": True}
    one = generate(tmp_path / "one", **options, progress=seen)
    several = generate(tmp_path / "several", **options, files=3, chunk=171)
    assert [path.name for path in one] == ["ttH.root"]
    assert [path.name for path in several] == ["ttH_000.root", "ttH_001.root", "ttH_002.root"]
    assert seen.done == [N] and seen.totals == [N]
    for paths in (one, several):
        read = ak.concatenate([content(path) for path in paths])
        counters = {"njet", "nel", "nmu", "ntrigger_bits"}
        assert set(read.fields) == set(expected) | counters
        for name, values in expected.items():
            assert ak.array_equal(read[name], values, dtype_exact=False), name
    assert not list(tmp_path.rglob("*.part"))
    with uproot.open(one[0]) as file:
        assert file["cutflow"].values()[0] == N
        assert file["nominal_Loose/generator_name"].typename == "char*"
        assert file["nominal_Loose/met_covariance"].typename == "float[2][2]"
        assert file["nominal_Loose/jet_pt"].typename == "float[]"


def test_the_files_of_several_samples_and_trees(tmp_path: Path) -> None:
    paths = generate(tmp_path, samples=("ttH", "ttlight"), events=800, trees=("nominal_Loose", JER))
    assert [path.name for path in paths] == ["ttH.root", "ttlight.root"]
    nominal, varied = content(paths[0]), content(paths[0], JER)
    assert nominal.fields == varied.fields
    assert len(nominal) == len(varied) == 800
    _, left, right = np.intersect1d(
        ak.to_numpy(nominal.eventNumber), ak.to_numpy(varied.eventNumber), return_indices=True
    )
    assert 600 < left.size < 800  # the jets differ, so the preselection does for some
    nominal, varied = nominal[left], varied[right]
    assert np.array_equal(nominal.truth_higgs_pt, varied.truth_higgs_pt)
    assert np.array_equal(nominal.weight_pileup, varied.weight_pileup)
    assert np.mean(nominal.HT_jets != varied.HT_jets) > 0.99
    assert abs(np.mean(varied.HT_jets) / np.mean(nominal.HT_jets) - 1) < 0.02


def test_seeds_and_dilepton() -> None:
    assert not same(generate_arrays("ttH", 200, 1), generate_arrays("ttH", 200, 2))
    a = generate_arrays("ttbb", 500, 1, channel="dilepton")
    assert np.all(a["nElectrons"] + a["nMuons"] == 2)
    assert ak.all(ak.sum(a["el_charge"], axis=1) + ak.sum(a["mu_charge"], axis=1) == 0)
    assert set(np.unique(ak.flatten(a["jet_truthmatch"]))) == {0, 3, 4}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": ("ttHH",)}, ["'ttHH'", "'ttlight'", "Did you mean 'ttH'?"]),
        ({"channel": "dilep"}, ["'dilep'", "Did you mean 'dilepton'?"]),
        ({"events": 0}, ["events", "at least 1"]),
        ({"seed": -1}, ["seed", "-1"]),
        ({"events": 2, "files": 3}, ["2 events", "3 files"]),
    ],
)
def test_bad_arguments(tmp_path: Path, options: dict, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        generate(tmp_path / "out", **options)
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_does_not_replace(tmp_path: Path) -> None:
    (path,) = generate(tmp_path, samples=("ttH",), events=50)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"ttH\.root"):
        generate(tmp_path, samples=("ttcc", "ttH"), events=60)
    assert path.read_bytes() == before
    assert not (tmp_path / "ttcc.root").exists()
    generate(tmp_path, samples=("ttH",), events=60, overwrite=True)
    assert len(content(path)) == 60


def test_a_failure_leaves_no_part(tmp_path: Path) -> None:
    class Stop(Told):
        def advance(self, n: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path, samples=("ttH",), events=50, progress=Stop())
    assert list(tmp_path.iterdir()) == []
