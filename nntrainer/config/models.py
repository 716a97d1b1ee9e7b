"""The configuration, block by block: closed and frozen, every key described."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializeAsAny,
    field_validator,
    model_validator,
)

from nntrainer.config.base import Closed, Strings
from nntrainer.config.decision import Binning
from nntrainer.config.decision import Fractions as DiscriminantFractions
from nntrainer.config.expressions import Expression
from nntrainer.config.observables import AlphaScan, Observables
from nntrainer.config.registry import (
    AUGMENTATIONS,
    MAKERS,
    NETWORKS,
    AugmentationOptions,
    MakerOptions,
    NetworkOptions,
    NetworkType,
)
from nntrainer.config.targets import CLASS, Assignment, Identifier, PairEvaluation, Regression, Target, check_targets
from nntrainer.config.training import Training
from nntrainer.config.tuning import Tune
from nntrainer.errors import ExpressionError, nearest, one_of

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
WeightPolicy = Literal["keep", "drop", "absolute", "rescale"]


def _expression(value: str) -> str:
    try:
        Expression.parse(value)
    except ExpressionError as error:
        raise ValueError(str(error)) from None
    return value


Formula = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int | float) else value)]


class Sample(Closed):
    """One process: its files and what it is."""

    name: Name = Field(description="Name of the sample; its dataset file is called after it.")
    files: Strings = Field(min_length=1, description="Paths, globs or root:// addresses.")
    label: Name = Field(description="The class that the network learns these events as.")
    tree: str | None = Field(None, description="Tree, where it differs from data.tree.")
    weight: Formula | None = Field(None, description="Multiplies data.weight for this sample.")
    selection: Formula | None = Field(None, description="Applied on top of data.selection.")

    @field_validator("weight", "selection")
    @classmethod
    def _parsed(cls, value: str | None) -> str | None:
        return None if value is None else _expression(value)


class NonFinite(Closed):
    """What to do with NaN and infinite values of a feature."""

    policy: Literal["error", "replace"] = Field("error", description="Refuse with counts, or replace.")
    value: float = Field(0.0, description="Replacement.")


class Data(Closed):
    """Which events, and what they weigh."""

    samples: tuple[Sample, ...] = Field(min_length=1, description="The samples, signal and background.")
    tree: str = Field("nominal_Loose", description="Name of the TTree or RNTuple.")
    signal: Name | None = Field(None, description="The label that counts as signal; the first sample's if absent.")
    event_id: Formula = Field("eventNumber", description="Integer expression that identifies an event.")
    weight: Formula = Field("1", description="Event weight; multiplied by the luminosity.")
    luminosity_ipb: PositiveFloat = Field(1.0, description="Integrated luminosity in inverse picobarns.")
    selection: Formula | None = Field(None, description="Events for which this is true are kept.")
    variables: dict[str, Formula] = Field({}, description="New variables by name, usable in every expression.")
    targets: dict[Identifier, Target] = Field(
        {}, description="Truth to learn besides the class, by name: objects of particles, numbers of the event."
    )
    non_finite: NonFinite = Field(NonFinite(), description="NaN and infinity in features.")
    chunk_events: PositiveInt = Field(100_000, description="Entries read at a time; bounds the memory.")
    directory: Path = Field(Path("datasets"), description="Where dataset files go, under a digest's name.")

    @field_validator("weight", "selection", "event_id")
    @classmethod
    def _parsed(cls, value: str | None) -> str | None:
        return None if value is None else _expression(value)

    @field_validator("variables")
    @classmethod
    def _variables(cls, value: dict[str, str]) -> dict[str, str]:
        for name, formula in value.items():
            if not name.isidentifier():
                raise ValueError(f"'{name}' is not a name for a variable; use letters, digits and underscores")
            _expression(formula)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Data:
        names = [sample.name for sample in self.samples]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two samples are called '{name}'; give each its own name")
        if self.signal is not None and self.signal not in self.labels:
            hint = nearest(self.signal, self.labels)
            raise ValueError(
                f"signal '{self.signal}' is the label of no sample; allowed are {one_of(self.labels)}.{hint}"
            )
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, in the order in which the samples name them: the classes, by index."""
        return tuple(dict.fromkeys(sample.label for sample in self.samples))

    @property
    def signal_label(self) -> str:
        """The label that counts as signal."""
        return self.signal if self.signal is not None else self.samples[0].label


