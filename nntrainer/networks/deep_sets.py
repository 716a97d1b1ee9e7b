"""Deep sets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from nntrainer.config.registry import NETWORKS
from nntrainer.networks.blocks import ObjectNetwork
from nntrainer.networks.inputs import Encoded, ModelInputs


@NETWORKS.register("deep_sets")
class DeepSets(ObjectNetwork):
    """The same dense layers on every object, a sum, mean or maximum over objects, dense layers on the event.

    Paper: Deep sets (arXiv 1703.06114), as energy-flow and particle-flow networks use them (arXiv 1810.05165).
    Inputs: any number of collections, event features beside them.
    """

    name: Literal["deep_sets"] = "deep_sets"
    width: PositiveInt = Field(64, description="Units in which every object starts.")
    layers: tuple[PositiveInt, ...] = Field((64, 64), description="Units of the dense layers on each object.")
    pooling: tuple[Literal["mean", "sum", "max"], ...] = Field(
        ("mean", "max"), min_length=1, description="What is taken over the objects."
    )

    def encode(self, inputs: ModelInputs) -> Encoded:
        """Return the event and its objects.

        Args:
            inputs: the scaled inputs.

        Returns:
            The event after the dense layers on it, the objects after those on them.
        """
        import keras

        from nntrainer.networks.layers.masked import Masked, MaskedPool

        tokens = inputs.tokens(self.width)
        x = keras.layers.Activation(self.activation, name="object_activation")(tokens.values)
        x = self.layers_on(x, self.layers, "object")
        x = Masked(name="objects")([x, tokens.mask])
        pooled = [MaskedPool(kind, name=f"pool_{kind}")([x, tokens.mask]) for kind in self.pooling]
        whole = pooled[0] if len(pooled) == 1 else keras.layers.Concatenate(name="pooled")(pooled)
        return Encoded(self.event(inputs, whole), tokens.split(x))
