"""Blocks of the configuration about CP observables: where the four-vectors are, and what to make of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from nntrainer.config.base import Closed, Formula, Strings
from nntrainer.config.registry import OBSERVABLES
from nntrainer.errors import ConfigError, one_of

PARTICLES = ("top", "antitop", "higgs", "lepton", "antilepton")


class Particle(Closed):
    """The four-vector of a particle: expressions over the branches, one number an event each.

    A particle is missing in events where one of them is not finite, or where pt or the energy is negative, as the
    placeholders -99 and -999 are.
    """

    pt: Formula = Field(description="Transverse momentum.")
    eta: Formula = Field(description="Pseudorapidity.")
    phi: Formula = Field(description="Azimuth in radians.")
    m: Formula | None = Field(None, description="Mass.")
    e: Formula | None = Field(None, description="Energy, instead of the mass.")

    @model_validator(mode="after")
    def _one_of_two(self) -> Particle:
        if (self.m is None) == (self.e is None):
            raise ValueError("give either 'm' or 'e'")
        return self

    def formulas(self) -> dict[str, str]:
        """Return the expressions by component."""
        return {name: text for name, text in self.model_dump().items() if text is not None}


class Observables(Closed):
    """CP observables of ttH, computed from four-vectors in the ntuples (docs/observables.md)."""

    top: Particle | None = Field(None, description="The top quark.")
    antitop: Particle | None = Field(None, description="The top antiquark.")
    higgs: Particle | None = Field(None, description="The Higgs boson.")
    lepton: Particle | None = Field(None, description="The negative lepton.")
    antilepton: Particle | None = Field(None, description="The positive lepton.")
    unit: Literal["MeV", "GeV"] = Field("MeV", description="Unit of momenta, energies and masses.")
    frame: Literal["lab", "ttH"] = Field(
        "lab", description="Frame in which momenta are taken: the laboratory's, or that where t + t̄ + H is at rest."
    )
    compute: Strings | None = Field(None, description="Which observables; all that the particles allow if absent.")
    branch: str = Field("obs", pattern=r"^[A-Za-z]\w*$", description="Prefix of the branches, when injected.")
    suffix: str = Field("_obs", pattern=r"^\w+$", description="Suffix of a friend tree's name, when injected.")

    @model_validator(mode="after")
    def _computable(self) -> Observables:
        there = list(self.particles())
        if not there:
            raise ValueError(f"name the four-vector of at least one particle: {one_of(PARTICLES)}")
        if self.frame == "ttH" and (missing := [name for name in PARTICLES[:3] if name not in there]):
            raise ValueError(f"the frame 'ttH' needs the four-vector of {one_of(missing)}, which is not given")
        for name in self.compute or ():
            try:
                needs = OBSERVABLES.get(name).needs
            except ConfigError as error:
                raise ValueError(str(error)) from None
            if lacking := [each for each in needs if each not in there]:
                raise ValueError(f"the observable '{name}' needs the four-vector of {one_of(lacking)}; give it")
        if not self.names():
            raise ValueError(f"no observable can be computed from {one_of(there)} alone; give more particles")
        return self

    def particles(self) -> dict[str, Particle]:
        """Return the particles that are given, by name."""
        found = {name: getattr(self, name) for name in PARTICLES}
        return {name: each for name, each in found.items() if each is not None}

    def names(self) -> tuple[str, ...]:
        """Return the observables that are computed."""
        if self.compute is not None:
            return tuple(dict.fromkeys(self.compute))
        there = set(self.particles())
        return tuple(name for name in OBSERVABLES.names() if there.issuperset(OBSERVABLES.get(name).needs))


class Template(Closed):
    """One distribution that the α-scan fits."""

    name: str = Field(description="'score' of the network, an observable, or an event feature or spectator.")
    bins: Annotated[int, Field(ge=2)] = Field(10, description="Bins of equal content over all angles together.")
    edges: tuple[float, ...] | None = Field(
        None, min_length=3, description="Edges of the bins instead; what lies outside goes to the first and the last."
    )

    @model_validator(mode="after")
    def _rising(self) -> Template:
        if self.edges is not None and any(a >= b for a, b in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("the edges must rise")
        return self


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


NamedTemplate = Annotated[Template, BeforeValidator(_named, json_schema_input_type=str | Template)]
"""A template, given whole or by its name alone."""


class ScanSample(Closed):
    """Ntuples of the signal at one angle."""

    alpha: float = Field(description="CP-mixing angle in degrees.")
    files: Strings = Field(min_length=1, description="Paths, globs or root:// addresses.")


class AlphaScan(Closed):
    """Expected exclusion of CP-mixing angles against data of α = 0 (`nntrainer alpha-scan`)."""

    samples: tuple[ScanSample, ...] = Field(min_length=2, description="The signal at each angle, 0 among them.")
    backgrounds: dict[str, Strings] = Field({}, description="Ntuples of backgrounds by name, the same at each angle.")
    templates: tuple[NamedTemplate, ...] = Field(min_length=1, description="The distributions, each fitted alone.")
    normalisation: Literal["fixed", "floating"] = Field(
        "fixed", description="Whether the signal's rate is known, or fitted at each angle so that only shapes count."
    )

    @model_validator(mode="after")
    def _once_each(self) -> AlphaScan:
        angles = [each.alpha for each in self.samples]
        if 0.0 not in angles:
            raise ValueError("one of the samples must have alpha: 0, which the expected data are made of")
        names = [each.name for each in self.templates]
        for kind, found in (("samples", [f"{angle:g}" for angle in angles]), ("templates", names)):
            for each in found:
                if found.count(each) > 1:
                    raise ValueError(f"{kind} has '{each}' twice; name all its files in one")
        return self
