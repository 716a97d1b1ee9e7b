"""Discriminants, TransfoD and the binned significance against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from nntrainer.config import Config
from nntrainer.errors import NNTrainerError
from nntrainer.evaluation.metrics import asimov, binned_significance, discriminant, transfod

# Ten events by falling score. N_s = 4, N_b = 6; with z_s = z_b = 2 a signal event counts 1/2, a background one 1/3.
#   .95 s 1/2, .90 s → 1                      closes: bin [.90, .95]
#   .80 b 1/3, .75 s 5/6, .60 b 7/6           closes: bin [.60, .90)
#   .50 b 1/3, .40 s 5/6, .30 b 7/6           closes: bin [.30, .60)
#   .20 b 1/3, .10 b 2/3                      does not close: joins the last bin, [.10, .60)
SCORE = np.array([0.95, 0.90, 0.80, 0.75, 0.60, 0.50, 0.40, 0.30, 0.20, 0.10])
TARGET = np.array([1, 1, 0, 1, 0, 0, 1, 0, 0, 0], bool)


def test_transfod_worked_example() -> None:
    for order in (np.arange(10), np.random.default_rng(1).permutation(10)):
        edges = transfod(TARGET[order], SCORE[order], np.ones(10), 2, 2)
        assert edges.tolist() == [0.10, 0.60, 0.90, 0.95]
    found = binned_significance(TARGET, SCORE, np.ones(10), edges)
    assert found.signal.tolist() == [1, 1, 2]
    assert found.background.tolist() == [4, 2, 0]
    assert found.trusted.tolist() == [True, True, False]  # no background: Z would be infinite
    assert found.total == pytest.approx(np.hypot(asimov(1, 4), asimov(1, 2)))
    assert np.isinf(found.significance[2])


def test_transfod_weights_ties_and_negative_weights() -> None:
    # The same events with doubled weights have the same bins, and so have events split in two.
    assert transfod(TARGET, SCORE, np.full(10, 2.0), 2, 2).tolist() == [0.10, 0.60, 0.90, 0.95]
    halves = [np.repeat(x, 2) for x in (TARGET, SCORE, np.full(10, 0.5))]
    assert transfod(*halves, 2, 2).tolist() == [0.10, 0.60, 0.90, 0.95]
    # A background event of weight -1 at 0.80 leaves N_b = 4, each 1/2: 0.75 s 0, 0.60 b 1/2, 0.50 b 1
    # closes; 0.40 s 1/2, 0.30 b 1 closes; 0.20 b 1/2, 0.10 b 1 closes.
    weight = np.where(SCORE == 0.80, -1.0, 1.0)
    assert transfod(TARGET, SCORE, weight, 2, 2).tolist() == [0.10, 0.30, 0.50, 0.90, 0.95]
    assert transfod(TARGET, np.full(10, 0.5), np.ones(10), 2, 2).size == 2
    with pytest.raises(NNTrainerError, match="0 of background"):
        transfod(np.ones(3, bool), np.arange(3.0), np.ones(3), 2, 2)


@pytest.mark.parametrize(("z_s", "z_b"), [(1, 0), (5, 5), (10, 0), (0, 10), (3, 7)])
def test_transfod_bins_are_full(z_s: float, z_b: float) -> None:
    rng = np.random.default_rng(2)
    target = rng.random(4000) < 0.3
    score, weight = rng.normal(target * 1.0), rng.uniform(0.5, 1.5, 4000)
    edges = transfod(target, score, weight, z_s, z_b)
    found = binned_significance(target, score, weight, edges)
    filled = z_s * found.signal / weight[target].sum() + z_b * found.background / weight[~target].sum()
    assert len(filled) <= z_s + z_b
    assert len(filled) >= z_s + z_b - 1
    assert (filled >= 1 - 1e-9).all()
    assert found.signal.sum() == pytest.approx(weight[target].sum())


def test_binned_significance_gains_over_one_bin_and_knows_its_uncertainty() -> None:
    rng = np.random.default_rng(3)
    target = rng.random(20000) < 0.1
    score, weight = rng.normal(target * 1.5), np.full(20000, 0.1)
    edges = transfod(target, score, weight, 5, 5)
    one = binned_significance(target, score, weight, edges[[0, -1]])
    several = binned_significance(target, score, weight, edges)
    assert one.total == pytest.approx(float(asimov(weight[target].sum(), weight[~target].sum())))
    assert several.total > 1.3 * one.total
    statistical = binned_significance(target, score, weight, edges, statistical=True)
    np.testing.assert_allclose(
        statistical.significance, asimov(several.signal, several.background, np.sqrt(0.1 * several.background))
    )
    assert statistical.total < several.total
    assert binned_significance(target, score, weight, edges, sigma_rel=0.2).total < statistical.total
    outside = binned_significance(target, score, weight, np.array([0.0, 1.0, 2.0]))
    assert outside.signal.sum() == pytest.approx(weight[target].sum())


def test_discriminant_by_hand() -> None:
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [1.0, 0.0, 0.0]])
    found = discriminant(p, 0, [9.0, 0.6, 0.4])
    assert found[:2] == pytest.approx([np.log(0.5 / (0.18 + 0.08)), np.log(0.1 / (0.06 + 0.32))])
    assert found[2] == pytest.approx(np.log(1e10))  # finite where a probability is zero
    two = np.array([[0.8, 0.2]])
    assert discriminant(two, 0, [0, 1])[0] == pytest.approx(np.log(4))  # the logit of a binary network
    with pytest.raises(NNTrainerError, match="at least one other class"):
        discriminant(p, 0, [1, 0, 0])


def test_discriminant_is_the_best_cut_for_its_mixture() -> None:
    # Neyman–Pearson: against a mixture of 30 % and 70 % no other fractions separate better.
    rng = np.random.default_rng(5)
    means = np.array([[0, 0], [1.5, 0], [0, 1.5]])
    label = rng.choice(3, 30000, p=[0.5, 0.15, 0.35])
    x = rng.normal(means[label])
    density = np.exp(-0.5 * ((x[:, None] - means) ** 2).sum(axis=-1))
    p = density / density.sum(axis=1, keepdims=True)

    def area(f: float) -> float:
        from nntrainer.evaluation.metrics import roc

        return -roc(label == 0, discriminant(p, 0, [0, f, 1 - f]), np.ones(len(label))).auc

    assert minimize_scalar(area, bounds=(0.02, 0.98), method="bounded").x == pytest.approx(0.3, abs=0.1)


def test_asimov_limits() -> None:
    s, b = 10.0, 50.0
    plain = np.sqrt(2 * ((s + b) * np.log(1 + s / b) - s))
    assert asimov(s, b) == pytest.approx(plain)
    # σ → 0, through every regime of the sum, and monotonically.
    sigmas = np.logspace(-9, 2, 200)
    with_sigma = asimov(s, b, sigmas)
    np.testing.assert_allclose(with_sigma[sigmas < 1e-2], plain, rtol=1e-5)
    assert (np.diff(with_sigma) <= 1e-7).all()
    assert asimov(1.0, 1e6) == pytest.approx(1e-3, rel=1e-5)  # s ≪ b: s/√b
    # b → 0: it grows without bound for σ = 0, and falls to 0 for a σ that stays.
    small = np.logspace(-12, 0, 5)
    assert (np.diff(asimov(1.0, small)) < 0).all()
    assert (np.diff(asimov(1.0, small, 0.5)) > 0).all()
    assert np.isinf(asimov(1.0, 0.0))
    assert asimov(1.0, 0.0, 0.5) == 0
    assert asimov(0.0, 0.0) == 0
    assert np.isnan(asimov(1.0, -1.0))


def config_with(**evaluation: object) -> Config:
    samples = [{"name": n, "files": "x.root", "label": n} for n in ("ttH", "ttbb", "ttcc")]
    blocks = {"data": {"samples": samples}, "features": {"events": ["x"]}, "model": "dense"}
    return Config.model_validate({"name": "toy", **blocks, "evaluation": evaluation})


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ({"discriminants": {"ttH": {"ttbbb": 1}}}, "names 'ttbbb'.*Did you mean 'ttbb'"),
        ({"discriminants": {"ttH": {"ttH": 0.5, "ttbb": 0.5}}}, "not in its own denominator"),
        ({"discriminants": {"ttH": {"ttbb": 0}}}, "above zero"),
        ({"binning": {"z_s": 0.2, "z_b": 0.3}}, "no bin would close"),
        ({"binning": {"edges": [0, 0.5, 0.5]}}, "edges must rise"),
    ],
)
def test_bad_blocks(block: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        config_with(**block)