class Feature(Closed):
    """One number of an event or of an object."""

    name: Name = Field(description="Name in the dataset, the model and the plots.")
    expression: Formula | None = Field(None, description="How it is computed; the branch of its name if absent.")
    unit: str = Field("", description="Unit, such as MeV.")
    description: str = Field("", description="What it is, for people.")

    @field_validator("expression")
    @classmethod
    def _parsed(cls, value: str | None) -> str | None:
        return None if value is None else _expression(value)

    @property
    def formula(self) -> str:
        """The expression, or the branch name as an expression."""
        if self.expression is not None:
            return self.expression
        return self.name if self.name.replace(".", "_").isidentifier() else f'branch("{self.name}")'


def _named(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple({"name": item} if isinstance(item, str) else item for item in value)
    return value


FeatureList = Annotated[tuple[Feature, ...], BeforeValidator(_named)]


class FourVector(Closed):
    """Which features of an object make its four-vector; without energy and mass it is massless."""

    pt: Name = Field(description="Feature with the transverse momentum; its unit counts: MeV, GeV or TeV.")
    eta: Name | None = Field(None, description="Feature with the pseudorapidity; 0 if absent, as for missing momentum.")
    phi: Name = Field(description="Feature with the azimuth in radians.")
    e: Name | None = Field(None, description="Feature with the energy.")
    mass: Name | None = Field(None, description="Feature with the mass, instead of the energy.")

    @model_validator(mode="after")
    def _one_of_two(self) -> FourVector:
        if self.e is not None and self.mass is not None:
            raise ValueError("give either 'e' or 'mass', not both")
        return self

    def fields(self) -> list[str]:
        """Return the features that are named."""
        return [name for name in (self.pt, self.eta, self.phi, self.e, self.mass) if name is not None]


class Objects(Closed):
    """A collection such as the jets of an event; with ``max: 1`` also one object such as the missing momentum."""

    max: PositiveInt = Field(description="Slots kept for each event; what is beyond is cut off and counted.")
    features: FeatureList = Field(min_length=1, description="Features of one object.")
    selection: Formula | None = Field(None, description="Objects for which this is true are kept.")
    four_vector: FourVector | None = Field(
        None, description="Features that make the four-vector, for networks that look at pairs of objects."
    )

    @model_validator(mode="after")
    def _four_vector(self) -> Objects:
        names = [feature.name for feature in self.features]
        for name in self.four_vector.fields() if self.four_vector else ():
            if name not in names:
                raise ValueError(
                    f"four_vector names '{name}', which is none of the features; they are {one_of(names)}."
                    f"{nearest(name, names)}"
                )
        return self

    @field_validator("selection")
    @classmethod
    def _parsed(cls, value: str | None) -> str | None:
        return None if value is None else _expression(value)


class Features(Closed):
    """What the network sees."""

    events: FeatureList = Field((), description="Features of the event.")
    objects: dict[Name, Objects] = Field({}, description="Object collections by name.")
    spectators: FeatureList = Field((), description="Event features stored and reported but never trained on.")

    @model_validator(mode="after")
    def _something(self) -> Features:
        if not self.events and not self.objects:
            raise ValueError("give at least one feature under 'events' or one collection under 'objects'")
        groups = [("events", self.events + self.spectators)]
        groups += [(f"objects.{name}.features", block.features) for name, block in self.objects.items()]
        for where, features in groups:
            names = [feature.name for feature in features]
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"{where} names '{name}' twice")
        for reserved in ("eventNumber", "weight", "label"):
            if reserved in {feature.name for feature in self.spectators}:
                raise ValueError(f"'{reserved}' is always stored; leave it out of the spectators")
        return self


