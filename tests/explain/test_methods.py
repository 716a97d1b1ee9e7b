"""What the methods find where the truth is known, and what their numbers must add up to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest

from nntrainer.config.registry import EXPLAINERS
from nntrainer.evaluation.metrics import roc
from nntrainer.explain.attribution import FEATURES, Attribution, Ranking, importances
from nntrainer.explain.methods.permutation import auc
from nntrainer.explain.sample import Sample
from nntrainer.explain.subject import Subject
from nntrainer.progress import silent
from tests.explain.conftest import TRUE

pytestmark = pytest.mark.slow

METHODS = ("shap", "lime", "permutation", "integrated_gradients")
Look = Callable[..., tuple[Subject, Sample]]


def found_by(name: str, subject: Subject, sample: Sample, **options: Any) -> Any:
    method = EXPLAINERS.get(name)(name=name, **options)
    method.check(subject.config)
    return method.explain(subject, sample, silent(), monotonic() + 600)


@pytest.mark.parametrize("name", METHODS)
def test_what_matters_comes_first(name: str, known: Path, look_at: Look) -> None:
    subject, sample = look_at(known, events=400 if name == "permutation" else 100)
    found = found_by(name, subject, sample)
    levels = importances(found, sample) if isinstance(found, Attribution) else found.levels
    table = levels[FEATURES]
    ranked = [table.names[i] for i in table.order()]
    assert set(ranked[:3]) == set(TRUE)
    assert (table.error > 0).all()
    # Clearly, not by chance.
    least, most = (table.order()[i] for i in (2, 3))
    assert table.value[least] - table.value[most] > 2 * np.hypot(table.error[least], table.error[most])


@pytest.mark.parametrize("network", ["known", "spanet"])
def test_shap_values_add_up(network: str, known: Path, make_run: Callable[..., Path], look_at: Look) -> None:
    subject, sample = look_at(known if network == "known" else make_run(network), events=20)
    found = found_by("shap", subject, sample, evaluations=200)
    np.testing.assert_allclose(found.missing(), 0, atol=1e-5 * max(1, np.abs(found.output - found.base).max()))
    assert np.abs(found.output - found.base).max() > 1e-3
    for name in sample.columns.objects:
        assert (found.values[name][sample.inputs[f"{name}_valid"] == 0] == 0).all()


@pytest.mark.parametrize("network", ["known", "deep_sets", "gatv2", "spanet"])
def test_integrated_gradients_are_complete(
    network: str, known: Path, make_run: Callable[..., Path], look_at: Look
) -> None:
    subject, sample = look_at(known if network == "known" else make_run(network), events=20)
    found = found_by("integrated_gradients", subject, sample)
    change = np.abs(found.output - found.base)
    assert np.abs(found.missing()).mean() < 0.01 * change.mean()
    assert (np.abs(found.missing()) < 0.01001 * np.maximum(change, 0.1 * change.mean())).all()
    assert (found.arrays["points"] >= 48).all() and (found.arrays["points"] < 10_000).all()


def test_contributions_to_a_linear_network(known: Path, look_at: Look) -> None:
    """Where the network is linear, each method must give coefficient times distance from what it compares with."""
    import keras

    subject, sample = look_at(known, events=30)
    slopes = np.linspace(-0.1, 0.1, len(sample.columns.events)).astype(np.float32)
    given = subject.model.inputs[0]
    layer = keras.layers.Dense(1, name="logits")
    output = keras.layers.Activation("sigmoid", name="scores")(layer(given))
    layer.set_weights([slopes[:, None], np.zeros(1, np.float32)])
    linear = Subject(subject.config, keras.Model({given.name: given}, output))
    table = sample.inputs["events"]
    mean = np.average(table, axis=0, weights=np.abs(sample.weight))
    gradients = found_by("integrated_gradients", linear, sample)
    np.testing.assert_allclose(gradients.values["events"], slopes * (table - mean), rtol=1e-3, atol=1e-4)
    lime = found_by("lime", linear, sample, samples=400)
    # Ridge draws coefficients a little towards zero.
    np.testing.assert_allclose(lime.values["events"], slopes * (table - table.mean(axis=0)), rtol=0.05, atol=0.02)
    assert lime.facts["mean_r2"] > 0.98
    shap = found_by("shap", linear, sample)
    spread = shap.values["events"] - slopes * (table - mean)
    assert (np.abs(spread).mean(axis=0) < np.abs(slopes) * 10 * 0.4 + 1e-5).all()  # other events, another mean


def test_lime_says_how_well_it_fits(make_run: Callable[..., Path], look_at: Look) -> None:
    subject, sample = look_at(make_run("deep_sets"), events=10)
    found = found_by("lime", subject, sample, samples=100)
    assert found.arrays["r2"].shape == (10,) and found.facts["mean_r2"] == pytest.approx(found.arrays["r2"].mean())
    assert (found.values["jets"][sample.inputs["jets_valid"] == 0] == 0).all()
    assert np.abs(found.values["jets"]).sum() > 0


def test_permutation_counts_what_is_right(make_run: Callable[..., Path], look_at: Look) -> None:
    subject, sample = look_at(make_run("spanet"), events=100)
    found = found_by("permutation", subject, sample)
    truth = sample.truth["higgs"]
    known = truth >= 0
    right = (sample.inputs["chosen"] == truth)[known]
    assert found.facts["quality"] == pytest.approx(np.average(right, weights=sample.weight[known]))
    assert found.levels[FEATURES].unit == "drop of the fraction right"
    assert set(found.levels["collections"].names) == {"events", "jets", "met"}


def test_the_same_seed_gives_the_same_numbers(known: Path, look_at: Look) -> None:
    subject, sample = look_at(known, events=20)
    state = np.random.get_state()[1].copy()  # type: ignore[index]
    for name in METHODS:
        one, other = (found_by(name, subject, sample) for _ in range(2))
        if isinstance(one, Ranking):
            np.testing.assert_array_equal(one.levels[FEATURES].value, other.levels[FEATURES].value)
        else:
            np.testing.assert_array_equal(one.values["events"], other.values["events"])
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # type: ignore[index]


def test_the_area_under_the_curve_is_that_of_the_metrics() -> None:
    random = np.random.default_rng(3)
    target, weight = random.random(500) < 0.4, random.normal(1, 0.7, (4, 500))
    score = np.round(random.normal(size=500) + target, 1)  # with ties
    expected = [roc(target, score, each).auc for each in weight]
    np.testing.assert_allclose(auc(target, score, weight), expected)
