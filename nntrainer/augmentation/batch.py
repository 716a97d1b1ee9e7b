"""The objects of a batch as augmentations see them, and what puts augmentations one after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nntrainer.config import Config
from nntrainer.dataset.schema import network_inputs
from nntrainer.networks.model import GEV


@dataclass
class Objects:
    """The objects of one collection; augmentations replace what they change.

    Attributes:
        columns: ``pt``, ``eta``, ``phi``, ``e``, ``mass``, those that the collection's four-vector names; each
            (batch, max) float32 in the dataset's units, anything in empty slots.
        valid: (batch, max) float32, 1 where there is an object.
        gev: unit of momenta, energies and masses in GeV.
    """

    columns: dict[str, Any]
    valid: Any
    gev: float


class Random:
    """Random numbers that a seed decides: none of them depends on what was drawn elsewhere.

    Args:
        seed: two integers, a tensor.
    """

    def __init__(self, seed: Any) -> None:
        self._seed, self._drawn = seed, 0

    def uniform(self, shape: Any, low: float = 0.0, high: float = 1.0) -> Any:
        """Return float32 numbers between two bounds."""
        import tensorflow as tf

        return tf.random.stateless_uniform(shape, self._next(), low, high)

    def normal(self, shape: Any) -> Any:
        """Return float32 numbers of mean 0 and standard deviation 1."""
        import tensorflow as tf

        return tf.random.stateless_normal(shape, self._next())

    def _next(self) -> Any:
        import tensorflow as tf

        self._drawn += 1
        return tf.random.fold_in(self._seed, self._drawn)


class Augmenter:
    """All augmentations of a configuration, inside TensorFlow.

    Seed, worker and number of the batch decide the random numbers. The number is a variable that belongs into the
    checkpoint, so that a training goes on as if it had never stopped.

    Args:
        config: the configuration.
        rank: number of this worker.

    Attributes:
        variables: the number of batches so far; none without augmentations.
    """

    def __init__(self, config: Config, rank: int) -> None:
        import keras

        self._parts = config.preparation.augmentation
        self._seed = (config.seed, rank)
        self.variables: list[Any] = []
        if self._parts:
            self.variables.append(keras.Variable(0, dtype="int64", trainable=False, name="augmented_batches"))
        self._places: dict[str, dict[str, int]] = {}
        self._gev: dict[str, float] = {}
        for name, block in network_inputs(config).objects.items():
            vector = config.features.objects[name].four_vector
            at = {field.name: place for place, field in enumerate(block.fields)}
            named = vector.model_dump(exclude_none=True) if vector else {}
            self._places[name] = {key: at[feature] for key, feature in named.items()}
            self._gev[name] = GEV.get(block.fields[at[vector.pt]].unit, 1.0) if vector else 1.0

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return bool(self._parts)

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return the inputs of a training batch after all augmentations.

        Args:
            inputs: the network's inputs as in ``nntrainer.dataset.inputs``, tensors.

        Returns:
            As many.
        """
        import tensorflow as tf

        (number,) = self.variables
        seed = tf.random.fold_in(tf.constant(self._seed), number.value)
        number.assign_add(1)
        columns = {name: tf.unstack(inputs[name], axis=-1) for name in self._places}
        event = {
            name: Objects(
                {key: columns[name][place] for key, place in places.items()}, inputs[f"{name}_valid"], self._gev[name]
            )
            for name, places in self._places.items()
        }
        for index, part in enumerate(self._parts):
            part.change(event, Random(tf.random.fold_in(seed, index)))
        changed = dict(inputs)
        for name, objects in event.items():
            for key, place in self._places[name].items():
                columns[name][place] = objects.columns[key]
            changed[name], changed[f"{name}_valid"] = tf.stack(columns[name], axis=-1), objects.valid
        return changed


def batch_of(event: dict[str, Objects]) -> Any:
    """Return the number of events of a batch, a tensor."""
    import tensorflow as tf

    return tf.shape(next(iter(event.values())).valid)[0]
