"""Read a configuration: YAML, then environment variables, then ``--set``; report everything wrong at once."""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml
from pydantic import BaseModel, ValidationError

from nntrainer.config.models import Config
from nntrainer.config.registry import (
    AUGMENTATIONS,
    MAKERS,
    NETWORKS,
    AugmentationOptions,
    MakerOptions,
    NetworkOptions,
    NetworkType,
    Registry,
)
from nntrainer.config.tuning import SEARCHED
from nntrainer.errors import ConfigError, nearest, one_of

ENVIRONMENT = "NNTRAINER__"
Location = tuple[str | int, ...]


def load_config(
    path: str | Path, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Config:
    """Read and check a configuration.

    Args:
        path: the YAML file.
        overrides: ``key.path=value`` texts, the value in YAML; later ones win, all win over the environment.
        environment: variables such as ``NNTRAINER__TRAINING__EPOCHS=3``; the process's own if absent.

    Returns:
        The configuration.

    Raises:
        ConfigError: the file cannot be read or something in it is wrong; the message has a line an error.
    """
    path = Path(path)
    node, data = _read(path)
    lines = _Lines(path, node)
    for name, value in sorted((os.environ if environment is None else environment).items()):
        if name.startswith(ENVIRONMENT):
            keys = name[len(ENVIRONMENT) :].lower().split("__")
            _override(data, keys, value, f"environment variable {name}", lines)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {text!r}: write key.path=value, such as --set training.epochs=3")
        _override(data, key.strip().split("."), value, f"--set {key.strip()}", lines)
    config = _validate(data, lines)
    if config.tune is not None:
        _check_search(config, lines)
    return config


def varied(config: Config, values: Mapping[str, Any]) -> Config:
    """Return a configuration with other values, as a trial of a search has, and without the search.

    Args:
        config: the configuration.
        values: plain data by key, such as ``training.epochs``.

    Returns:
        The configuration.

    Raises:
        ConfigError: there is no such key, or it does not take the value.
    """
    data = {**config.dump(), "tune": None}
    lines = _Lines(Path("tune.parameters"), None)
    for key, value in values.items():
        _put(data, key.split("."), value, f"tune.parameters.{key}: {value!r}", lines)
    return _validate(data, lines)


def _check_search(config: Config, lines: _Lines) -> None:
    """Refuse keys that cannot be searched, and ranges that the configuration does not accept."""
    search, messages = config.tune, []
    for fold in search.folds if search else ():
        if fold >= config.preparation.k:
            messages.append(
                f"{lines.where(('tune', 'folds'))}: tune.folds: there is no fold {fold}; the preparation "
                f"block makes {config.preparation.k}, numbered from 0"
            )
    for key, values in search.parameters.items() if search else ():
        where = lines.where(("tune", "parameters", key))
        try:
            for value in values.ends:
                varied(config, {key: value})
        except ConfigError as error:
            messages += [f"{where}: {line}" for line in str(error).splitlines()[:1]]
            continue
        if not any(f"{key}.".startswith(f"{each}.") for each in SEARCHED):
            messages.append(
                f"{where}: tune.parameters.{key}: this key cannot be searched: it changes the events, or how they are "
                f"measured, or nothing; what can are the keys of {one_of(SEARCHED)}"
            )
    if messages:
        raise ConfigError("\n".join(messages))


def _read(path: Path) -> tuple[yaml.Node | None, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = nearest(path.name, (p.name for p in path.parent.glob("*.y*ml"))) if path.parent.is_dir() else ""
        raise ConfigError(f"{path}: no such configuration file.{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"{path}: the configuration cannot be read: {reason}") from None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _refuse_duplicates(node, path)
        data = loader.construct_document(node) if node is not None else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where}: this is not YAML: {getattr(error, 'problem', error)}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: this is not YAML: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a configuration is a mapping with keys such as 'name', 'data' and 'features'")
    return node, data


def _refuse_duplicates(node: yaml.Node | None, path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            if key.value in seen:
                raise ConfigError(
                    f"{path}:{key.start_mark.line + 1}: '{key.value}' is given twice, first on line {seen[key.value]}"
                )
            seen[key.value] = key.start_mark.line + 1
            _refuse_duplicates(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(item, path)


class _Lines:
    """Where a key stands: file and line, or the override that gave it."""

    def __init__(self, path: Path, root: yaml.Node | None) -> None:
        self.path = path
        self.root = root
        self.overridden: dict[Location, str] = {}

    def where(self, location: Location) -> str:
        for end in range(len(location), 0, -1):
            if location[:end] in self.overridden:
                return self.overridden[location[:end]]
        for given, source in self.overridden.items():  # a key above it that does not exist
            if given[: len(location)] == location:
                return source
        node, line = self.root, None
        for key in location:
            found = _child(node, key)
            if found is None:
                break
            line, node = found
        return f"{self.path}:{line if line is not None else 1}"


def _child(node: yaml.Node | None, key: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == str(key):
                return name.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        item = node.value[key]
        return item.start_mark.line + 1, item
    return None


def _override(data: dict[str, Any], keys: list[str], value: str, source: str, lines: _Lines) -> None:
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"{source}: {value!r} is not a YAML value") from None
    _put(data, keys, parsed, source, lines)


def _put(data: dict[str, Any], keys: list[str], value: Any, source: str, lines: _Lines) -> None:
    target: Any = data
    for depth, key in enumerate(keys[:-1]):
        if isinstance(target, list):
            target = target[_position(target, key, source)]
            continue
        if target.get(key) is None:
            target[key] = {}
        target = target[key]
        if isinstance(target, str) and keys[depth] == "model":
            data[key] = target = {"name": target}
        if not isinstance(target, dict | list):
            raise ConfigError(f"{source}: '{'.'.join(keys[: depth + 1])}' is a value and has no keys below it")
    last: str | int = keys[-1]
    if isinstance(target, list):
        last = _position(target, keys[-1], source)
    target[last] = value
    lines.overridden[tuple(int(key) if key.isdigit() else key for key in keys)] = source


def _position(items: list[Any], key: str, source: str) -> int:
    if not key.isdigit() or int(key) >= len(items):
        raise ConfigError(f"{source}: '{key}' is not a position in a list of {len(items)}; count from 0")
    return int(key)


def _validate(data: dict[str, Any], lines: _Lines) -> Config:
    messages: list[str] = []
    data = dict(data)
    _resolve_part(data, "model", NETWORKS, "name", ("model",), messages, lines)
    preparation = data.get("preparation")
    lists: list[tuple[str, Registry[Any], str]]
    lists = [("feature_makers", MAKERS, "maker"), ("augmentation", AUGMENTATIONS, "name")]
    for key, registry, word in lists:
        if isinstance(preparation, dict) and isinstance(preparation.get(key), list):
            preparation = data["preparation"] = dict(preparation)
            parts = preparation[key] = list(preparation[key])
            for index in range(len(parts)):
                _resolve_part(parts, index, registry, word, ("preparation", key, index), messages, lines)
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        messages += _explain(error, Config, (), data, lines)
    else:
        if not messages:
            return config
    raise ConfigError("\n".join(dict.fromkeys(messages)))


def _resolve_part(
    holder: Any,
    key: Any,
    registry: Registry[Any],
    word: str,
    location: Location,
    messages: list[str],
    lines: _Lines,
) -> None:
    """Replace a part's mapping by its options, adding what is wrong with it to the messages."""
    value = holder.get(key) if isinstance(holder, dict) else holder[key]
    if isinstance(value, str):
        value = {word: value}
    if not isinstance(value, dict):
        return
    try:
        part = registry.get(value.get(word))
    except ConfigError as error:
        where = (*location, word) if word in value else location
        messages.append(f"{lines.where(where)}: {_dotted(where)}: {error}")
        holder[key] = _refused(registry)
        return
    try:
        holder[key] = part.model_validate(value)
    except ValidationError as error:
        messages += _explain(error, part, location, value, lines)
        holder[key] = _refused(registry)


class _Refused(NetworkOptions):
    """Stands for a network that was refused, and fits whatever is said of the others."""

    network_types: ClassVar[tuple[NetworkType, ...]] = ("flat", "set", "graph")


class _RefusedMaker(MakerOptions):
    """Stands for a feature maker that was refused."""

    def outputs(self) -> list[tuple[str, str, str]]:
        """Return nothing."""
        return []


def _refused(registry: Registry[Any]) -> Any:
    """Return valid options in place of refused ones, so that the rest of the file is still checked."""
    if registry is AUGMENTATIONS:
        return AugmentationOptions(name="refused")
    return _Refused(name="refused") if registry is NETWORKS else _RefusedMaker(maker="refused")


def _explain(error: ValidationError, model: type[BaseModel], base: Location, data: Any, lines: _Lines) -> list[str]:
    messages = []
    for item in error.errors():
        location, owner = _locate(item["loc"], model, data)
        where = (*base, *location)
        text = _sentence(item, location, owner)
        messages.append(f"{lines.where(where)}: {_dotted(where) or 'configuration'}: {text}")
    return messages


def _sentence(item: Any, location: Location, owner: type[BaseModel] | None) -> str:
    kind, given = item["type"], item.get("input")
    if kind == "extra_forbidden":
        known = list(owner.model_fields) if owner is not None else []
        hint = nearest(str(location[-1]), known)
        return f"there is no key '{location[-1]}' here; keys are {', '.join(known)}.{hint}"
    if kind == "missing":
        return "this key is required and missing"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        context = item["ctx"]
        tag = context.get("tag")
        allowed = context.get("expected_tags", "")
        if tag is None:
            return f"the key {context['discriminator']} is required here"
        words = [word.strip(" '") for word in allowed.split(",")]
        return f"'{tag}' is not known; allowed are {allowed}.{nearest(str(tag), words)}"
    if kind == "too_short":
        return f"at least {item['ctx']['min_length']} must be given here, and there are {item['ctx']['actual_length']}"
    message = str(item["msg"]).removeprefix("Value error, ")
    if kind == "value_error":
        return message
    if kind == "literal_error":
        words = [word.strip(" '") for word in item["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return f"{given!r} is not allowed; allowed are {', '.join(words)}.{nearest(str(given), words)}"
    shown = repr(given)
    return f"{message[0].lower()}{message[1:]}, not {shown if len(shown) <= 80 else shown[:77] + '...'}"


def _locate(loc: Location, model: type[BaseModel], data: Any) -> tuple[Location, type[BaseModel] | None]:
    """Return the location as a person writes it (union tags dropped) and the model that owns its last key."""
    kept: list[str | int] = []
    owner: type[BaseModel] | None = model
    annotation: Any = model
    for index, key in enumerate(loc):
        owner = _model_of(annotation, None)
        if owner is not None and isinstance(key, str) and key in owner.model_fields:
            kept.append(key)
            annotation = owner.model_fields[key].annotation
            data = data.get(key) if isinstance(data, dict) else None
            continue
        tagged = _model_of(annotation, key) if isinstance(data, dict) else None
        if tagged is not None and tagged is not owner and isinstance(data, dict) and key not in data:
            annotation = tagged  # a union's tag, which nobody wrote as a key
            if index == len(loc) - 1:
                owner = tagged
            continue
        kept.append(key)
        annotation = _item_of(annotation)
        if isinstance(data, dict):
            data = data.get(key)
        elif isinstance(data, list) and isinstance(key, int) and key < len(data):
            data = data[key]
    return tuple(kept), owner


def _parts(annotation: Any) -> list[Any]:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _parts(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [part for each in typing.get_args(annotation) for part in _parts(each)]
    return [annotation]


def _model_of(annotation: Any, tag: str | int | None) -> type[BaseModel] | None:
    models = [part for part in _parts(annotation) if isinstance(part, type) and issubclass(part, BaseModel)]
    if tag is None:
        return models[0] if len(models) == 1 else None
    fields = [(model, model.model_fields.get("name") or model.model_fields.get("kind")) for model in models]
    return next((model for model, field in fields if field is not None and field.default == tag), None)


def _item_of(annotation: Any) -> Any:
    for part in _parts(annotation):
        arguments = [each for each in typing.get_args(part) if each is not Ellipsis]
        if arguments:
            return arguments[-1]
    return None


def _dotted(location: Location) -> str:
    text = ""
    for key in location:
        text += f"[{key}]" if isinstance(key, int) else (f".{key}" if text else key)
    return text
