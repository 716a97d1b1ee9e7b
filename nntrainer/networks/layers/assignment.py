"""Objects to particles: how likely each candidate is, and the choice of one for each particle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from nntrainer.networks.layers.masked import LOWEST


@keras.saving.register_keras_serializable("nntrainer")
class Candidates(keras.layers.Layer):
    """Gather the candidates of a particle from what is known of all choices of slots.

    Args:
        places: (C, P) where the choices that are one candidate stand in the flattened choices; they are averaged.
        members: (C, N) which slots a candidate takes.
        **options: of a Keras layer.
    """

    def __init__(self, places: Sequence[Sequence[int]], members: Sequence[Sequence[bool]], **options: Any) -> None:
        super().__init__(**options)
        self.places, self.members = np.asarray(places, np.int32), np.asarray(members, np.float32)

    def call(self, inputs: list[Any]) -> Any:
        """Return the logits of the candidates.

        Args:
            inputs: (None, N, …, N) numbers of all choices, the (None, N) mask of the objects, and perhaps (None, C)
                numbers of the candidates, which are added.

        Returns:
            A (None, C) tensor, LOWEST where a candidate needs an object that is not there.
        """
        ops = keras.ops
        choices, mask = inputs[:2]
        flat = ops.reshape(choices, (-1, int(np.prod(choices.shape[1:]))))
        logits = sum(ops.take(flat, self.places[:, column], axis=1) for column in range(self.places.shape[1]))
        missing = ops.matmul(1.0 - ops.cast(mask > 0, "float32"), self.members.T)
        return ops.where(missing > 0.5, LOWEST, sum(inputs[2:], start=logits / self.places.shape[1]))

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return (None, C)."""
        return (input_shape[0][0], len(self.places))

    def get_config(self) -> dict[str, Any]:
        """Return the options."""
        members = (self.members > 0).tolist()
        return {**super().get_config(), "places": self.places.tolist(), "members": members}


@keras.saving.register_keras_serializable("nntrainer")
class Choices(keras.layers.Layer):
    """Bring one, two or three embeddings of the objects together: the sum over their last axis of the products."""

    def call(self, inputs: list[Any]) -> Any:
        """Return a number for every choice of slots.

        Args:
            inputs: k tensors (None, N, width).

        Returns:
            A (None, N, …, N) tensor with k axes of slots.
        """
        ops = keras.ops
        slots, width = inputs[0].shape[1:]
        if len(inputs) == 1:
            return ops.sum(inputs[0], axis=-1) / width**0.5
        left = inputs[0]
        if len(inputs) == 3:
            left = ops.reshape(left[:, :, None, :] * inputs[1][:, None, :, :], (-1, slots * slots, width))
        product = ops.matmul(left, ops.transpose(inputs[-1], (0, 2, 1))) / width**0.5
        return ops.reshape(product, (-1, *[slots] * len(inputs)))

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return (None, N, …, N)."""
        return (input_shape[0][0], *[input_shape[0][1]] * len(input_shape))


@keras.saving.register_keras_serializable("nntrainer")
class Decode(keras.layers.Layer):
    """Choose a candidate for each particle, no two with the same object.

    The most probable candidate of all particles is taken first, then the most probable one of the others that shares no
    object with it, and so on (arXiv 2010.09206, section 3.4).

    Args:
        slots: for each particle (C, k) the slots of its candidates.
        count: N, the number of slots.
        **options: of a Keras layer.
    """

    def __init__(self, slots: Sequence[Sequence[Sequence[int]]], count: int, **options: Any) -> None:
        super().__init__(**options)
        self.slots, self.count = [np.asarray(each, np.int32) for each in slots], count

    def call(self, inputs: list[Any]) -> list[Any]:
        """Return the choices.

        Args:
            inputs: for each particle (None, C) logits, LOWEST where a candidate is none.

        Returns:
            For each particle (None, k) int64 slots, -1 where none of its candidates is left, and (None,) float32, the
            probability that the network gives to the choice among all candidates of the particle, -1 for none; all
            slots first, then all probabilities.
        """
        ops = keras.ops
        members = [(each[:, :, None] == np.arange(self.count)).any(axis=1).astype(np.float32) for each in self.slots]
        probabilities = [ops.where(each > LOWEST / 2, ops.softmax(each), -1.0) for each in inputs]
        places = range(len(inputs))
        nothing = ops.zeros_like(inputs[0][:, 0])
        used = ops.tile(nothing[:, None], (1, self.count))
        chosen = [ops.tile(nothing[:, None] - 1.0, (1, each.shape[1])) for each in self.slots]
        found: list[Any] = [nothing - 1.0 for _ in places]
        waiting: list[Any] = [nothing + 1.0 for _ in places]
        for _ in places:
            free = [
                ops.where(ops.matmul(used, each.T) > 0.5, -1.0, given)
                for each, given in zip(members, probabilities, strict=True)
            ]
            best, value = [], []
            for each, still in zip(free, waiting, strict=True):
                largest, which = _largest(each)
                best.append(which)
                value.append(ops.where(still > 0.5, largest, -2.0))
            first = _largest(ops.stack(value, axis=-1))[1]
            for place in places:
                now = ops.equal(first, place)
                taken = ops.logical_and(now, value[place] >= 0)
                which = ops.take(self.slots[place].astype(np.float32), best[place], axis=0)
                chosen[place] = ops.where(taken[:, None], which, chosen[place])
                found[place] = ops.where(taken, value[place], found[place])
                used = ops.where(taken[:, None], used + ops.take(members[place], best[place], axis=0), used)
                waiting[place] = ops.where(now, 0.0, waiting[place])
        return [*(ops.cast(each, "int64") for each in chosen), *found]

    def compute_output_spec(self, inputs: list[Any]) -> list[Any]:
        """Return the shapes and types of what ``call`` returns."""
        events = inputs[0].shape[0]
        slots = [keras.KerasTensor((events, each.shape[1]), dtype="int64") for each in self.slots]
        return [*slots, *(keras.KerasTensor((events,), dtype="float32") for _ in self.slots)]

    def get_config(self) -> dict[str, Any]:
        """Return the options."""
        return {**super().get_config(), "slots": [each.tolist() for each in self.slots], "count": self.count}


def _largest(values: Any) -> tuple[Any, Any]:
    """Return the largest of the last axis and where the first such is; Keras' argmax is nothing that ONNX knows."""
    found, which = keras.ops.top_k(values, 1)
    return found[..., 0], which[..., 0]


