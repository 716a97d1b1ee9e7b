"""Which events train, validate and test: a function of the event number and of nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nntrainer.config import Config
from nntrainer.errors import ConfigError


@dataclass(frozen=True)
class Split:
    """The role of each event for one model; every event has exactly one.

    Attributes:
        train: (n,) bool, events whose gradients are taken.
        validation: (n,) bool, events that decide when to stop.
        test: (n,) bool, events the model never sees.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def _ids(event_number: ArrayLike) -> np.ndarray:
    # A list must not pass through doubles, which have fewer digits than event numbers.
    return np.asarray(event_number, dtype=np.uint64)


def fold_of(event_number: ArrayLike, k: int) -> np.ndarray:
    """Return the fold of each event, ``eventNumber % k``, (n,) int64: the model that may score it."""
    return (_ids(event_number) % np.uint64(k)).astype(np.int64)


def masks(config: Config, event_number: ArrayLike, fold: int) -> Split:
    """Return the role of each event for the model of one fold.

    With folds, events of the fold test, and of the others every ``validation_every``-th validates. With
    fractions, the last two digits of the event number decide, in the order train, validation, test.

    Args:
        config: the configuration.
        event_number: (n,) uint64.
        fold: the model, from 0.

    Returns:
        The masks.

    Raises:
        ConfigError: there is no such fold.
    """
    made = rule(config, fold)
    ids = _ids(event_number)
    if made["kind"] == "fractions":
        percent = ids % np.uint64(100)
        train = percent < made["train"]
        validation = ~train & (percent < made["train"] + made["validation"])
        return Split(train, validation, ~train & ~validation)
    k = np.uint64(made["k"])
    test = ids % k == fold
    validation = ~test & ((ids // k) % np.uint64(made["validation_every"]) == 0)
    return Split(~test & ~validation, validation, test)


def rule(config: Config, fold: int | None = None) -> dict[str, Any]:
    """Return the fold rule as plain data, for the metadata of an exported model.

    Args:
        config: the configuration.
        fold: the model, from 0; left out of the rule if absent.

    Returns:
        ``kind`` ('folds' or 'fractions'), ``k``, ``fold``, and ``validation_every`` or the parts in percent.

    Raises:
        ConfigError: there is no such fold.
    """
    preparation = config.preparation
    k = preparation.k
    if fold is not None and not 0 <= fold < k:
        raise ConfigError(f"there is no fold {fold}: the preparation block makes {k}, numbered 0 to {k - 1}")
    parts = preparation.fractions
    made: dict[str, Any] = {"kind": "folds" if parts is None else "fractions", "k": k}
    if fold is not None:
        made["fold"] = fold
    if parts is None:
        return made | {"validation_every": preparation.validation_every}
    return made | {name: round(getattr(parts, name) * 100) for name in ("train", "validation", "test")}


def seen(rule: Mapping[str, Any], event_number: ArrayLike) -> np.ndarray:
    """Return where the model with this rule trained or validated.

    Args:
        rule: what ``rule`` returned for the model's fold.
        event_number: (n,) uint64.

    Returns:
        (n,) bool.
    """
    ids = _ids(event_number)
    if rule["kind"] == "fractions":
        return np.asarray(ids % np.uint64(100) < rule["train"] + rule["validation"])
    return np.asarray(ids % np.uint64(rule["k"]) != rule["fold"])
