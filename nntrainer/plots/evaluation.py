"""Plots of how well the trained network separates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from nntrainer.plots import style
from nntrainer.plots.histograms import Histogram, histogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nntrainer.evaluation.metrics import Calibration, Roc, ThresholdScan

Samples = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@style.styled
def roc(curves: Mapping[str, tuple[Roc, float]]) -> Figure:
    """Draw background rejection against signal efficiency.

    Args:
        curves: for each name the curve and the uncertainty of its AUC.

    Returns:
        The figure; a curve that negative weights make turn back says so in the legend.
    """
    figure, (axes,) = style.canvas(size=(8, 7))
    axes.set_yscale("log")
    high, limit = 10.0, 1e5
    for i, (name, (curve, error)) in enumerate(curves.items()):
        tpr, fpr = curve.tpr, curve.fpr
        some = (tpr > 0.02) & (fpr > 1 / limit)
        text = f"{name}: AUC = {curve.auc:.4f} ± {error:.4f}"
        text += "" if curve.monotonic else " (not monotonic: weights < 0)"
        colour, line = style.COLOURS[i % len(style.COLOURS)], ("-", "--", "-.")[i // len(style.COLOURS) % 3]
        axes.plot(tpr[some], 1 / fpr[some], line, color=colour, linewidth=1.8, label=text)
        high = float(np.max(1 / fpr[some], initial=high))
    x = np.linspace(0.1, 1, 200)
    axes.plot(x, 1 / x, ":", color="grey", linewidth=1.2, label="guessing")
    axes.set_xlim(0, 1)
    axes.set_xlabel("Signal efficiency")
    axes.set_ylabel("Background rejection (1 / background efficiency)")
    style.make_room(axes, 0.8, high, style.label(axes))
    return figure


@style.styled
def confusion(
    matrix: np.ndarray, labels: Sequence[str], normalised: Literal["truth", "prediction"] = "truth"
) -> Figure:
    """Draw a confusion matrix in percent.

    Args:
        matrix: float (n, n), fractions; rows are true classes, columns predicted ones.
        labels: the n class names.
        normalised: ``truth`` where each row adds to one, ``prediction`` where each column does.

    Returns:
        The figure.
    """
    count = len(labels)
    side = min(4.5 + 0.8 * count, 16.0)
    figure, (axes,) = style.canvas(size=(side + 1.0, side))
    percent = 100 * np.asarray(matrix, np.float64)
    image = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    long = max(map(len, labels)) > 6
    turned = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if long else {}
    axes.set_xticks(range(count), labels, **turned)
    axes.set_yticks(range(count), labels)
    axes.tick_params(which="both", length=0)
    axes.minorticks_off()
    for (row, column), number in np.ndenumerate(percent):
        colour = "white" if number > 55 else "black"
        axes.text(column, row, f"{number:.1f}", ha="center", va="center", color=colour)
    axes.set_xlabel("Predicted class", loc="center")
    axes.set_ylabel("True class", loc="center")
    of = "true" if normalised == "truth" else "predicted"
    figure.colorbar(image, ax=axes, shrink=0.9).set_label(f"Fraction of the {of} class [%]", loc="center")
    style.label_above(axes, f"{'rows' if normalised == 'truth' else 'columns'} add to 100 %")
    return figure


def score_histograms(
    samples: Mapping[str, Samples], bins: int = 25
) -> dict[str, tuple[Histogram | None, Histogram | None]]:
    """Return what `score` draws: for each class training and test, normalised; None without positive weights.

    Args:
        samples: for each class the training scores (N,), their signed weights, the test scores (M,) and their
            signed weights.
        bins: number of bins over [0, 1], or over the scores' range where that is wider.

    Returns:
        Histograms with common edges.
    """
    scores = [part for one in samples.values() for part in (one[0], one[2]) if len(part)]
    low = min([0.0, *(float(np.min(part)) for part in scores)])
    high = max([1.0, *(float(np.max(part)) for part in scores)])
    edges = np.linspace(low, high, bins + 1)
    return {
        label: (histogram(train, train_weight, edges).normalised(), histogram(test, test_weight, edges).normalised())
        for label, (train, train_weight, test, test_weight) in samples.items()
    }


@style.styled
def score(
    histograms: Mapping[str, tuple[Histogram | None, Histogram | None]],
    ks: Mapping[str, tuple[float, float]] | None = None,
    *,
    name: str = "Network score",
) -> Figure:
    """Draw the score of each class in training (filled) and test events (points), and their ratio.

    Args:
        histograms: training and test of each class, from `score_histograms`.
        ks: for each class the weighted Kolmogorov–Smirnov distance and p-value, for the legend.
        name: title of the x axis.

    Returns:
        The figure: panels distribution (each normalised to unity) and ratio test / train.
    """
    figure, (main, below) = style.canvas(3, 1, size=(8, 7))
    below.axhline(1.0, color="black", linewidth=1, linestyle="--")
    top, floor = 0.0, 0.0
    edges = next((one.edges for pair in histograms.values() for one in pair if one is not None), np.array([0.0, 1.0]))
    for i, (label, (trained, tested)) in enumerate(histograms.items()):
        colour = style.COLOURS[i % len(style.COLOURS)]
        if trained is not None:
            trained.draw(main, colour, f"{label} train", fill=True)
        if tested is not None:
            points = {"fmt": "o", "color": colour, "elinewidth": 1.3, "markersize": 4}
            main.errorbar(tested.centres, tested.values, tested.errors, label=_tested(label, ks), **points)
        for one in (trained, tested):
            if one is not None:
                top = max(top, float((one.values + one.errors).max()))
                floor = min(floor, float((one.values - one.errors).min()))
        if trained is not None and tested is not None:
            _test_over_train(below, trained, tested, colour)
    below.set_ylim(0.4, 1.6)
    below.set_xlim(edges[0], edges[-1])
    below.set_xlabel(name)
    below.set_ylabel("Test / train", loc="center")
    main.set_ylabel(f"Fraction of events / {edges[1] - edges[0]:.3g}")
    style.make_room(main, 1.1 * floor if floor < -0.005 * top else 0.0, top or 1.0, style.label(main))
    return figure


def _tested(label: str, ks: Mapping[str, tuple[float, float]] | None) -> str:
    return f"{label} test" + (f" (KS p = {ks[label][1]:.2g})" if ks and label in ks else "")


def _test_over_train(axes: Axes, train: Histogram, test: Histogram, colour: str) -> None:
    some = (train.values > 0) & (test.values != 0)
    under, over = np.where(some, train.values, np.nan), np.where(some, test.values, np.nan)
    ratio = over / under
    error = np.abs(ratio) * np.hypot(train.errors / under, test.errors / over)
    axes.errorbar(test.centres, ratio, error, fmt="o", color=colour, elinewidth=1.3, markersize=4)


@style.styled
def calibration(curves: Mapping[str, Calibration]) -> Figure:
    """Draw the observed fraction against the predicted probability, and their difference below.

    Args:
        curves: the calibration of each class.

    Returns:
        The figure.
    """
    figure, (main, below) = style.canvas(3, 1, size=(8, 7))
    main.plot([0, 1], [0, 1], ":", color="grey", linewidth=1.2, label="perfect")
    below.axhline(0.0, color="grey", linewidth=1.2, linestyle=":")
    widest = 0.05
    for i, (label, one) in enumerate(curves.items()):
        points = {
            "fmt": "o-",
            "color": style.COLOURS[i % len(style.COLOURS)],
            "elinewidth": 1.3,
            "linewidth": 1,
        }
        main.errorbar(one.mean, one.fraction, one.error, label=label, **points)
        below.errorbar(one.mean, one.fraction - one.mean, one.error, **points)
        widest = max(widest, float(np.max(np.abs(one.fraction - one.mean), initial=0.0)))
    below.set_xlim(0, 1)
    below.set_ylim(-1.3 * widest, 1.3 * widest)
    below.set_xlabel("Mean predicted probability")
    below.set_ylabel("Difference", loc="center")
    main.set_ylabel("Weighted fraction of the class")
    top = max([1.0, *(float(np.max(one.fraction + one.error, initial=0.0)) for one in curves.values())])
    floor = min([0.0, *(float(np.min(one.fraction - one.error, initial=0.0)) for one in curves.values())])
    style.make_room(main, floor, top, style.label(main))
    return figure


@style.styled
def threshold_scan(scan: ThresholdScan, *, yields: str = "events") -> Figure:
    """Draw efficiencies and purity, and below the expected significance, against the threshold.

    Args:
        scan: the scan.
        yields: unit of the yields, written at the best threshold.

    Returns:
        The figure.
    """
    figure, (main, below) = style.canvas(1, 1, size=(8, 8))
    lines = {"signal efficiency": scan.efficiency, "background efficiency": scan.background_efficiency}
    lines["purity s / (s + b)"] = scan.purity
    for (name, values), colour in zip(lines.items(), style.COLOURS, strict=False):
        main.plot(scan.threshold, values, color=colour, label=name)
    finite = np.concatenate([values[np.isfinite(values)] for values in lines.values()])
    main.set_ylabel("Fraction")
    style.make_room(main, min(0.0, *finite), max(1.0, *finite), style.label(main))
    highest = _significance(below, scan)
    lines_below = ["no best cut: too few background events pass"]
    if scan.best is not None:
        best = scan.best
        for axes in (main, below):
            axes.axvline(scan.threshold[best], color="grey", linewidth=1.2, linestyle=":")
        below.plot(scan.threshold[best], scan.asimov[best], "*", color=style.COLOURS[0], markersize=13)
        lines_below = [
            f"best Z = {scan.asimov[best]:.3g} at {scan.threshold[best]:.3g}",
            f"s = {scan.signal[best]:.4g}, b = {scan.background[best]:.4g} {yields}",
        ]
        if not scan.trusted[-1]:
            last = scan.threshold[np.flatnonzero(scan.trusted)[-1]]
            lines_below.append(f"above {last:.3g} too few background events pass")
    below.set_xlim(scan.threshold[0], scan.threshold[-1])
    below.set_xlabel("Threshold on the score")
    below.set_ylabel("Expected significance")
    style.make_room(below, 0.0, highest, style.note(below, lines_below))
    return figure


def _significance(axes: Axes, scan: ThresholdScan) -> float:
    """Draw the significances where enough background passes to believe them, and return the largest."""
    highest = 0.0
    for values, line, colour, name in (
        (scan.asimov, "-", style.COLOURS[0], "Asimov Z"),
        (scan.s_over_sqrt_b, "--", style.COLOURS[1], "s / √b"),
    ):
        shown = np.where(scan.trusted & np.isfinite(values), values, np.nan)
        axes.plot(scan.threshold, shown, line, color=colour, label=name)
        highest = max(highest, float(np.max(shown[np.isfinite(shown)], initial=0.0)))
    return highest or 1.0
