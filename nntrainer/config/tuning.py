"""The tune block: which keys are searched, over what, for what, and how."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from nntrainer.config.base import Closed

Number = int | float
Objective = Literal["val_loss", "val_accuracy", "val_auc"]
Direction = Literal["minimize", "maximize"]
DIRECTIONS: dict[str, Direction] = {"val_loss": "minimize", "val_accuracy": "maximize", "val_auc": "maximize"}
SEARCHED = ("model", "training", "preparation.scaling", "preparation.augmentation")
"""Keys that may be searched: what they change is neither the events nor how they are measured."""


class Range(Closed):
    """The values that a key may take: ``low`` to ``high``, or ``choices``."""

    low: Number | None = Field(None, description="Smallest value.")
    high: Number | None = Field(None, description="Largest value.")
    log: bool = Field(False, description="Search the logarithm, for a value whose order of magnitude counts.")
    step: Number | None = Field(None, gt=0, description="Distance of neighbouring values, from low on.")
    choices: tuple[Any, ...] | None = Field(None, description="The values, of any kind, instead of low and high.")

    @model_validator(mode="after")
    def _one_kind(self) -> Range:
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log or self.step is not None:
                raise ValueError("give either 'choices', or 'low' and 'high' with 'log' or 'step'")
            names = [text(choice) for choice in self.choices]
            if len(names) < 2 or len(set(names)) < len(names):
                raise ValueError("'choices' needs two values or more, each once")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give 'low' and 'high', or 'choices'")
        if not self.low < self.high:
            raise ValueError(f"'low' must be smaller than 'high', not {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"'log' needs a 'low' above 0, not {self.low}")
        if self.log and self.step is not None:
            raise ValueError("give either 'log' or 'step', not both")
        return self

    @property
    def integer(self) -> bool:
        """Whether the values are whole numbers: write 0.0 for a number that need not be whole."""
        return all(isinstance(each, int) for each in (self.low, self.high, 1 if self.step is None else self.step))

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that a configuration must accept: all choices, or both ends."""
        return self.choices if self.choices is not None else (self.low, self.high)

    def points(self) -> list[Any] | None:
        """Return the values of a grid, None where there is no step and the values are not whole numbers."""
        if self.choices is not None:
            return list(self.choices)
        step = self.step if self.step is not None else 1 if self.integer and not self.log else None
        if step is None or self.low is None or self.high is None:
            return None
        # A step such as 0.1 is not exact: half a thousandth of it is no reason to leave out the last value.
        count = math.floor((self.high - self.low) / step + 5e-4) + 1
        values = [self.low + i * step for i in range(count)]
        return values if self.integer else [float(f"{value:.12g}") for value in values]


class Tune(Closed):
    """A search for the best values of some keys; changes nothing of a run without a search."""

    parameters: dict[str, Range] = Field(
        min_length=1, description="Ranges by key, such as training.optimizer.learning_rate: {low: 1.0e-4, high: 0.1}."
    )
    objective: Objective = Field(
        "val_loss", description="What is measured on the validation events, with the weights that a training ends with."
    )
    direction: Direction | None = Field(None, description="Which way is better; the objective's own if absent.")
    engine: Literal["optuna", "hyperopt"] = Field("optuna", description="The library that chooses the values.")
    sampler: Literal["tpe", "random", "grid"] = Field(
        "tpe", description="Tree-structured Parzen estimator, at random, or all combinations one after the other."
    )
    pruner: Literal["none", "median", "hyperband"] = Field(
        "none", description="Which trials are given up by their values after each epoch."
    )
    trials: PositiveInt = Field(30, description="Trials in all, whatever number of processes share them.")
    timeout_s: PositiveFloat | None = Field(None, description="A process begins no trial after so many seconds.")
    folds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = Field(
        (0,), description="Folds that each trial trains; the mean over them counts."
    )

    @field_validator("folds")
    @classmethod
    def _folds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError("name each fold once")
        return value

    @model_validator(mode="after")
    def _possible(self) -> Tune:
        better = DIRECTIONS[self.objective]
        if self.direction not in (None, better):
            raise ValueError(f"direction '{self.direction}': {self.objective} is better the other way; say '{better}'")
        if self.pruner != "none" and self.objective == "val_auc":
            raise ValueError(
                f"pruner '{self.pruner}' needs a value after each epoch, and val_auc is known at the end; take the "
                "objective val_loss or val_accuracy, or the pruner 'none'"
            )
        for key in self.parameters:
            for other in self.parameters:
                if other.startswith(f"{key}."):
                    raise ValueError(f"parameters.{key} holds {other}, too; search one of the two")
        if self.engine == "hyperopt" and self.sampler == "grid":
            raise ValueError("sampler 'grid': hyperopt has 'tpe' and 'random'; take the engine optuna")
        if self.engine == "hyperopt" and self.pruner != "none":
            raise ValueError(f"pruner '{self.pruner}': hyperopt gives up no trial; take the engine optuna")
        if self.sampler == "grid":
            for key, values in self.parameters.items():
                if values.points() is None:
                    raise ValueError(f"sampler 'grid': give parameters.{key} a 'step' or 'choices'")
        return self

    @property
    def better(self) -> Direction:
        """Which way is better."""
        return DIRECTIONS[self.objective]

    @property
    def most(self) -> int:
        """Trials in all: no more than a grid has points."""
        if self.sampler != "grid":
            return self.trials
        return min(self.trials, math.prod(len(values.points() or ()) for values in self.parameters.values()))


def text(choice: Any) -> str:
    """Return a choice as one word, by which engines and tables know it."""
    return choice if isinstance(choice, str) else json.dumps(choice)
