"""Errors with signed weights and shared events, against bootstraps, formulas and many toys."""

from __future__ import annotations

import numpy as np
import pytest

from nntrainer.evaluation import metrics
from nntrainer.validation.estimates import area, cut_keeping, hotelling, mean


def events(n: int, first: int = 0) -> np.ndarray:
    return np.arange(first, first + n, dtype=np.uint64)


def signed(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.where(rng.random(n) < 0.2, -1.0, 1.0) * rng.uniform(0.5, 1.5, n)


def test_the_area_is_that_of_the_roc_curve_and_its_error_that_of_a_bootstrap() -> None:
    rng = np.random.default_rng(1)
    target = rng.random(20_000) < 0.4
    score, weight = np.round(rng.normal(0.5 * target), 1), signed(rng, target.size)
    found = area(score, target, weight, events(target.size))
    assert float(found.value) == pytest.approx(metrics.roc(target, score, weight).auc, abs=1e-12)
    _, error = metrics.auc_bootstrap(target, score, weight, replicas=400, seed=2)
    assert float(found.error) == pytest.approx(error, rel=0.1)
    assert found.influence.sum() == pytest.approx(0, abs=1e-12)


def test_events_on_both_sides_cancel_in_a_difference() -> None:
    rng = np.random.default_rng(2)
    score, weight = rng.normal(size=1000), signed(rng, 1000)
    target, numbers = rng.random(1000) < 0.5, events(1000)
    order = rng.permutation(1000)
    same = area(score[order], target[order], weight[order], numbers[order]) - area(score, target, weight, numbers)
    assert float(same.error) < 1e-12
    apart = area(score, target, weight, numbers) - area(score, target, weight, events(1000, 1000))
    assert float(apart.error) == pytest.approx(np.sqrt(2) * float(area(score, target, weight, numbers).error))


def test_the_error_of_a_difference_of_related_events_is_what_toys_scatter_by() -> None:
    pulls = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=500)
        y = x + 0.3 * rng.normal(size=500)
        kept = rng.random(500) < 0.9
        weight = signed(rng, 500)
        change = mean(y[kept], weight[kept], events(500)[kept]) - mean(x, weight, events(500))
        pulls.append(float(change.value / change.error))
    assert abs(np.mean(pulls)) < 0.2
    assert np.std(pulls) == pytest.approx(1, abs=0.12)


def test_hotelling_is_calibrated_and_counts_copies_once() -> None:
    p_values = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x = rng.exponential(size=(2, 400, 4))
        x[:, :, 3] = x[:, :, 0] - x[:, :, 1]
        parts = [mean(x[i], signed(rng, 400), events(400, 400 * i)) for i in (0, 1)]
        _, free, p = hotelling(parts[1] - parts[0])
        assert free == 3
        p_values.append(p)
    assert 0.02 < np.mean(np.array(p_values) < 0.05) < 0.10
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.06)


def test_hotelling_of_one_column_is_the_square_of_the_pull() -> None:
    rng = np.random.default_rng(3)
    parts = [mean(rng.normal(size=(300, 1)), np.ones(300), events(300, 300 * i)) for i in (0, 1)]
    shift = parts[1] - parts[0]
    square, free, _ = hotelling(shift)
    assert free == 1
    assert square == pytest.approx(float((shift.value / shift.error)[0]) ** 2)


def test_what_is_missing_is_left_out_of_a_mean() -> None:
    found = mean(np.array([[1.0, np.nan], [3.0, 5.0]]), np.array([1.0, 3.0]), events(2))
    np.testing.assert_allclose(found.value, [2.5, 5.0])
    assert found.influence[0, 1] == 0


def test_a_cut_keeps_what_is_asked() -> None:
    score, weight = np.array([0.1, 0.5, 0.9, 0.7]), np.array([1.0, 1.0, 1.0, 1.0])
    assert cut_keeping(score, weight, 0.5) == 0.7
    assert cut_keeping(score, weight, 1.0) == 0.1
    assert cut_keeping(score, np.array([1.0, 1.0, -0.5, 1.0]), 0.3) == 0.5
