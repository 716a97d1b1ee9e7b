"""What a network learns besides the class: which objects make a particle, and numbers of the event."""

from __future__ import annotations

from itertools import permutations
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from nntrainer.config.base import Closed, Formula
from nntrainer.errors import one_of

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,49}$")]
CLASS = "class"
"""The task that every network has unless it is left out: the event's class."""
SLOTS = 127
"""Slots are stored as int8."""


class Particle(Closed):
    """A particle that decays to one, two or three objects."""

    ids: tuple[int, ...] = Field(
        min_length=1, max_length=3, description="What 'match' says of its objects, each number once."
    )
    symmetric: bool | tuple[tuple[int, ...], ...] = Field(
        False, description="Whether all ids, or those of each group such as [[5, 6]], may be exchanged."
    )

    @model_validator(mode="after")
    def _groups(self) -> Particle:
        if len(set(self.ids)) < len(self.ids):
            raise ValueError(f"ids {list(self.ids)} name one twice")
        if not isinstance(self.symmetric, bool):
            listed = [each for group in self.symmetric for each in group]
            if len(set(listed)) < len(listed) or not set(listed) <= set(self.ids):
                raise ValueError(
                    f"symmetric {[list(group) for group in self.symmetric]} must name some of the ids "
                    f"{list(self.ids)}, each once"
                )
        return self

    def exchanges(self) -> tuple[tuple[int, ...], ...]:
        """Return the permutations of the positions of the ids that leave the particle what it is; identity first."""
        if isinstance(self.symmetric, bool):
            groups: tuple[tuple[int, ...], ...] = (self.ids,) if self.symmetric else ()
        else:
            groups = self.symmetric
        group_of = {each: number for number, group in enumerate(groups) for each in group}
        same = [group_of.get(each, -1 - position) for position, each in enumerate(self.ids)]
        places = range(len(self.ids))
        return tuple(order for order in permutations(places) if all(same[a] == same[b] for a, b in enumerate(order)))


class Assignment(Closed):
    """Which objects of a collection come from which particle (SPANet, arXiv 2010.09206)."""

    kind: Literal["assignment"] = "assignment"
    collection: str = Field(description="The collection under features.objects.")
    match: Formula = Field(
        description="List of numbers an event, one an object of the collection: what it comes from. Only the truth of "
        "simulation knows it; scoring does not read it."
    )
    particles: dict[Identifier, Particle] = Field(min_length=1, description="The particles by name; no two share jets.")

    @model_validator(mode="after")
    def _apart(self) -> Assignment:
        ids = [each for particle in self.particles.values() for each in particle.ids]
        for each in ids:
            if ids.count(each) > 1:
                raise ValueError(f"two particles have the id {each}; an object comes from one of them")
        return self


class Regression(Closed):
    """A number of the event."""

    kind: Literal["regression"] = "regression"
    expression: Formula = Field(description="The truth; an event where it is NaN or infinite has none.")
    selection: Formula | None = Field(None, description="Events that have this truth; all if absent.")
    unit: str = Field("", description="Unit, such as MeV.")
    description: str = Field("", description="What it is, for people.")


Target = Annotated[Assignment | Regression, Field(discriminator="kind")]


class PairEvaluation(Closed):
    """How the reconstruction of a particle is measured."""

    truth_pt: str | None = Field(
        None, description="Spectator or regression target with the particle's true pT; of its true objects if absent."
    )
    tag: str | None = Field(None, description="Feature of the objects that says how b-like they are; for a baseline.")
    tag_minimum: float = Field(4.0, description="Objects whose tag is at least this are tagged.")
    mass_gev: Annotated[float, Field(gt=0)] = Field(
        125.0, description="The baseline takes the two tagged objects with the mass nearest this, in GeV."
    )


def check_targets(targets: dict[str, Any], objects: dict[str, Any], labels: tuple[str, ...]) -> None:
    """Check that targets fit to the collections and that no two things would have the same name.

    Args:
        targets: the targets by name.
        objects: the collections by name, ``features.objects``.
        labels: the classes.

    Raises:
        ValueError: they do not.
    """
    names: list[str] = ["scores", "score", "fold", *labels]
    for name, target in targets.items():
        where = f"data.targets.{name}"
        if name == CLASS:
            raise ValueError(f"{where}: '{CLASS}' is the task of the event's class; call the target something else")
        if isinstance(target, Regression):
            names.append(name)
            continue
        if target.collection not in objects:
            raise ValueError(
                f"{where}: there is no collection '{target.collection}'; features.objects has "
                f"{one_of(objects) if objects else 'none'}"
            )
        slots = objects[target.collection].max
        needed = sum(len(particle.ids) for particle in target.particles.values())
        if not needed <= slots <= SLOTS:
            raise ValueError(
                f"{where}: its particles need {needed} objects, and '{target.collection}' has max: {slots}; "
                f"give it {needed} to {SLOTS}"
            )
        for particle in target.particles:
            names += [f"{particle}_{what}" for what in ("indices", "probability", "m", "pt")]
    for each in names[3 + len(labels) :]:
        if names.count(each) > 1:
            raise ValueError(
                f"data.targets would give the output '{each}' twice; give a target or particle other names"
            )
