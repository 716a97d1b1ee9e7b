"""Observables of the momenta of top quark and antiquark and of the Higgs boson, ẑ being the beam axis.

b1 to b4 are those of Gunion and He, hep-ph/9602226, with b1 normalised as in the ATLAS literature on ttH. All of this
file are unchanged by parity and by CP, so they depend on cos² and sin² of the mixing angle and are blind to its sign.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nntrainer.config.registry import OBSERVABLES, Observable
from nntrainer.observables.momenta import Event, delta_phi, mass, pseudorapidity, pt, size

TOPS = ("top", "antitop")


class _OfTops(Observable):
    needs: ClassVar[tuple[str, ...]] = TOPS


def _across(event: Event) -> np.ndarray:
    """Return (p_t×ẑ)·(p_t̄×ẑ), which is the scalar product of the transverse momenta."""
    t, tbar = event["top"], event["antitop"]
    return np.asarray(t[0] * tbar[0] + t[1] * tbar[1])


@OBSERVABLES.register("b1")
class B1(_OfTops):
    """Cosine of the azimuthal angle between top quark and antiquark (hep-ph/9602226, 2406.03950)."""

    formula: ClassVar[str] = "(p_t×ẑ)·(p_t̄×ẑ)/(pT_t pT_t̄) = cos Δφ(t,t̄)"

    def compute(self, event: Event) -> np.ndarray:
        """Compute the observable."""
        return _across(event) / (pt(event["top"]) * pt(event["antitop"]))


@OBSERVABLES.register("b2")
class B2(_OfTops):
    """Transverse momenta's scalar product over the momenta (hep-ph/9602226)."""

    formula: ClassVar[str] = "(p_t×ẑ)·(p_t̄×ẑ)/(|p_t||p_t̄|)"

    def compute(self, event: Event) -> np.ndarray:
        """Compute the observable."""
        return _across(event) / (size(event["top"]) * size(event["antitop"]))


@OBSERVABLES.register("b3")
class B3(_OfTops):
    """Product of the momenta along x over the transverse momenta (hep-ph/9602226)."""

    formula: ClassVar[str] = "p_t^x p_t̄^x/(pT_t pT_t̄)"

    def compute(self, event: Event) -> np.ndarray:
        """Compute the observable."""
        t, tbar = event["top"], event["antitop"]
        return np.asarray(t[0] * tbar[0] / (pt(t) * pt(tbar)))


@OBSERVABLES.register("b4")
class B4(_OfTops):
    """Product of the momenta along the beam over the momenta (hep-ph/9602226, 2406.03950)."""

    formula: ClassVar[str] = "p_t^z p_t̄^z/(|p_t||p_t̄|)"

    def compute(self, event: Event) -> np.ndarray:
        """Compute the observable."""
        t, tbar = event["top"], event["antitop"]
        return np.asarray(t[2] * tbar[2] / (size(t) * size(tbar)))


@OBSERVABLES.register("delta_eta_tt")
class DeltaEtaTT(_OfTops):
    """Distance in pseudorapidity of top quark and antiquark (2406.03950)."""

    formula: ClassVar[str] = "|η_t − η_t̄|"

    def compute(self, event: Event) -> np.ndarray:
        """Compute the observable."""
        return np.asarray(np.abs(pseudorapidity(event["top"]) - pseudorapidity(event["antitop"])))


@OBSERVABLES.register("delta_phi_tt")
class DeltaPhiTT(_OfTops):
    """Azimuthal angle between top quark and antiquark, in [0, π] (2406.03950)."""

    formula: ClassVar[str] = "|Δφ(t,t̄)|"

    def compute(self, event: Event) -> np.ndarray:
        """Compute the observable."""
        return delta_phi(event["top"], event["antitop"])


@OBSERVABLES.register("pT_H")
class HiggsPt(Observable):
    """Transverse momentum of the Higgs boson (2406.03950)."""

    formula: ClassVar[str] = "pT_H"
    needs: ClassVar[tuple[str, ...]] = ("higgs",)
    energy: ClassVar[bool] = True

    def compute(self, event: Event) -> np.ndarray:
        """Compute the observable."""
        return pt(event["higgs"])


@OBSERVABLES.register("m_tt")
class MassTT(_OfTops):
    """Invariant mass of top quark and antiquark, the same in each frame (2406.03950)."""

    formula: ClassVar[str] = "√((p_t + p_t̄)²)"
    energy: ClassVar[bool] = True

    def compute(self, event: Event) -> np.ndarray:
        """Compute the observable."""
        return mass(event.lab["top"] + event.lab["antitop"])


@OBSERVABLES.register("m_ttH")
class MassTTH(Observable):
    """Invariant mass of top quark, antiquark and Higgs boson, the same in each frame (2406.03950)."""

    formula: ClassVar[str] = "√((p_t + p_t̄ + p_H)²)"
    needs: ClassVar[tuple[str, ...]] = (*TOPS, "higgs")
    energy: ClassVar[bool] = True

    def compute(self, event: Event) -> np.ndarray:
        """Compute the observable."""
        return mass(event.lab["top"] + event.lab["antitop"] + event.lab["higgs"])


@OBSERVABLES.register("cos_theta_cs")
class CosThetaCS(_OfTops):
    """|cos θ*| of the top quark in the Collins–Soper frame of t t̄ (Phys. Rev. D 16, 2219; 2406.03950).

    In the rest frame of Q = p_t + p_t̄ the axis halves the angle between one beam and the other beam's opposite. As a
    four-vector it is Z = (Q^z; 0, 0, E)/√(m² + QT²) (energy first), so no boost is needed. The beams are those of the
    laboratory, whichever frame the other observables are taken in.
    """

    formula: ClassVar[str] = "|E_Q p_t^z − Q^z E_t|/(√(m_tt̄² + QT²) p*), p* the top's momentum where t t̄ is at rest"

    def compute(self, event: Event) -> np.ndarray:
        """Compute the observable."""
        t, tbar = event.lab["top"], event.lab["antitop"]
        q = t + tbar
        m, m1, m2 = mass(q), mass(t), mass(tbar)
        star = np.sqrt(np.maximum((m**2 - (m1 + m2) ** 2) * (m**2 - (m1 - m2) ** 2), 0.0)) / (2 * m)
        along = (q[3] * t[2] - q[2] * t[3]) / np.hypot(m, pt(q))
        return np.asarray(np.minimum(np.abs(along) / star, 1.0))
