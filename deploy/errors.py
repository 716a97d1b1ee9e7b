"""What can go wrong because of what a user gave us."""

from __future__ import annotations

from nntrainer.errors import NNTrainerError


class DeployError(NNTrainerError):
    """Root of deploy's own errors: one clear sentence, exit code 2."""


class SiteError(DeployError):
    """A site is unknown or its file is wrong."""


class RunNotFoundError(DeployError):
    """There is no such run."""


class GatherError(DeployError):
    """Outputs are missing or damaged."""


class PreflightError(DeployError):
    """A check before the submission found something that would fail later."""


class SubmitError(DeployError):
    """The batch system refused a submission or cannot be reached."""
