"""The data block: which events, and what they weigh."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from nntrainer.config.base import Closed, Formula, Name, Strings
from nntrainer.config.targets import Identifier, Target
from nntrainer.errors import nearest, one_of


class Sample(Closed):
    """One process: its files and what it is."""

    name: Name = Field(description="Name of the sample; its dataset file is called after it.")
    files: Strings = Field(min_length=1, description="Paths, globs or root:// addresses.")
    label: Name = Field(description="The class that the network learns these events as.")
    tree: str | None = Field(None, description="Tree, where it differs from data.tree.")
    weight: Formula | None = Field(None, description="Multiplies data.weight for this sample.")
    selection: Formula | None = Field(None, description="Applied on top of data.selection.")


class NonFinite(Closed):
    """What to do with NaN and infinite values of a feature."""

    policy: Literal["error", "replace"] = Field("error", description="Refuse with counts, or replace.")
    value: float = Field(0.0, description="Replacement.")


class Data(Closed):
    """Which events, and what they weigh."""

    samples: tuple[Sample, ...] = Field(min_length=1, description="The samples, signal and background.")
    tree: str = Field("nominal_Loose", description="Name of the TTree or RNTuple.")
    signal: Name | None = Field(None, description="The label that counts as signal; the first sample's if absent.")
    event_id: Formula = Field("eventNumber", description="Integer expression that identifies an event.")
    weight: Formula = Field("1", description="Event weight; multiplied by the luminosity.")
    luminosity_ipb: PositiveFloat = Field(1.0, description="Integrated luminosity in inverse picobarns.")
    selection: Formula | None = Field(None, description="Events for which this is true are kept.")
    variables: dict[str, Formula] = Field({}, description="New variables by name, usable in every expression.")
    targets: dict[Identifier, Target] = Field(
        {}, description="Truth to learn besides the class, by name: objects of particles, numbers of the event."
    )
    non_finite: NonFinite = Field(NonFinite(), description="NaN and infinity in features.")
    chunk_events: PositiveInt = Field(100_000, description="Entries read at a time; bounds the memory.")
    directory: Path = Field(Path("datasets"), description="Where dataset files go, under a digest's name.")

    @field_validator("variables")
    @classmethod
    def _variables(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not name.isidentifier():
                raise ValueError(f"'{name}' is not a name for a variable; use letters, digits and underscores")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Data:
        names = [sample.name for sample in self.samples]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two samples are called '{name}'; give each its own name")
        if self.signal is not None and self.signal not in self.labels:
            hint = nearest(self.signal, self.labels)
            raise ValueError(
                f"signal '{self.signal}' is the label of no sample; allowed are {one_of(self.labels)}.{hint}"
            )
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, in the order in which the samples name them: the classes, by index."""
        return tuple(dict.fromkeys(sample.label for sample in self.samples))

    @property
    def signal_label(self) -> str:
        """The label that counts as signal."""
        return self.signal if self.signal is not None else self.samples[0].label
