"""Plots of how a score depends on a nuisance, and of what independence costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from nntrainer.plots import style
from nntrainer.plots.histograms import Histogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _colours(number: int) -> np.ndarray:
    return mpl.colormaps["viridis"](np.linspace(0.0, 0.85, number))


@style.styled
def shapes(histograms: Mapping[float | None, Histogram], title: str, lines: Sequence[str] = ()) -> Figure:
    """Draw the shape of a nuisance before and after cuts on the score, and below the ratios to before.

    Args:
        histograms: by signal efficiency of the cut, with common edges; before any cut under None.
        title: the nuisance and its unit.
        lines: written below the label.

    Returns:
        The figure: panels shape and ratio.
    """
    figure, (main, below) = style.canvas(3, 1.3, size=(8, 7))
    before = histograms[None]
    edges, widths = before.edges, np.diff(before.edges)
    top, ratios = 0.0, [1.0]
    colours = iter(_colours(len(histograms) - 1))
    for cut, one in histograms.items():
        shape = one.normalised()
        if shape is None:
            continue
        colour: Any = "black" if cut is None else next(colours)
        name = "before cuts" if cut is None else f"signal efficiency {cut:.0%}"
        density = Histogram(edges, shape.values / widths, shape.errors / widths)
        density.draw(main, colour, name)
        top = max(top, float((density.values + density.errors).max()))
        reference = before.values / before.values.sum()
        if cut is not None:
            some = reference > 0
            ratio = np.where(some, shape.values / np.where(some, reference, 1.0), np.nan)
            error = np.where(some, shape.errors / np.where(some, reference, 1.0), np.nan)
            below.stairs(ratio, edges, color=colour, linewidth=1.8, baseline=None)
            Histogram(edges, ratio, error).band(below, colour)
            ratios += [float(np.nanmin(ratio)), float(np.nanmax(ratio))]
    below.axhline(1.0, color="black", linewidth=1.0, linestyle=":")
    below.set_xlim(edges[0], edges[-1])
    margin = 0.1 * (max(ratios) - min(ratios)) + 0.05
    below.set_ylim(max(min(ratios) - margin, 0.0), max(ratios) + margin)
    below.set_xlabel(title)
    below.set_ylabel("After / before", loc="center")
    main.set_ylabel("Background density")
    style.make_room(main, 0.0, top or 1.0, style.label(main, lines=lines))
    return figure


@style.styled
def efficiencies(cuts: Sequence[Mapping[str, Any]], edges: np.ndarray, title: str) -> Figure:
    """Draw the efficiency of background events against a nuisance; independent scores give flat lines.

    Args:
        cuts: of each ``signal_efficiency``, ``background_efficiency``, and ``efficiency`` and ``error`` of each bin.
        edges: float (bins + 1,).
        title: the nuisance and its unit.

    Returns:
        The figure.
    """
    figure, (axes,) = style.canvas(size=(8, 6.5))
    edges = np.asarray(edges)
    centres, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    top = 0.0
    for colour, cut in zip(_colours(len(cuts)), cuts, strict=True):
        values, errors = (np.array(cut[key], np.float64) for key in ("efficiency", "error"))
        name = f"signal efficiency {cut['signal_efficiency']:.0%}"
        axes.errorbar(centres, values, np.nan_to_num(errors), half, fmt="o", color=colour, markersize=4, label=name)
        axes.axhline(cut["background_efficiency"], color=colour, linewidth=1.2, linestyle="--")
        top = max(top, float(np.nanmax(values + np.nan_to_num(errors), initial=0.0)))
    axes.plot([], [], "--", color="grey", linewidth=1.2, label="all background events")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(title)
    axes.set_ylabel("Background efficiency")
    style.make_room(axes, 0.0, top or 1.0, style.label(axes))
    return figure


@style.styled
def trade_off(
    strength: np.ndarray,
    auc: tuple[np.ndarray, np.ndarray],
    dependence: tuple[np.ndarray, np.ndarray],
    title: str,
    *,
    floor: float | None = None,
) -> Figure:
    """Draw the area under the ROC curve against the dependence of the score, a point for each strength.

    Args:
        strength: float (N,), the strengths of the decorrelation, rising.
        auc: float (N,) each, the areas and their uncertainties.
        dependence: float (N,) each, the dependences and their uncertainties.
        title: what the dependence is.
        floor: what a score without dependence would show.

    Returns:
        The figure.
    """
    figure, (axes,) = style.canvas(size=(8, 6.5))
    x, dx = (np.asarray(each, np.float64) for each in dependence)
    y, dy = (np.asarray(each, np.float64) for each in auc)
    axes.plot(x, y, color="grey", linewidth=1.2)
    axes.errorbar(x, y, np.nan_to_num(dy), np.nan_to_num(dx), fmt="o", color=style.COLOURS[1], label="strength λ")
    for value, at, height in zip(strength, x, y, strict=True):
        offset = {"xytext": (7, -7), "textcoords": "offset points", "va": "top", "fontsize": "small"}
        axes.annotate(f"{value:g}", (at, height), **offset)
    low, high = float(np.nanmin(y - np.nan_to_num(dy))), float(np.nanmax(y + np.nan_to_num(dy)))
    span = (high - low) or 0.01
    if floor is not None:  # ends below the label
        ends = {"ymin": low - 0.15 * span, "ymax": high}
        axes.vlines(floor, **ends, color="grey", linestyle=":", linewidth=1.2, label="no dependence, as many events")
    left = min(float(np.nanmin(x - np.nan_to_num(dx))), x.max() if floor is None else floor)
    right = float(np.nanmax(x + np.nan_to_num(dx)))
    margin = 0.08 * (right - left) or 0.1
    axes.set_xlim(left - margin, right + margin)
    axes.set_xlabel(title)
    axes.set_ylabel("Area under the ROC curve")
    style.make_room(axes, low - 0.15 * span, high + 0.05 * span, style.label(axes))
    return figure
