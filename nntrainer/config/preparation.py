"""The preparation block: from the dataset to what is fed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, SerializeAsAny, field_validator, model_validator

from nntrainer.config.base import Closed, Name
from nntrainer.config.registry import AUGMENTATIONS, MAKERS, AugmentationOptions, MakerOptions

WeightPolicy = Literal["keep", "drop", "absolute", "rescale"]


class Fractions(Closed):
    """Parts of the events by ``eventNumber % 100``."""

    train: Annotated[float, Field(gt=0, lt=1)] = Field(0.6, description="Fraction to train on.")
    validation: Annotated[float, Field(gt=0, lt=1)] = Field(0.2, description="Fraction to validate on.")
    test: Annotated[float, Field(gt=0, lt=1)] = Field(0.2, description="Fraction to test on.")

    @model_validator(mode="after")
    def _whole(self) -> Fractions:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train, validation and test must add up to 1, not {total:g}")
        for name in ("train", "validation", "test"):
            percent = getattr(self, name) * 100
            if abs(percent - round(percent)) > 1e-9:
                raise ValueError(f"'{name}' must be a whole number of percent, not {percent:g} %")
        return self


class NegativeWeights(Closed):
    """What happens to negative weights: keep, drop, absolute, or rescale (drop, keeping each sample's sum)."""

    training: WeightPolicy = Field("absolute", description="Policy for the loss.")
    reporting: WeightPolicy = Field("keep", description="Policy for metrics, plots and yields.")


class Preparation(Closed):
    """From the dataset to what is fed."""

    folds: Annotated[int, Field(ge=2)] | None = Field(None, description="k of the fold rule eventNumber % k.")
    fractions: Fractions | None = Field(None, description="Instead of folds: one model, fixed parts.")
    validation_every: Annotated[int, Field(ge=2)] = Field(
        5, description="Every n-th event of the training folds validates: (eventNumber // k) % n == 0."
    )
    scaling: Literal["standard", "minmax", "none"] = Field(
        "standard", description="Input scaling, fitted on the training fold and stored in the model."
    )
    negative_weights: NegativeWeights = Field(NegativeWeights(), description="Policy for negative weights.")
    class_balance: Literal["none", "equal"] | dict[Name, PositiveFloat] = Field(
        "equal",
        description="Scale training weights so that every class has the same sum, or a sum as many times as large as "
        "its label is given here (1 if it is not), or leave them.",
    )
    feature_makers: tuple[SerializeAsAny[MakerOptions], ...] = Field(
        (), description="Features computed from stored ones, added to the event features."
    )
    augmentation: tuple[SerializeAsAny[AugmentationOptions], ...] = Field(
        (), description="Random changes to the objects of training events, in order."
    )

    @field_validator("feature_makers", mode="before")
    @classmethod
    def _makers(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return tuple(
            MAKERS.get(item.get("maker")).model_validate(item) if isinstance(item, dict) else item for item in value
        )

    @field_validator("augmentation", mode="before")
    @classmethod
    def _augmentation(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        items = [{"name": item} if isinstance(item, str) else item for item in value]
        return tuple(
            AUGMENTATIONS.get(item.get("name")).model_validate(item) if isinstance(item, dict) else item
            for item in items
        )

    @model_validator(mode="after")
    def _one_split(self) -> Preparation:
        if self.folds is not None and self.fractions is not None:
            raise ValueError("give either 'folds' or 'fractions', not both")
        return self

    @property
    def k(self) -> int:
        """Number of models: the folds, or 1 with fractions; two folds when neither is given."""
        return 1 if self.fractions is not None else (self.folds or 2)
