from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from matplotlib.text import Text

from nntrainer.evaluation import metrics
from nntrainer.plots import dependence, evaluation, folds, inputs, robustness, style, validation
from nntrainer.plots.histograms import histogram, sensible_edges
from nntrainer.plots.save import save


@pytest.fixture(autouse=True)
def words() -> Any:
    style.apply(label="toy", description="√s = 13 TeV, 140 fb⁻¹")
    yield
    style.apply()


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def legend(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def outlines(axes: Any) -> dict[str, np.ndarray]:
    """The values of the labelled histograms."""
    steps = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
    return {str(step.get_label()): step.get_data().values for step in steps if step.get_label()[:1] not in "_"}


def points(axes: Any) -> list[np.ndarray]:
    """The y values of the error bars."""
    return [np.asarray(container.lines[0].get_ydata()) for container in axes.containers]


def no_overlap(figure: Any) -> None:
    """Legend, label and the drawn text of a panel leave each other alone, and stay in the figure."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [child for child in axes.artists if child.get_window_extent().width > 1]
        boxes += [axes.get_legend()] if axes.get_legend() else []
        found = [box.get_window_extent() for box in boxes]
        for i, one in enumerate(found):
            assert one.x0 >= 0 and one.x1 <= figure.bbox.width and one.y1 <= figure.bbox.height
            for other in found[i + 1 :]:
                assert not one.overlaps(other)


# histograms


def test_histogram_folds_what_is_outside_and_adds_squares() -> None:
    filled = histogram(
        np.array([-5, 0.5, 0.6, 1.5, 2.0, 99, np.nan]), np.array([1, 2, -1, 3, 4, 5, 7.0]), np.arange(3.0)
    )
    np.testing.assert_allclose(filled.values, [1 + 2 - 1, 3 + 4 + 5])
    np.testing.assert_allclose(filled.errors, np.sqrt([1 + 4 + 1, 9 + 16 + 25]))
    assert filled.outside == 2
    assert histogram(np.zeros(2), np.array([1.0, -1.0]), np.arange(3.0)).normalised() is None


def test_edges() -> None:
    np.testing.assert_allclose(sensible_edges([np.array([1, 3]), np.array([5])], 40), np.arange(0.5, 6))
    wide = sensible_edges([np.arange(1000)], 40)
    assert np.all(np.diff(wide) == np.diff(wide)[0]) and np.diff(wide)[0] % 1 == 0 and wide.size <= 42
    rng = np.random.default_rng(0)
    tail = sensible_edges([np.append(rng.normal(100, 10, 10_000), 1e6)], 40)
    assert 60 < tail[0] < 80 and 120 < tail[-1] < 140
    angle = sensible_edges([rng.uniform(-np.pi, np.pi, 10_000)], 40)
    assert angle.size == 41 and angle[-1] == pytest.approx(np.pi, abs=0.01)
    for constant in ([np.full(5, 2.5)], [np.zeros(5)], [np.zeros(0)], [np.array([np.nan])]):
        edges = sensible_edges(constant, 10)
        assert np.all(np.diff(edges) > 0)


# inputs


def drawn_feature(
    name: str, unit: str, values: dict[str, np.ndarray], weights: dict[str, np.ndarray], signal: str, bins: int = 40
) -> Figure:
    return inputs.feature(name, unit, inputs.feature_histograms(unit, values, weights, bins), signal)


def test_feature_normalises_and_says_gev() -> None:
    rng = np.random.default_rng(1)
    values = {"ttH": rng.normal(120e3, 10e3, 4000), "ttbb": rng.normal(100e3, 20e3, 4000)}
    weights = {"ttH": np.full(4000, 0.5), "ttbb": np.where(rng.random(4000) < 0.2, -1.0, 1.0)}
    figure = drawn_feature("m_bb", "MeV", values, weights, "ttH", bins=20)
    main, below = figure.axes
    assert below.get_xlabel() == "m_bb [GeV]"
    assert main.get_ylabel().endswith(" GeV")
    assert 0 < below.get_xlim()[0] < 100 < below.get_xlim()[1] < 200
    assert set(legend(main)) == {"ttH", "ttbb"}
    drawn = outlines(main)
    edges = sensible_edges([v / 1e3 for v in values.values()], 20)
    for name, content in drawn.items():
        assert content.sum() == pytest.approx(1.0)  # with under- and overflow
        kept = np.clip(values[name] / 1e3, edges[0], edges[-1] - 1e-9)
        expected = np.histogram(kept, edges, weights=weights[name])[0]
        np.testing.assert_allclose(content, expected / expected.sum())
    (ratio,) = points(below)
    some = drawn["ttbb"] > 0
    np.testing.assert_allclose(ratio[some], (drawn["ttH"] / np.where(some, drawn["ttbb"], 1))[some])
    assert {"toy", "Simulation", "√s = 13 TeV, 140 fb⁻¹", "first and last bin include overflow"} <= set(texts(figure))
    no_overlap(figure)


def test_feature_adds_backgrounds_by_weight() -> None:
    values = {"S": np.array([1, 2]), "A": np.array([1, 1]), "B": np.array([2])}
    weights = {"S": np.ones(2), "A": np.ones(2), "B": np.array([6.0])}
    figure = drawn_feature("nJets", "", values, weights, "S")
    drawn = outlines(figure.axes[0])
    np.testing.assert_allclose(drawn["background"], [0.25, 0.75])
    np.testing.assert_allclose(drawn["A"], [1, 0])
    np.testing.assert_allclose(points(figure.axes[1])[0], [2, 0.5 / 0.75])
    assert figure.axes[1].get_xlabel() == "nJets"
    assert figure.axes[0].get_ylabel() == "Fraction of entries"
    assert figure.axes[1].get_xlim() == (0.5, 2.5)


@pytest.mark.parametrize(
    "values", [np.zeros(0), np.array([3.0]), np.full(4, 2.5)], ids=["empty", "one event", "constant"]
)
def test_feature_survives_poor_samples(values: np.ndarray) -> None:
    ones = np.ones(values.size)
    figure = drawn_feature("x", "1", {"S": values, "B": values}, {"S": ones, "B": -ones}, "S")
    assert any("B (no positive sum of weights)" in name for name in legend(figure.axes[0]))
    assert figure.axes[1].get_xlabel() == "x"


def test_correlation_matrix_is_numpys() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(size=(500, 3)) + np.array([1e6, 0, 0])
    values[:, 1] += values[:, 2]
    counts = rng.integers(1, 4, 500)
    expected = np.corrcoef(np.repeat(values, counts, axis=0).T)
    np.testing.assert_allclose(inputs.correlation_matrix(values, counts), expected, atol=1e-9)
    # An event and its negative twin cancel.
    doubled = np.vstack([values, values[:1], values[:1]])
    weight = np.concatenate([counts, [5.0, -5.0]])
    np.testing.assert_allclose(inputs.correlation_matrix(doubled, weight), expected, atol=1e-9)
    constant = inputs.correlation_matrix(np.array([[1.0, 2], [1, 3]]), np.ones(2))
    assert np.isnan(constant[0]).all() and constant[1, 1] == pytest.approx(1)


def test_correlation_has_numbers_only_where_they_fit() -> None:
    rng = np.random.default_rng(4)
    figure = inputs.correlation(["a", "b"], inputs.correlation_matrix(rng.normal(size=(50, 2)), np.ones(50)), "ttH")
    assert {"a", "b", "1.00", "ttH", "Linear correlation coefficient"} <= set(texts(figure))
    names = [f"f{i}" for i in range(21)]
    figure = inputs.correlation(names, inputs.correlation_matrix(rng.normal(size=(50, 21)), np.ones(50)), "ttH")
    assert not figure.axes[0].texts and set(names) <= set(texts(figure))


# validation


def test_history_of_one_training() -> None:
    columns = {"epoch": [1, 2, 3], "loss": [0.7, 0.5, 0.4], "val_loss": [0.8, 0.6, 0.65], "learning_rate": [1e-3] * 3}
    figures = validation.history(columns)
    assert set(figures) == {"loss", "learning_rate"}
    axes = figures["loss"].axes[0]
    train, validated, best = axes.lines
    np.testing.assert_allclose(train.get_ydata(), columns["loss"])
    np.testing.assert_allclose(validated.get_ydata(), columns["val_loss"])
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (2, 0.6)
    assert legend(axes) == ["training", "validation", "smallest validation loss"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Epoch", "Loss")
    no_overlap(figures["loss"])


def test_history_of_folds_and_of_one_epoch() -> None:
    columns = {"epoch": [1], "loss": [0.7], "val_loss": [np.nan], "accuracy": [0.5], "val_accuracy": [0.6]}
    figures = validation.history({"fold 0": columns, "fold 1": columns})
    assert legend(figures["accuracy"].axes[0]) == ["fold 0", "fold 1", "training", "validation"]
    assert len(figures["accuracy"].axes[0].lines) == 4
    assert len(figures["loss"].axes[0].lines) == 4  # no best epoch without a finite validation loss


# evaluation


@pytest.fixture(scope="module")
def scored() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    target = rng.random(4000) < 0.4
    score = np.where(target, rng.beta(4, 2, 4000), rng.beta(2, 4, 4000))
    return target, score, np.where(rng.random(4000) < 0.1, -1.0, 1.0)


def test_roc_plot(scored: Any) -> None:
    curve = metrics.roc(*scored)
    figure = evaluation.roc({"ttH vs ttbb": (curve, 0.0123)})
    axes = figure.axes[0]
    assert legend(axes) == [f"ttH vs ttbb: AUC = {curve.auc:.4f} ± 0.0123 (not monotonic: weights < 0)", "guessing"]
    x, y = axes.lines[0].get_data()
    np.testing.assert_allclose(np.interp(0.8, x, y), 1 / np.interp(0.8, curve.tpr, curve.fpr), rtol=0.01)
    assert axes.get_ylim()[1] > y.max()
    no_overlap(figure)


def test_roc_plot_of_an_undefined_curve() -> None:
    empty = metrics.roc(np.ones(2, bool), np.zeros(2), np.ones(2))
    assert "AUC = nan" in legend(evaluation.roc({"x": (empty, float("nan"))}).axes[0])[0]


def test_confusion_plot() -> None:
    figure = evaluation.confusion(np.array([[0.9, 0.1], [0.25, 0.75]]), ["ttH", "a longer background"], "prediction")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["90.0", "10.0", "25.0", "75.0"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Predicted class", "True class")
    assert "Fraction of the predicted class [%]" in texts(figure)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["ttH", "a longer background"]


def test_score_plot(scored: Any) -> None:
    target, score, weight = scored
    train, test = np.arange(4000) % 2 == 0, np.arange(4000) % 2 == 1
    samples = {
        name: (score[train & mask], weight[train & mask], score[test & mask], weight[test & mask])
        for name, mask in (("ttH", target), ("ttbb", ~target))
    }
    figure = evaluation.score(evaluation.score_histograms(samples, bins=10), {"ttH": (0.01, 0.43)})
    main, below = figure.axes
    assert set(legend(main)) == {"ttH train", "ttbb train", "ttH test (KS p = 0.43)", "ttbb test"}
    expected = np.histogram(samples["ttH"][0], np.linspace(0, 1, 11), weights=samples["ttH"][1])[0]
    np.testing.assert_allclose(outlines(main)["ttH train"], expected / expected.sum(), atol=1e-12)
    tested = np.histogram(samples["ttbb"][2], np.linspace(0, 1, 11), weights=samples["ttbb"][3])[0]
    np.testing.assert_allclose(points(main)[1], tested / tested.sum(), atol=1e-12)
    np.testing.assert_allclose(points(below)[0][5], points(main)[0][5] / outlines(main)["ttH train"][5])
    assert (below.get_xlabel(), below.get_ylabel()) == ("Network score", "Test / train")
    no_overlap(figure)


def test_score_plot_without_training_events(scored: Any) -> None:
    none = np.zeros(0)
    figure = evaluation.score(evaluation.score_histograms({"ttH": (none, none, scored[1], np.ones(4000))}))
    assert legend(figure.axes[0]) == ["ttH test"]


def test_calibration_plot(scored: Any) -> None:
    curve = metrics.calibration(*scored)
    figure = evaluation.calibration({"ttH": curve})
    np.testing.assert_allclose(points(figure.axes[0])[0], curve.fraction)
    np.testing.assert_allclose(points(figure.axes[1])[0], curve.fraction - curve.mean)
    assert figure.axes[1].get_xlabel() == "Mean predicted probability"
    no_overlap(figure)


def test_threshold_plot(scored: Any) -> None:
    scan = metrics.threshold_scan(*scored)
    figure = evaluation.threshold_scan(scan, yields="expected events")
    main, below = figure.axes
    assert legend(main) == ["signal efficiency", "background efficiency", "purity s / (s + b)"]
    assert legend(below) == ["Asimov Z", "s / √b"]
    np.testing.assert_allclose(main.lines[0].get_ydata(), scan.efficiency)
    assert any(text.endswith("expected events") for text in texts(figure))
    assert scan.best is not None
    assert f"best Z = {scan.asimov[scan.best]:.3g} at {scan.threshold[scan.best]:.3g}" in texts(figure)
    no_overlap(figure)
    few = metrics.threshold_scan(scored[0][:4], scored[1][:4], np.ones(4))
    assert few.best is None
    assert "no best cut: too few background events pass" in texts(evaluation.threshold_scan(few))


def test_long_legends_find_room(scored: Any) -> None:
    curve = metrics.roc(*scored)
    figure = evaluation.roc({f"a class with a long name vs number {i}": (curve, 0.01) for i in range(9)})
    no_overlap(figure)
    box = figure.axes[0].get_legend().get_window_extent()
    tops = [line.get_window_extent().y1 for line in figure.axes[0].lines]
    assert max(tops) < box.y0


# style and files


def test_nothing_global_changes(tmp_path: Path) -> None:
    before, figures = dict(mpl.rcParams), plt.get_fignums()
    figure = drawn_feature("x", "1", {"S": np.arange(9.0)}, {"S": np.ones(9)}, "S")
    save(figure, tmp_path / "x")
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == figures


def test_the_label_is_a_parameter() -> None:
    with style.context():
        figure, (axes,) = style.canvas()
        style.label(axes, text="mine", description="second")
    word = next(text for text in figure.findobj(Text) if text.get_text() == "mine")
    assert (word.get_fontweight(), word.get_fontstyle()) == ("bold", "italic")
    assert "second" in texts(figure) and "toy" not in texts(figure)


def test_save_writes_the_same_bytes_and_leaves_no_parts(tmp_path: Path) -> None:
    def draw() -> Any:
        with style.context():
            figure, (axes,) = style.canvas()
            axes.errorbar([1, 2], [1, 2], [1, 2])
            axes.set_xlabel("Δη [rad]")
            style.label(axes)
        return figure

    first = save(draw(), tmp_path / "one" / "score_0.5")
    second = save(draw(), tmp_path / "two" / "score_0.5")
    assert [path.name for path in first] == ["score_0.5.png", "score_0.5.pdf"]
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes()
        assert b"CreationDate" not in a.read_bytes()
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["score_0.5.pdf", "score_0.5.png"]
    assert first[0].read_bytes().startswith(b"\x89PNG") and first[1].read_bytes().startswith(b"%PDF")


def test_save_keeps_the_old_file_when_drawing_fails(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"old")
    figure, (axes,) = style.canvas()
    axes.set_title("$\\nonsense{$")
    with pytest.raises(ValueError, match="nonsense"):
        save(figure, tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
    assert (tmp_path / "x.png").read_bytes() == b"old"


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.37, 12.2), (3e4, 9e6)])
def test_minor_ticks_are_those_of_matplotlib(low: float, high: float) -> None:
    def pixels(change: str = "") -> np.ndarray:
        with style.context():
            figure, panels = style.canvas(3, 1)
            for axes in panels:
                axes.set(xlim=(low, high), ylim=(low / 3, high / 3))
                if change:
                    getattr(axes, change)()
            figure.canvas.draw()
            return np.asarray(figure.canvas.buffer_rgba())

    np.testing.assert_array_equal(pixels(), pixels("minorticks_on"))  # matplotlib's own in place of ours
    assert not np.array_equal(pixels(), pixels("minorticks_off"))


def test_plots_import_no_network_library() -> None:
    code = (
        "import sys, nntrainer.plots.evaluation, nntrainer.plots.inputs, nntrainer.plots.validation;"
        "print([m for m in ('tensorflow', 'keras', 'uproot', 'h5py', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_auc_of_folds() -> None:
    each = [{"fold": i, "auc": auc, "auc_error": 0.01} for i, auc in enumerate((0.80, 0.82, float("nan"), 0.81))]
    figure = folds.auc(each, 0.81, 0.01)
    no_overlap(figure)
    (axes,) = figure.axes
    (drawn,) = points(axes)
    assert drawn[[0, 1, 3]].tolist() == [0.80, 0.82, 0.81] and np.isnan(drawn[2])
    assert "mean 0.8100 and band of the spread 0.0100" in legend(axes)
    (band,) = [patch.get_extents().transformed(axes.transData.inverted()) for patch in axes.patches]
    assert (band.y0, band.y1) == pytest.approx((0.80, 0.82))
    assert axes.get_ylim()[0] < 0.79 and axes.get_ylim()[1] > 0.83


def test_plots_of_a_dependence() -> None:
    random = np.random.default_rng(1)
    edges, values = np.linspace(0, 200, 11), random.uniform(0, 200, 4000)
    drawn = {
        None: histogram(values, np.ones(4000), edges),
        0.5: histogram(values[values > 100], np.ones(np.sum(values > 100)), edges),
        0.1: histogram(np.zeros(0), np.zeros(0), edges),
    }
    figure = dependence.shapes(drawn, "mass [GeV]", ["background"])
    main, below = figure.axes
    assert set(legend(main)) == {"before cuts", "signal efficiency 50%"}  # nothing to draw of an empty one
    after = drawn[0.5].normalised()
    assert after is not None
    np.testing.assert_allclose(outlines(main)["signal efficiency 50%"], after.values / 20)
    assert below.get_xlabel() == "mass [GeV]" and below.get_ylim()[1] > 2
    no_overlap(figure)
    flat = {
        "signal_efficiency": 0.5,
        "background_efficiency": 0.2,
        "efficiency": [0.2] * 9 + [None],
        "error": [0.01] * 10,
    }
    figure = dependence.efficiencies([flat], edges, "mass [GeV]")
    (axes,) = figure.axes
    np.testing.assert_allclose(points(axes)[0][:9], 0.2)
    assert legend(axes) == ["all background events", "signal efficiency 50%"]
    no_overlap(figure)


def test_plot_of_a_trade_off() -> None:
    strength, auc, value = np.array([0, 0.5, 2]), np.array([0.8, 0.78, 0.7]), np.array([0.5, 0.3, 0.05])
    figure = dependence.trade_off(
        strength, (auc, auc / 100), (value, np.array([0.01, 0.01, np.nan])), "dep", floor=0.03
    )
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["0", "0.5", "2"]
    np.testing.assert_allclose(points(axes)[0], auc)
    assert axes.get_xlim()[0] < 0.03 and axes.get_xlim()[1] > 0.51
    no_overlap(figure)


def test_plot_of_robustness() -> None:
    columns = {"balanced_accuracy": [0.7, 0.4], "auc": [0.8, None]}
    columns |= {f"{name}_error": [0.01, 0.02] for name in columns}
    figure = robustness.robustness([0.0, 0.1], {"FGSM": columns, "PGD": columns}, 2)
    main, below = figure.axes
    assert legend(main) == ["guessing", "FGSM", "PGD"] and below.get_ylim() == (0, 1)
    np.testing.assert_allclose(points(main)[0], [0.7, 0.4])
    no_overlap(figure)
