"""What shells complete where an argument is one of a few words; verbs, options and files they complete by themselves.

Each function takes what is typed so far and returns the words that begin with it, with a text for shells that show one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

Completer = Callable[[str], list[tuple[str, str]]]


def words(*allowed: str) -> Completer:
    """Return what completes one of the words."""
    return lambda incomplete: starting(((word, "") for word in allowed), incomplete)


def networks(incomplete: str) -> list[tuple[str, str]]:
    """Complete the name of a network."""
    from nntrainer.config import catalogue
    from nntrainer.config.registry import NETWORKS

    return starting(((name, catalogue.summary(NETWORKS.get(name))) for name in NETWORKS.names()), incomplete)


def stages(incomplete: str) -> list[tuple[str, str]]:
    """Complete the name of a stage."""
    from nntrainer.stages import STAGES

    return starting(((name, stage.__doc__ or "") for name, stage in STAGES.items()), incomplete)


def starting(candidates: Iterable[tuple[str, str]], incomplete: str) -> list[tuple[str, str]]:
    """Return those of the candidates that begin with what is typed."""
    return [each for each in candidates if each[0].startswith(incomplete)]
