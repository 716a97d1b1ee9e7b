"""Dynamic graph convolution over nearest neighbours."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt

from nntrainer.config.models import Config
from nntrainer.config.registry import NETWORKS
from nntrainer.networks.graphs import GraphNetwork, need_four_vectors
from nntrainer.networks.inputs import Encoded, ModelInputs


@NETWORKS.register("edgeconv")
class EdgeConv(GraphNetwork):
    """Dense layers on each object with each of its k nearest neighbours, and their mean: ParticleNet.

    Paper: edge convolution blocks (arXiv 1801.07829) as ParticleNet (arXiv 1902.08570) has them: neighbours are near in
    η and φ in the first block, in what the block before made of them in the others. An object in an event of fewer than
    k + 1 has fewer neighbours. Normalisation is by layer and not by batch, so that a score depends on its event alone.
    Inputs: any number of collections with four-vectors, event features beside them.
    """

    name: Literal["edgeconv"] = "edgeconv"
    k: PositiveInt = Field(4, description="Neighbours of each object; at most as many as there are other slots.")
    blocks: tuple[tuple[PositiveInt, ...], ...] = Field(
        ((64, 64), (64, 64)), min_length=1, description="For each block the units of its dense layers on an edge."
    )
    normalisation: Literal["none", "layer_norm"] = Field(
        "layer_norm", description="Normalisation before each activation."
    )

    def check(self, config: Config) -> None:
        """Refuse collections without four-vectors."""
        need_four_vectors(config.features, config.features.objects, "the network 'edgeconv'")

    def encode(self, inputs: ModelInputs) -> Encoded:
        """Return the event and its objects.

        Args:
            inputs: the scaled inputs.

        Returns:
            The event after the dense layers on it, the objects after the last block.
        """
        import keras

        from nntrainer.networks.layers.distances import AngularDistance, FeatureDistance
        from nntrainer.networks.layers.neighbours import EdgeMean, Edges, Neighbours

        tokens = inputs.tokens(self.width)
        x = tokens.values
        distance = AngularDistance(dtype="float32", name="distance_0")(tokens.four_vectors)
        for index, units in enumerate(self.blocks):
            if index:
                distance = FeatureDistance(dtype="float32", name=f"distance_{index}")(x)
            choice, there = Neighbours(self.k, dtype="float32", name=f"neighbours_{index}")([distance, tokens.mask])
            edges = Edges(name=f"edges_{index}")([x, choice])
            for layer, width in enumerate(units):
                edges = self._layer(edges, width, f"edge_{index}_{layer}")
            mean = EdgeMean(name=f"edge_mean_{index}")([edges, there])
            shortcut = keras.layers.Dense(units[-1], name=f"shortcut_{index}")(x)
            x = keras.layers.Add(name=f"block_{index}")([mean, shortcut])
            x = keras.layers.Activation(self.activation, name=f"block_activation_{index}")(x)
        return self.encoded(inputs, tokens, x)

    def _layer(self, tensor: Any, width: int, name: str) -> Any:
        import keras

        from nntrainer.networks.blocks import dropped, normalised

        tensor = normalised(self.normalisation, keras.layers.Dense(width, name=name)(tensor), f"{name}_norm")
        tensor = keras.layers.Activation(self.activation, name=f"{name}_activation")(tensor)
        return dropped(self.dropout, tensor, f"{name}_dropout")
