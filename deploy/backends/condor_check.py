"""What an HTCondor site would refuse, hold or remove, found before it is submitted."""

from __future__ import annotations

from deploy.backends.base import Batch
from deploy.jobs import Finding
from nntrainer.config import Config


def findings(batch: Batch, config: Config) -> list[Finding]:
    return []
