"""Learning-rate schedules, patience."""

from __future__ import annotations

import pytest

from nntrainer.config.training import Constant, Cosine, Exponential, Ramp, ReduceOnPlateau, Step
from nntrainer.training.checkpoint import Patience, State
from nntrainer.training.schedules import rate

# schedule, epoch, expected fraction of the base rate; ten steps an epoch, ten epochs
VALUES = [
    (Constant(), 7.3, 1),
    (Step(every=3, factor=0.5), 2.9, 1),
    (Step(every=3, factor=0.5), 3.0, 0.5),
    (Step(every=3, factor=0.5), 9.9, 0.125),
    (Exponential(factor=0.9), 2.5, 0.9**2.5),
    (Cosine(), 0, 1),
    (Cosine(final=0.1), 9.9, 0.1),
    (Cosine(warmup_epochs=0.1, final=0.2), 5, 0.6),
    (Cosine(warmup_epochs=2), 0, 0.05),
    (Cosine(warmup_epochs=2), 0.9, 0.5),
    (Cosine(warmup_epochs=2), 2, 1),
    (Cosine(warmup_epochs=2), 9.9, 0),
    (Ramp(up_epochs=2, plateau_epochs=3, down_epochs=4, start=0.2, final=0.1), 0, 0.2),
    (Ramp(up_epochs=2, plateau_epochs=3, down_epochs=4, start=0.2, final=0.1), 1, 0.6),
    (Ramp(up_epochs=2, plateau_epochs=3, down_epochs=4, start=0.2, final=0.1), 4.5, 1),
    (Ramp(up_epochs=2, plateau_epochs=3, down_epochs=4, start=0.2, final=0.1), 7, 0.55),
    (Ramp(up_epochs=2, plateau_epochs=3, down_epochs=4, start=0.2, final=0.1), 9.9, 0.1),
    (Ramp(up_epochs=0, plateau_epochs=0, down_epochs=0, final=0.1), 5, 0.1),
]


@pytest.mark.parametrize(("schedule", "epoch", "fraction"), VALUES)
def test_values(schedule: object, epoch: float, fraction: float) -> None:
    value = rate(schedule, 0.02, round(epoch * 10), 10, 10)
    assert value == pytest.approx(0.02 * fraction, abs=1e-12)


def test_scaling_with_the_workers_warms_up() -> None:
    rates = [rate(Constant(), 1.0, step, 10, 10, 4, 2) for step in (0, 10, 20, 90)]
    assert rates == pytest.approx([1, 2.5, 4, 4])
    assert rate(Constant(), 1.0, 0, 10, 10, 4, 0) == 4


def test_plateau_reduces_down_to_the_minimum() -> None:
    schedule = ReduceOnPlateau(factor=0.1, minimum=0.002)
    reduced = [rate(schedule, 0.01, 5, 10, 10, reduction=factor) for factor in (1, 0.5, 0.01)]
    assert reduced == pytest.approx([0.01, 0.005, 0.002])


def test_patience_counts_epochs_without_improvement() -> None:
    patience = Patience()
    values = [1.0, 0.95, 0.5, 0.51, 0.495]
    assert [patience.update(value, epoch, 0.1) for epoch, value in enumerate(values)] == [
        True,
        False,
        True,
        False,
        False,
    ]
    assert (patience.best, patience.epoch, patience.waited) == (0.5, 2, 2)


def test_state_survives_json_bit_by_bit() -> None:
    state = State(epoch=3, step=7, sums=[0.1 + 0.2, 1e-300, 1 / 3], history=[{"loss": 2 / 3}], reduction=0.1)
    state.stopping.update(0.3, 1, 0.0)
    assert State.from_json(state.to_json()) == state
