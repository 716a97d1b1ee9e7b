"""The blocks of what comes after the training: evaluation, export, inject, deploy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from nntrainer.config.adversarial import RobustnessEvaluation
from nntrainer.config.base import Closed, Name, Strings
from nntrainer.config.decision import Binning
from nntrainer.config.decision import Fractions as DiscriminantFractions
from nntrainer.config.observables import AlphaScan
from nntrainer.config.targets import Identifier, PairEvaluation


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
    dependence: Strings = Field(
        (), description="Spectators and event features on which the score's dependence is measured, too."
    )
    robustness: RobustnessEvaluation | None = Field(
        None, description="How accuracy and AUC fall when the inputs are changed to be misjudged."
    )
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
