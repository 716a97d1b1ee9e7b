"""The training block: optimizer, schedule, stopping, checkpoints, workers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from nntrainer.config.adversarial import Decorrelation, Robustness
from nntrainer.config.base import Closed

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Adam(Closed):
    """Adam (arXiv 1412.6980)."""

    name: Literal["adam"] = "adam"
    learning_rate: PositiveFloat = Field(1e-3, description="Base learning rate that the schedule multiplies.")
    beta_1: Fraction = Field(0.9, description="Decay of the first moment.")
    beta_2: Fraction = Field(0.999, description="Decay of the second moment.")
    epsilon: PositiveFloat = Field(1e-7, description="Added to the denominator.")
    amsgrad: bool = Field(False, description="Use the AMSGrad variant.")


class AdamW(Adam):
    """Adam with decoupled weight decay (arXiv 1711.05101)."""

    name: Literal["adamw"] = "adamw"  # type: ignore[assignment]
    weight_decay: NonNegativeFloat = Field(0.004, description="Decoupled weight decay.")


class SGD(Closed):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    learning_rate: PositiveFloat = Field(1e-2, description="Base learning rate that the schedule multiplies.")
    momentum: Fraction = Field(0.0, description="Momentum.")
    nesterov: bool = Field(False, description="Use Nesterov's momentum.")


class RMSprop(Closed):
    """RMSprop."""

    name: Literal["rmsprop"] = "rmsprop"
    learning_rate: PositiveFloat = Field(1e-3, description="Base learning rate that the schedule multiplies.")
    rho: Fraction = Field(0.9, description="Decay of the squared gradients.")
    momentum: Fraction = Field(0.0, description="Momentum.")
    epsilon: PositiveFloat = Field(1e-7, description="Added to the denominator.")


Optimizer = Annotated[Adam | AdamW | SGD | RMSprop, Field(discriminator="name")]


class Constant(Closed):
    """The base learning rate throughout."""

    name: Literal["constant"] = "constant"


class Step(Closed):
    """Multiplied by ``factor`` after every ``every`` epochs."""

    name: Literal["step"] = "step"
    every: PositiveInt = Field(10, description="Epochs between two steps.")
    factor: PositiveFloat = Field(0.5, description="Factor at each step.")


class Exponential(Closed):
    """Multiplied by ``factor`` every epoch, continuously."""

    name: Literal["exponential"] = "exponential"
    factor: PositiveFloat = Field(0.95, description="Factor per epoch.")


class Cosine(Closed):
    """Linear warm-up, then half a cosine to ``final`` of the base rate (arXiv 1608.03983, one cycle)."""

    name: Literal["cosine"] = "cosine"
    warmup_epochs: NonNegativeFloat = Field(0.0, description="Epochs of linear warm-up from zero.")
    final: Fraction = Field(0.0, description="Fraction of the base rate at the last step.")


class Ramp(Closed):
    """Linear ramp-up, plateau, linear ramp-down to ``final`` of the base rate."""

    name: Literal["ramp"] = "ramp"
    up_epochs: NonNegativeFloat = Field(1.0, description="Epochs of linear ramp-up.")
    plateau_epochs: NonNegativeFloat = Field(5.0, description="Epochs at the base rate.")
    down_epochs: NonNegativeFloat = Field(5.0, description="Epochs of linear ramp-down.")
    start: Fraction = Field(0.1, description="Fraction of the base rate at the first step.")
    final: Fraction = Field(0.01, description="Fraction of the base rate after the ramp-down.")


class ReduceOnPlateau(Closed):
    """Multiplied by ``factor`` when the validation loss has not improved for ``patience`` epochs."""

    name: Literal["reduce_on_plateau"] = "reduce_on_plateau"
    patience: PositiveInt = Field(3, description="Epochs without improvement before a reduction.")
    factor: PositiveFloat = Field(0.5, lt=1.0, description="Factor at each reduction.")
    min_delta: NonNegativeFloat = Field(1e-4, description="Smallest change that counts as an improvement.")
    minimum: NonNegativeFloat = Field(0.0, description="The learning rate never falls below this.")


Schedule = Annotated[Constant | Step | Exponential | Cosine | Ramp | ReduceOnPlateau, Field(discriminator="name")]


class CrossEntropy(Closed):
    """Cross-entropy of the classes, weighted by event."""

    name: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0, description="Part of the target that is shared evenly by all classes (arXiv 1512.00567, section 7)."
    )


class Focal(Closed):
    """Focal loss (arXiv 1708.02002): cross-entropy times (1 − p)^gamma, p the probability of the true class."""

    name: Literal["focal"] = "focal"
    gamma: NonNegativeFloat = Field(2.0, description="How little events count that are scored well; 0: no less.")


Loss = Annotated[CrossEntropy | Focal, Field(discriminator="name")]


class EMA(Closed):
    """Exponential moving average of the weights, taken after every update (arXiv 1806.04498)."""

    name: Literal["ema"] = "ema"
    decay: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.999, description="What an update leaves of the average; less in the first updates: (1 + n) / (10 + n)."
    )


class SWA(Closed):
    """Stochastic weight averaging: the mean of the weights at the ends of epochs (arXiv 1803.05407)."""

    name: Literal["swa"] = "swa"
    start_epoch: PositiveInt = Field(description="The first epoch whose weights count, from 1.")


Averaging = Annotated[EMA | SWA, Field(discriminator="name")]


class EarlyStopping(Closed):
    """Stop when the validation loss has not improved for ``patience`` epochs."""

    patience: PositiveInt = Field(10, description="Epochs without improvement before training stops.")
    min_delta: NonNegativeFloat = Field(0.0, description="Smallest change that counts as an improvement.")
    restore_best: bool = Field(True, description="End with the weights of the best epoch.")


class GradientClipping(Closed):
    """Bound the averaged gradients before each update; give exactly one of the two."""

    norm: PositiveFloat | None = Field(None, description="Bound on the global norm.")
    value: PositiveFloat | None = Field(None, description="Bound on each component.")

    @model_validator(mode="after")
    def _one(self) -> GradientClipping:
        if (self.norm is None) == (self.value is None):
            raise ValueError("give exactly one of 'norm' and 'value'")
        return self


class Training(Closed):
    """How the network is trained."""

    tasks: dict[str, PositiveFloat] = Field(
        {"class": 1.0},
        min_length=1,
        description="What is learnt, each with the factor on its loss: 'class' and names of data.targets.",
    )
    epochs: PositiveInt = Field(20, description="Passes over the training events.")
    batch_size: PositiveInt = Field(1024, description="Events in a batch of one worker.")
    accumulate: PositiveInt = Field(
        1, description="Batches whose gradients are gathered for one update, as if they were one batch."
    )
    loss: Loss = Field(CrossEntropy(), description="What is minimised on the classes.")
    optimizer: Optimizer = Field(Adam(), description="Optimizer and its parameters.")
    schedule: Schedule = Field(Constant(), description="Learning-rate schedule by name.")
    early_stopping: EarlyStopping | None = Field(None, description="When to stop before the last epoch.")
    gradient_clipping: GradientClipping | None = Field(None, description="Bound on the gradients.")
    averaging: Averaging | None = Field(
        None, description="Average of the weights over updates or epochs, which is validated and becomes the model."
    )
    decorrelation: Decorrelation | None = Field(
        None, description="An adversary that keeps the score from depending on a nuisance."
    )
    robustness: Robustness | None = Field(
        None, description="Training on events that were changed, within bounds, to be misjudged."
    )
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = Field(
        "float32", description="What layers compute in during training; weights and exported models are float32."
    )
    checkpoint_every: PositiveInt = Field(1, description="Epochs between two checkpoints.")
    workers: PositiveInt = Field(1, description="Horovod processes on this machine, one GPU each.")
    scale_learning_rate: bool = Field(False, description="Multiply the base learning rate by the workers.")
    scale_warmup_epochs: NonNegativeFloat = Field(
        0.0, description="Epochs over which the learning rate grows from the base to the scaled one."
    )
    threads: NonNegativeInt = Field(0, description="CPU threads of a worker; 0 shares the cores evenly.")
    memory_mib: PositiveInt = Field(
        2048, description="Memory in MiB for the events of a worker; if they need more, they are read from disk."
    )
    tensorboard: bool = Field(True, description="Write TensorBoard event files.")

    @model_validator(mode="after")
    def _averaged(self) -> Training:
        if isinstance(self.averaging, SWA) and self.averaging.start_epoch > self.epochs:
            raise ValueError(
                f"averaging.start_epoch is {self.averaging.start_epoch}, and epochs is {self.epochs}: nothing would be "
                f"averaged; give a start_epoch of at most {self.epochs}"
            )
        return self

    @property
    def only_class(self) -> bool:
        """Whether nothing but the class is learnt, its loss as it is."""
        return self.tasks == {"class": 1.0}
