"""The tracking block: where finished runs are logged, besides the run directory."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from nntrainer.config.base import Closed


class Mlflow(Closed):
    """An MLflow server, or a folder or database on this machine."""

    uri: str = Field(min_length=1, description="Tracking URI: https://server, sqlite:///file.db, or a folder.")
    experiment: str | None = Field(None, min_length=1, description="Experiment; the name of the training if absent.")
    run_name: str | None = Field(None, min_length=1, description="Name of the run there; that of the run if absent.")

    @field_validator("uri")
    @classmethod
    def _no_password(cls, value: str) -> str:
        # The value is not repeated: the message would show the password.
        if "@" in urlsplit(value).netloc:
            raise ValueError(
                "this address holds a user name or a password, and configurations are kept and shared; take it out, "
                "and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or MLFLOW_TRACKING_TOKEN) instead"
            )
        return value


class Tracking(Closed):
    """Where finished runs are logged; changes no result."""

    mlflow: Mlflow | None = Field(None, description="MLflow.")
