"""Plots of a reference beside others show what they are given."""

from __future__ import annotations

import numpy as np
import pytest

from nntrainer.plots import comparison


def test_ratios_and_their_errors() -> None:
    edges = np.array([0.0, 1.0, 2.0])
    values = {"nominal": np.array([0.5, 1.5, 1.5, 1.5]), "up": np.array([0.5, 0.5, 1.5, 1.5])}
    weights = {name: np.ones(4) for name in values}
    filled = comparison.shapes(values, weights, edges)
    np.testing.assert_allclose(filled["nominal"].values, [0.25, 0.75])
    (ratio,) = comparison.ratios(filled).values()
    np.testing.assert_allclose(ratio.values, [2, 2 / 3])
    np.testing.assert_allclose(ratio.errors, ratio.values * np.sqrt([1 / 2 + 1, 1 / 2 + 1 / 3]))


def test_compared_has_a_ratio_panel_that_shows_every_other_sample() -> None:
    rng = np.random.default_rng(1)
    values = {name: rng.normal(size=500) for name in ("nominal", "up", "down")}
    filled = comparison.shapes(values, {name: np.ones(500) for name in values})
    figure = comparison.compared("x", "GeV", filled, comparison.ratios(filled), lines=["one line"], cuts=[0.5])
    main, below = figure.axes
    assert below.get_xlabel() == "x [GeV]"
    assert below.get_ylabel() == "Ratio"
    assert {text.get_text() for text in main.get_legend().get_texts()} == {"nominal", "up", "down"}
    assert len(below.containers) == 2
    low, high = below.get_ylim()
    assert low + high == pytest.approx(2)


def test_a_roc_curve_near_the_diagonal_shows_its_distance() -> None:
    x = np.linspace(0, 1, 50)
    figure = comparison.roc({"": (x, x + 0.03 * np.sin(np.pi * x), "AUC = 0.519")}, "nominal", "up")
    main, below = figure.axes
    assert below.get_ylim()[1] == pytest.approx(0.036, rel=0.02)
    assert "AUC = 0.519" in {text.get_text() for text in main.get_legend().get_texts()}


def test_no_bar_with_its_error_is_cut_off() -> None:
    figure = comparison.importances(["a", "b"], [0.01, -0.002], [0.004, 0.003], "Fall of the AUC")
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    assert low < -0.005 and high > 0.014
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
