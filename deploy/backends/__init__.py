"""What runs jobs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.backends.base import Backend

BACKENDS = {
    "local": ("deploy.backends.local", "LocalBackend"),
    "container": ("deploy.backends.container", "ContainerBackend"),
    "htcondor": ("deploy.backends.htcondor", "HTCondorBackend"),
    "kubernetes": ("deploy.backends.kubernetes", "KubernetesBackend"),
}


def backend_named(name: str) -> Backend:
    """Return a backend by the name that site files and run records use.

    Args:
        name: the name.

    Returns:
        The backend.

    Raises:
        DeployError: there is no such backend, as when a newer deploy wrote the record.
    """
    from deploy.errors import DeployError
    from nntrainer.errors import one_of

    if name not in BACKENDS:
        raise DeployError(f"there is no backend '{name}'; backends are {one_of(BACKENDS)}")
    module, backend = BACKENDS[name]
    made: Backend = getattr(importlib.import_module(module), backend)()
    return made
