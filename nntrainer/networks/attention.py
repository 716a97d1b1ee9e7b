"""What networks with attention share: options and blocks."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveInt, model_validator

from nntrainer.networks.blocks import Dropout, ObjectNetwork, dropped
from nntrainer.networks.inputs import ModelInputs, Tokens


class AttentionNetwork(ObjectNetwork):
    """A network whose objects look at one another."""

    width: PositiveInt = Field(64, description="Numbers that stand for an object; a multiple of heads.")
    heads: PositiveInt = Field(4, description="Attention heads.")
    expansion: PositiveInt = Field(2, description="Width of the dense layer inside a block, in widths.")
    dropout: Dropout = Field(0.1, description="Fraction of units dropped in each block and after each dense layer.")

    @model_validator(mode="after")
    def _cut_into_heads(self) -> AttentionNetwork:
        if self.width % self.heads:
            raise ValueError(f"'width' must be a multiple of 'heads', and {self.width} is none of {self.heads}")
        return self

    def embedded(self, inputs: ModelInputs) -> tuple[Tokens, Any]:
        """Return the objects in one sequence, and the (None, N, width) tensor after two dense layers on each."""
        import keras

        tokens = inputs.tokens(self.width)
        x = keras.layers.Activation(self.activation, name="embedding_activation")(tokens.values)
        return tokens, keras.layers.Dense(self.width, name="embedding_dense")(x)

    def block(
        self, x: Any, mask: Any, name: str, *, seen: Any = None, bias: Any = None, dropout: float | None = None
    ) -> Any:
        """Return the sequence after attention and two dense layers, each normalised before and added to its input.

        Args:
            x: (None, Q, width) tensor.
            mask: (None, N) mask of the objects that are looked at.
            name: what the layers' names begin with.
            seen: (None, N, width) tensor that is looked at; ``x`` itself if absent.
            bias: (None, heads, Q, N) tensor added to the attention before its softmax.
            dropout: fraction dropped; the option's if absent.

        Returns:
            A (None, Q, width) tensor.
        """
        import keras

        from nntrainer.networks.layers.attention import MaskedAttention

        rate = self.dropout if dropout is None else dropout

        def dense(tensor: Any, units: int, part: str) -> Any:
            return keras.layers.Dense(units, name=f"{name}_{part}")(tensor)

        norm = keras.layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm")
        query = norm(x)
        others = query if seen is None else norm(seen)
        parts = [
            dense(query, self.width, "query"),
            dense(others, self.width, "key"),
            dense(others, self.width, "value"),
        ]
        y = MaskedAttention(self.heads, name=f"{name}_attention")([*parts, mask, *([] if bias is None else [bias])])
        y = dropped(rate, dense(y, self.width, "out"), f"{name}_dropout")
        x = keras.layers.Add(name=f"{name}_add")([x, y])
        y = keras.layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm_dense")(x)
        y = keras.layers.Activation(self.activation, name=f"{name}_activation")(
            dense(y, self.expansion * self.width, "dense_0")
        )
        y = dropped(rate, dense(y, self.width, "dense_1"), f"{name}_dropout_dense")
        return keras.layers.Add(name=f"{name}_add_dense")([x, y])
