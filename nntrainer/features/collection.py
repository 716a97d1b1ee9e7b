"""What all feature makers share: options that name columns, the check, masking, bounded memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import Field, model_validator

from nntrainer.config.registry import MakerOptions
from nntrainer.errors import ConfigError, nearest, one_of

Columns = Mapping[str, np.ndarray]
Output = tuple[str, str, str]
"""Name, unit and description of a feature."""

# Pairs of twenty objects take 190 numbers an event: blocks of events keep that small beside the events.
BLOCK = 16384


@dataclass(frozen=True)
class Needs:
    """Columns a maker reads: of the event, and of each collection."""

    events: tuple[str, ...]
    objects: dict[str, tuple[str, ...]]


class CollectionMaker(MakerOptions):
    """A maker that reads a collection of objects, or those of them that pass a threshold."""

    collection: str = Field("jets", description="Collection of features.objects that is read.")
    select: str | None = Field(None, description="Field of the objects that decides which take part; all if absent.")
    at_least: float | None = Field(
        None, description="Smallest value of the field 'select' of an object that takes part."
    )
    unit: str = Field("MeV", description="Unit of momenta, energies and masses.")

    @model_validator(mode="after")
    def _threshold(self) -> CollectionMaker:
        if (self.select is None) != (self.at_least is None):
            raise ValueError("give both 'select' and 'at_least', or neither")
        return self

    @abstractmethod
    def fields(self) -> tuple[str, ...]:
        """Return the fields of the objects that the computation reads."""

    @abstractmethod
    def outputs(self) -> list[Output]:
        """Return name, unit and description of each feature made."""

    @abstractmethod
    def compute(self, events: Columns, objects: Columns, valid: np.ndarray) -> list[np.ndarray]:
        """Compute the features of a block of events.

        Args:
            events: needed event columns, each (n,) float64.
            objects: needed fields of the collection, each (n, max) float64, zero where not valid.
            valid: (n, max) bool, the objects that take part.

        Returns:
            One array (n,) an output, in the order of ``outputs``.
        """

    def event_columns(self) -> tuple[str, ...]:
        """Return the event columns that the computation reads."""
        return ()

    def needs(self) -> Needs:
        """Return all columns that are read."""
        more = (self.select,) if self.select is not None else ()
        return Needs(self.event_columns(), {self.collection: tuple(dict.fromkeys(self.fields() + more))})

    def check(self, event_names: Iterable[str], object_names: Mapping[str, Iterable[str]]) -> None:
        """Check that every column this maker reads is configured.

        Args:
            event_names: the event features and spectators.
            object_names: the fields of each collection.

        Raises:
            ConfigError: a collection, field or event feature is missing.
        """
        here, events = f"preparation.feature_makers: '{self.maker}'", list(event_names)
        for name in self.needs().events:
            if name not in events:
                raise ConfigError(
                    f"{here} needs '{name}', which is neither in features.events nor in features.spectators; "
                    f"there are {one_of(events) or 'none'}.{nearest(name, events)}"
                )
        for collection, fields in self.needs().objects.items():
            if collection not in object_names:
                raise ConfigError(
                    f"{here} needs the collection '{collection}', which is not in features.objects; "
                    f"there are {one_of(object_names) or 'none'}.{nearest(collection, object_names)}"
                )
            there = list(object_names[collection])
            for name in fields:
                if name not in there:
                    raise ConfigError(
                        f"{here} needs '{name}', which is not in features.objects.{collection}.features; "
                        f"there are {one_of(there) or 'none'}.{nearest(name, there)}"
                    )

    def of_event(self, events: Columns, objects: Mapping[str, Columns], part: slice) -> dict[str, np.ndarray]:
        """Return what `compute` gets of a block of events besides the objects, each (n,): the event columns."""
        return {name: np.asarray(events[name][part], np.float64) for name in self.needs().events}

    def make(self, events: Columns, objects: Mapping[str, Columns]) -> dict[str, np.ndarray]:
        """Make the features.

        Args:
            events: event columns by name, each (n,).
            objects: for each collection its fields by name, each (n, max), with the boolean ``valid``.

        Returns:
            The features by name, each (n,) float32.
        """
        needs = self.needs()
        table = objects[self.collection]
        n = len(table["valid"])
        names = [name for name, _, _ in self.outputs()]
        made = {name: np.zeros(n, np.float32) for name in names}
        for start in range(0, n, BLOCK):
            part = slice(start, start + BLOCK)
            valid = np.asarray(table["valid"][part], bool)
            if self.select is not None:
                valid = valid & (np.asarray(table[self.select][part]) >= self.at_least)
            columns = {
                name: np.where(valid, np.asarray(table[name][part], np.float64), 0.0)
                for name in needs.objects[self.collection]
            }
            of_event = self.of_event(events, objects, part)
            with np.errstate(all="ignore"):  # NaN and infinity are counted later, by the feature's name
                for name, values in zip(names, self.compute(of_event, columns, valid), strict=True):
                    made[name][part] = values
        return made


class KinematicMaker(CollectionMaker):
    """A maker that reads the momenta of the objects."""

    pt: str = Field("jet_pt", description="Field with the transverse momentum.")
    eta: str = Field("jet_eta", description="Field with the pseudorapidity.")
    phi: str = Field("jet_phi", description="Field with the azimuth in radians.")

    def fields(self) -> tuple[str, ...]:
        """Return the fields of the objects that the computation reads."""
        return self.pt, self.eta, self.phi

    def momenta(self, objects: Columns) -> np.ndarray:
        """Return px, py and pz as one array (3, n, max)."""
        pt, eta, phi = (objects[name] for name in (self.pt, self.eta, self.phi))
        return np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])


class FourVectorMaker(KinematicMaker):
    """A maker that reads the four-vectors of the objects: momentum with energy or, if given, mass."""

    e: str = Field("jet_e", description="Field with the energy.")
    mass: str | None = Field(None, description="Field with the mass, read instead of the energy.")

    def fields(self) -> tuple[str, ...]:
        """Return the fields of the objects that the computation reads."""
        return (*super().fields(), self.mass if self.mass is not None else self.e)

    def four_vectors(self, objects: Columns) -> np.ndarray:
        """Return px, py, pz and E as one array (4, n, max)."""
        p = self.momenta(objects)
        energy = objects[self.e] if self.mass is None else np.sqrt((p**2).sum(axis=0) + objects[self.mass] ** 2)
        return np.concatenate([p, energy[None]])


def invariant_mass(vectors: np.ndarray) -> np.ndarray:
    """Return the mass of four-vectors (4, ...): √(E² − p²), zero where rounding makes that negative."""
    square = vectors[3] ** 2 - (vectors[:3] ** 2).sum(axis=0)
    return np.asarray(np.sqrt(np.maximum(square, 0.0)))


def delta_phi(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return |Δφ| in [0, π]."""
    return np.asarray(np.abs((a - b + np.pi) % (2 * np.pi) - np.pi))
