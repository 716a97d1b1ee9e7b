"""Features of single objects and of their sum: four-vector components and transverse mass."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from nntrainer.config.base import Name
from nntrainer.config.registry import MAKERS
from nntrainer.features.collection import CollectionMaker, Columns, FourVectorMaker, Output, invariant_mass

Component = Literal["px", "py", "pz", "e", "pt", "log_pt", "mass"]

_WORDS: dict[str, str] = {
    "px": "momentum along x",
    "py": "momentum along y",
    "pz": "momentum along the beam",
    "e": "energy",
    "pt": "transverse momentum",
    "log_pt": "natural logarithm of the transverse momentum",
    "mass": "invariant mass",
}


@MAKERS.register("four_vector")
class FourVector(FourVectorMaker):
    """Components of the four-vector of one object, or of the sum of all: ``leading_mass``, ``all_pt``."""

    maker: Literal["four_vector"] = "four_vector"
    index: int | None = Field(
        0, ge=0, description="Which of the objects that take part, from 0; null for the sum of all."
    )
    components: tuple[Component, ...] = Field(("mass",), min_length=1, description="What to make.")
    output: Name = Field("leading", description="Features are called '<output>_<component>'.")
    default: float = Field(0.0, description="Value where there are too few objects.")

    def outputs(self) -> list[Output]:
        """Return name, unit and description of each feature made."""
        which = f"the sum of {self.collection}" if self.index is None else f"{self.collection}[{self.index}]"
        return [
            (
                f"{self.output}_{component}",
                "" if component == "log_pt" else self.unit,
                f"{_WORDS[component]} of {which}",
            )
            for component in self.components
        ]

    def compute(self, events: Columns, objects: Columns, valid: np.ndarray) -> list[np.ndarray]:
        """Compute the features of a block of events."""
        wanted = valid if self.index is None else valid & (np.cumsum(valid, axis=1) == self.index + 1)
        total = np.where(wanted, self.four_vectors(objects), 0.0).sum(axis=-1)
        pt = np.hypot(total[0], total[1])
        values = {
            **dict(zip(("px", "py", "pz", "e"), total, strict=True)),
            "pt": pt,
            "log_pt": np.log(pt),
            "mass": invariant_mass(total),
        }
        there = wanted.any(axis=1)
        return [np.where(there, values[component], self.default) for component in self.components]


@MAKERS.register("transverse_mass")
class TransverseMass(CollectionMaker):
    """Transverse mass of the leading lepton and the missing momentum: √(2 pT MET (1 − cos Δφ)), massless."""

    maker: Literal["transverse_mass"] = "transverse_mass"
    collection: str = Field("leptons", description="Collection whose first object is the lepton.")
    pt: str = Field("lepton_pt", description="Field with the lepton's transverse momentum.")
    phi: str = Field("lepton_phi", description="Field with the lepton's azimuth in radians.")
    met: str = Field("met_met", description="Event feature with the missing transverse momentum.")
    met_phi: str = Field("met_phi", description="Event feature with its azimuth in radians.")
    output: Name = Field("transverse_mass", description="Name of the feature.")
    default: float = Field(0.0, description="Value where there is no lepton.")

    def fields(self) -> tuple[str, ...]:
        """Return the fields of the objects that the computation reads."""
        return self.pt, self.phi

    def event_columns(self) -> tuple[str, ...]:
        """Return the event columns that the computation reads."""
        return self.met, self.met_phi

    def outputs(self) -> list[Output]:
        """Return name, unit and description of each feature made."""
        return [(self.output, self.unit, f"transverse mass of {self.collection}[0] and {self.met}")]

    def compute(self, events: Columns, objects: Columns, valid: np.ndarray) -> list[np.ndarray]:
        """Compute the features of a block of events."""
        if not valid.shape[1]:
            return [np.full(len(valid), self.default)]
        row, first = np.arange(len(valid)), valid.argmax(axis=1)
        pt, phi = objects[self.pt][row, first], objects[self.phi][row, first]
        mass = np.sqrt(2 * pt * events[self.met] * (1 - np.cos(phi - events[self.met_phi])))
        return [np.where(valid.any(axis=1), mass, self.default)]
