"""What graph networks share: objects joined by edges, pooled and joined with the event features."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from nntrainer.config.features import Features
from nntrainer.config.registry import NetworkType
from nntrainer.networks.blocks import ObjectNetwork
from nntrainer.networks.inputs import Encoded, ModelInputs, Tokens


class GraphNetwork(ObjectNetwork):
    """Options of all networks that work on objects with edges between them."""

    network_types: ClassVar[tuple[NetworkType, ...]] = ("graph",)

    width: PositiveInt = Field(64, description="Units in which every object starts.")
    pooling: tuple[Literal["mean", "sum", "max"], ...] = Field(
        ("mean", "max"), min_length=1, description="What is taken over the objects."
    )

    def encoded(self, inputs: ModelInputs, tokens: Tokens, values: Any) -> Encoded:
        """Return the event made of what became of its objects.

        Args:
            inputs: the scaled inputs.
            tokens: the objects as they were.
            values: (None, N, width) tensor, what they became.

        Returns:
            The event after the dense layers on it, and the objects, zero where there is none.
        """
        import keras

        from nntrainer.networks.layers.masked import Masked, MaskedPool

        x = Masked(name="objects")([values, tokens.mask])
        pooled = [MaskedPool(kind, name=f"pool_{kind}")([x, tokens.mask]) for kind in self.pooling]
        whole = pooled[0] if len(pooled) == 1 else keras.layers.Concatenate(name="pooled")(pooled)
        return Encoded(self.event(inputs, whole), tokens.split(x))


def need_four_vectors(features: Features, collections: Iterable[str], what: str, instead: str = "") -> None:
    """Refuse collections that do not say what makes their four-vector.

    Args:
        features: the features of a configuration.
        collections: names of collections.
        what: what needs it, for the message.
        instead: what else could be done, for the message.

    Raises:
        ValueError: one of the collections has no ``four_vector``.
    """
    for name in collections:
        if features.objects[name].four_vector is None:
            raise ValueError(
                f"{what} needs the four-vectors of all its objects: give features.objects.{name}.four_vector, such as "
                f"{{pt: jet_pt, eta: jet_eta, phi: jet_phi, e: jet_e}}{instead}"
            )
