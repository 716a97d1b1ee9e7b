"""Features of pairs of objects: extremes and averages over pairs, and the pair with mass nearest a target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from pydantic import Field, PositiveFloat

from nntrainer.config.base import Name
from nntrainer.config.registry import MAKERS
from nntrainer.features.collection import Columns, FourVectorMaker, Output, delta_phi, invariant_mass

Quantity = Literal["dr", "deta", "dphi", "mass", "kt", "z"]

_WORDS: dict[str, str] = {
    "dr": "ΔR",
    "deta": "|Δη|",
    "dphi": "|Δφ|",
    "mass": "invariant mass",
    "kt": "kT = min(pT) ΔR",
    "z": "z = min(pT) / (pT + pT')",
}
_HAVE_UNIT = ("mass", "kt")


class PairMaker(FourVectorMaker):
    """A maker that reads pairs of objects that both take part."""

    default: float = Field(0.0, description="Value where there are fewer than two objects.")

    def needed(self) -> tuple[Quantity, ...]:
        """Return the quantities of pairs that the computation reads."""
        return ("mass",)

    def fields(self) -> tuple[str, ...]:
        """Return the fields of the objects that the computation reads."""
        return super().fields() if "mass" in self.needed() else (self.pt, self.eta, self.phi)

    def pairs(self, objects: Columns, valid: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return the quantities of all pairs, each (n, pairs), and which pairs (n, pairs) take part."""
        one, other = np.triu_indices(valid.shape[1], 1)
        pt, eta, phi = (objects[name] for name in (self.pt, self.eta, self.phi))
        deta = np.abs(eta[:, one] - eta[:, other])
        dphi = delta_phi(phi[:, one], phi[:, other])
        softer = np.minimum(pt[:, one], pt[:, other])
        make: dict[str, Callable[[], np.ndarray]] = {
            "dr": lambda: np.hypot(deta, dphi),
            "deta": lambda: deta,
            "dphi": lambda: dphi,
            "mass": lambda: self._masses(objects, one, other),
            "kt": lambda: softer * np.hypot(deta, dphi),
            "z": lambda: softer / (pt[:, one] + pt[:, other]),
        }
        return {name: make[name]() for name in self.needed()}, valid[:, one] & valid[:, other]

    def _masses(self, objects: Columns, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        p = self.four_vectors(objects)
        return invariant_mass(p[:, :, one] + p[:, :, other])

    def unit_of(self, quantity: str) -> str:
        """Return the unit of a quantity."""
        return self.unit if quantity in _HAVE_UNIT else ""


@MAKERS.register("pair_extreme")
class PairExtreme(PairMaker):
    """Smallest, largest or mean ΔR, |Δη|, |Δφ|, mass, kT or z over the pairs of objects."""

    maker: Literal["pair_extreme"] = "pair_extreme"
    quantity: Quantity = Field("dr", description="What of a pair.")
    extreme: Literal["min", "max", "mean"] = Field("min", description="Which of the pairs' values.")
    output: Name | None = Field(None, description="Name of the feature; '<collection>_<extreme>_<quantity>' if absent.")

    def needed(self) -> tuple[Quantity, ...]:
        """Return the quantities of pairs that the computation reads."""
        return (self.quantity,)

    def outputs(self) -> list[Output]:
        """Return name, unit and description of each feature made."""
        name = self.output or f"{self.collection}_{self.extreme}_{self.quantity}"
        words = f"{self.extreme} {_WORDS[self.quantity]} over pairs of {self.collection}"
        return [(name, self.unit_of(self.quantity), words)]

    def compute(self, events: Columns, objects: Columns, valid: np.ndarray) -> list[np.ndarray]:
        """Compute the features of a block of events."""
        quantities, both = self.pairs(objects, valid)
        values = quantities[self.quantity]
        if self.extreme == "min":
            result = np.where(both, values, np.inf).min(axis=1, initial=np.inf)
        elif self.extreme == "max":
            result = np.where(both, values, -np.inf).max(axis=1, initial=-np.inf)
        else:
            result = np.where(both, values, 0.0).sum(axis=1) / both.sum(axis=1)
        return [np.where(both.any(axis=1), result, self.default)]


@MAKERS.register("invariant_mass_nearest")
class InvariantMassNearest(PairMaker):
    """The pair with invariant mass nearest a target: its mass and, on request, its other quantities.

    With ``select`` and ``at_least`` on the b-tag bin this is the classical Higgs candidate.
    """

    maker: Literal["invariant_mass_nearest"] = "invariant_mass_nearest"
    target: PositiveFloat = Field(125_000.0, description="Mass to come near to, in the unit of the energies.")
    quantities: tuple[Quantity, ...] = Field(("mass",), min_length=1, description="What of the pair to make.")
    output: Name = Field("nearest", description="Features are called '<output>_<quantity>'.")

    def needed(self) -> tuple[Quantity, ...]:
        """Return the quantities of pairs that the computation reads."""
        return tuple(dict.fromkeys(("mass", *self.quantities)))

    def outputs(self) -> list[Output]:
        """Return name, unit and description of each feature made."""
        of = f"of the pair of {self.collection} with mass nearest {self.target:g} {self.unit}"
        return [(f"{self.output}_{q}", self.unit_of(q), f"{_WORDS[q]} {of}") for q in self.quantities]

    def compute(self, events: Columns, objects: Columns, valid: np.ndarray) -> list[np.ndarray]:
        """Compute the features of a block of events."""
        if valid.shape[1] < 2:
            return [np.full(len(valid), self.default) for _ in self.quantities]
        quantities, both = self.pairs(objects, valid)
        best = np.where(both, np.abs(quantities["mass"] - self.target), np.inf).argmin(axis=1)
        row, there = np.arange(len(valid)), both.any(axis=1)
        return [np.where(there, quantities[q][row, best], self.default) for q in self.quantities]
