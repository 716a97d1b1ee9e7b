"""Features of a whole event: counts, scalar sums and shapes."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from nntrainer.config.base import Name
from nntrainer.config.registry import MAKERS
from nntrainer.features.collection import (
    CollectionMaker,
    Columns,
    FourVectorMaker,
    KinematicMaker,
    Output,
)


@MAKERS.register("object_count")
class ObjectCount(CollectionMaker):
    """Number of objects, or of those that reach a threshold (``select``, ``at_least``)."""

    maker: Literal["object_count"] = "object_count"
    output: Name | None = Field(None, description="Name of the feature; 'n_<collection>' if absent.")

    def fields(self) -> tuple[str, ...]:
        """Return the fields of the objects that the computation reads."""
        return ()

    def outputs(self) -> list[Output]:
        """Return name, unit and description of each feature made."""
        cut = f" with {self.select} ≥ {self.at_least:g}" if self.select is not None else ""
        return [(self.output or f"n_{self.collection}", "", f"number of {self.collection}{cut}")]

    def compute(self, events: Columns, objects: Columns, valid: np.ndarray) -> list[np.ndarray]:
        """Compute the features of a block of events."""
        return [valid.sum(axis=1)]


@MAKERS.register("ht")
class HT(CollectionMaker):
    """Scalar sum of the transverse momenta; zero without objects."""

    maker: Literal["ht"] = "ht"
    pt: str = Field("jet_pt", description="Field with the transverse momentum.")
    output: Name = Field("ht", description="Name of the feature.")

    def fields(self) -> tuple[str, ...]:
        """Return the fields of the objects that the computation reads."""
        return (self.pt,)

    def outputs(self) -> list[Output]:
        """Return name, unit and description of each feature made."""
        return [(self.output, self.unit, f"scalar sum of pT of {self.collection}")]

    def compute(self, events: Columns, objects: Columns, valid: np.ndarray) -> list[np.ndarray]:
        """Compute the features of a block of events."""
        return [objects[self.pt].sum(axis=1)]


@MAKERS.register("centrality")
class Centrality(FourVectorMaker):
    """Σ pT / Σ E: one for an event across the beam, near zero for one along it."""

    maker: Literal["centrality"] = "centrality"
    output: Name = Field("centrality", description="Name of the feature.")
    default: float = Field(0.0, description="Value where there is no object.")

    def outputs(self) -> list[Output]:
        """Return name, unit and description of each feature made."""
        return [(self.output, "", f"Σ pT / Σ E of {self.collection}")]

    def compute(self, events: Columns, objects: Columns, valid: np.ndarray) -> list[np.ndarray]:
        """Compute the features of a block of events."""
        value = objects[self.pt].sum(axis=1) / self.four_vectors(objects)[3].sum(axis=1)
        return [np.where(valid.any(axis=1), value, self.default)]


class TensorMaker(KinematicMaker):
    """A maker that reads the momentum tensor M_ab = Σ p_a p_b / Σ |p|² (Phys. Rev. D 20, 2759)."""

    default: float = Field(0.0, description="Value where there is no object.")

    def eigenvalues(self, objects: Columns) -> np.ndarray:
        """Return the eigenvalues (n, 3) of the tensor, ascending, not negative; NaN where undefined."""
        p = self.momenta(objects)
        tensor = np.einsum("anj,bnj->nab", p, p)
        tensor /= np.trace(tensor, axis1=1, axis2=2)[:, None, None]
        good = np.isfinite(tensor).all(axis=(1, 2))
        # LAPACK may refuse a whole block because of one NaN.
        values = np.linalg.eigvalsh(np.where(good[:, None, None], tensor, np.eye(3)))
        return np.where(good[:, None], np.maximum(values, 0.0), np.nan)


@MAKERS.register("sphericity")
class Sphericity(TensorMaker):
    """3/2 (λ2 + λ3) of the momentum tensor, λ1 the largest: 0 for back-to-back jets, 1 for a sphere."""

    maker: Literal["sphericity"] = "sphericity"
    output: Name = Field("sphericity", description="Name of the feature.")

    def outputs(self) -> list[Output]:
        """Return name, unit and description of each feature made."""
        return [(self.output, "", f"sphericity of {self.collection}")]

    def compute(self, events: Columns, objects: Columns, valid: np.ndarray) -> list[np.ndarray]:
        """Compute the features of a block of events."""
        value = 1.5 * self.eigenvalues(objects)[:, :2].sum(axis=1)
        return [np.where(valid.any(axis=1), value, self.default)]


@MAKERS.register("aplanarity")
class Aplanarity(TensorMaker):
    """3/2 λ3 of the momentum tensor, λ3 the smallest: 0 for a plane, 1/2 for a sphere."""

    maker: Literal["aplanarity"] = "aplanarity"
    output: Name = Field("aplanarity", description="Name of the feature.")

    def outputs(self) -> list[Output]:
        """Return name, unit and description of each feature made."""
        return [(self.output, "", f"aplanarity of {self.collection}")]

    def compute(self, events: Columns, objects: Columns, valid: np.ndarray) -> list[np.ndarray]:
        """Compute the features of a block of events."""
        return [np.where(valid.any(axis=1), 1.5 * self.eigenvalues(objects)[:, 0], self.default)]


@MAKERS.register("fox_wolfram")
class FoxWolfram(FourVectorMaker):
    """Fox–Wolfram moments H_l = Σ_ij |p_i| |p_j| P_l(cos θ_ij) / (Σ E)², i = j included (PRL 41, 1581)."""

    maker: Literal["fox_wolfram"] = "fox_wolfram"
    moments: tuple[Annotated[int, Field(ge=0, le=4)], ...] = Field(
        (0, 1, 2, 3, 4), min_length=1, description="Which moments l."
    )
    output: Name = Field("fox_wolfram_H", description="Features are called '<output><l>'.")
    default: float = Field(0.0, description="Value where there is no object.")

    def outputs(self) -> list[Output]:
        """Return name, unit and description of each feature made."""
        return [
            (f"{self.output}{moment}", "", f"Fox–Wolfram moment {moment} of {self.collection}")
            for moment in self.moments
        ]

    def compute(self, events: Columns, objects: Columns, valid: np.ndarray) -> list[np.ndarray]:
        """Compute the features of a block of events."""
        vectors = self.four_vectors(objects)
        size = np.sqrt((vectors[:3] ** 2).sum(axis=0))
        unit = vectors[:3] / np.where(size == 0, 1.0, size)
        cosine = np.clip(np.einsum("anj,ank->njk", unit, unit), -1.0, 1.0)
        scale = vectors[3].sum(axis=1) ** 2
        there = valid.any(axis=1)
        found = []
        for moment in self.moments:
            legendre = np.polynomial.legendre.legval(cosine, np.eye(5)[moment])
            total = np.einsum("nj,njk,nk->n", size, legendre, size)
            found.append(np.where(there, total / scale, self.default))
        return found
