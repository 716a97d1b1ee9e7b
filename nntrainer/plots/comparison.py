"""Plots of a reference beside other samples: shapes with their ratio, ROC curves near the diagonal, importances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from nntrainer.plots import style
from nntrainer.plots.histograms import Histogram, histogram, sensible_edges

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REFERENCE = "#7f7f7f"
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00")


def shapes(
    values: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray], edges: np.ndarray | None = None, bins: int = 40
) -> dict[str, Histogram]:
    """Fill a histogram for each sample, of unit sum, with common edges.

    Args:
        values: float (N,) for each sample.
        weights: float (N,), signed, for each sample, with a positive sum.
        edges: float (n + 1,); chosen from the values if absent.
        bins: about how many bins, where they are chosen.

    Returns:
        The histograms.
    """
    edges = sensible_edges(values.values(), bins) if edges is None else edges
    filled = {name: histogram(values[name], weights[name], edges) for name in values}
    return {name: one.normalised() or one for name, one in filled.items()}


def ratios(histograms: Mapping[str, Histogram]) -> dict[str, Histogram]:
    """Divide all histograms by the first; the errors are those of the numerators and of the first together."""
    first, *others = histograms.values()
    under = np.where(first.values > 0, first.values, np.nan)
    found = {}
    for name, one in zip(list(histograms)[1:], others, strict=True):
        value = one.values / under
        found[name] = Histogram(first.edges, value, np.hypot(one.errors, value * first.errors) / under)
    return found


@style.styled
def compared(
    title: str,
    unit: str,
    histograms: Mapping[str, Histogram],
    below: Mapping[str, Histogram],
    *,
    lines: Sequence[str] = (),
    log: bool = False,
    cut: tuple[float, str] | None = None,
    cuts: Sequence[float] = (),
    entries: str = "events",
) -> Figure:
    """Draw a reference (filled), other samples (points) and their ratios to it with statistical errors.

    Args:
        title: title of the x axis.
        unit: unit of the x axis, as it is shown.
        histograms: by name, the reference first, with common edges.
        below: the ratio of each of the others to the reference, by name.
        lines: what else to say below the label.
        log: draw a logarithmic y axis.
        cut: where to draw a line, and what it means.
        cuts: where to draw thin lines, such as working points.
        entries: what is counted.

    Returns:
        The figure: panels distribution and ratio.
    """
    figure, (main, panel) = style.canvas(3, 1.2, size=(8, 7))
    reference, *others = histograms
    first = histograms[reference]
    first.draw(main, REFERENCE, reference, fill=True)
    panel.axhline(1.0, color="black", linewidth=1, linestyle="--")
    deviation = 0.02
    for i, name in enumerate(others):
        options = {"fmt": "o", "color": COLOURS[i % len(COLOURS)], "elinewidth": 1.3, "markersize": 4}
        one, ratio = histograms[name], below[name]
        shift = (i - (len(others) - 1) / 2) * 0.25 * np.diff(first.edges)  # so that points do not hide one another
        main.errorbar(one.centres + shift, one.values, one.errors, label=name, **options)
        known = np.isfinite(ratio.values) & (ratio.errors < 1)
        panel.errorbar((ratio.centres + shift)[known], ratio.values[known], ratio.errors[known], **options)
        if known.any():
            sizes = np.abs(ratio.values[known] - 1) + ratio.errors[known]
            deviation = max(deviation, float(np.quantile(sizes, 0.9)))
    for place in cuts:
        for axes in (main, panel):
            axes.axvline(place, color="black", linewidth=0.7, linestyle=":", zorder=0)
    if cut is not None:
        main.axvline(cut[0], color="black", linewidth=1.2, linestyle="--", label=cut[1])
        panel.axvline(cut[0], color="black", linewidth=1.2, linestyle="--")
    height = min(1.25 * deviation, 1.0)
    panel.set_ylim(1 - height, 1 + height)
    panel.set_ylabel("Ratio", loc="center")
    panel.yaxis.set_major_locator(MaxNLocator(4, prune="upper"))
    panel.set_xlabel(f"{title} [{unit}]" if unit else title)
    panel.set_xlim(first.edges[0], first.edges[-1])
    width = first.edges[1] - first.edges[0]
    each = f"{width:.3g} {unit}".strip()
    main.set_ylabel(f"Fraction of {entries} / {each}")
    outside = any(one.outside for one in histograms.values())
    box = style.label(main, lines=[*lines, *(["first and last bin include overflow"] if outside else [])])
    top = max(float((one.values + one.errors).max()) for one in histograms.values())
    if log:
        main.set_yscale("log")
        least = min((float(one.values[one.values > 0].min()) for one in histograms.values()), default=1e-4)
        style.make_room(main, 0.5 * least, top, box)
    else:
        floor = min(float((one.values - one.errors).min()) for one in histograms.values())
        style.make_room(main, 1.1 * floor if floor < -0.005 * top else 0.0, top, box)
    return figure


@style.styled
def roc(curves: Mapping[str, tuple[np.ndarray, np.ndarray, str]], reference: str, other: str) -> Figure:
    """Draw ROC curves near the diagonal, and below how far above it they are.

    Args:
        curves: for each name the fractions of the reference and of the other sample that pass, and what to say of it.
        reference: name of the reference.
        other: name of the other sample.

    Returns:
        The figure.
    """
    figure, (main, below) = style.canvas(3, 1.2, size=(8, 7.5))
    main.plot([0, 1], [0, 1], ":", color="grey", linewidth=1.2, label="no difference")
    below.axhline(0.0, color="grey", linestyle=":", linewidth=1.2)
    several, widest = len(curves) > 1, 0.01
    for i, (name, (false, true, text)) in enumerate(curves.items()):
        colour = COLOURS[i % len(COLOURS)] if several else style.SIGNAL
        main.plot(false, true, color=colour, linewidth=1.8, label=f"{name}: {text}" if several else text)
        below.plot(false, true - false, color=colour, linewidth=1.5)
        widest = max(widest, float(np.max(np.abs(true - false))))
    main.set_ylabel(f"Fraction of {other}")
    below.set_xlabel(f"Fraction of {reference} with a larger score")
    below.set_ylabel("Difference", loc="center")
    below.set_xlim(0, 1)
    below.set_ylim(-1.2 * widest, 1.2 * widest)
    below.yaxis.set_major_locator(MaxNLocator(4, prune="upper"))
    style.make_room(main, 0.0, 1.0, style.label(main))
    return figure


@style.styled
def importances(names: Sequence[str], values: Sequence[float], errors: Sequence[float], title: str) -> Figure:
    """Draw bars with errors, the longest on top.

    Args:
        names: the N names, in the order of the bars from the top.
        values: float (N,).
        errors: float (N,).
        title: title of the x axis.

    Returns:
        The figure.
    """
    figure, (axes,) = style.canvas(size=(8, 1.8 + 0.36 * len(names)))
    places = np.arange(len(names))
    low = min(0.0, float(np.min(np.asarray(values) - errors)))
    high = max(0.0, float(np.max(np.asarray(values) + errors)))
    axes.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.barh(places, values, xerr=errors, color=style.BACKGROUND, ecolor="black", height=0.7, capsize=2)
    axes.axvline(0.0, color="black", linewidth=1)
    axes.set_yticks(places, names, fontsize=11)
    axes.tick_params(axis="y", which="both", length=0)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(title)
    style.label_above(axes)
    return figure
