"""Observables of the charged leptons from the decays of both top quarks."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nntrainer.config.registry import OBSERVABLES, Observable
from nntrainer.observables.momenta import Event, boosted, delta_phi, size

LEPTONS = ("lepton", "antilepton")


@OBSERVABLES.register("delta_phi_ll")
class DeltaPhiLL(Observable):
    """Azimuthal angle between the leptons, in [0, π] (1507.07926)."""

    formula: ClassVar[str] = "|Δφ(ℓ⁺,ℓ⁻)|"
    needs: ClassVar[tuple[str, ...]] = LEPTONS

    def compute(self, event: Event) -> np.ndarray:
        """Compute the observable."""
        return delta_phi(event["antilepton"], event["lepton"])


@OBSERVABLES.register("triple_product")
class TripleProduct(Observable):
    """CP-odd triple product of the top quark and the leptons where t t̄ is at rest (1603.03632, 1507.07926).

    The triple products of 1603.03632 are ε(p_t, p_t̄, n_t, n_t̄) with the tops' spin vectors, which the lepton momenta
    stand for. In the rest frame of t t̄ the first two leave p_t·(p_ℓ⁺×p_ℓ⁻), here divided by the momenta, in [-1, 1].
    Parity turns its sign, and CP too; its mean is linear in sin 2α, so that it knows the sign of α. The momenta of
    t, t̄ and H alone give nothing of this kind at the LHC, whose beams are alike: the tops' spins are needed.
    """

    formula: ClassVar[str] = "p̂_t·(p̂_ℓ⁺×p̂_ℓ⁻) in the rest frame of t t̄"
    needs: ClassVar[tuple[str, ...]] = ("top", "antitop", *LEPTONS)

    def compute(self, event: Event) -> np.ndarray:
        """Compute the observable."""
        system = event.lab["top"] + event.lab["antitop"]
        t, plus, minus = (boosted(event.lab[name], system) for name in ("top", "antilepton", "lepton"))
        product = (t[:3] * np.cross(plus[:3], minus[:3], axis=0)).sum(axis=0)
        return np.asarray(product / (size(t) * size(plus) * size(minus)))
