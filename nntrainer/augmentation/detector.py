"""What a detector might have measured instead: other energies, fewer jets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator

from nntrainer.augmentation.batch import Objects, Random
from nntrainer.augmentation.checks import one_collection, refuse_event_features
from nntrainer.config.models import Config
from nntrainer.config.registry import AUGMENTATIONS, AugmentationOptions

LEAST = 0.05
"""Of a momentum is left at least."""


@AUGMENTATIONS.register("smear_energy")
class SmearEnergy(AugmentationOptions):
    """Multiply the four-vector of each object by a random number of mean 1, as wide as the resolution.

    σ/E = stochastic/√E ⊕ constant with E in GeV. Transverse momentum, energy and mass change by the same factor; η
    and φ stay. The missing momentum does not follow, and the selection is not applied again.
    """

    name: Literal["smear_energy"] = "smear_energy"
    collection: str = Field("jets", description="Collection of features.objects that is smeared.")
    stochastic: NonNegativeFloat = Field(0.6, description="Stochastic term in √GeV.")
    constant: NonNegativeFloat = Field(0.03, description="Constant term.")
    allow_event_features: bool = Field(False, description="Leave event features as they are, though they would change.")

    @model_validator(mode="after")
    def _some_width(self) -> SmearEnergy:
        if not self.stochastic and not self.constant:
            raise ValueError("give a stochastic or a constant term above zero")
        return self

    def check(self, config: Config) -> None:
        """Refuse a collection without four-vectors, and event features."""
        one_collection(self.name, self.collection, config, four_vector=True)
        refuse_event_features(self.name, self.allow_event_features, config)

    def change(self, event: dict[str, Objects], random: Random) -> None:
        """Smear the objects of a batch."""
        import tensorflow as tf

        objects = event[self.collection]
        columns, pt = objects.columns, objects.columns["pt"]
        if "e" in columns:
            energy = columns["e"]
        else:
            momentum = pt * tf.cosh(columns["eta"]) if "eta" in columns else pt
            energy = tf.sqrt(tf.square(momentum) + tf.square(columns["mass"])) if "mass" in columns else momentum
        gev = tf.maximum(energy * objects.gev, 1e-3)
        width = tf.sqrt(self.stochastic**2 / gev + self.constant**2)
        factor = tf.maximum(1 + width * random.normal(tf.shape(pt)), LEAST)
        for key in {"pt", "e", "mass"} & set(columns):
            columns[key] = factor * columns[key]


@AUGMENTATIONS.register("drop_jets")
class DropJets(AugmentationOptions):
    """Leave objects out, each with the same probability, but keep so many of an event.

    Where more would go, chance decides which are kept. Events that have no more than ``keep`` stay as they are.
    """

    name: Literal["drop_jets"] = "drop_jets"
    collection: str = Field("jets", description="Collection of features.objects of which some are left out.")
    probability: Annotated[float, Field(gt=0, lt=1)] = Field(0.1, description="Probability for each object.")
    keep: NonNegativeInt = Field(4, description="Objects that are kept at least.")
    allow_event_features: bool = Field(False, description="Leave event features as they are, though they would change.")

    def check(self, config: Config) -> None:
        """Refuse a collection that is not there, and event features."""
        one_collection(self.name, self.collection, config, four_vector=False)
        refuse_event_features(self.name, self.allow_event_features, config)

    def change(self, event: dict[str, Objects], random: Random) -> None:
        """Leave out objects of a batch."""
        import tensorflow as tf

        objects = event[self.collection]
        there = objects.valid > 0
        # Who has the larger number stays the longer; an object has a rank among those that are there.
        number = tf.where(there, random.uniform(tf.shape(objects.valid)), -1.0)
        rank = tf.reduce_sum(tf.cast(number[:, None, :] > number[:, :, None], tf.int32), axis=-1)
        stays = tf.logical_or(number >= self.probability, rank < self.keep)
        objects.valid = tf.where(tf.logical_and(there, stays), objects.valid, 0.0)
