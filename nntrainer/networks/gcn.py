"""Graph convolution, the baseline of graph networks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from nntrainer.config.models import Config
from nntrainer.config.registry import NETWORKS
from nntrainer.networks.blocks import dropped
from nntrainer.networks.graphs import GraphNetwork, need_four_vectors
from nntrainer.networks.inputs import Encoded, ModelInputs


@NETWORKS.register("gcn")
class GCN(GraphNetwork):
    """A dense layer on every object, averaged over its neighbours with fixed weights: a baseline.

    Paper: graph convolution (arXiv 1609.02907, equation 2) with the normalised adjacency D^-1/2 A D^-1/2; A is 1
    between all objects, or exp(-ΔR² / 2R²), and 1 from an object to itself. A skip connection around each layer keeps
    the objects apart, which a full graph would otherwise make all alike. Inputs: any number of collections, with
    four-vectors for weights by ΔR; event features beside them.
    """

    name: Literal["gcn"] = "gcn"
    layers: tuple[PositiveInt, ...] = Field((64, 64), min_length=1, description="Units of each graph convolution.")
    edges: Literal["full", "delta_r"] = Field("delta_r", description="All edges alike, or weighted by ΔR.")
    radius: PositiveFloat = Field(1.0, description="R of the weights by ΔR.")

    def check(self, config: Config) -> None:
        """Refuse collections without four-vectors if edges are weighted by ΔR."""
        if self.edges == "delta_r":
            need_four_vectors(
                config.features, config.features.objects, "the network 'gcn'", ", or set model.edges: full"
            )

    def encode(self, inputs: ModelInputs) -> Encoded:
        """Return the event and its objects.

        Args:
            inputs: the scaled inputs.

        Returns:
            The event after the dense layers on it, the objects after the last convolution.
        """
        import keras

        from nntrainer.networks.layers.adjacency import Adjacency
        from nntrainer.networks.layers.distances import AngularDistance

        tokens = inputs.tokens(self.width)
        seen = [tokens.mask]
        if self.edges == "delta_r":
            seen.append(AngularDistance(dtype="float32", name="distance")(tokens.four_vectors))
        adjacency = Adjacency(self.radius, dtype="float32", name="adjacency")(seen)
        x = keras.layers.Activation(self.activation, name="object_activation")(tokens.values)
        for index, units in enumerate(self.layers):
            y = keras.layers.Dense(units, name=f"convolution_{index}")(x)
            y = keras.layers.Dot(axes=(2, 1), name=f"neighbours_{index}")([adjacency, y])
            y = keras.layers.Activation(self.activation, name=f"activation_{index}")(y)
            y = dropped(self.dropout, y, f"dropout_{index}")
            if x.shape[-1] != units:
                x = keras.layers.Dense(units, name=f"shortcut_{index}")(x)
            x = keras.layers.Add(name=f"add_{index}")([x, y])
        return self.encoded(inputs, tokens, x)
