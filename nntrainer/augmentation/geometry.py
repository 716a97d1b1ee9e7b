"""Rotations, reflections and translations of whole events."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, model_validator

from nntrainer.augmentation.batch import Objects, Random, batch_of
from nntrainer.augmentation.checks import refuse_event_features, whole_event
from nntrainer.config.models import Config
from nntrainer.config.registry import AUGMENTATIONS, AugmentationOptions


@AUGMENTATIONS.register("rotate_phi")
class RotatePhi(AugmentationOptions):
    """Turn each event about the beam by an angle of its own, all its objects by the same.

    Masses, ΔR and all event features that make sense stay as they are.
    """

    name: Literal["rotate_phi"] = "rotate_phi"

    def check(self, config: Config) -> None:
        """Refuse collections whose φ is not known."""
        whole_event(self.name, config)

    def change(self, event: dict[str, Objects], random: Random) -> None:
        """Rotate the events of a batch."""
        angle = random.uniform((batch_of(event), 1), -math.pi, math.pi)
        for objects in event.values():
            objects.columns["phi"] = _turned(objects.columns["phi"], angle)


@AUGMENTATIONS.register("reflect_eta")
class ReflectEta(AugmentationOptions):
    """Exchange forward and backward in half of the events, for all objects of the event.

    Masses and ΔR stay as they are, and so do event features but for signed η.
    """

    name: Literal["reflect_eta"] = "reflect_eta"

    def check(self, config: Config) -> None:
        """Refuse collections whose η is not known."""
        whole_event(self.name, config)

    def change(self, event: dict[str, Objects], random: Random) -> None:
        """Reflect half of the events of a batch."""
        import tensorflow as tf

        sign = tf.where(random.uniform((batch_of(event), 1)) < 0.5, -1.0, 1.0)
        for objects in event.values():
            if "eta" in objects.columns:  # missing momentum has none
                objects.columns["eta"] = sign * objects.columns["eta"]


@AUGMENTATIONS.register("translate")
class Translate(AugmentationOptions):
    """Shift each event in η and φ, all its objects by the same.

    ΔR, transverse momenta and masses of objects stay, and energies follow. Objects may leave the acceptance. What has
    no η, as missing momentum, is shifted in φ alone.
    """

    name: Literal["translate"] = "translate"
    eta: NonNegativeFloat = Field(0.5, description="Largest shift in η.")
    phi: NonNegativeFloat = Field(math.pi, le=math.pi, description="Largest shift in φ.")
    allow_event_features: bool = Field(False, description="Leave event features as they are, though they would change.")

    @model_validator(mode="after")
    def _somewhere(self) -> Translate:
        if not self.eta and not self.phi:
            raise ValueError("give a shift in eta or phi above zero")
        return self

    def check(self, config: Config) -> None:
        """Refuse collections whose η and φ are not known, and event features."""
        whole_event(self.name, config)
        refuse_event_features(self.name, self.allow_event_features, config)

    def change(self, event: dict[str, Objects], random: Random) -> None:
        """Shift the events of a batch."""
        import tensorflow as tf

        shape = (batch_of(event), 1)
        deta, dphi = random.uniform(shape, -self.eta, self.eta), random.uniform(shape, -self.phi, self.phi)
        for objects in event.values():
            columns = objects.columns
            columns["phi"] = _turned(columns["phi"], dphi)
            if "eta" not in columns:
                continue
            before, columns["eta"] = columns["eta"], columns["eta"] + deta
            if "e" in columns:
                # m² = E² − pT² cosh² η stays; in float64, where it does not cancel.
                pt, energy, old, new = (
                    tf.cast(each, tf.float64) for each in (columns["pt"], columns["e"], before, columns["eta"])
                )
                square = tf.square(energy) + tf.square(pt) * (tf.square(tf.sinh(new)) - tf.square(tf.sinh(old)))
                columns["e"] = tf.cast(tf.sqrt(tf.maximum(square, 0)), tf.float32)


def _turned(phi: Any, angle: Any) -> Any:
    """Return angles after a rotation, from −π to π; in float64, so that differences stay as they are."""
    import tensorflow as tf

    turned = tf.cast(phi, tf.float64) + tf.cast(angle, tf.float64)
    return tf.cast(tf.math.floormod(turned + math.pi, 2 * math.pi) - math.pi, tf.float32)
