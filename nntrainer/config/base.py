"""The kind of model every block of the configuration is, and the texts that many blocks hold."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from nntrainer.config.expressions import Expression
from nntrainer.errors import ExpressionError


class Closed(BaseModel):
    """A block that refuses unknown keys and cannot be changed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Strings = Annotated[tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=str | tuple[str, ...])]
"""One string or a list of them."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


def _expression(value: str) -> str:
    try:
        Expression.parse(value)
    except ExpressionError as error:
        raise ValueError(str(error)) from None
    return value


Formula = Annotated[
    str,
    BeforeValidator(
        lambda value: str(value) if isinstance(value, int | float) else value, json_schema_input_type=str | int | float
    ),
    AfterValidator(_expression),
]
"""An expression of branches (``config.expressions``), or a number."""
