"""Graph attention between all objects."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from nntrainer.config.models import Config
from nntrainer.config.registry import NETWORKS
from nntrainer.networks.blocks import dropped
from nntrainer.networks.graphs import GraphNetwork, need_four_vectors
from nntrainer.networks.inputs import Encoded, ModelInputs


@NETWORKS.register("gatv2")
class GATv2(GraphNetwork):
    """Every object takes from every other one as much as an attention with dynamic weights gives it: GATv2.

    Paper: graph attention (arXiv 2105.14491, equation 7) over the full graph of objects, each its own neighbour, with a
    skip connection around each layer; pairs of objects may add what they are to one another (log ΔR, kT, z, m²; arXiv
    2202.03772) to the attention as features of their edge. Inputs: any number of collections, with four-vectors if
    pairs count; event features beside them.
    """

    name: Literal["gatv2"] = "gatv2"
    blocks: PositiveInt = Field(3, description="Layers of attention.")
    heads: PositiveInt = Field(4, description="Attentions in each layer, side by side; they share the width.")
    pair_features: bool = Field(True, description="Pairs of objects add log ΔR, kT, z and m² to the attention.")

    @model_validator(mode="after")
    def _shared(self) -> GATv2:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} cannot be shared by {self.heads} heads; make it a multiple of heads")
        return self

    def check(self, config: Config) -> None:
        """Refuse collections without four-vectors if pairs count."""
        if self.pair_features:
            need_four_vectors(
                config.features, config.features.objects, "the network 'gatv2'", ", or set model.pair_features: false"
            )

    def encode(self, inputs: ModelInputs) -> Encoded:
        """Return the event and its objects.

        Args:
            inputs: the scaled inputs.

        Returns:
            The event after the dense layers on it, the objects after the last layer of attention.
        """
        import keras

        from nntrainer.networks.layers.graph_attention import GraphAttention
        from nntrainer.networks.layers.pairs import PairFeatures

        tokens = inputs.tokens(self.width)
        x, edges = tokens.values, []
        if self.pair_features:
            pairs = PairFeatures(dtype="float32", name="pairs")([tokens.four_vectors, tokens.mask])
            edges = [keras.layers.LayerNormalization(name="pairs_norm")(pairs)]
        for index in range(self.blocks):
            y = keras.layers.LayerNormalization(name=f"norm_{index}")(x)
            attention = GraphAttention(self.heads, self.width // self.heads, name=f"attention_{index}")
            y = attention([y, tokens.mask, *edges])
            y = keras.layers.Activation(self.activation, name=f"activation_{index}")(y)
            y = dropped(self.dropout, y, f"dropout_{index}")
            x = keras.layers.Add(name=f"add_{index}")([x, y])
        x = keras.layers.LayerNormalization(name="norm_last")(x)
        return self.encoded(inputs, tokens, x)
