"""The ROOT side: ntuples are read here, made up here, and given new branches here."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nntrainer.ntuples.inplace import add_branches

__all__ = ["add_branches"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for."""
    if name == "add_branches":
        from nntrainer.ntuples.inplace import add_branches

        return add_branches
    raise AttributeError(f"module 'nntrainer.ntuples' has no attribute '{name}'")
