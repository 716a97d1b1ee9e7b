"""What a network sees as one row of numbers an event: objects side by side, NaN where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nntrainer.config import Config
from nntrainer.dataset.schema import network_inputs


@dataclass(frozen=True)
class Columns:
    """The names of C columns.

    Attributes:
        names: of each column: a feature, ``jets[0].jet_pt``, or ``n(jets)``, the number of objects.
        features: of each column what it is part of: ``jets.jet_pt`` for all slots together.
        units: of each feature by name.
    """

    names: tuple[str, ...]
    features: tuple[str, ...]
    units: Mapping[str, str]

    def of(self, feature: str) -> list[int]:
        """Return the columns of a feature."""
        return [place for place, each in enumerate(self.features) if each == feature]


def columns_of(config: Config) -> Columns:
    """Return the columns of a configuration's network: event and made features, then each collection."""
    wanted = network_inputs(config)
    names = [field.name for field in wanted.events]
    features, units = list(names), {field.name: field.unit for field in wanted.events}
    for name, block in wanted.objects.items():
        names.append(f"n({name})")
        features.append(f"n({name})")
        units[f"n({name})"] = ""
        for field in block.fields:
            names += [f"{name}[{slot}].{field.name}" for slot in range(block.max)]
            features += [f"{name}.{field.name}"] * block.max
            units[f"{name}.{field.name}"] = field.unit
    return Columns(tuple(names), tuple(features), units)


def table(config: Config, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the network's inputs as one table.

    Args:
        config: the configuration.
        inputs: the inputs of n events, as `nntrainer.dataset.inputs` makes them.

    Returns:
        (n, C) float32, columns as in `columns_of`; NaN in empty slots.
    """
    wanted = network_inputs(config)
    parts = [inputs["events"]] if wanted.events else []
    for name in wanted.objects:
        there = inputs[f"{name}_valid"] > 0
        parts.append(there.sum(axis=1, dtype=np.float32)[:, np.newaxis])
        values = np.where(there[:, :, np.newaxis], inputs[name], np.float32(np.nan))
        parts.append(values.transpose(0, 2, 1).reshape(len(values), -1))
    return np.concatenate(parts, axis=1)
