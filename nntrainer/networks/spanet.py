"""SPANet: attention between objects, for the assignment of objects to particles."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt

from nntrainer.config.registry import NETWORKS
from nntrainer.networks.blocks import ObjectNetwork
from nntrainer.networks.inputs import Encoded, ModelInputs, Tokens


@NETWORKS.register("spanet")
class SPANet(ObjectNetwork):
    """A transformer encoder over the objects, from which particles are assigned by symmetric tensor attention.

    Paper: Symmetry preserving attention networks, SPANet (arXiv 2010.09206; for ttH arXiv 2309.01886), without a branch
    of its own for each particle: the encoder is shared, and the assignment heads tell the particles apart. Layers are
    normalised before attention and before the dense layers. Where all collections have four-vectors, each object first
    gathers what it is to each other one (ln ΔR, ln kT, ln z and ln m², as arXiv 2202.03772 has them): masses of pairs,
    which attention learns only slowly. The class comes from the mean and the maximum over the objects.
    Inputs: any number of collections, event features beside them.
    """

    name: Literal["spanet"] = "spanet"
    width: PositiveInt = Field(64, description="Numbers that an object is.")
    heads: PositiveInt = Field(4, description="Attention heads in each layer.")
    layers: PositiveInt = Field(4, description="Encoder layers.")
    pairs: bool = Field(True, description="Whether objects with four-vectors see the masses and angles of pairs.")
    expansion: PositiveInt = Field(2, description="Width of an encoder layer's hidden units over the width.")

    def encode(self, inputs: ModelInputs) -> Encoded:
        """Return the event and its objects.

        Args:
            inputs: the scaled inputs.

        Returns:
            The event after the dense layers on it, the objects after the encoder.
        """
        import keras

        from nntrainer.networks.layers.masked import Masked, MaskedPool

        tokens = inputs.tokens(self.width)
        x = keras.layers.Activation(self.activation, name="object_activation")(tokens.values)
        x = keras.layers.Dense(self.width, name="object_dense")(x)
        if self.pairs and tokens.four_vectors is not None:
            x = keras.layers.Add(name="with_pairs")([x, self._of_pairs(x, tokens)])
        there = keras.layers.Reshape((1, -1), name="attended")(tokens.mask)
        for index in range(self.layers):
            y = keras.layers.LayerNormalization(name=f"attention_norm_{index}")(x)
            attention = keras.layers.MultiHeadAttention(
                self.heads, max(self.width // self.heads, 1), dropout=self.dropout, name=f"attention_{index}"
            )
            x = keras.layers.Add(name=f"attended_{index}")([x, attention(y, y, attention_mask=there)])
            y = keras.layers.LayerNormalization(name=f"hidden_norm_{index}")(x)
            y = self.layers_on(y, (self.expansion * self.width,), f"hidden_{index}")
            y = keras.layers.Dense(self.width, name=f"hidden_{index}_out")(y)
            x = keras.layers.Add(name=f"encoded_{index}")([x, y])
        x = Masked(name="objects")([keras.layers.LayerNormalization(name="objects_norm")(x), tokens.mask])
        pooled = [MaskedPool(kind, name=f"pool_{kind}")([x, tokens.mask]) for kind in ("mean", "max")]
        return Encoded(self.event(inputs, keras.layers.Concatenate(name="pooled")(pooled)), tokens.split(x))

    def _of_pairs(self, x: Any, tokens: Tokens) -> Any:
        """Return (None, N, width): the mean and the maximum over other objects of dense layers on each pair."""
        import keras

        from nntrainer.networks.layers.pairs import OfOthers, PairFeatures

        pairs = keras.layers.Dense(self.width, name="pair_dense")(
            PairFeatures(name="pairs")([tokens.four_vectors, tokens.mask])
        )
        other = keras.layers.Dense(self.width, name="pair_other")(x)
        both = keras.layers.Activation(self.activation, name="pair_activation")(
            keras.layers.Add(name="pair_both")([pairs, keras.layers.Reshape((1, -1, self.width), name="others")(other)])
        )
        both = self.layers_on(both, (self.width,), "pair")
        gathered = OfOthers(name="of_others")([both, tokens.mask])
        return keras.layers.Dense(self.width, name="pair_out")(gathered)