class Fractions(Closed):
    """Parts of the events by ``eventNumber % 100``."""

    train: Annotated[float, Field(gt=0, lt=1)] = Field(0.6, description="Fraction to train on.")
    validation: Annotated[float, Field(gt=0, lt=1)] = Field(0.2, description="Fraction to validate on.")
    test: Annotated[float, Field(gt=0, lt=1)] = Field(0.2, description="Fraction to test on.")

    @model_validator(mode="after")
    def _whole(self) -> Fractions:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train, validation and test must add up to 1, not {total:g}")
        for name in ("train", "validation", "test"):
            percent = getattr(self, name) * 100
            if abs(percent - round(percent)) > 1e-9:
                raise ValueError(f"'{name}' must be a whole number of percent, not {percent:g} %")
        return self


class NegativeWeights(Closed):
    """What happens to negative weights: keep, drop, absolute, or rescale (drop, keeping each sample's sum)."""

    training: WeightPolicy = Field("absolute", description="Policy for the loss.")
    reporting: WeightPolicy = Field("keep", description="Policy for metrics, plots and yields.")


class Preparation(Closed):
    """From the dataset to what is fed."""

    folds: Annotated[int, Field(ge=2)] | None = Field(None, description="k of the fold rule eventNumber % k.")
    fractions: Fractions | None = Field(None, description="Instead of folds: one model, fixed parts.")
    validation_every: Annotated[int, Field(ge=2)] = Field(
        5, description="Every n-th event of the training folds validates: (eventNumber // k) % n == 0."
    )
    scaling: Literal["standard", "minmax", "none"] = Field(
        "standard", description="Input scaling, fitted on the training fold and stored in the model."
    )
    negative_weights: NegativeWeights = Field(NegativeWeights(), description="Policy for negative weights.")
    class_balance: Literal["none", "equal"] | dict[Name, PositiveFloat] = Field(
        "equal",
        description="Scale training weights so that every class has the same sum, or a sum as many times as large as "
        "its label is given here (1 if it is not), or leave them.",
    )
    feature_makers: tuple[SerializeAsAny[MakerOptions], ...] = Field(
        (), description="Features computed from stored ones, added to the event features."
    )
    augmentation: tuple[SerializeAsAny[AugmentationOptions], ...] = Field(
        (), description="Random changes to the objects of training events, in order."
    )

    @field_validator("feature_makers", mode="before")
    @classmethod
    def _makers(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return tuple(
            MAKERS.get(item.get("maker")).model_validate(item) if isinstance(item, dict) else item for item in value
        )

    @field_validator("augmentation", mode="before")
    @classmethod
    def _augmentation(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        items = [{"name": item} if isinstance(item, str) else item for item in value]
        return tuple(
            AUGMENTATIONS.get(item.get("name")).model_validate(item) if isinstance(item, dict) else item
            for item in items
        )

    @model_validator(mode="after")
    def _one_split(self) -> Preparation:
        if self.folds is not None and self.fractions is not None:
            raise ValueError("give either 'folds' or 'fractions', not both")
        return self

    @property
    def k(self) -> int:
        """Number of models: the folds, or 1 with fractions; two folds when neither is given."""
        return 1 if self.fractions is not None else (self.folds or 2)


class Evaluation(Closed):
    """What is measured and drawn."""

    bootstrap: PositiveInt = Field(100, description="Bootstrap replicas for the AUC's uncertainty.")
    working_points: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.5, 0.6, 0.7, 0.8, 0.9), description="Signal efficiencies to report."
    )
    background_uncertainty: NonNegativeFloat = Field(
        0.0, description="Relative uncertainty of the background in the significance."
    )
    reconstruction: dict[Identifier, PairEvaluation] = Field(
        {}, description="How the reconstruction of a particle of data.targets is measured, by the particle's name."
    )
    discriminants: dict[Name, DiscriminantFractions] = Field(
        {}, description="By class c the fractions f_i of ln(p_c / Σ f_i p_i) over other classes i."
    )
    binning: Binning = Field(Binning(), description="Bins in which the significance is counted.")
    alpha_scan: AlphaScan | None = Field(None, description="CP-mixing angles that `nntrainer alpha-scan` compares.")
    bins: PositiveInt = Field(40, description="Bins of the histograms.")
    label: str = Field("nntrainer", description="Word in the upper left of every plot.")
    description: str = Field("", description="Second line of every plot, such as √s = 13 TeV, 140 fb⁻¹.")


