"""The learning-rate range test (arXiv 1506.01186, section 3.3): the loss while the rate grows from batch to batch."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import numpy as np

from nntrainer.config import Config
from nntrainer.dataset.split import rule
from nntrainer.errors import TrainingError
from nntrainer.files import write_json
from nntrainer.networks.model import build_model
from nntrainer.plots.save import save
from nntrainer.plots.validation import range_test
from nntrainer.progress import Progress, silent
from nntrainer.training.batches import Batches
from nntrainer.training.distributed import alone, set_up_devices
from nntrainer.training.events import TrainingData
from nntrainer.training.load import load_training_data
from nntrainer.training.loop import updates
from nntrainer.training.steps import Steps

WIDTH = 1 / 25
"""Part of the range of rates that is the standard deviation of the smoothing, in logarithms."""
MEMORY = 0.9
"""What an update leaves of the moving average that says whether training diverges."""
DIVERGED = 3.0
"""The test ends where that average is so many times its smallest."""
FEWEST = 20
"""Updates without which there is no slope to speak of."""


@dataclass(frozen=True)
class RangeTest:
    """What a range test found.

    Attributes:
        rates: (n,) learning rates, each of one update.
        loss: (n,) of the update's batch, before the update.
        smoothed: (n,) its average over rates nearby.
        suggested: the rate at which the smoothed loss falls most steeply against the logarithm of the rate.
        diverged: whether the loss grew beyond bounds before the last rate.
    """

    rates: list[float]
    loss: list[float]
    smoothed: list[float]
    suggested: float
    diverged: bool


def find_lr(
    config: Config,
    fold: int,
    output: Path,
    *,
    smallest: float = 1e-6,
    largest: float = 1.0,
    steps: int = 300,
    progress: Progress | None = None,
) -> RangeTest:
    """Train a fresh network with growing rates; nothing of a run is read or written.

    One process takes the batches of all ``training.workers`` together, so that the rate is that of their updates.

    Args:
        config: the configuration; its samples must have been converted.
        fold: whose training events.
        output: without its ending; ``.json``, ``.png`` and ``.pdf`` are written.
        smallest: the first rate.
        largest: the last one.
        steps: updates.
        progress: told how far the work has come.

    Returns:
        The rates, the losses and the suggested rate.

    Raises:
        ConfigError: there is no such fold.
        TrainingError: the range is none, or too few updates have a finite loss.
    """
    rule(config, fold)
    if not 0 < smallest < largest or steps < FEWEST:
        raise TrainingError(
            f"rates from {smallest:g} to {largest:g} in {steps} updates are no range to test; give --smallest less "
            f"than --largest, both above 0, and at least {FEWEST} --steps"
        )
    training = config.training
    set_up_devices(0, 1, training.threads, config.model.by_event)
    progress = progress or silent()
    data = load_training_data(config, fold, group=training.workers)
    everyone = training.model_copy(update={"batch_size": training.batch_size * training.workers, "averaging": None})
    config = config.model_copy(update={"training": everyone})
    batches = updates(config, fold, data)
    model = build_model(config, data.scaling, config.seed + fold, training.precision)
    graph = Steps(config, model, alone(), batches.batch, data.widths, data.classes)
    progress.start("learning rates", steps, "updates")
    rates = np.geomspace(smallest, largest, steps)
    loss: list[float] = []
    averages: list[float] = []
    total, diverged = 0.0, False
    with closing(_batches(batches)) as each:
        for number, rate in enumerate(rates):
            events, order = next(each)
            sums = graph.train(events, order, np.array([rate]), [0.0] * graph.terms)
            value = sums[0] / sums[2] if sums[2] else float("nan")
            total = MEMORY * total + (1 - MEMORY) * value
            average = total / (1 - MEMORY ** (number + 1))  # the first ones are not averaged with zero
            diverged = not np.isfinite(average) or (number >= FEWEST and average > DIVERGED * min(averages))
            progress.advance(1)
            if not np.isfinite(average):
                break
            loss.append(value)
            averages.append(average)
            if diverged:
                break
    progress.finish()
    if len(loss) < FEWEST:
        raise TrainingError(
            f"fold {fold}: the loss is not finite from the rate {rates[len(loss)]:.2g} on; give a smaller "
            "--smallest, or look at the weights"
        )
    kept = [float(rate) for rate in rates[: len(loss)]]
    smoothed, suggested = steepest(kept, loss, WIDTH * float(np.log(largest / smallest)))
    found = RangeTest(kept, loss, smoothed, suggested, diverged)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_json(output.with_name(output.name + ".json"), {"fold": fold, **asdict(found)})
    save(range_test(found.rates, found.loss, found.smoothed, found.suggested), output)
    return found


def steepest(rates: list[float], loss: list[float], width: float) -> tuple[list[float], float]:
    """Return the smoothed loss and the rate at which it falls most steeply, before it is smallest.

    At each rate a straight line is fitted to the loss against the logarithm of the rate, with normal weights around it:
    the line's slope is far less noisy than a difference of two averages.

    Args:
        rates: growing.
        loss: the loss at each.
        width: standard deviation of the weights, in logarithms of the rate.

    Returns:
        The average at each rate, and the rate.
    """
    x, y = np.log(rates), np.asarray(loss)
    weight = np.exp(-0.5 * np.square((x[:, np.newaxis] - x) / width))
    weight /= weight.sum(axis=1, keepdims=True)
    mean, centre = weight @ y, weight @ x
    slope = (weight @ (x * y) - centre * mean) / (weight @ np.square(x) - np.square(centre))
    # Beside the first rates, half of the events that would say what the slope is are missing.
    first = min(int(np.searchsorted(x, x[0] + 2 * width)), len(x) - 1)
    before = max(int(np.argmin(mean)), first + 1)
    return [float(value) for value in mean], float(rates[first + int(np.argmin(slope[first:before]))])


def _batches(batches: Batches) -> Generator[tuple[TrainingData, np.ndarray], None, None]:
    """Return events and the (1, batch) positions of one update after another, epoch after epoch."""
    for epoch in count():
        with closing(batches.portions(epoch)) as portions:
            for portion in portions:
                for step in range(len(portion.order)):
                    yield portion.data, portion.order[step : step + 1]
