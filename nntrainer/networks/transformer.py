"""Transformer with class token."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from nntrainer.config.registry import NETWORKS
from nntrainer.networks.attention import AttentionNetwork
from nntrainer.networks.inputs import Encoded, ModelInputs


@NETWORKS.register("transformer")
class Transformer(AttentionNetwork):
    """Self-attention between all objects and a class token, which is read out.

    Paper: Attention is all you need (arXiv 1706.03762), normalised before each step (arXiv 2002.04745), with the class
    token of BERT (arXiv 1810.04805). Inputs: any number of collections, event features beside them. Objects have no
    order: there is no encoding of positions.
    """

    name: Literal["transformer"] = "transformer"
    blocks: PositiveInt = Field(3, description="Blocks of attention and dense layers.")

    def encode(self, inputs: ModelInputs) -> Encoded:
        """Return the event and its objects.

        Args:
            inputs: the scaled inputs.

        Returns:
            The class token after the dense layers on the event, and the objects after the last block.
        """
        import keras

        from nntrainer.networks.layers.attention import ClassToken
        from nntrainer.networks.layers.masked import Masked

        tokens, objects = self.embedded(inputs)
        x = keras.layers.Concatenate(axis=1, name="with_token")([ClassToken(name="class_token")(objects), objects])
        always = keras.ops.ones_like(tokens.mask[:, :1])
        mask = keras.layers.Concatenate(axis=1, name="with_token_valid")([always, tokens.mask])
        for index in range(self.blocks):
            x = self.block(x, mask, f"block_{index}")
        x = keras.layers.LayerNormalization(epsilon=1e-5, name="norm_last")(x)
        objects = Masked(name="objects")([x[:, 1:], tokens.mask])
        return Encoded(self.event(inputs, x[:, 0]), tokens.split(objects))
