"""Particle transformer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt

from nntrainer.config.registry import NETWORKS
from nntrainer.errors import one_of
from nntrainer.networks.attention import AttentionNetwork
from nntrainer.networks.inputs import Encoded, ModelInputs, Tokens


def need_four_vectors(config: Any, network: str) -> None:
    """Check that every collection of a configuration says what makes its four-vectors.

    Args:
        config: the configuration.
        network: name of the network that needs them.

    Raises:
        ValueError: a collection does not.
    """
    without = [name for name, block in config.features.objects.items() if block.four_vector is None]
    if without:
        raise ValueError(
            f"the network '{network}' needs the four-vectors of all objects: give four_vector (pt, eta, phi and e or "
            f"mass, each the name of a feature) in features.objects for {one_of(without)}"
        )


@NETWORKS.register("particle_transformer")
class ParticleTransformer(AttentionNetwork):
    """Self-attention between objects, biased by what each pair of them is to one another, then a class token.

    Paper: Particle transformer for jet tagging (arXiv 2202.03772). ln ΔR, ln kT, ln z and ln m² of each pair are
    embedded and added to the attention of the particle blocks; in the class blocks a token looks at all objects.
    Inputs: any number of collections, all with ``four_vector``; event features beside them.
    """

    name: Literal["particle_transformer"] = "particle_transformer"
    blocks: PositiveInt = Field(3, description="Particle attention blocks.")
    class_blocks: PositiveInt = Field(2, description="Class attention blocks.")
    pair_layers: tuple[PositiveInt, ...] = Field((32, 32), description="Units of the dense layers on each pair.")

    def check(self, config: Any) -> None:
        """Check that every collection says what makes its four-vectors."""
        need_four_vectors(config, self.name)

    def encode(self, inputs: ModelInputs) -> Encoded:
        """Return the event and its objects.

        Args:
            inputs: the scaled inputs.

        Returns:
            The class token after the dense layers on the event, and the objects after the last particle block.
        """
        import keras

        from nntrainer.networks.layers.attention import ClassToken
        from nntrainer.networks.layers.masked import Masked

        tokens, x = self.embedded(inputs)
        bias = self._bias(tokens)
        for index in range(self.blocks):
            x = self.block(x, tokens.mask, f"block_{index}", bias=bias)
        x = Masked(name="objects")([x, tokens.mask])
        token = ClassToken(name="class_token")(x)
        always = keras.ops.ones_like(tokens.mask[:, :1])
        mask = keras.layers.Concatenate(axis=1, name="with_token_valid")([always, tokens.mask])
        for index in range(self.class_blocks):
            name = f"class_block_{index}"
            seen = keras.layers.Concatenate(axis=1, name=f"{name}_seen")([token, x])
            token = self.block(token, mask, name, seen=seen, dropout=0.0)  # as in the paper
        token = keras.layers.LayerNormalization(epsilon=1e-5, name="norm_last")(token)
        return Encoded(self.event(inputs, token[:, 0]), tokens.split(x))

    def _bias(self, tokens: Tokens) -> Any:
        """Return what is added to the attention of each pair, (None, heads, N, N)."""
        import keras

        from nntrainer.networks.layers.pairs import PairFeatures

        pairs = PairFeatures(name="pairs")([tokens.four_vectors, tokens.mask])
        for index, units in enumerate(self.pair_layers):
            pairs = keras.layers.Dense(units, name=f"pair_dense_{index}")(pairs)
            pairs = keras.layers.Activation(self.activation, name=f"pair_activation_{index}")(pairs)
        return keras.layers.Permute((3, 1, 2), name="pair_bias")(
            keras.layers.Dense(self.heads, name="pair_heads")(pairs)
        )
