"""The detector of the toy ttH generator: jets, b-tags, missing momentum, the preselection.

Parametrised, not simulated. Rows are events; jets are padded arrays (events, slots), zero in empty slots.
Momenta in MeV, angles in radians.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nntrainer.ntuples.toy_physics import GEV, Array, Event

PT_MIN, ETA_MAX, DR_MIN = 25 * GEV, 2.5, 0.4
# efficiencies of the 85, 77, 70 and 60 % working points by flavour; the bin is 1 + the points passed
TAG_EFFICIENCY = {5: (0.85, 0.77, 0.70, 0.60), 4: (0.25, 0.10, 0.05, 0.02), 0: (0.02, 0.006, 0.0025, 0.001)}
BIN_70 = 4
JET_STOCHASTIC, JET_CONSTANT, ANGLE_SIGMA = 0.8, 0.04, 0.02
JET_MASS, JET_MASS_SIGMA = 0.12, 0.3  # m / pT: its median, and the width of its logarithm
SEMILEPTONIC, MUONIC = 0.35, 0.18  # of b jets (cascades included): with a neutrino, with a muon as well
LEPTON_SIGMA, ELECTRON_EFFICIENCY, MUON_EFFICIENCY = 0.015, 0.80, 0.92
MET_SIGMA = 10 * GEV  # soft term, for each component
MIN_JETS = {"ljets": 4, "dilepton": 3}
MIN_TAGS_70 = 2


@dataclass(frozen=True)
class Reconstructed:
    """The events that pass the preselection.

    Attributes:
        kept: Index in the block of each event that passed, shape (passed,).
        jets: Padded arrays (passed, slots), ordered in pT.
        jet_counts: Jets of each event.
        leptons: Arrays (passed, 1 or 2) ``pt eta phi e charge is_muon``, ordered in pT.
        scalars: One value an event.
    """

    kept: NDArray[np.intp]
    jets: dict[str, NDArray]
    jet_counts: NDArray[np.intp]
    leptons: dict[str, NDArray]
    scalars: dict[str, NDArray]


def wrap(phi: Array) -> Array:
    """Return the angle in [-pi, pi)."""
    return (phi + np.pi) % (2 * np.pi) - np.pi


def delta_r(eta: Array, phi: Array, other_eta: Array, other_phi: Array) -> Array:
    """Return the distance of two directions in η and φ."""
    return np.hypot(eta - other_eta, wrap(phi - other_phi))


def cylindrical(vectors: Array) -> tuple[Array, Array, Array]:
    """Return pT, pseudorapidity and azimuth of (4, ...); zero where there is no momentum."""
    px, py, pz, _ = vectors
    pt = np.hypot(px, py)
    return pt, np.arcsinh(pz / np.where(pt > 0, pt, 1.0)), np.arctan2(py, px)


def cartesian(pt: Array, eta: Array, phi: Array, e: Array) -> Array:
    """Return four-vectors (4, ...)."""
    return np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), e])


def tag_bins(uniform: NDArray[np.floating], flavour: NDArray[np.int8]) -> NDArray[np.int32]:
    """Return the pseudo-continuous b-tag bin, 1 (not tagged at 85 %) to 5 (60 %), from uniform numbers."""
    table = np.zeros((4, 6), uniform.dtype)
    for code, efficiencies in TAG_EFFICIENCY.items():
        table[:, code] = efficiencies
    bins = np.ones(flavour.shape, np.int32)
    for efficiency in table:
        bins += uniform < efficiency[flavour]
    return bins


def reconstruct(rng: np.random.Generator, event: Event, *, channel: str, scale: float, extra: float) -> Reconstructed:
    """Pass a block of events through the detector and the preselection.

    The preselection: the lepton (both, in dilepton events) is found, above 25 GeV within |η| < 2.5 and
    isolated (ΔR to every jet above 0.4); at least 4 jets (dilepton 3), at least 2 of them b-tagged at 70 %.

    Args:
        rng: The block's stream; all draws come before any cut on jets, so that systematics see the same ones.
        event: The truth.
        channel: Key of MIN_JETS.
        scale: Systematic: factor on the energy of every jet.
        extra: Systematic: additional relative resolution of every jet.

    Returns:
        The events that pass.
    """
    leptons, found = _leptons(rng, event)
    kept = np.flatnonzero(found)
    # a jet is tagged when a parton in it is, so that events of too few can go before anything is smeared
    flavour, present = event.flavour[kept], event.present[kept]
    tags = tag_bins(rng.random(flavour.shape, np.float32), flavour) * present
    tagged = (tags >= BIN_70).sum(axis=1) >= MIN_TAGS_70
    kept, tags, flavour = kept[tagged], tags[tagged], flavour[tagged]
    match = event.match[kept]
    leptons = {name: values[kept] for name, values in leptons.items()}
    momenta, muon_fraction = _respond(rng, event.partons[:, kept].astype(np.float32), flavour, scale, extra)
    soft = MET_SIGMA * rng.standard_normal((2, kept.size))
    lepton_vectors = cartesian(leptons["pt"], leptons["eta"], leptons["phi"], leptons["e"])
    missing = soft - (momenta[:2] * (1 + muon_fraction)).sum(axis=2) - lepton_vectors[:2].sum(axis=2)
    vectors = _massive(rng, momenta)

    pt, eta, phi = _merge(vectors, muon_fraction, flavour, tags)
    good = (pt > PT_MIN) & (np.abs(eta) < ETA_MAX)
    dr = delta_r(eta[..., None], phi[..., None], leptons["eta"][:, None], leptons["phi"][:, None])
    isolated = ~((dr < DR_MIN) & good[..., None]).any(axis=(1, 2))
    enough = good.sum(axis=1) >= MIN_JETS[channel]
    passed = isolated & enough & ((good & (tags >= BIN_70)).sum(axis=1) >= MIN_TAGS_70)

    counts = good[passed].sum(axis=1)
    order = np.argsort(np.where(good[passed], -pt[passed], np.inf), axis=1)[:, : counts.max(initial=2)]
    present = np.arange(order.shape[1]) < counts[:, None]
    place = np.flatnonzero(passed)[:, None] * good.shape[1] + order  # in the flattened (events, slots)

    def arranged(values: NDArray) -> NDArray:
        return values.ravel()[place] * present

    corrected = 1 + arranged(muon_fraction)
    jets = {
        "pt": arranged(pt),
        "eta": arranged(eta),
        "phi": arranged(phi),
        "e": arranged(vectors[3]),
        "tagWeightBin_DL1r_Continuous": arranged(tags),
        "truthflav": arranged(flavour),
        "truthmatch": arranged(match),
    }
    # the muon flies along the jet: only its size changes
    jets |= {
        "pt_softmu_corr": jets["pt"] * corrected,
        "eta_softmu_corr": jets["eta"],
        "phi_softmu_corr": jets["phi"],
        "e_softmu_corr": jets["e"] * corrected,
    }
    leptons = {name: values[passed] for name, values in leptons.items()}
    met, met_phi = np.hypot(*missing[:, passed]), np.arctan2(*missing[::-1, passed])
    dphi = leptons["phi"][:, 0] - met_phi
    scalars = {
        "met_met": met,
        "met_phi": met_phi,
        "mwt_mwt": np.sqrt(2 * leptons["pt"][:, 0] * met * (1 - np.cos(dphi))),
    }
    return Reconstructed(kept[passed], jets, counts, leptons, scalars)


def _leptons(rng: np.random.Generator, event: Event) -> tuple[dict[str, NDArray], NDArray[np.bool_]]:
    """Smear and select the leptons; returns them ordered in pT, and whether all of the event were found."""
    pt, eta, phi = cylindrical(event.leptons)
    pt = pt * np.maximum(1 + LEPTON_SIGMA * rng.standard_normal(pt.shape), 0.1)
    efficiency = np.where(event.is_muon, MUON_EFFICIENCY, ELECTRON_EFFICIENCY)
    found = (rng.random(pt.shape) < efficiency) & (pt > PT_MIN) & (np.abs(eta) < ETA_MAX)
    order = np.argsort(-pt, axis=1)
    leptons = {
        "pt": pt,
        "eta": eta,
        "phi": phi,
        "e": pt * np.cosh(eta),
        "charge": event.charge,
        "is_muon": event.is_muon,
    }
    return {name: np.take_along_axis(x, order, axis=1) for name, x in leptons.items()}, found.all(axis=1)


def _respond(
    rng: np.random.Generator, partons: Array, flavour: NDArray[np.int8], scale: float, extra: float
) -> tuple[Array, Array]:
    """Turn partons to jets: energy and direction smeared, neutrino and muon of semileptonic b decays lost.

    The jets' momenta come back as (3, events, slots), and the muon's as a fraction of its jet's as (events, slots).
    """
    shape = partons.shape[1:]
    gauss = rng.standard_normal((4, *shape), np.float32)
    lost, kind = rng.random((2, *shape), np.float32)
    bottom = flavour == 5
    # a triangular spectrum for what the decay takes from the jet: mean a fifth, at most 0.6
    taken = np.where(bottom & (kind < SEMILEPTONIC), 0.6 * (1 - np.sqrt(lost)), 0.0)
    # with a muon, it and the neutrino share it
    muon_fraction = np.where(kind < MUONIC, 0.5 * taken / (1 - taken), 0.0)

    pt, eta, phi = cylindrical(partons)
    sigma = np.sqrt(JET_STOCHASTIC**2 / np.maximum(partons[3] / GEV, 1.0) + JET_CONSTANT**2)
    response = scale * (1 - taken) * np.maximum(1 + sigma * gauss[0] + extra * gauss[3], 0.05)
    smeared = cartesian(pt, eta + ANGLE_SIGMA * gauss[1], phi + ANGLE_SIGMA * gauss[2], partons[3])
    return smeared[:3] * response, muon_fraction


def _massive(rng: np.random.Generator, momenta: Array) -> Array:
    """Return the four-vectors (4, events, slots) of jets of such momenta.

    A jet has the mass of its shower, which grows with its pT, not that of its quark: were it the quark's, E² - p² of
    one jet would tell its flavour.
    """
    ratio = JET_MASS * np.exp(JET_MASS_SIGMA * rng.standard_normal(momenta.shape[1:], np.float32))
    squared = (momenta**2).sum(axis=0) + ratio**2 * (momenta[:2] ** 2).sum(axis=0)
    return np.concatenate([momenta, np.sqrt(squared)[None]])


def _merge(
    vectors: Array,
    muon_fraction: Array,
    flavour: NDArray[np.int8],
    tags: NDArray[np.int32],
) -> tuple[Array, Array, Array]:
    """Merge, in place, jets closer than DR_MIN, the closest pair first, until none is left.

    The merged jet takes the slot, hence the match, of the harder one; flavour and b-tag bin are the higher.
    Gives pT, η and φ of the jets; pT is zero in slots that are empty or merged into another.
    """
    pt, eta, phi = cylindrical(vectors)
    one, other = np.triu_indices(vectors.shape[2], 1)
    rows = np.arange(vectors.shape[1])
    while rows.size:
        row_pt, row_eta, row_phi = pt[rows], eta[rows], phi[rows]
        dphi = np.abs(row_phi[:, one] - row_phi[:, other])
        dr2 = (row_eta[:, one] - row_eta[:, other]) ** 2 + np.minimum(dphi, 2 * np.pi - dphi) ** 2
        empty = row_pt == 0
        dr2[empty[:, one] | empty[:, other]] = np.inf
        closest = dr2.argmin(axis=1)
        close = dr2[np.arange(rows.size), closest] < DR_MIN**2
        rows, closest = rows[close], closest[close]
        a, b = one[closest], other[closest]
        swap = pt[rows, b] > pt[rows, a]
        hard, soft = np.where(swap, b, a), np.where(swap, a, b)
        pt_hard, pt_soft = pt[rows, hard], pt[rows, soft]
        muon = muon_fraction[rows, hard] * pt_hard + muon_fraction[rows, soft] * pt_soft
        muon_fraction[rows, hard] = muon / (pt_hard + pt_soft)
        vectors[:, rows, hard] += vectors[:, rows, soft]
        vectors[:, rows, soft] = 0.0
        pt[rows, hard], eta[rows, hard], phi[rows, hard] = cylindrical(vectors[:, rows, hard])
        pt[rows, soft] = 0.0
        for values in (flavour, tags):
            values[rows, hard] = np.maximum(values[rows, hard], values[rows, soft])
    return pt, eta, phi
