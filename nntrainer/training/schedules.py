"""Learning-rate schedules as pure functions of the step."""

from __future__ import annotations

import math

from nntrainer.config.training import Cosine, Exponential, Ramp, ReduceOnPlateau, Schedule, Step


def rate(
    schedule: Schedule,
    base: float,
    step: int,
    steps_per_epoch: int,
    epochs: int,
    scale_factor: float = 1.0,
    scale_warmup: float = 0.0,
    reduction: float = 1.0,
) -> float:
    """Return the learning rate of a step.

    Args:
        schedule: the schedule.
        base: the optimizer's learning rate.
        step: the step, counted from 0 at the start of the training.
        steps_per_epoch: steps in an epoch.
        epochs: epochs of the whole training.
        scale_factor: multiplies the rate, such as the number of workers (arXiv 1706.02677).
        scale_warmup: epochs over which that factor grows linearly from 1.
        reduction: product of the reductions so far, for ``reduce_on_plateau``.

    Returns:
        The rate.
    """
    epoch = step / steps_per_epoch
    if epoch < scale_warmup:
        scale_factor = 1 + (scale_factor - 1) * epoch / scale_warmup
    value = base * scale_factor * _shape(schedule, epoch, epochs - 1 / steps_per_epoch, 1 / steps_per_epoch)
    if isinstance(schedule, ReduceOnPlateau):
        return max(value * reduction, min(schedule.minimum, value))
    return value


def _shape(schedule: Schedule, epoch: float, last: float, width: float) -> float:
    """Return the rate as a fraction of the base rate.

    Args:
        schedule: the schedule.
        epoch: the position in epochs.
        last: the position of the last step of the training.
        width: one step in epochs.

    Returns:
        The fraction.
    """
    match schedule:
        case Step(every=every, factor=factor):
            # The small shift keeps rounding from moving a step to the epoch before.
            return factor ** math.floor((epoch + width / 2) / every)
        case Exponential(factor=factor):
            return factor**epoch
        case Cosine(warmup_epochs=warmup, final=final):
            if epoch < warmup:
                return min(1.0, (epoch + width) / warmup)
            done = min(1.0, (epoch - warmup) / (last - warmup)) if last > warmup else 1.0
            return final + (1 - final) * (1 + math.cos(math.pi * done)) / 2
        case Ramp(up_epochs=up, plateau_epochs=plateau, down_epochs=down, start=start, final=final):
            if epoch < up:
                return start + (1 - start) * epoch / up
            if epoch <= up + plateau:
                return 1.0
            done = min(1.0, (epoch - up - plateau) / down) if down else 1.0
            return 1 + (final - 1) * done
    return 1.0
