"""Named parts that a configuration may ask for: networks, feature makers and augmentations.

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

    def sees(self, block: str, config: Any) -> bool:
        """Return whether, with this configuration, the network is fed the ``events`` or this collection of objects."""
        return True

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


class Observable(Part):
    """An observable of an event, without options; each class adds ``compute``, and its source in the docstring."""

    formula: ClassVar[str]
    """What is computed, for people."""
    needs: ClassVar[tuple[str, ...]]
    """The particles whose four-vectors it reads: ``top``, ``antitop``, ``higgs``, ``lepton``, ``antilepton``."""
    energy: ClassVar[bool] = False
    """Whether it has the unit of an energy; it has none otherwise."""

    def compute(self, event: Any) -> Any:
        """Compute the observable, (n,) float64, from the ``observables.momenta.Event``; NaN where undefined."""
        raise NotImplementedError


class AugmentationOptions(Part):
    """Options of a random change to training events; each one's class adds ``check`` and ``change``."""

    name: str

    def check(self, config: Any) -> None:
        """Raise a ValueError, one sentence, when the rest of the configuration (``Config``) has not what is needed."""

    def change(self, event: Any, random: Any) -> None:
        """Change a batch of events: for each collection its ``augmentation.batch.Objects``, in place."""
        raise NotImplementedError


class ExplainerOptions(Part):
    """Options of a method that explains a network; each one's class adds ``check`` and ``explain``."""

    quick: ClassVar[bool] = True
    """Whether it is one of those that are taken when none is named."""

    name: str

    def check(self, config: Any) -> None:
        """Raise an ExplainError, one sentence, when a network of this configuration is nothing for the method."""

    def explain(self, subject: Any, sample: Any, progress: Any, deadline: float) -> Any:
        """Explain the model of one fold.

        Args:
            subject: the model, ``explain.subject.Subject``.
            sample: the events that it never saw, ``explain.sample.Sample``, in random order.
            progress: told of each event that is explained; already started.
            deadline: ``time.monotonic()`` after which no other batch of events is begun (``explain.batches``).

        Returns:
            An ``explain.attribution.Attribution`` or ``explain.attribution.Ranking``, of the first events of the sample
            where the time was too short for all.
        """
        raise NotImplementedError

    def figures(self, found: Any, sample: Any) -> dict[str, Any]:
        """Return plots of the method's own, by file name, of what was found in all folds and of its events."""
        return {}


NETWORKS: Registry[NetworkOptions] = Registry("network", "nntrainer.networks")
MAKERS: Registry[MakerOptions] = Registry("feature maker", "nntrainer.features")
OBSERVABLES: Registry[Observable] = Registry("observable", "nntrainer.observables")
AUGMENTATIONS: Registry[AugmentationOptions] = Registry("augmentation", "nntrainer.augmentation")
EXPLAINERS: Registry[ExplainerOptions] = Registry("method", "nntrainer.explain.methods")
