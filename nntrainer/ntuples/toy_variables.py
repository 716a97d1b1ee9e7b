"""The event variables of the toy ntuples, by their names in TTHbb. Momenta in MeV, angles in radians."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nntrainer.ntuples.toy_detector import BIN_70, cartesian, cylindrical, delta_r
from nntrainer.ntuples.toy_physics import M_HIGGS, Array

MISSING = -999.0  # an event variable whose objects are not there, as ATLAS ntuples have it


def event_variables(
    jets: dict[str, NDArray], counts: NDArray[np.intp], leptons: dict[str, NDArray]
) -> dict[str, NDArray]:
    """Return the event variables of TTHbb, one value an event.

    ``_jets`` means all jets, ``_all`` jets and leptons (no missing momentum), ``_70`` jets b-tagged at 70 %.
    Fox–Wolfram moments (Phys. Rev. Lett. 41, 1581) are H_l = Σ_ij |p_i||p_j| P_l(cos θ_ij) / (Σ E)², with the
    pairs i = j; Aplanarity is 3/2 of the smallest eigenvalue of Σ p_a p_b / Σ p²; Centrality is Σ pT / Σ E.

    Args:
        jets: Padded arrays (events, slots), zeros in empty slots.
        counts: Jets of each event.
        leptons: Arrays (events, leptons), the leading first: angles to "the" lepton are to that one.

    Returns:
        Shape (events,) each; pair variables are MISSING in events of fewer than two b-tagged jets.
    """
    jet_p = cartesian(jets["pt"], jets["eta"], jets["phi"], jets["e"])
    lepton_p = cartesian(leptons["pt"], leptons["eta"], leptons["phi"], leptons["e"]).astype(jet_p.dtype)
    everything = np.concatenate([jet_p, lepton_p], axis=2)
    present = np.arange(jet_p.shape[2]) < counts[:, None]
    h0_all, h1_all, _ = _fox_wolfram(everything)
    _, _, h2_jets = _fox_wolfram(jet_p)
    ht_jets = jets["pt"].sum(axis=1)
    ht_all = ht_jets + leptons["pt"].sum(axis=1)
    tensor = np.einsum("anj,bnj->nab", jet_p[:3], jet_p[:3])
    smallest = np.linalg.eigvalsh(tensor)[:, 0] / np.trace(tensor, axis1=1, axis2=2)
    dr_lepton = delta_r(jets["eta"], jets["phi"], leptons["eta"][:, :1], leptons["phi"][:, :1])
    eta_max = np.where(present, jets["eta"], -np.inf).max(axis=1)
    eta_min = np.where(present, jets["eta"], np.inf).min(axis=1)
    tagged = jets["tagWeightBin_DL1r_Continuous"] >= BIN_70
    return {
        "nJets": counts,
        "nBTags_DL1r_70": tagged.sum(axis=1),
        "nElectrons": (~leptons["is_muon"]).sum(axis=1),
        "nMuons": leptons["is_muon"].sum(axis=1),
        "HT_all": ht_all,
        "HT_jets": ht_jets,
        "H0_all": h0_all,
        "H1_all": h1_all,
        "H2_jets": h2_jets,
        "Aplanarity_jets": 1.5 * np.maximum(smallest, 0.0),
        "Centrality_all": ht_all / everything[3].sum(axis=1),
        "dRlj_MindR": np.where(present, dr_lepton, np.inf).min(axis=1),
        "dEtajj_MaxdEta": eta_max - eta_min,
        **_b_pairs(jets, tagged, jet_p, leptons),
    }


def _fox_wolfram(vectors: Array) -> tuple[Array, Array, Array]:
    """H0, H1 and H2 of (4, events, objects), by sums over objects instead of over pairs of them."""
    p = np.sqrt((vectors[:3] ** 2).sum(axis=0))
    scale = vectors[3].sum(axis=1) ** 2
    total = p.sum(axis=1) ** 2
    tensor = np.einsum("anj,bnj->nab", vectors[:3] / np.where(p > 0, p, 1.0), vectors[:3])
    h1 = (vectors[:3].sum(axis=2) ** 2).sum(axis=0)
    h2 = 1.5 * (tensor**2).sum(axis=(1, 2)) - 0.5 * total
    return total / scale, h1 / scale, h2 / scale


def _b_pairs(
    jets: dict[str, NDArray], tagged: NDArray[np.bool_], jet_p: Array, leptons: dict[str, NDArray]
) -> dict[str, NDArray]:
    """Variables of pairs of b-tagged jets; MISSING in events of fewer than two."""
    most = max(int(tagged.sum(axis=1).max(initial=0)), 2)
    order = np.argsort(~tagged, axis=1, kind="stable")[:, :most]
    is_b = np.take_along_axis(tagged, order, axis=1)
    eta, phi = (np.take_along_axis(jets[name], order, axis=1) for name in ("eta", "phi"))
    p = np.take_along_axis(jet_p, order[None], axis=2)
    one, other = np.triu_indices(most, 1)
    valid = is_b[:, one] & is_b[:, other]
    none = ~valid.any(axis=1)
    deta = np.abs(eta[:, one] - eta[:, other])
    dr = delta_r(eta[:, one], phi[:, one], eta[:, other], phi[:, other])
    pair_p = p[:, :, one] + p[:, :, other]
    m = np.sqrt(np.maximum(pair_p[3] ** 2 - (pair_p[:3] ** 2).sum(axis=0), 0.0))
    higgs_like = np.where(valid, np.abs(m - M_HIGGS), np.inf).argmin(axis=1)
    nearest_pair = np.where(valid, dr, np.inf).argmin(axis=1)
    row = np.arange(len(order))
    _, pair_eta, pair_phi = cylindrical(pair_p[:, row, nearest_pair])
    values = {
        "dRbb_avg_70": (dr * valid).sum(axis=1) / np.maximum(valid.sum(axis=1), 1),
        "dRbb_HiggsMass_70": dr[row, higgs_like],
        "Mbb_HiggsMass_70": m[row, higgs_like],
        "Mbb_MindR_70": m[row, nearest_pair],
        "dRlepbb_MindR_70": delta_r(pair_eta, pair_phi, leptons["eta"][:, 0], leptons["phi"][:, 0]),
        "dEtabb_MaxdEta_70": (deta * valid).max(axis=1),
    }
    return {name: np.where(none, MISSING, x) for name, x in values.items()}
