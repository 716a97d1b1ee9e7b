"""Blocks of the configuration about decisions: discriminants, and the bins of the significance."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from nntrainer.config.base import Closed


def _some(value: dict[str, float]) -> dict[str, float]:
    if not sum(value.values()) > 0:
        raise ValueError("at least one fraction must be above zero")
    return value


Fractions = Annotated[dict[str, NonNegativeFloat], AfterValidator(_some)]
"""The fractions f_i in a discriminant's denominator, by class; a class that is left out has none."""


class Binning(Closed):
    """The bins in which the significance is counted (docs/metrics.md)."""

    method: Literal["transfod", "equal"] = Field(
        "transfod",
        description="'transfod': from the signal's end a bin closes when z_s n_s/N_s + z_b n_b/N_b ≥ 1; 'equal': bins "
        "of equal width over the range.",
    )
    z_s: NonNegativeFloat = Field(5.0, description="TransfoD: about how many bins the signal alone would give.")
    z_b: NonNegativeFloat = Field(5.0, description="TransfoD: about how many bins the background alone would give.")
    bins: PositiveInt = Field(10, description="Number of bins of equal width.")
    edges: tuple[float, ...] | None = Field(
        None, min_length=2, description="Edges of the score's bins, instead of both; discriminants keep the method."
    )
    statistical: bool = Field(
        False, description="Add the background's statistical uncertainty √Σw² of each bin to background_uncertainty."
    )
    min_background_events: PositiveFloat = Field(
        1.0, description="Effective background events (Σw)²/Σw² that a bin needs to count in the significance."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Binning:
        if not self.z_s + self.z_b >= 1:
            raise ValueError(f"z_s + z_b must be at least 1, not {self.z_s + self.z_b:g}: no bin would close")
        if self.edges is not None and any(a >= b for a, b in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("the edges must rise")
        return self
