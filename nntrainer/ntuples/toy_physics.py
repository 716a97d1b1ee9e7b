"""The hard process of the toy ttH generator: two top quarks, a pair of jets between them, and their decays.

This is a TOY. It has true kinematics (masses, two-body decays, momentum balance), so that a network has
something real to learn and the Higgs reconstruction has a right answer, but the spectra are chosen formulae
of plausible shape: there is no matrix element, no parton shower and no spin correlation. Never quote physics
from it.

What is drawn:

- ttH: a Higgs boson of 125 GeV (zero width) with a pT of Gamma shape, decaying isotropically to a b pair.
- ttbb, ttcc, ttlight: instead of the Higgs boson a gluon that splits. Its mass falls from threshold like
  dm / m^2.5 and its pT falls steeply as well, hence a small ΔR of the pair. The leading-order splitting falls
  only like dm / m: the power is a choice, and how well ttH separates from ttbb depends on it.
- t t̄ of a mass falling from threshold, which recoil against that and against initial-state radiation (up to
  four jets), so that all transverse momenta add up to zero. t → W b and W → ℓν or qq′ are isotropic in the
  rest frames; the W mass is a Breit–Wigner truncated to 60–110 GeV.

What the CP-mixing angle alpha does: a fraction sin²(alpha) of the ttH events is drawn from a "CP-odd"
hypothesis, in which the pT of the Higgs boson is softer (a scale of 45 instead of 62 GeV) and the top quarks
are more central in the t t̄ rest frame (1 - cos² instead of flat), so that Δη(t, t̄) is softer as well.
Nothing else changes, the rate included, and the toy is even in alpha: no observable can see its sign. These
are shapes to exercise the machinery, not the prediction of a matrix element: at the LHC a CP-odd coupling
makes the pT of the Higgs boson harder.

Four-vectors are arrays of shape (4, events, ...), components px, py, pz, E in MeV.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nntrainer.errors import InputError, nearest, one_of

Array = NDArray[np.float64]

GEV = 1000.0
M_HIGGS, M_TOP, M_W, WIDTH_W = 125.0 * GEV, 172.5 * GEV, 80.4 * GEV, 2.085 * GEV
W_WINDOW = (60.0 * GEV, 110.0 * GEV)
QUARK_MASS = {5: 4.8 * GEV, 4: 1.5 * GEV, 0: 0.1 * GEV}

# Where a parton sits on the last axis of Event.partons; in dilepton events the W quarks are absent.
B_FIRST, B_SECOND, Q_FIRST, Q_SECOND, PAIR_FIRST, PAIR_SECOND = range(6)
ISR_SLOTS = 4
PARTONS = 6 + ISR_SLOTS

HIGGS_PT_SCALE, HIGGS_PT_SCALE_ODD = 62.0 * GEV, 45.0 * GEV
# W → e or μ for one of the two W bosons and quarks for the other, or for both (PDG branching fractions)
BRANCHING = {"ljets": 2 * (2 * 0.1086) * 0.6741, "dilepton": (2 * 0.1086) ** 2}


@dataclass(frozen=True)
class Process:
    """What tells one sample from another.

    Attributes:
        sample_id: Number that event ids and random streams are made from.
        dsid: ``mcChannelNumber``, of ATLAS style; no real dataset is meant.
        pair_flavour: Flavour of the extra pair: 5, 4 or 0.
        hf_class: ``HF_SimpleClassification``: 0 light (and ttH), 1 tt+≥1b, -1 tt+≥1c.
        cross_section_pb: Cross-section before the W decays, in pb; H→bb is included for ttH.
        negative_fraction: Fraction of negative ``weight_mc``.
        isr_mean: Mean number of initial-state jets.
    """

    sample_id: int
    dsid: int
    pair_flavour: int
    hf_class: int
    cross_section_pb: float
    negative_fraction: float
    isr_mean: float


# 13 TeV: ttH 0.507 pb x 0.582; tt 832 pb, of which about 1.5 % with extra b jets and 5 % with extra c jets
PROCESSES = {
    "ttH": Process(1, 346344, 5, 0, 0.507 * 0.582, 0.02, 1.6),
    "ttbb": Process(2, 411178, 5, 1, 12.5, 0.20, 1.6),
    "ttcc": Process(3, 410471, 4, -1, 41.6, 0.005, 1.6),
    "ttlight": Process(4, 410470, 0, 0, 778.0, 0.005, 1.6),
}


@dataclass(frozen=True)
class Event:
    """The truth of a block of events, before the detector.

    Attributes:
        tops: t and t̄, shape (4, events, 2).
        w_bosons: W+ and W-, shape (4, events, 2).
        pair: The Higgs boson or the splitting gluon, shape (4, events).
        partons: b of the leptonic and of the hadronic top (dilepton: of t and t̄), quarks of the hadronic
            W, the pair (both harder first), initial-state jets; shape (4, events, PARTONS).
        present: Which partons exist, shape (events, PARTONS).
        flavour: 5, 4 or 0, shape (events, PARTONS).
        match: ``jet_truthmatch`` of a jet made of this parton, shape (events, PARTONS).
        leptons: Shape (4, events, 1 or 2); in dilepton events the lepton of t first.
        neutrinos: Shape (4, events, 1 or 2).
        charge: Of the leptons, shape (events, 1 or 2).
        is_muon: Else an electron, shape (events, 1 or 2).
    """

    tops: Array
    w_bosons: Array
    pair: Array
    partons: Array
    present: NDArray[np.bool_]
    flavour: NDArray[np.int8]
    match: NDArray[np.int8]
    leptons: Array
    neutrinos: Array
    charge: NDArray[np.int8]
    is_muon: NDArray[np.bool_]


def process_of(sample: str) -> Process:
    """Return the process of a sample.

    Args:
        sample: its name.

    Returns:
        The process.

    Raises:
        InputError: If the name is not one of PROCESSES.
    """
    if sample not in PROCESSES:
        hint = nearest(sample, PROCESSES)
        raise InputError(f"The toy generator has no sample '{sample}'; it has {one_of(PROCESSES)}.{hint}")
    return PROCESSES[sample]


def mass(vectors: Array) -> Array:
    """Return the invariant mass of four-vectors of shape (4, ...), zero where rounding makes it imaginary."""
    px, py, pz, energy = vectors
    return np.sqrt(np.maximum(energy**2 - px**2 - py**2 - pz**2, 0.0))


def from_pt_y_phi_m(pt: Array, rapidity: Array, phi: Array, m: Array | float) -> Array:
    """Return four-vectors, shape (4, ...), from transverse momentum, rapidity, azimuth and mass."""
    transverse_mass = np.sqrt(pt**2 + np.square(m))
    return np.stack(
        [
            pt * np.cos(phi),
            pt * np.sin(phi),
            transverse_mass * np.sinh(rapidity),
            transverse_mass * np.cosh(rapidity),
        ]
    )


def two_body_decay(
    parent: Array, m: Array | float, m1: Array | float, m2: Array | float, cos_theta: Array, phi: Array
) -> tuple[Array, Array]:
    """Decay particles of four-momentum ``parent`` in two.

    Args:
        parent: Shape (4, ...).
        m: Mass of the parent (given, for ``E² - p²`` loses digits at high energy).
        m1: Mass of the first daughter.
        m2: Mass of the second daughter.
        cos_theta: Polar angle of the first daughter in the rest frame, against the beam axis.
        phi: Its azimuth there.

    Returns:
        The four-momenta of both daughters in the frame of ``parent``; they add up to it.
    """
    m = np.asarray(m)
    momentum = np.sqrt(np.maximum((m**2 - (m1 + m2) ** 2) * (m**2 - (m1 - m2) ** 2), 0.0)) / (2 * m)
    energy = np.sqrt(momentum**2 + np.square(m1))
    transverse = momentum * np.sqrt(1 - cos_theta**2)
    rest = np.stack([transverse * np.cos(phi), transverse * np.sin(phi), momentum * cos_theta])
    # the Lorentz boost with gamma = E/m and gamma * beta = p/m of the parent
    along = np.einsum("i...,i...->...", rest, parent[:3])
    boosted = rest + parent[:3] * (along / (m * (parent[3] + m)) + energy / m)
    first = np.concatenate([boosted, ((parent[3] * energy + along) / m)[None]])
    return first, parent - first


def isotropic_decay(
    rng: np.random.Generator, parent: Array, m: Array | float, m1: Array | float, m2: Array | float
) -> tuple[Array, Array]:
    """Decay ``parent`` isotropically in its rest frame (see two_body_decay)."""
    u, v = rng.random((2, *parent.shape[1:]))
    return two_body_decay(parent, m, m1, m2, 2 * u - 1, 2 * np.pi * v)


def breit_wigner(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Draw W masses from a Breit–Wigner truncated to W_WINDOW (by the inverse of the Cauchy distribution)."""
    low, high = (np.arctan((edge - M_W) / (WIDTH_W / 2)) for edge in W_WINDOW)
    return M_W + WIDTH_W / 2 * np.tan(low + (high - low) * rng.random(shape))


