"""Four-vectors of many events at once: arrays (4, n) of px, py, pz, E, NaN where a particle is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

Frame = Literal["lab", "ttH"]


@dataclass(frozen=True)
class Event:
    """The particles of n events by name, in two frames.

    The axes of the boosted frame are those of the laboratory (a boost without rotation), the beam along z.

    Attributes:
        lab: for each particle (4, n) float64 in the laboratory.
        frame: the same in the chosen frame, which may be the laboratory, too.
    """

    lab: Mapping[str, np.ndarray]
    frame: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, lab: Mapping[str, np.ndarray], frame: Frame = "lab") -> Event:
        """Return the event in a frame.

        Args:
            lab: for each particle (4, n) float64 in the laboratory.
            frame: ``lab``, or ``ttH`` for that where the sum of top, antitop and higgs is at rest.

        Returns:
            The event; in the ttH frame all particles are NaN where one of those three is missing.
        """
        if frame == "lab":
            return cls(lab, lab)
        system = lab["top"] + lab["antitop"] + lab["higgs"]
        return cls(lab, {name: boosted(vectors, system) for name, vectors in lab.items()})

    def __getitem__(self, particle: str) -> np.ndarray:
        """Return the four-vectors of a particle in the chosen frame, (4, n)."""
        return self.frame[particle]


def four_vectors(
    pt: np.ndarray, eta: np.ndarray, phi: np.ndarray, *, m: np.ndarray | None = None, e: np.ndarray | None = None
) -> np.ndarray:
    """Return four-vectors from cylindrical components.

    Args:
        pt: (n,) transverse momentum.
        eta: (n,) pseudorapidity.
        phi: (n,) azimuth in radians.
        m: (n,) mass, or ``e``.
        e: (n,) energy.

    Returns:
        (4, n) float64, NaN where the particle is missing: a component is not finite, pt or m is negative, or e is
        not positive.
    """
    last = m if m is not None else e
    if last is None:
        raise ValueError("four_vectors needs m or e")
    pt, eta, phi, last = (np.asarray(x, np.float64) for x in (pt, eta, phi, last))
    with np.errstate(all="ignore"):
        p = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])
        energy = last if m is None else np.sqrt((p**2).sum(axis=0) + last**2)
        found = np.concatenate([p, energy[None]])
        there = np.isfinite(found).all(axis=0) & (pt >= 0) & (energy > 0) & (last >= 0)
    return np.where(there, found, np.nan)


def boosted(vectors: np.ndarray, system: np.ndarray) -> np.ndarray:
    """Return four-vectors (4, n) as seen where ``system`` (4, n) is at rest; NaN where it has no positive mass."""
    m = mass(system)
    with np.errstate(all="ignore"):
        energy = (vectors[3] * system[3] - (vectors[:3] * system[:3]).sum(axis=0)) / np.where(m > 0, m, np.nan)
        momentum = vectors[:3] - system[:3] * ((vectors[3] + energy) / (system[3] + m))
    return np.concatenate([momentum, energy[None]])


def mass(vectors: np.ndarray) -> np.ndarray:
    """Return the mass (n,) of four-vectors (4, n), zero where rounding makes its square negative."""
    return np.asarray(np.sqrt(np.maximum(vectors[3] ** 2 - (vectors[:3] ** 2).sum(axis=0), 0.0)))


def pt(vectors: np.ndarray) -> np.ndarray:
    """Return the transverse momentum (n,) of four-vectors (4, n)."""
    return np.asarray(np.hypot(vectors[0], vectors[1]))


def size(vectors: np.ndarray) -> np.ndarray:
    """Return the momentum's size (n,) of four-vectors (4, n)."""
    return np.asarray(np.sqrt((vectors[:3] ** 2).sum(axis=0)))


def delta_phi(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return |Δφ| in [0, π], (n,), of four-vectors (4, n)."""
    return np.asarray(np.abs(np.arctan2(one[0] * other[1] - one[1] * other[0], one[0] * other[0] + one[1] * other[1])))


def pseudorapidity(vectors: np.ndarray) -> np.ndarray:
    """Return the pseudorapidity (n,) of four-vectors (4, n); ±∞ along the beam."""
    return np.asarray(np.arcsinh(vectors[2] / pt(vectors)))
