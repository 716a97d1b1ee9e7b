"""The configured observables of a chunk of events."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nntrainer.config.observables import Observables
from nntrainer.config.registry import OBSERVABLES
from nntrainer.observables.momenta import Event, four_vectors

SEPARATOR = "."


def formulas(block: Observables) -> dict[str, str]:
    """Return the expressions of all particles' components by ``<particle>.<component>``."""
    return {
        f"{name}{SEPARATOR}{component}": text
        for name, particle in block.particles().items()
        for component, text in particle.formulas().items()
    }


def described(block: Observables) -> list[tuple[str, str, str]]:
    """Return name, unit and formula of each observable that is computed."""
    parts = [(name, OBSERVABLES.get(name)) for name in block.names()]
    return [(name, block.unit if part.energy else "", part.formula) for name, part in parts]


def compute(block: Observables, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Compute the observables.

    Args:
        block: which particles, frame and observables.
        columns: the values of `formulas`, each (n,).

    Returns:
        For each observable (n,) float32; NaN where a particle that it needs is missing or it is not defined.
    """
    lab = {}
    for name in block.particles():
        start = f"{name}{SEPARATOR}"
        lab[name] = four_vectors(**{key.removeprefix(start): x for key, x in columns.items() if key.startswith(start)})
    event = Event.of(lab, block.frame)
    with np.errstate(all="ignore"):
        found = {name: np.asarray(OBSERVABLES.get(name)().compute(event)) for name in block.names()}
        return {
            name: np.where(np.isfinite(values), values, np.nan).astype(np.float32) for name, values in found.items()
        }