def hard_process(
    rng: np.random.Generator, sample: str, events: int, *, channel: str = "ljets", alpha_deg: float = 0.0
) -> Event:
    """Draw a block of events.

    Args:
        rng: The block's own stream; the number of draws depends on nothing but the arguments.
        sample: Key of PROCESSES.
        events: How many.
        channel: ``ljets`` or ``dilepton``.
        alpha_deg: CP-mixing angle of ttH in degrees; no effect on the other samples.

    Returns:
        The truth, with the transverse momenta of tops, pair and initial-state jets adding up to zero.
    """
    process = process_of(sample)
    odd = (rng.random(events) < np.sin(np.radians(alpha_deg)) ** 2) & (sample == "ttH")
    isr, isr_present = _initial_state(rng, process, events)
    pair, pair_mass, boost = _pair(rng, sample, odd)
    tops = _tops(rng, -(isr.sum(axis=2) + pair)[:2], boost, odd)

    w_mass = breit_wigner(rng, (events, 2))
    w_bosons, b_quarks = isotropic_decay(rng, tops, M_TOP, w_mass, QUARK_MASS[5])
    first, second = isotropic_decay(rng, w_bosons, w_mass, 0.0, 0.0)
    quark_mass = QUARK_MASS[process.pair_flavour]
    pair_quarks = _harder_first(*isotropic_decay(rng, pair, pair_mass, quark_mass, quark_mass))

    leptonic_is_top = rng.random(events) < 0.5
    muon = rng.random((events, 2)) < 0.5
    charm = rng.random(events)  # W → cs as often as W → ud, the charm quark being either of the two
    dilepton = channel == "dilepton"
    # the leptonic top first; in dilepton events t first
    swap = ~leptonic_is_top & (not dilepton)
    b_quarks, first, second = (np.where(swap[:, None], x[..., ::-1], x) for x in (b_quarks, first, second))
    charge = np.where(swap[:, None], [-1, 1], [1, -1]).astype(np.int8)
    leptons = 2 if dilepton else 1

    partons = np.concatenate([b_quarks, _harder_first(first[..., 1], second[..., 1]), pair_quarks, isr], axis=2)
    present = np.ones((events, PARTONS), bool)
    present[:, [Q_FIRST, Q_SECOND]] = not dilepton
    present[:, 6:] = isr_present
    partons *= present
    flavour = np.zeros((events, PARTONS), np.int8)
    flavour[:, [B_FIRST, B_SECOND]] = 5
    flavour[:, Q_FIRST] = np.where(charm < 0.25, 4, 0)
    flavour[:, Q_SECOND] = np.where(charm > 0.75, 4, 0)
    flavour[:, [PAIR_FIRST, PAIR_SECOND]] = process.pair_flavour
    match = np.zeros((events, PARTONS), np.int8)
    match[:, [B_FIRST, B_SECOND, Q_FIRST, Q_SECOND]] = [3, 4, 5, 6]
    match[:, [PAIR_FIRST, PAIR_SECOND]] = [1, 2] if sample == "ttH" else [0, 0]
    return Event(
        tops=tops,
        w_bosons=w_bosons,
        pair=pair,
        partons=partons,
        present=present,
        flavour=flavour,
        match=match,
        leptons=first[..., :leptons],
        neutrinos=second[..., :leptons],
        charge=charge[:, :leptons],
        is_muon=muon[:, :leptons],
    )


