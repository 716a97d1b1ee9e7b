"""What a network is fed: the same arrays for training, evaluation, parity checks and scoring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nntrainer.config import Config
from nntrainer.dataset.schema import network_inputs

if TYPE_CHECKING:
    from nntrainer.dataset.dataset import Dataset

Inputs = dict[str, np.ndarray]
"""``events`` (n, F), and for each collection ``<name>`` (n, max, F) and ``<name>_valid`` (n, max); float32."""


METADATA_KEY = "nntrainer"
"""Where an exported model says what it is fed and by which rule it scores; plain data as JSON."""
METADATA_FORMAT = 1
EVENT_NUMBER = "eventNumber"
"""Input of an exported model that holds all folds: event numbers (n,) int64."""
ALL_FOLDS = "all"
"""In the fold rule of such a model, in place of a fold."""


def dataset_inputs(config: Config, dataset: Dataset) -> Inputs:
    """Return the network's inputs of all events of a dataset; other columns are not read."""
    wanted = network_inputs(config)
    names = [field.name for field in wanted.events]
    objects = {name: dataset.objects(name) for name in wanted.objects}
    return network_arrays(config, dataset.events(names) if names else {}, objects)


def network_arrays(config: Config, events: Any, objects: Any) -> Inputs:
    """Arrange columns as the network's inputs.

    Args:
        config: the configuration.
        events: event columns by name, each (n,); a structured array does.
        objects: for each collection its columns by name, each (n, max), with ``valid``; structured arrays do.

    Returns:
        The inputs, float32, columns in the order of the configuration.
    """
    wanted = network_inputs(config)
    inputs: Inputs = {}
    if wanted.events:
        inputs["events"] = np.stack([np.asarray(events[f.name], np.float32) for f in wanted.events], axis=-1)
    for name, block in wanted.objects.items():
        columns = objects[name]
        inputs[name] = np.stack([np.asarray(columns[f.name], np.float32) for f in block.fields], axis=-1)
        inputs[f"{name}_valid"] = np.asarray(columns["valid"], np.float32)
    return inputs
