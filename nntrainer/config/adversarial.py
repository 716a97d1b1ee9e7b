"""Adversarial training: what a score must not depend on, and small changes of the inputs that must not change it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from nntrainer.config.base import Closed, Strings
from nntrainer.errors import nearest, one_of


class Decorrelation(Closed):
    """An adversary that guesses a nuisance, and whose gradients the network takes with the opposite sign."""

    nuisance: str = Field(description="Column that the score must not depend on: a spectator or an event feature.")
    kind: Literal["number", "label"] = Field(
        "number", description="A number is guessed by the quantile it lies in; of a label each value is a class."
    )
    strength: NonNegativeFloat = Field(1.0, description="Factor λ on the reversed gradients; 0: the network is free.")
    bins: Annotated[int, Field(ge=2)] = Field(10, description="Weighted quantiles of a number.")
    events: Literal["background", "all", "signal"] = Field("background", description="Events that count.")
    sees: Literal["score", "event"] = Field(
        "score",
        description="What the adversary sees: the logits of the classes, or all that the network makes of an event.",
    )
    layers: tuple[PositiveInt, ...] = Field((64, 32), description="Units of each layer of the adversary.")
    learning_rate_factor: PositiveFloat = Field(
        2.0, description="Factor on the learning rate for the adversary, which must follow the network."
    )


class Robustness(Closed):
    """Training on events that were changed, within bounds, to be misjudged."""

    attack: Literal["fgsm", "pgd"] = Field("fgsm", description="One step, or several from a random start.")
    epsilon: PositiveFloat = Field(0.1, description="Largest change of a feature, in its standard deviations.")
    steps: PositiveInt = Field(7, description="Steps of pgd.")
    step_size: PositiveFloat | None = Field(
        None, description="A step of pgd, in standard deviations; 2.5 · epsilon / steps if absent."
    )
    fraction: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.5, description="Part of the loss that is of the changed events; the rest is of the events as they are."
    )
    features: Strings | None = Field(
        None, description="What may change: event features, collections, or collection.feature; everything if absent."
    )


class RobustnessEvaluation(Closed):
    """How accuracy and AUC fall when the inputs are changed to be misjudged."""

    epsilons: tuple[PositiveFloat, ...] = Field(
        (0.01, 0.02, 0.05, 0.1, 0.2), min_length=1, description="Largest changes, in standard deviations of a feature."
    )
    steps: PositiveInt = Field(10, description="Steps of pgd; fgsm has one.")
    features: Strings | None = Field(
        None, description="What may change: event features, collections, or collection.feature; everything if absent."
    )
    events: PositiveInt = Field(20_000, description="Events that are measured at most, evenly out of all.")


def check_nuisance(key: str, name: str, columns: Iterable[str]) -> None:
    """Check that a column can be a nuisance.

    Args:
        key: the key that names it.
        name: the column.
        columns: spectators and event features.

    Raises:
        ValueError: there is no such column.
    """
    known = list(columns)
    if name not in known:
        raise ValueError(
            f"{key}: there is no spectator and no event feature '{name}'; name one of {one_of(known)}, or add it to "
            f"features.spectators.{nearest(name, known)}"
        )


def places(key: str, wanted: Strings | None, inputs: dict[str, tuple[str, ...]]) -> dict[str, list[bool]]:
    """Return which features an attack may change.

    Args:
        key: the key that names them.
        wanted: event features, collections or ``collection.feature``; all if absent.
        inputs: names of the features of ``events`` and of each collection.

    Returns:
        For each input a flag for each of its features.

    Raises:
        ValueError: there is no such feature.
    """
    known: dict[str, list[tuple[str, int]]] = {}
    for of, features in inputs.items():
        for place, feature in enumerate(features):
            known.setdefault(feature if of == "events" else f"{of}.{feature}", []).append((of, place))
            known.setdefault(of, []).append((of, place))
    known.pop("events", None)
    found = {of: [wanted is None] * len(features) for of, features in inputs.items()}
    for name in wanted or ():
        if name not in known:
            raise ValueError(
                f"{key}: there is no feature '{name}'; there are {one_of(sorted(known))}.{nearest(name, known)}"
            )
        for of, place in known[name]:
            found[of][place] = True
    return found


def check_adversarial(config: Any) -> None:
    """Check what the adversarial blocks ask of the rest of a configuration.

    Args:
        config: the ``Config``.

    Raises:
        ValueError: it is not there.
    """
    training, evaluation = config.training, config.evaluation
    asked = {
        "training.decorrelation": (training.decorrelation, "its adversary looks at the score of the classes"),
        "evaluation.dependence": (evaluation.dependence, "the dependence is that of the score"),
        "evaluation.robustness": (evaluation.robustness, "accuracy and AUC are those of the classes"),
    }
    for key, (block, why) in asked.items():
        if block and not config.classifies:
            raise ValueError(
                f"{key}: {why}, and training.tasks has no 'class'; add class: 1.0 to it, or leave {key} out"
            )
    if training.decorrelation is not None:
        check_nuisance("training.decorrelation.nuisance", training.decorrelation.nuisance, config.event_columns)
    for name in evaluation.dependence:
        check_nuisance("evaluation.dependence", name, config.event_columns)
    for key, block in (("training.robustness", training.robustness), ("evaluation.robustness", evaluation.robustness)):
        if block is not None:
            places(f"{key}.features", block.features, config.input_names)