def _initial_state(rng: np.random.Generator, process: Process, events: int) -> tuple[Array, NDArray[np.bool_]]:
    """Jets of initial-state radiation, (4, events, ISR_SLOTS), with a falling pT from 15 to 500 GeV."""
    present = np.arange(ISR_SLOTS) < rng.poisson(process.isr_mean, events)[:, None]
    u, phi = rng.random((2, events, ISR_SLOTS))
    pt = np.minimum(15 * GEV * (1 - u) ** (-1 / 1.8), 500 * GEV)
    rapidity = 1.8 * rng.standard_normal((events, ISR_SLOTS))
    return from_pt_y_phi_m(pt, rapidity, 2 * np.pi * phi, QUARK_MASS[0]) * present, present


def _pair(rng: np.random.Generator, sample: str, odd: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """The Higgs boson or the gluon: four-vectors (4, events), masses, and the rapidity of the system."""
    events = odd.size
    u, v, phi = rng.random((3, events))
    boost, relative = rng.standard_normal((2, events))
    boost *= 0.8
    if sample == "ttH":
        m = np.full(events, M_HIGGS)
        # Gamma of shape 2: the sum of two exponentials
        pt = -np.log((1 - u) * (1 - v)) * np.where(odd, HIGGS_PT_SCALE_ODD, HIGGS_PT_SCALE)
        spread = 0.8
    else:
        threshold = 2 * max(QUARK_MASS[PROCESSES[sample].pair_flavour], 2 * GEV)
        # P(> m) = (threshold / m)^1.5
        m = np.minimum(threshold * (1 - u) ** (-1 / 1.5), 600 * GEV)
        pt = 150 * GEV * ((1 - v) ** (-1 / 4.0) - 1) + 10 * GEV
        spread = 1.2
    return from_pt_y_phi_m(pt, boost + spread * relative, 2 * np.pi * phi, m), m, boost


def _tops(rng: np.random.Generator, transverse: Array, boost: Array, odd: NDArray[np.bool_]) -> Array:
    """t and t̄, (4, events, 2), of total transverse momentum ``transverse`` (2, events)."""
    events = odd.size
    m = 2 * M_TOP + 1 * GEV + 75 * GEV * rng.gamma(1.7, size=events)
    rapidity = boost + 0.5 * rng.standard_normal(events)
    u, phi = rng.random((2, events))
    system = from_pt_y_phi_m(np.hypot(*transverse), rapidity, np.arctan2(transverse[1], transverse[0]), m)
    # flat, or 1 - cos² by the inverse of its cumulative distribution
    cos_theta = np.where(odd, 2 * np.sin(np.arcsin(2 * u - 1) / 3), 2 * u - 1)
    return np.stack(two_body_decay(system, m, M_TOP, M_TOP, cos_theta, 2 * np.pi * phi), axis=2)


def _harder_first(one: Array, other: Array) -> Array:
    """Stack two sets of four-vectors (4, events) to (4, events, 2), the one of higher pT first."""
    swap = np.hypot(*other[:2]) > np.hypot(*one[:2])
    return np.stack([np.where(swap, other, one), np.where(swap, one, other)], axis=2)