class Export(Closed):
    """How the ONNX model is written and checked."""

    tolerance: PositiveFloat = Field(1e-5, description="Largest difference allowed between ONNX and Keras.")
    batch_sizes: tuple[PositiveInt, ...] = Field((1, 7, 1024), description="Batch sizes of the parity check.")


class Inject(Closed):
    """Scores into ntuples."""

    files: Strings | None = Field(None, description="Ntuples to score; those of data.samples if absent.")
    trees: Strings | None = Field(None, description="Trees to score; data.tree if absent, '*' for all.")
    mode: Literal["friend", "copy", "inplace"] = Field(
        "friend", description="A friend tree, a file with everything written anew, or a copy with branches added."
    )
    branch: Name = Field("nn", description="Prefix of the score branches.")
    suffix: str = Field("_nn", pattern=r"^\w+$", description="Suffix of a friend tree's name.")
    overwrite_branch: bool = Field(False, description="In place: score branches that exist give way to new ones.")
    default: float = Field(-99.0, description="Score of events that the selection leaves out.")
    score_seen_events: bool = Field(False, description="With fractions: score events the model was trained on, too.")
    directory: Path | None = Field(None, description="Where scored files go; 'scored' in the run if absent.")


StageName = Literal["run", "convert", "train", "evaluate", "inject", "tune"]


class JobNeeds(Closed):
    """What the jobs of a stage ask for, where it is not what the site gives by default."""

    cpus: PositiveInt | None = Field(None, description="Processors; one thread each.")
    gpus: NonNegativeInt | None = Field(None, description="GPUs; for training as many as workers if absent.")
    memory_mib: PositiveInt | None = Field(None, description="Memory in MiB.")
    disk_mib: PositiveInt | None = Field(None, description="Scratch space in MiB.")
    walltime_s: PositiveInt | None = Field(None, description="Longest time it may run, in seconds.")


class Deploy(Closed):
    """Where and how it runs, unless the command line says otherwise; changes no result."""

    site: Name = Field("local", description="Site that `deploy submit` uses by default.")
    jobs: Literal["single", "parts"] | None = Field(
        None, description="One job for everything, or one for each sample, fold and group; the site's way if absent."
    )
    inject_jobs: PositiveInt = Field(1, description="Groups of ntuples, each scored by a job of its own.")
    resources: dict[StageName, JobNeeds] = Field({}, description="What the jobs of a stage ask for.")


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

    @property
    def assignments(self) -> dict[str, Assignment]:
        """The assignments that are learnt, by name."""
        return {k: v for k, v in self.data.targets.items() if k in self.training.tasks and isinstance(v, Assignment)}

    @property
    def regressions(self) -> dict[str, Regression]:
        """The numbers that are learnt, by name."""
        return {k: v for k, v in self.data.targets.items() if k in self.training.tasks and isinstance(v, Regression)}

    def dump(self) -> dict[str, Any]:
        """Return the configuration as plain data, every default spelt out; without a search, no word of it."""
        return self.model_dump(mode="json", exclude={"tune"} if self.tune is None else None)

    def digest(self) -> str:
        """Return the SHA-256 of what decides the result: everything but where it runs and what is searched."""
        dump = self.dump()
        # Without targets, everything is as it was before there were any.
        if not dump["data"]["targets"] and self.training.only_class:
            del dump["data"]["targets"], dump["training"]["tasks"], dump["evaluation"]["reconstruction"]
        return digest({key: value for key, value in dump.items() if key not in ("deploy", "tune")})

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
