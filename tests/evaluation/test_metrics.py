from __future__ import annotations

import json
import time

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from nntrainer.errors import NNTrainerError
from nntrainer.evaluation import metrics

INF = float("inf")


@pytest.fixture(scope="module")
def toy() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    target = rng.random(3000) < 0.3
    score = np.round(1 / (1 + np.exp(-rng.normal(target * 1.5, 1.0))), 2)  # rounded: many ties
    return target, score, rng.uniform(0.2, 3.0, 3000)


def with_negative(weight: np.ndarray, seed: int = 3) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random(weight.size) < 0.2, -weight, weight)


def pairwise_auc(target: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    s, b = score[target][:, None], score[~target][None, :]
    pairs = weight[target][:, None] * weight[~target][None, :]
    return float((pairs * ((s > b) + 0.5 * (s == b))).sum() / pairs.sum())


# ROC


def test_roc_by_hand() -> None:
    curve = metrics.roc(np.array([True, False, True, False]), np.array([0.9, 0.8, 0.8, 0.1]), np.array([1, 1, 3, 1.0]))
    np.testing.assert_allclose(curve.thresholds, [INF, 0.9, 0.8, 0.1])
    np.testing.assert_allclose(curve.tpr, [0, 0.25, 1, 1])
    np.testing.assert_allclose(curve.fpr, [0, 0, 0.5, 1])
    assert curve.auc == pytest.approx(0.5 * (0.25 + 1) / 2 + 0.5)
    assert curve.monotonic


def test_roc_agrees_with_sklearn(toy: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    curve = metrics.roc(*toy)
    fpr, tpr, thresholds = sk.roc_curve(toy[0], toy[1], sample_weight=toy[2], drop_intermediate=False)
    np.testing.assert_allclose(curve.fpr, fpr, atol=1e-12)
    np.testing.assert_allclose(curve.tpr, tpr, atol=1e-12)
    np.testing.assert_allclose(curve.thresholds, thresholds)
    assert curve.auc == pytest.approx(sk.roc_auc_score(toy[0], toy[1], sample_weight=toy[2]), abs=1e-12)


def test_roc_keeps_negative_weights_and_says_so(toy: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    curve = metrics.roc(np.array([1, 1, 0, 0, 0]), np.array([0.9, 0.5, 0.8, 0.6, 0.1]), [1, 1, 1, -1, 1])
    assert not curve.monotonic
    np.testing.assert_allclose(curve.fpr, [0, 0, 1, 0, 0, 1])
    np.testing.assert_allclose(curve.tpr, [0, 0.5, 0.5, 0.5, 1, 1])
    assert curve.auc == pytest.approx(0.5 - 0.5 + 1)
    target, score, weight = toy
    signed = with_negative(weight)
    assert metrics.roc(target, score, signed).auc == pytest.approx(pairwise_auc(target, score, signed), abs=1e-10)


def test_roc_without_background_is_nan_and_still_json() -> None:
    curve = metrics.roc(np.array([True, True]), np.array([0.1, 0.2]), np.ones(2))
    assert np.isnan(curve.auc)
    loaded = json.loads(json.dumps(curve.as_dict(), allow_nan=False))
    assert loaded["auc"] is None
    assert loaded["thresholds"] == [None, 0.2, 0.1]


def test_roc_refuses_nonsense() -> None:
    with pytest.raises(NNTrainerError, match="1 of 2 events"):
        metrics.roc(np.array([True, False]), np.array([np.nan, 0.1]), np.ones(2))
    with pytest.raises(NNTrainerError, match=r"scores \(3,\)"):
        metrics.roc(np.array([True, False]), np.zeros(3), np.ones(2))


def test_bootstrap_has_the_spread_of_independent_samples() -> None:
    def sample(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        target = rng.random(1000) < 0.4
        return target, rng.normal(target * 1.0), with_negative(np.ones(1000), seed + 10_000)

    spread = np.std([metrics.roc(*sample(seed)).auc for seed in range(200)])
    auc, error = metrics.auc_bootstrap(*sample(1000), replicas=200, seed=1)
    assert auc == pytest.approx(metrics.roc(*sample(1000)).auc, abs=1e-12)
    assert 0.7 * spread < error < 1.4 * spread
    assert metrics.auc_bootstrap(*sample(1000), replicas=200, seed=1) == (auc, error)
    assert metrics.auc_bootstrap(*sample(1000), replicas=200, seed=2)[1] != error


def test_bootstrap_is_fast() -> None:
    rng = np.random.default_rng(0)
    target, score = rng.random(200_000) < 0.5, rng.random(200_000)
    start = time.process_time()
    metrics.auc_bootstrap(target, score, np.ones(200_000), replicas=50, seed=0)
    assert time.process_time() - start < 5  # sorting for each replica would take longer


def test_bootstrap_of_nothing() -> None:
    auc, error = metrics.auc_bootstrap(np.zeros(0, bool), np.zeros(0), np.zeros(0), replicas=3, seed=0)
    assert np.isnan(auc) and np.isnan(error)


# confusion and accuracy


def test_confusion_by_hand() -> None:
    truth, predicted = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    counts, rows, columns = metrics.confusion(truth, predicted, np.array([3, 1, 2, -0.5]), 3)
    np.testing.assert_allclose(counts, [[3, 1, 0], [0, 1.5, 0], [0, 0, 0]])
    np.testing.assert_allclose(rows, [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 0]])
    np.testing.assert_allclose(columns, [[1, 0.4, 0], [0, 0.6, 0], [0, 0, 0]])
    assert metrics.accuracy(truth, predicted, np.array([3, 1, 2, -0.5])) == pytest.approx(4.5 / 5.5)


def test_confusion_refuses_unknown_classes() -> None:
    with pytest.raises(NNTrainerError, match="predicted classes run from 0 to 2, with 2 classes"):
        metrics.confusion(np.array([0, 1]), np.array([0, 2]), np.ones(2), 2)


# Kolmogorov–Smirnov


def test_ks_agrees_with_scipy_for_unit_weights() -> None:
    rng = np.random.default_rng(5)
    a, b = np.round(rng.normal(size=400), 2), np.round(rng.normal(0.1, 1, size=300), 2)
    distance, p_value = metrics.weighted_ks(a, np.ones(400), b, np.ones(300))
    assert distance == pytest.approx(stats.ks_2samp(a, b, method="asymp").statistic, abs=1e-12)
    assert p_value == pytest.approx(stats.kstwobign.sf(distance * np.sqrt(400 * 300 / 700)), rel=1e-10)


def test_ks_weights_count() -> None:
    a, b = np.array([0.0, 1.0]), np.array([0.0, 1.0])
    distance, p_value = metrics.weighted_ks(a, np.array([3.0, 1.0]), b, np.array([1.0, 3.0]))
    assert distance == pytest.approx(0.5)
    size = 16 / 10
    assert p_value == pytest.approx(stats.kstwobign.sf(0.5 * np.sqrt(size / 2)))
    # A positive and a negative event at the same place cancel.
    signed, _ = metrics.weighted_ks([0, 0.5, 0.5, 1], [1, 1, -1, 1], b, np.ones(2))
    assert signed == pytest.approx(0.0, abs=1e-15)
    assert np.isnan(metrics.weighted_ks(a, np.array([1.0, -1.0]), b, np.ones(2))).all()
    assert np.isnan(metrics.weighted_ks(np.zeros(0), np.zeros(0), b, np.ones(2))).all()


def test_ks_p_values_are_flat_for_equal_samples_with_negative_weights() -> None:
    rng = np.random.default_rng(11)

    def p_value() -> float:
        weights = np.where(rng.random((2, 600)) < 0.1, -1.0, 1.0)
        return metrics.weighted_ks(rng.random(600), weights[0], rng.random(600), weights[1])[1]

    p_values = np.array([p_value() for _ in range(300)])
    assert 0.35 < p_values.mean() < 0.65
    assert (p_values < 0.05).mean() < 0.12


# calibration


def test_calibration_by_hand() -> None:
    found = metrics.calibration(
        np.array([True, False, True, False, True]),
        np.array([0.1, 0.3, 0.3, 0.9, 1.0]),
        np.array([1, 3, 2, -1, 2.0]),
        bins=2,
    )
    np.testing.assert_allclose(found.centre, [0.25, 0.75])
    np.testing.assert_allclose(found.mean, [(0.1 + 0.9 + 0.6) / 6, 2.0 - 0.9])
    np.testing.assert_allclose(found.fraction, [0.5, 2.0])  # signed weights may leave [0, 1]: nothing is clipped
    np.testing.assert_allclose(found.error, [np.sqrt(1 + 9 + 4) * 0.5 / 6, np.sqrt(4 + 4)])


def test_calibration_leaves_empty_bins_out() -> None:
    found = metrics.calibration(np.array([True, False]), np.array([0.05, 0.95]), np.array([1.0, -1.0]))
    np.testing.assert_allclose(found.centre, [0.05])


# significance


def test_asimov_known_values() -> None:
    assert metrics.asimov(10, 100) == pytest.approx(np.sqrt(2 * (110 * np.log(1.1) - 10)))
    s, b, v = 10.0, 100.0, 25.0
    exact = (s + b) * np.log((s + b) * (b + v) / (b**2 + (s + b) * v)) - b**2 / v * np.log(1 + v * s / (b * (b + v)))
    assert metrics.asimov(s, b, 5.0) == pytest.approx(np.sqrt(2 * exact))


def test_asimov_limits() -> None:
    sizes = np.array([1e-9, 1e-5, 1e-3])
    np.testing.assert_allclose(metrics.asimov(10, 100, sizes), metrics.asimov(10, 100), rtol=1e-6)
    np.testing.assert_allclose(metrics.asimov(1e-3, 1e6), 1e-6, rtol=1e-6)  # s ≪ b: s/√b
    np.testing.assert_allclose(metrics.asimov(1, 1e4, 200), 1 / np.sqrt(1e4 + 4e4), rtol=1e-3)  # s/√(b+σ²)
    assert metrics.asimov(5, 0) == INF
    assert metrics.asimov(5, 1e-30) > metrics.asimov(5, 1e-10) > metrics.asimov(5, 1e-3)
    assert metrics.asimov(5, 0, 1.0) == 0
    assert metrics.asimov(5, 1e-12, 1.0) < 1e-4
    np.testing.assert_array_equal(metrics.asimov([0, -1, 0], [1, 1, 0]), 0)
    assert np.isnan(metrics.asimov(1, -1))
    assert metrics.asimov(np.ones((3, 1)), np.ones(4)).shape == (3, 4)


# scan and working points


def test_scan_by_hand() -> None:
    target = np.array([True, True, False, False, False])
    score = np.array([0.9, 0.5, 0.5, 0.2, 0.1])
    weight = np.array([2, 1, 4, -1, 3.0])
    scan = metrics.threshold_scan(target, score, weight, thresholds=np.array([0, 0.15, 0.5, 0.6, 1.0]))
    np.testing.assert_allclose(scan.signal, [3, 3, 3, 2, 0])
    np.testing.assert_allclose(scan.background, [6, 3, 4, 0, 0])
    np.testing.assert_allclose(scan.efficiency, [1, 1, 1, 2 / 3, 0])
    np.testing.assert_allclose(scan.background_efficiency, [1, 0.5, 2 / 3, 0, 0])
    np.testing.assert_allclose(scan.rejection, [1, 2, 1.5, INF, INF])
    np.testing.assert_allclose(scan.purity, [1 / 3, 0.5, 3 / 7, 1, np.nan])
    np.testing.assert_allclose(scan.s_over_sqrt_b, [3 / 6**0.5, 3 / 3**0.5, 1.5, np.nan, np.nan])
    np.testing.assert_allclose(scan.asimov[:3], metrics.asimov(3, [6, 3, 4]))
    assert scan.best is None  # not one effective background event anywhere near ten
    free = metrics.threshold_scan(target, score, weight, thresholds=scan.threshold, min_background_events=0)
    assert free.best == 1
    assert free.as_dict()["best"]["threshold"] == 0.15
    json.dumps(free.as_dict(), allow_nan=False)


def test_scan_finds_the_best_cut_and_not_the_empty_tail() -> None:
    rng = np.random.default_rng(2)
    target = np.repeat([True, False], 5000)
    score = np.where(target, rng.beta(4, 2, 10_000), rng.beta(2, 4, 10_000))
    weight = np.where(target, 0.01, 0.1)
    scan = metrics.threshold_scan(target, score, weight, sigma_rel=0.1)
    assert scan.best is not None and scan.threshold.size == 101
    assert scan.background[scan.best] / 0.1 >= 10
    np.testing.assert_allclose(
        scan.asimov[10], metrics.asimov(scan.signal[10], scan.background[10], 0.1 * scan.background[10])
    )
    trusted = scan.background / 0.1 >= 10
    assert scan.asimov[scan.best] == scan.asimov[trusted].max()


def test_scan_covers_scores_that_are_no_probabilities() -> None:
    scan = metrics.threshold_scan(np.array([True, False]), np.array([-3.0, 5.0]), np.ones(2), thresholds=9)
    assert (scan.threshold[0], scan.threshold[-1]) == (-3, 5)


def test_working_points(toy: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    target, score, weight = toy[0], toy[1], with_negative(toy[2])
    points = metrics.working_points(target, score, weight)
    assert [point.wanted for point in points] == [0.5, 0.6, 0.7, 0.8, 0.9]
    for point in points:
        passed = score >= point.threshold
        assert point.signal == pytest.approx(weight[passed & target].sum())
        assert point.background == pytest.approx(weight[passed & ~target].sum())
        assert point.wanted <= point.efficiency + 1e-12
        assert point.efficiency == pytest.approx(point.signal / weight[target].sum())
        assert point.rejection == pytest.approx(1 / point.background_efficiency)
        assert point.purity == pytest.approx(point.signal / (point.signal + point.background))
    assert metrics.working_points(np.ones(2, bool), np.zeros(2), np.ones(2)) == []
