"""One pass of events through a network that is linear as the rules want it, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import tensorflow as tf

RuleName = Literal["epsilon", "gamma", "alpha_beta"]
AttentionRule = Literal["constant", "softmax"]
ZERO = tf.UnconnectedGradients.ZERO


@dataclass(frozen=True)
class Rules:
    """Which share of the relevance of a neuron each of its inputs gets.

    With c_i = x_i w_i the contributions to z = Σ c_i + b, and c⁺, c⁻ their positive and negative parts:

    - ``epsilon``: c_i / (z + ε sign z); the share of ε is kept back.
    - ``gamma``: (c_i + γ c_i⁺) / (z + γ z⁺) where z is positive, the same with c⁻ where it is negative.
    - ``alpha_beta``: α c_i⁺ / z⁺ − β c_i⁻ / z⁻ with α − β = 1; a neuron whose contributions all have one sign hands
      all its relevance to them.

    b, too, has its contribution, which is a constant's. ε and αβ: doi 10.1371/journal.pone.0130140, equations 58 and
    60; γ: doi 10.1007/978-3-030-28954-6_10, here for contributions of both signs.

    Attributes:
        name: the rule of layers with weights.
        epsilon: ε, in the units of z.
        gamma: γ.
        alpha: α; β is α − 1.
        attention: ``constant``: the attention that objects give each other is a constant (arXiv 2202.07304); or
            ``softmax``: half of the relevance goes through it to queries and keys (AttnLRP, arXiv 2402.05602).
    """

    name: RuleName = "epsilon"
    epsilon: float = 1e-6
    gamma: float = 0.25
    alpha: float = 2.0
    attention: AttentionRule = "constant"


@dataclass
class Passing:
    """The tensors of a pass that relevance goes to, and what the layers' rules need of it.

    Attributes:
        rules: the rules.
        tape: records the pass; persistent.
        one: (n,) float64 ones, by which all constants are multiplied: its relevance is theirs.
        shares: by input the float64 ones that its values are multiplied by.
    """

    rules: Rules
    tape: tf.GradientTape
    one: Any
    shares: dict[str, Any] = field(default_factory=dict)
    _expanded: list[tuple[Any, Any]] = field(default_factory=list)
    _given: list[Any] = field(default_factory=list)

    def constant(self, value: Any, rank: int | None = None) -> Any:
        """Return a constant, multiplied by ``one``, as a tensor of events.

        Args:
            value: a tensor; its first axis is the event unless ``rank`` is given.
            rank: of the tensor to return, where the value is the same for all events.

        Returns:
            The tensor, float64.
        """
        value = tf.stop_gradient(tf.cast(value, tf.float64))
        axes = len(value.shape) if rank is None else rank
        return value * tf.reshape(self.one, [-1] + [1] * (axes - 1))

    def expanded(self, value: Any) -> Any:
        """Return the value of a curved function, to be handed back by its derivatives at the inputs of the event.

        The relevance that these (derivative times input) do not take is a constant's: the first-order expansion at the
        event itself, with its bias term, by which arXiv 2402.05602 propagates through curved functions.

        Args:
            value: the tensor.

        Returns:
            The same, float64.
        """
        leaf = tf.identity(tf.stop_gradient(tf.cast(value, tf.float64)))
        self.tape.watch(leaf)
        self._expanded.append((value, leaf))
        return leaf

    def given(self, value: Any) -> Any:
        """Return tensors that get no relevance: they say how others are put together."""
        value = tf.nest.map_structure(tf.stop_gradient, value)
        self._given += tf.nest.flatten(value)
        return value

    def is_given(self, value: Any) -> bool:
        """Return whether ``given`` made this tensor."""
        return any(value is each for each in self._given)

    def back(self, output: Any) -> tuple[dict[str, Any], Any]:
        """Hand an output back.

        Args:
            output: (n,) tensor.

        Returns:
            The relevance by input, and the (n,) relevance of all constants; float64.
        """
        leaves = [*self.shares.values(), self.one, *(leaf for _, leaf in self._expanded)]
        found = self.tape.gradient(tf.cast(output, tf.float64), leaves, unconnected_gradients=ZERO)
        ends = len(self.shares) + 1
        for place in reversed(range(len(self._expanded))):
            (value, leaf), mine = self._expanded[place], found[ends + place]
            into = leaves[: ends + place]
            parts = self.tape.gradient(value, into, tf.cast(mine, value.dtype), unconnected_gradients=ZERO)
            parts = [tf.cast(each, tf.float64) for each in parts]
            taken = tf.add_n([_by_event(part * each) for part, each in zip(parts, into, strict=True)])
            # What is left is that of the constant term of the expansion; ``one`` is one.
            parts[ends - 1] += _by_event(mine * leaf) - taken
            found[: ends + place] = [a + b for a, b in zip(found, parts, strict=False)]
        return dict(zip(self.shares, found, strict=False)), found[ends - 1]


def _by_event(value: Any) -> Any:
    return tf.reduce_sum(tf.reshape(value, (tf.shape(value)[0], -1)), axis=1)


def shared(function: Any, operands: Sequence[Any]) -> Any:
    """Return a product of several tensors, each of which gets the same share (the uniform rule of arXiv 2402.05602).

    Args:
        function: linear in each of its arguments.
        operands: the arguments.

    Returns:
        The tensor.
    """
    parts = []
    for place in range(len(operands)):
        parts.append(function(*(each if i == place else tf.stop_gradient(each) for i, each in enumerate(operands))))
    return tf.add_n(parts) / len(parts)


def linear(passing: Passing, apply: Any, inputs: Any, kernel: Any, bias: Any = None) -> Any:
    """Return what a layer with weights gives, such that its relevance is handed back by the rule.

    Args:
        passing: the pass.
        apply: from inputs and kernel to the output, linear in both.
        inputs: (n, …) tensor.
        kernel: of the layer.
        bias: of the layer, None for none; its shape ends as the output's does.

    Returns:
        The output.
    """
    rules, hold = passing.rules, tf.stop_gradient
    kernel, inputs = tf.convert_to_tensor(kernel), tf.cast(inputs, tf.float64)

    def sum_of(pieces: Sequence[tuple[Any, Any]], constant: Any) -> Any:
        total = tf.add_n([apply(some, weights) for some, weights in pieces])
        return total if constant is None else total + passing.constant(constant, len(total.shape))

    z = sum_of([(inputs, kernel)], bias)
    if rules.name == "epsilon":
        kept = hold(tf.abs(z) / (tf.abs(z) + rules.epsilon)) if rules.epsilon else tf.ones_like(z)
        return z * kept + passing.constant(z * (1 - kept))
    up, down = (tf.nn.relu(inputs), tf.nn.relu(kernel)), (-tf.nn.relu(-inputs), -tf.nn.relu(-kernel))
    above, below = (None, None) if bias is None else (tf.nn.relu(bias), -tf.nn.relu(-bias))
    positive = sum_of([up, down], above)
    negative = sum_of([(up[0], down[1]), (down[0], up[1])], below)
    if rules.name == "gamma":
        boosted = z + rules.gamma * tf.where(z >= 0, positive, negative)
        return boosted * hold(tf.math.divide_no_nan(z, boosted))
    none = tf.zeros_like(z)
    alpha = tf.where(negative == 0, none + 1, tf.where(positive == 0, none, none + rules.alpha))
    return positive * hold(alpha * tf.math.divide_no_nan(z, positive)) + negative * hold(
        (1 - alpha) * tf.math.divide_no_nan(z, negative)
    )


def elementwise(passing: Passing, function: Any, inputs: Any) -> Any:
    """Return a function of each number, which hands on what relevance it has (the identity rule of arXiv 2402.05602).

    Args:
        passing: the pass.
        function: the function; what it gives for 0 is a constant.
        inputs: the tensor.

    Returns:
        The tensor.
    """
    inputs = tf.cast(inputs, tf.float64)
    apart = tf.where(tf.abs(inputs) < SMALL, tf.where(inputs < 0, -SMALL, SMALL), inputs)
    slope = tf.stop_gradient((function(apart) - function(tf.zeros_like(apart))) / apart)
    made = inputs * slope
    return made + passing.constant(function(inputs) - made)


SMALL = tf.constant(1e-6, tf.float64)
"""Nearer to 0 than this, the slope of a function is that between 0 and this."""
