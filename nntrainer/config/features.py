"""The features block: what the network sees."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from nntrainer.config.base import Closed, Formula, Name
from nntrainer.errors import nearest, one_of


class Feature(Closed):
    """One number of an event or of an object."""

    name: Name = Field(description="Name in the dataset, the model and the plots.")
    expression: Formula | None = Field(None, description="How it is computed; the branch of its name if absent.")
    unit: str = Field("", description="Unit, such as MeV.")
    description: str = Field("", description="What it is, for people.")

    @property
    def formula(self) -> str:
        """The expression, or the branch name as an expression."""
        if self.expression is not None:
            return self.expression
        return self.name if self.name.replace(".", "_").isidentifier() else f'branch("{self.name}")'


def _named(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple({"name": item} if isinstance(item, str) else item for item in value)
    return value


FeatureList = Annotated[tuple[Feature, ...], BeforeValidator(_named, json_schema_input_type=tuple[Name | Feature, ...])]
"""Features, each given whole or by its name alone."""


class FourVector(Closed):
    """Which features of an object make its four-vector; without energy and mass it is massless."""

    pt: Name = Field(description="Feature with the transverse momentum; its unit counts: MeV, GeV or TeV.")
    eta: Name | None = Field(None, description="Feature with the pseudorapidity; 0 if absent, as for missing momentum.")
    phi: Name = Field(description="Feature with the azimuth in radians.")
    e: Name | None = Field(None, description="Feature with the energy.")
    mass: Name | None = Field(None, description="Feature with the mass, instead of the energy.")

    @model_validator(mode="after")
    def _one_of_two(self) -> FourVector:
        if self.e is not None and self.mass is not None:
            raise ValueError("give either 'e' or 'mass', not both")
        return self

    def fields(self) -> list[str]:
        """Return the features that are named."""
        return [name for name in (self.pt, self.eta, self.phi, self.e, self.mass) if name is not None]


class Objects(Closed):
    """A collection such as the jets of an event; with ``max: 1`` also one object such as the missing momentum."""

    max: PositiveInt = Field(description="Slots kept for each event; what is beyond is cut off and counted.")
    features: FeatureList = Field(min_length=1, description="Features of one object.")
    selection: Formula | None = Field(None, description="Objects for which this is true are kept.")
    four_vector: FourVector | None = Field(
        None, description="Features that make the four-vector, for networks that look at pairs of objects."
    )

    @model_validator(mode="after")
    def _four_vector(self) -> Objects:
        names = [feature.name for feature in self.features]
        for name in self.four_vector.fields() if self.four_vector else ():
            if name not in names:
                raise ValueError(
                    f"four_vector names '{name}', which is none of the features; they are {one_of(names)}."
                    f"{nearest(name, names)}"
                )
        return self


class Features(Closed):
    """What the network sees."""

    events: FeatureList = Field((), description="Features of the event.")
    objects: dict[Name, Objects] = Field({}, description="Object collections by name.")
    spectators: FeatureList = Field((), description="Event features stored and reported but never trained on.")

    @model_validator(mode="after")
    def _something(self) -> Features:
        if not self.events and not self.objects:
            raise ValueError("give at least one feature under 'events' or one collection under 'objects'")
        groups = [("events", self.events + self.spectators)]
        groups += [(f"objects.{name}.features", block.features) for name, block in self.objects.items()]
        for where, features in groups:
            names = [feature.name for feature in features]
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"{where} names '{name}' twice")
        for reserved in ("eventNumber", "weight", "label"):
            if reserved in {feature.name for feature in self.spectators}:
                raise ValueError(f"'{reserved}' is always stored; leave it out of the spectators")
        return self
