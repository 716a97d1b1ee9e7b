"""Measures of dependence against values from their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from nntrainer.evaluation.correlation import distance_correlation, jensen_shannon
from nntrainer.evaluation.dependence import edges_of, efficiency_of, of_one
from nntrainer.evaluation.robustness import balanced_accuracy
from nntrainer.plots.histograms import histogram


def by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """The sample distance correlation by doubly centred matrices (arXiv 0803.4101, definition 4)."""

    def centred(v: np.ndarray) -> np.ndarray:
        a = np.abs(v[:, None] - v)
        return a - a.mean(axis=0) - a.mean(axis=1)[:, None] + a.mean()

    a, b = centred(x), centred(y)
    return float(np.sqrt((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean())))


@pytest.mark.parametrize("law", [lambda x, e: x + e, lambda x, e: x**2 + 0.1 * e, lambda x, e: e])
def test_distance_correlation_is_that_of_the_definition(law: object) -> None:
    random = np.random.default_rng(1)
    x, e = random.normal(size=(2, 1300))
    y = law(x, e)  # type: ignore[operator]
    counts = random.integers(1, 4, 1300)
    plain = distance_correlation(x, y, np.ones(1300), seed=1)
    assert plain.value == pytest.approx(by_definition(x, y), rel=1e-9)
    weighted = distance_correlation(x, y, counts, replicas=2, seed=1)
    assert weighted.value == pytest.approx(by_definition(np.repeat(x, counts), np.repeat(y, counts)), rel=1e-9)
    assert 0 < plain.error < 0.05 and plain.independent < 0.1 and plain.events == 1300
    assert plain == distance_correlation(x, y, np.ones(1300), seed=1)


def test_an_event_and_its_negative_twin_cancel() -> None:
    random = np.random.default_rng(2)
    x, y = random.normal(size=(2, 400))
    y += x
    with_twins = distance_correlation(
        np.append(x, [9, 9]), np.append(y, [-9, -9]), np.append(np.ones(400), [5, -5]), seed=1
    )
    assert with_twins.value == pytest.approx(by_definition(x, y), rel=1e-9)


def test_distance_correlation_where_there_is_none() -> None:
    nothing = distance_correlation(np.ones(50), np.arange(50.0), np.ones(50), seed=1)
    assert np.isnan(nothing.value) and nothing.as_dict()["value"] is None
    assert np.isnan(distance_correlation(np.arange(5.0), np.arange(5.0), -np.ones(5), seed=1).value)
    many = np.arange(20_001.0)
    line = distance_correlation(many, -3 * many, np.ones(20_001), replicas=1, seed=1)
    assert line.events == 10_001 and line.value == pytest.approx(1.0)


def test_jensen_shannon_by_hand() -> None:
    assert jensen_shannon(np.array([1.0, 3]), np.array([2.0, 6])) == 0
    assert jensen_shannon(np.array([1.0, 0]), np.array([0.0, 5])) == 1
    p, q = np.array([0.5, 0.5]), np.array([1.0, 0])
    expected = (0.5 * np.log2(0.5 / 0.75) + 0.5 * np.log2(0.5 / 0.25) + np.log2(1 / 0.75)) / 2
    assert jensen_shannon(p, q) == pytest.approx(expected)
    assert np.isnan(jensen_shannon(np.zeros(2), q)) and np.isnan(jensen_shannon(-p, q))


def test_efficiencies_and_their_uncertainties() -> None:
    values, weight = np.array([0.5] * 10 + [1.5] * 4), np.ones(14)
    edges = np.array([0.0, 1, 2])
    passed = np.array([True] * 4 + [False] * 6 + [True] * 4)
    efficiency, error = efficiency_of(
        histogram(values, weight, edges), histogram(values[passed], weight[passed], edges)
    )
    assert efficiency.tolist() == [0.4, 1.0]
    np.testing.assert_allclose(error, [np.sqrt(0.4 * 0.6 / 10), 0])


def test_edges_have_as_many_events_or_one_value_each() -> None:
    assert edges_of(np.array([1.0, 1, 2, 4])).tolist() == [0.5, 1.5, 3.0, 4.5]
    edges = edges_of(np.random.default_rng(1).exponential(size=10_000))
    assert len(edges) == 21 and edges[-1] < 6 and np.all(np.diff(edges) > 0)


def test_a_cut_on_the_nuisance_itself_has_the_largest_divergence() -> None:
    random = np.random.default_rng(3)
    target = np.arange(8000) % 2 == 0
    nuisance = np.where(target, random.normal(1.0, 0.2, 8000), random.uniform(0, 2, 8000))
    independent = np.where(target, random.normal(1, 1, 8000), random.normal(0, 1, 8000))
    found = {}
    for name, score in (("itself", -np.abs(nuisance - 1)), ("other", independent)):
        found[name], drawn = of_one(target, score, nuisance, np.ones(8000), seed=1)
        assert set(drawn) == {None, 0.9, 0.7, 0.5, 0.3}
    itself, other = found["itself"], found["other"]
    assert itself["jsd"] > 0.4 and itself["jsd"] > 50 * itself["jsd_independent"]
    assert abs(other["jsd"] - other["jsd_independent"]) < 5 * other["jsd_error"]
    none, drawn = of_one(np.ones(9, bool), np.ones(9), np.arange(9.0), np.ones(9), seed=1)
    assert "reason" in none and not drawn


def test_balanced_accuracy_by_hand() -> None:
    truth, predicted = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0])
    value, error = balanced_accuracy(truth, predicted, np.array([1.0, 1, 2, 2, 4]), 2)
    assert value == pytest.approx((0.5 + 0.5) / 2)
    assert error == pytest.approx(np.sqrt(0.5 / 4 + (4 + 4 + 16) / 4 / 64) / 2)
    assert np.isnan(balanced_accuracy(truth, predicted, np.array([1.0, -1, 1, 1, 1]), 2)[0])
