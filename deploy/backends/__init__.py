"""What runs jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.backends.base import Backend


def backend_named(name: str) -> Backend:
    """Return a backend by the name that site files and run records use.

    Args:
        name: the name.

    Returns:
        The backend.

    Raises:
        DeployError: there is no such backend, as when a newer deploy wrote the record.
    """
    if name == "local":
        from deploy.backends.local import LocalBackend

        return LocalBackend()
    from deploy.errors import DeployError

    raise DeployError(f"there is no backend '{name}'; backends are 'local'")
