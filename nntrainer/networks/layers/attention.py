"""Attention between the objects of an event, and the token that stands for the event."""

from __future__ import annotations

from typing import Any

import keras

from nntrainer.networks.layers.masked import LOWEST


@keras.saving.register_keras_serializable("nntrainer")
class MaskedAttention(keras.layers.Layer):
    """Scaled dot-product attention in several heads (arXiv 1706.03762, equation 1) to those objects that are there.

    It has no weights: dense layers before it make queries, keys and values.

    Args:
        heads: parts into which the width is cut; each attends on its own.
        **options: of a Keras layer.
    """

    def __init__(self, heads: int, **options: Any) -> None:
        super().__init__(**options)
        self.heads = heads

    def call(self, inputs: list[Any]) -> Any:
        """Return for every query the average of the values, weighted by how well their keys fit.

        Args:
            inputs: (None, Q, width) queries, (None, N, width) keys and values, the (None, N) mask of the keys, and, if
                wanted, a (None, heads, Q, N) bias that is added before the softmax.

        Returns:
            A (None, Q, width) tensor, zero where no key is there.
        """
        query, key, value, mask, *bias = inputs
        return self.attend(self.shares(self.scores(query, key, *bias), mask), value)

    def scores(self, query: Any, key: Any, bias: Any = None) -> Any:
        """Return how well keys fit to queries, (None, heads, Q, N) float32, before the softmax.

        Args:
            query: (None, Q, width) tensor.
            key: (None, N, width) tensor.
            bias: (None, heads, Q, N) tensor that is added.

        Returns:
            The scores.
        """
        ops = keras.ops
        query, key = self._cut(query), self._cut(key)
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) / float(query.shape[-1]) ** 0.5
        return ops.cast(scores if bias is None else scores + bias, "float32")

    def shares(self, scores: Any, mask: Any) -> Any:
        """Return the share of each key, (None, heads, Q, N): the softmax over the keys that are there.

        Args:
            scores: (None, heads, Q, N) tensor.
            mask: (None, N) mask of the keys.

        Returns:
            The weights: their sum is one, or zero where no key is there.
        """
        there = mask[:, None, None, :] > 0
        weights = keras.ops.softmax(keras.ops.where(there, scores, LOWEST), axis=-1)
        # Without any key the softmax is flat; the event must see nothing then.
        return keras.ops.where(there, weights, 0.0)

    def attend(self, weights: Any, value: Any) -> Any:
        """Return the weighted sum of the values, (None, Q, width).

        Args:
            weights: (None, heads, Q, N) tensor.
            value: (None, N, width) tensor.

        Returns:
            The sums, head after head.
        """
        ops = keras.ops
        value = self._cut(value)
        found = ops.transpose(ops.matmul(ops.cast(weights, value.dtype), value), (0, 2, 1, 3))
        return ops.reshape(found, (-1, found.shape[1], self.heads * found.shape[3]))

    def _cut(self, tensor: Any) -> Any:
        """Return (None, N, width) as (None, heads, N, width / heads)."""
        _, slots, width = tensor.shape
        cut = keras.ops.reshape(tensor, (-1, slots, self.heads, width // self.heads))
        return keras.ops.transpose(cut, (0, 2, 1, 3))

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Check that the width can be cut into heads.

        Args:
            input_shape: shapes of the inputs.

        Raises:
            ValueError: it cannot.
        """
        width = input_shape[0][-1]
        if width is None or width % self.heads:
            raise ValueError(f"a width of {width} cannot be cut into {self.heads} heads")

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return (None, Q, width)."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        """Return the options."""
        return {**super().get_config(), "heads": self.heads}


@keras.saving.register_keras_serializable("nntrainer")
class ClassToken(keras.layers.Layer):
    """A token of trained numbers, the same in every event, which gathers what the objects tell (arXiv 1810.04805)."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights.

        Args:
            input_shape: shape of the objects; the last entry is their width.
        """
        self.token = self.add_weight(
            shape=(input_shape[-1],), initializer=keras.initializers.TruncatedNormal(stddev=0.02), name="token"
        )

    def call(self, inputs: Any) -> Any:
        """Return the token of each event.

        Args:
            inputs: (None, N, width) objects; only their number of events matters.

        Returns:
            A (None, 1, width) tensor.
        """
        return keras.ops.zeros_like(inputs[:, :1]) + self.token

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (None, 1, width)."""
        return (input_shape[0], 1, input_shape[-1])
