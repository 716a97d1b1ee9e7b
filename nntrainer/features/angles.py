"""Angles between the objects of a collection and a lepton, or the missing momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from nntrainer.config.base import Name
from nntrainer.config.registry import MAKERS
from nntrainer.features.collection import CollectionMaker, Columns, Needs, Output, delta_phi

_WORDS = {"dr": "ΔR", "deta": "|Δη|", "dphi": "|Δφ|"}


class AngleMaker(CollectionMaker):
    """A maker of angles between each object that takes part and one direction of the event."""

    eta: str = Field("jet_eta", description="Field with the objects' pseudorapidity.")
    phi: str = Field("jet_phi", description="Field with the objects' azimuth in radians.")
    extreme: Literal["min", "max", "mean", "leading"] = Field("min", description="Which of the objects' angles.")
    default: float = Field(0.0, description="Value where there is no object, or nothing to measure from.")

    def taken(self, values: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Return the chosen one of the angles (n, max) of those that are valid, (n,)."""
        if not valid.shape[1]:
            return np.full(len(valid), self.default)
        if self.extreme == "leading":
            found = values[np.arange(len(values)), valid.argmax(axis=1)]
        elif self.extreme == "mean":
            found = np.where(valid, values, 0.0).sum(axis=1) / valid.sum(axis=1)
        else:
            start = np.inf if self.extreme == "min" else -np.inf
            kept = np.where(valid, values, start)
            found = kept.min(axis=1) if self.extreme == "min" else kept.max(axis=1)
        return np.where(valid.any(axis=1), found, self.default)


@MAKERS.register("lepton_angle")
class LeptonAngle(AngleMaker):
    """Angle between the objects and the leading lepton: smallest, largest, mean, or that of the leading object."""

    maker: Literal["lepton_angle"] = "lepton_angle"
    quantity: Literal["dr", "deta", "dphi"] = Field("dr", description="Which angle.")
    leptons: str = Field("leptons", description="Collection whose first object is the lepton.")
    lepton_eta: str = Field("lepton_eta", description="Field with the lepton's pseudorapidity.")
    lepton_phi: str = Field("lepton_phi", description="Field with the lepton's azimuth in radians.")
    output: Name | None = Field(None, description="Name; '<collection>_<extreme>_<quantity>_lepton' if absent.")

    @model_validator(mode="after")
    def _two(self) -> LeptonAngle:
        if self.leptons == self.collection:
            raise ValueError(f"'collection' and 'leptons' are both '{self.leptons}'; use pair_extreme within one")
        return self

    def fields(self) -> tuple[str, ...]:
        """Return the fields of the objects that the computation reads."""
        return self.eta, self.phi

    def needs(self) -> Needs:
        """Return all columns that are read."""
        mine = super().needs()
        return Needs(mine.events, mine.objects | {self.leptons: (self.lepton_eta, self.lepton_phi)})

    def outputs(self) -> list[Output]:
        """Return name, unit and description of each feature made."""
        name = self.output or f"{self.collection}_{self.extreme}_{self.quantity}_lepton"
        return [(name, "", f"{self.extreme} {_WORDS[self.quantity]} of {self.collection} and {self.leptons}[0]")]

    def of_event(self, events: Columns, objects: Mapping[str, Columns], part: slice) -> dict[str, np.ndarray]:
        """Return the lepton's angles of a block of events, NaN where there is none."""
        table = objects[self.leptons]
        valid = np.asarray(table["valid"][part], bool)
        found = {name: np.full(len(valid), np.nan) for name in (self.lepton_eta, self.lepton_phi)}
        if valid.shape[1]:
            row, first, there = np.arange(len(valid)), valid.argmax(axis=1), valid.any(axis=1)
            for name in found:
                found[name] = np.where(there, np.asarray(table[name][part], np.float64)[row, first], np.nan)
        return found | {"there": valid.any(axis=1)}

    def compute(self, events: Columns, objects: Columns, valid: np.ndarray) -> list[np.ndarray]:
        """Compute the features of a block of events."""
        deta = np.abs(objects[self.eta] - events[self.lepton_eta][:, None])
        dphi = delta_phi(objects[self.phi], events[self.lepton_phi][:, None])
        values = {"deta": deta, "dphi": dphi, "dr": np.hypot(deta, dphi)}[self.quantity]
        return [np.where(events["there"], self.taken(values, valid), self.default)]


@MAKERS.register("met_angle")
class MetAngle(AngleMaker):
    """|Δφ| between the objects and the missing momentum: smallest, largest, mean, or that of the leading object."""

    maker: Literal["met_angle"] = "met_angle"
    met_phi: str = Field("met_phi", description="Event feature with the missing momentum's azimuth in radians.")
    output: Name | None = Field(None, description="Name; '<collection>_<extreme>_dphi_met' if absent.")

    def fields(self) -> tuple[str, ...]:
        """Return the fields of the objects that the computation reads."""
        return (self.phi,)

    def event_columns(self) -> tuple[str, ...]:
        """Return the event columns that the computation reads."""
        return (self.met_phi,)

    def outputs(self) -> list[Output]:
        """Return name, unit and description of each feature made."""
        name = self.output or f"{self.collection}_{self.extreme}_dphi_met"
        return [(name, "", f"{self.extreme} |Δφ| of {self.collection} and the missing momentum")]

    def compute(self, events: Columns, objects: Columns, valid: np.ndarray) -> list[np.ndarray]:
        """Compute the features of a block of events."""
        return [self.taken(delta_phi(objects[self.phi], events[self.met_phi][:, None]), valid)]
