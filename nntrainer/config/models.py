"""The configuration: its blocks together, closed and frozen, every key described."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from nntrainer.config.adversarial import check_adversarial
from nntrainer.config.base import Closed, Name
from nntrainer.config.data import Data
from nntrainer.config.features import Features
from nntrainer.config.observables import Observables
from nntrainer.config.preparation import Preparation
from nntrainer.config.registry import NETWORKS, NetworkOptions, NetworkType
from nntrainer.config.results import Deploy, Evaluation, Export, Inject
from nntrainer.config.targets import CLASS, Assignment, Regression, check_targets
from nntrainer.config.tracking import Tracking
from nntrainer.config.training import Training
from nntrainer.config.tuning import Tune
from nntrainer.errors import ConfigError, nearest, one_of


class Config(Closed):
    """One training, from ntuples to scored ntuples."""

    name: Name = Field(description="Name of the training; its runs lie under it.")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(42, description="Seed of every random number.")
    data: Data = Field(description="Samples, weights, selection.")
    features: Features = Field(description="What the network sees.")
    network_type: NetworkType = Field(
        "flat",
        description="How a network sees an event: 'flat' is one row of numbers, objects padded and masked; 'set' is "
        "masked objects in no order; 'graph' is objects with edges between them.",
    )
    observables: Observables | None = Field(None, description="CP observables, added to the dataset files.")
    preparation: Preparation = Field(Preparation(), description="Folds, scaling, weights, feature makers.")
    model: SerializeAsAny[NetworkOptions] = Field(description="The network and its options.")
    training: Training = Field(Training(), description="How it is trained.")
    evaluation: Evaluation = Field(Evaluation(), description="What is measured and drawn.")
    export: Export = Field(Export(), description="ONNX.")
    inject: Inject = Field(Inject(), description="Scores into ntuples.")
    deploy: Deploy = Field(Deploy(), description="Where it runs.")
    tune: Tune | None = Field(None, description="What `nntrainer tune` searches; a run without it is the same.")

    tracking: Tracking | None = Field(None, description="Where finished runs are logged; a run without it is the same.")

    @field_validator("model", mode="before")
    @classmethod
    def _network(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        return NETWORKS.get(value.get("name")).model_validate(value) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _discriminants(self) -> Config:
        for of, fractions in self.evaluation.discriminants.items():
            for label in (of, *fractions):
                if label not in self.data.labels:
                    raise ValueError(
                        f"evaluation.discriminants names '{label}', which is no label; labels are "
                        f"{one_of(self.data.labels)}.{nearest(label, self.data.labels)}"
                    )
            if of in fractions:
                raise ValueError(
                    f"evaluation.discriminants.{of}: a class is not in its own denominator; leave '{of}' out of it"
                )
        return self

    @model_validator(mode="after")
    def _network_sees(self) -> Config:
        if self.network_type not in self.model.network_types:
            raise ValueError(
                f"the network '{self.model.name}' works on network_type {one_of(self.model.network_types)}, and "
                f"network_type is '{self.network_type}'"
            )
        if self.network_type != "flat" and not self.features.objects:
            raise ValueError(
                f"network_type '{self.network_type}' needs a collection under features.objects, and there is none"
            )
        self.model.check(self)
        for augmentation in self.preparation.augmentation:
            augmentation.check(self)
        return self

    @model_validator(mode="after")
    def _balanced_classes(self) -> Config:
        balance = self.preparation.class_balance
        for name in balance if isinstance(balance, dict) else ():
            if name not in self.data.labels:
                raise ValueError(
                    f"preparation.class_balance: '{name}' is the label of no sample; allowed are "
                    f"{one_of(self.data.labels)}.{nearest(name, self.data.labels)}"
                )
        return self

    @model_validator(mode="after")
    def _learns(self) -> Config:
        targets = self.data.targets
        check_targets(targets, self.features.objects, self.data.labels)
        known = [CLASS, *targets]
        for task in self.training.tasks:
            if task not in known:
                raise ValueError(
                    f"training.tasks: there is no target '{task}'; tasks are {one_of(known)}.{nearest(task, known)}"
                )
        for name, target in self.assignments.items():
            if self.network_type == "flat":
                raise ValueError(
                    f"training.tasks: '{name}' assigns objects of '{target.collection}', and the network "
                    f"'{self.model.name}' does not tell objects apart; choose one of network_type 'set' or 'graph'"
                )
        particles = {name: target for target in self.assignments.values() for name in target.particles}
        columns = [each.name for each in self.features.spectators + self.features.events]
        columns += [name for name, target in targets.items() if isinstance(target, Regression)]
        for name, block in self.evaluation.reconstruction.items():
            where = f"evaluation.reconstruction.{name}"
            if name not in particles:
                raise ValueError(
                    f"{where}: no task of training.tasks finds this particle; particles are "
                    f"{one_of(particles) if particles else 'none'}.{nearest(name, particles)}"
                )
            tags = [each.name for each in self.features.objects[particles[name].collection].features]
            for key, given, there in (("tag", block.tag, tags), ("truth_pt", block.truth_pt, columns)):
                if given is not None and given not in there:
                    raise ValueError(
                        f"{where}.{key}: there is no '{given}'; there are {one_of(there)}.{nearest(given, there)}"
                    )
        return self

    @model_validator(mode="after")
    def _adversarial(self) -> Config:
        check_adversarial(self)
        return self

    def class_shares(self) -> tuple[float, ...] | None:
        """Return the training weight of each class, in label order, relative to the others; None if left as it is."""
        balance = self.preparation.class_balance
        if balance == "none":
            return None
        return tuple(balance.get(name, 1.0) if isinstance(balance, dict) else 1.0 for name in self.data.labels)

    @property
    def classifies(self) -> bool:
        """Whether the network learns the class of an event."""
        return CLASS in self.training.tasks

    def require_classes(self) -> None:
        """Refuse samples of one class alone where a training is to tell classes apart.

        Raises:
            ConfigError: all samples have the same label, and the class is to be learnt.
        """
        labels = self.data.labels
        if len(labels) < 2 and self.classifies:
            raise ConfigError(
                f"data.samples have only the label '{labels[0]}'; a training needs samples with two labels or more, or "
                "training.tasks without 'class'"
            )

    @property
    def assignments(self) -> dict[str, Assignment]:
        """The assignments that are learnt, by name."""
        return {k: v for k, v in self.data.targets.items() if k in self.training.tasks and isinstance(v, Assignment)}

    @property
    def regressions(self) -> dict[str, Regression]:
        """The numbers that are learnt, by name."""
        return {k: v for k, v in self.data.targets.items() if k in self.training.tasks and isinstance(v, Regression)}

    @property
    def event_columns(self) -> tuple[str, ...]:
        """The numbers of an event that are stored: features, spectators, made features."""
        made = [name for maker in self.preparation.feature_makers for name, _, _ in maker.outputs()]
        return (*(each.name for each in self.features.events + self.features.spectators), *made)

    @property
    def input_names(self) -> dict[str, tuple[str, ...]]:
        """The features of ``events``, made ones among them, and of each collection, in order."""
        spectators = {each.name for each in self.features.spectators}
        events = tuple(name for name in self.event_columns if name not in spectators)
        blocks = self.features.objects.items()
        return {"events": events, **{name: tuple(each.name for each in block.features) for name, block in blocks}}

    def dump(self) -> dict[str, Any]:
        """Return the configuration as plain data, every default spelt out; of optional blocks that are absent no word.

        So a configuration without them is what it was before there were any.
        """
        absent: dict[str, Any] = {name: True for name in ("tune", "tracking") if getattr(self, name) is None}
        for block, keys in (
            ("training", ("decorrelation", "robustness")),
            ("evaluation", ("dependence", "robustness")),
        ):
            absent[block] = {key for key in keys if not getattr(getattr(self, block), key)}
        return self.model_dump(mode="json", exclude=absent)

    def digest(self) -> str:
        """Return the SHA-256 of what decides the result: not where it runs or is logged, nor what is searched."""
        dump = self.dump()
        # Without targets, everything is as it was before there were any.
        if not dump["data"]["targets"] and self.training.only_class:
            del dump["data"]["targets"], dump["training"]["tasks"], dump["evaluation"]["reconstruction"]
        return digest({key: value for key, value in dump.items() if key not in ("deploy", "tune", "tracking")})

    def data_digest(self) -> str:
        """Return the SHA-256 of what decides the content of the dataset files."""
        dump = self.dump()
        data = {key: value for key, value in dump["data"].items() if key not in ("directory", "chunk_events", "signal")}
        if not data["targets"]:
            del data["targets"]  # as before there were any
        for block in dump["features"]["objects"].values():
            block.pop("four_vector")  # a way to read columns, not a column
        return digest([data, dump["features"], dump["preparation"]["feature_makers"]])


def digest(value: Any) -> str:
    """Return the SHA-256 (hex) of plain data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