@keras.saving.register_keras_serializable("nntrainer")
class Kinematics(keras.layers.Layer):
    """Logarithms of mass and transverse momentum of sums of objects, in units of 100 GeV.

    In float64: the mass of a jet is what cancellation leaves, and another rounding in ONNX Runtime would be seen.

    Args:
        sums: for each sum (C, N), which slots it takes for each candidate.
        **options: of a Keras layer.
    """

    def __init__(self, sums: Sequence[Sequence[Sequence[bool]]], **options: Any) -> None:
        super().__init__(**{**options, "dtype": "float64"})
        self.sums = [np.asarray(each, np.float64) for each in sums]

    def call(self, inputs: Any) -> Any:
        """Return two numbers for each sum.

        Args:
            inputs: (None, N, 4) float64 four-vectors E, px, py, pz in GeV.

        Returns:
            A (None, C, 2 sums) float32 tensor.
        """
        ops, found = keras.ops, []
        for each in self.sums:
            total = ops.matmul(each, inputs)
            pt = ops.square(total[..., 1]) + ops.square(total[..., 2])
            mass = ops.square(total[..., 0]) - ops.square(total[..., 3]) - pt
            # Of empty slots, too; below 1 GeV there is nothing to see.
            found += [0.5 * ops.log(ops.maximum(square, 1.0) / 1e4) for square in (mass, pt)]
        return ops.cast(ops.stack(found, axis=-1), "float32")

    def compute_output_spec(self, inputs: Any) -> Any:
        """Return the shape and type of what ``call`` returns."""
        return keras.KerasTensor((inputs.shape[0], len(self.sums[0]), 2 * len(self.sums)), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Return the options."""
        return {**super().get_config(), "sums": [(each > 0).tolist() for each in self.sums]}


@keras.saving.register_keras_serializable("nntrainer")
class MassAndPt(keras.layers.Layer):
    """Mass and transverse momentum of the sum of chosen objects.

    Args:
        gev: unit of the result in GeV.
        **options: of a Keras layer.
    """

    def __init__(self, gev: float, **options: Any) -> None:
        super().__init__(**{**options, "dtype": "float64"})
        self.gev = gev

    def call(self, inputs: list[Any]) -> list[Any]:
        """Return mass and transverse momentum.

        Args:
            inputs: (None, k) slots, and (None, N, 4) float64 four-vectors E, px, py, pz in GeV.

        Returns:
            Two (None,) float32 tensors; -1 where a slot is -1.
        """
        ops = keras.ops
        slots, vectors = inputs
        of_slot = ops.equal(ops.cast(slots, "int32")[:, :, None], np.arange(vectors.shape[1], dtype=np.int32))
        chosen = ops.cast(ops.any(of_slot, axis=1), "float64")
        total = ops.sum(chosen[:, :, None] * vectors, axis=1)
        square = ops.square(total)
        mass = ops.sqrt(ops.maximum(square[:, 0] - square[:, 1] - square[:, 2] - square[:, 3], 0.0))
        pt = ops.sqrt(square[:, 1] + square[:, 2])
        there = ops.all(ops.cast(slots, "int32") >= 0, axis=1)
        return [ops.cast(ops.where(there, each / self.gev, -1.0), "float32") for each in (mass, pt)]

    def compute_output_spec(self, inputs: list[Any]) -> list[Any]:
        """Return the shapes and types of what ``call`` returns."""
        return [keras.KerasTensor((inputs[0].shape[0],), dtype="float32") for _ in range(2)]

    def get_config(self) -> dict[str, Any]:
        """Return the options."""
        return {**super().get_config(), "gev": self.gev}
