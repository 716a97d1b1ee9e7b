"""Named parts that a configuration may ask for: networks and feature makers.

The configuration knows none of them by name. It asks the registry, which imports the modules of one package
when it is first asked, so that adding a part is adding a file there (docs/decisions/0002-registries.md).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Generic, Literal, TypeVar

from nntrainer.config.base import Closed
from nntrainer.errors import ConfigError, nearest, one_of


class Part(Closed):
    """Base of whatever is registered: a closed block of options, described by its docstring."""


PartT = TypeVar("PartT", bound=Part)


class Registry(Generic[PartT]):
    """The parts of one kind, by name.

    Args:
        kind: what a part is called in messages, such as ``network``.
        package: the package whose modules register themselves when imported.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._parts: dict[str, type[PartT]] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[type[PartT]], type[PartT]]:
        """Return a class decorator that makes the options class available as ``name``."""

        def add(part: type[PartT]) -> type[PartT]:
            self._parts[name] = part
            return part

        return add

    def names(self) -> list[str]:
        """Return all names, sorted."""
        self._load()
        return sorted(self._parts)

    def get(self, name: object) -> type[PartT]:
        """Return the options class of a part.

        Args:
            name: the part's name.

        Returns:
            The class.

        Raises:
            ConfigError: no part has this name.
        """
        self._load()
        if not isinstance(name, str) or name not in self._parts:
            hint = nearest(str(name), self._parts)
            raise ConfigError(f"there is no {self.kind} '{name}'; allowed are {one_of(self.names())}.{hint}")
        return self._parts[name]

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")


NetworkType = Literal["flat", "set", "graph"]


class NetworkOptions(Part):
    """Options of a network; each network's class adds ``encode``."""

    network_types: ClassVar[tuple[NetworkType, ...]] = ("flat",)
    """What ``network_type`` may be for this network."""
    own: ClassVar[bool] = False
    """Whether people write it themselves, so that only building it shows whether it can be."""

    name: str

    @property
    def by_event(self) -> bool:
        """Whether what is computed of an event in training depends on it alone, unlike with batch normalisation."""
        return getattr(self, "normalisation", "none") != "batch_norm"

    def check(self, config: Any) -> None:
        """Raise a ValueError, one sentence, when the rest of the configuration (``Config``) has not what is needed."""

    def prepare(self) -> None:
        """Get ready for loading a saved model: nothing, but for networks with layers that only they know."""

    def encode(self, inputs: Any) -> Any:
        """Return what the network makes of an event (``networks.inputs.Encoded``) from its ``ModelInputs``."""
        raise NotImplementedError


class MakerOptions(Part):
    """Options of a feature maker; each maker's class adds ``needs``, ``outputs`` and ``make``."""

    maker: str

    def outputs(self) -> list[tuple[str, str, str]]:
        """Return name, unit and description of each feature made."""
        raise NotImplementedError

    def check(self, event_names: Iterable[str], object_names: Mapping[str, Iterable[str]]) -> None:
        """Raise a ConfigError when a column that the maker reads is not configured."""
        raise NotImplementedError

    def make(self, events: Mapping[str, Any], objects: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Compute the features, (n,) float32 each, from event columns (n,) and object columns (n, max)."""
        raise NotImplementedError


NETWORKS: Registry[NetworkOptions] = Registry("network", "nntrainer.networks")
MAKERS: Registry[MakerOptions] = Registry("feature maker", "nntrainer.features")
