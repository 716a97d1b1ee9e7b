"""Options of methods, as the command line gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from nntrainer.config.registry import EXPLAINERS, ExplainerOptions
from nntrainer.errors import ConfigError, nearest, one_of


def parsed(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the options of each method that texts such as ``lrp.rule=gamma`` give.

    Args:
        given: the texts.

    Returns:
        By method its options; their values are read as YAML.

    Raises:
        ConfigError: a text is none of this kind, or names no method.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in given:
        key, equals, value = text.partition("=")
        method, dot, option = key.partition(".")
        if not (equals and dot and option):
            raise ConfigError(f"--option {text}: write METHOD.OPTION=VALUE, such as lrp.rule=gamma")
        EXPLAINERS.get(method)
        try:
            found.setdefault(method, {})[option] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"--option {text}: '{value}' is no value; write METHOD.OPTION=VALUE") from None
    return found


def method_of(name: str, options: Mapping[str, Any]) -> ExplainerOptions:
    """Return a method with its options.

    Args:
        name: of the method.
        options: those that are given.

    Returns:
        The method.

    Raises:
        ConfigError: there is no such method or option, or it cannot have this value.
    """
    kind = EXPLAINERS.get(name)
    known = [each for each in kind.model_fields if each != "name"]
    for option in options:
        if option not in known:
            allowed = f"its options are {one_of(known)}" if known else "it has none"
            raise ConfigError(
                f"--option {name}.{option}: {name} has no such option; {allowed}.{nearest(option, known)}"
            )
    try:
        return kind(**{**options, "name": name})
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(str(each) for each in first["loc"])
        raise ConfigError(f"--option {name}.{option}: {first['msg']}; given is {first['input']!r}") from None
