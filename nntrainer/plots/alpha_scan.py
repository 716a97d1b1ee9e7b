"""Plots of the α-scan: the templates at each angle, and −2Δ ln L against the angle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np

from nntrainer.plots import style
from nntrainer.plots.histograms import Histogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINEAR = 10.0
"""Up to here the axis of −2Δ ln L is linear, above logarithmic, so that both ends are seen."""

Curve = tuple[np.ndarray, np.ndarray, Sequence[float]]


@style.styled
def templates(histograms: Mapping[str, Histogram], name: str, unit: str) -> Figure:
    """Draw the yields of the signal at each angle, and below their ratio to the first.

    Args:
        histograms: by angle, with common edges.
        name: the variable.
        unit: its unit; MeV are drawn as GeV.

    Returns:
        The figure: panels yields over the bins' widths, and ratio.
    """
    figure, (main, below) = style.canvas(3, 1.3, size=(8, 7))
    first = next(iter(histograms.values()))
    edges = first.edges / 1000 if unit == "MeV" else first.edges
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.9, len(histograms)))
    top = 0.0
    width = np.diff(edges)
    for colour, (angle, one) in zip(colours, histograms.items(), strict=True):
        drawn = Histogram(edges, one.values / width, one.errors / width)
        drawn.draw(main, colour, angle)
        ratio = Histogram(edges, one.values / first.values, one.errors / first.values)
        below.stairs(ratio.values, edges, color=colour, linewidth=1.8, baseline=None)
        ratio.band(below, colour)
        top = max(top, float((drawn.values + drawn.errors).max()))
    shown = {"MeV": "GeV"}.get(unit, unit)
    below.set_xlim(edges[0], edges[-1])
    below.set_xlabel(f"{name} [{shown}]" if shown else name)
    below.set_ylabel(f"Ratio to {next(iter(histograms))}", loc="center")
    main.set_ylabel(f"Events / {shown}" if shown else "Events / unit")
    style.make_room(main, 0.0, top or 1.0, style.label(main))
    return figure


@style.styled
def scan(curves: Mapping[str, Curve], thresholds: Mapping[str, float], *, floating: bool) -> Figure:
    """Draw −2Δ ln L against the CP-mixing angle, with lines where an angle is excluded.

    What finite simulation is expected to add is taken off; dotted lines are before that.

    Args:
        curves: for each template the angles in degrees (n,), −2Δ ln L (n,), and what finite simulation alone is
            expected to add to it (n,).
        thresholds: the value that excludes, by name of the confidence level.
        floating: whether the signal's rate was fitted.

    Returns:
        The figure.
    """
    figure, (axes,) = style.canvas(size=(8, 6.5))
    highest, widest = max(thresholds.values()), [0.0]
    for i, (name, (angle, q, noise)) in enumerate(curves.items()):
        order = np.argsort(angle)
        whole = np.where(np.isfinite(q), q, np.nan)[order]
        shown = np.maximum(whole - np.asarray(noise)[order], 0.0)
        colour = style.COLOURS[i % len(style.COLOURS)]
        axes.plot(angle[order], shown, "o-", color=colour, label=name)
        axes.plot(angle[order], whole, ":", color=colour, linewidth=1.2)
        highest = max(highest, float(np.nanmax(whole, initial=0.0)))
        widest += [float(angle.min()), float(angle.max())]
    axes.plot([], [], ":", color="grey", linewidth=1.2, label="with the noise of finite simulation")
    low, high = min(widest), max(widest)
    axes.set_xlim(low, high)
    for name, value in thresholds.items():
        axes.axhline(value, color="grey", linewidth=1.2, linestyle="--")
        axes.annotate(
            name, (high - 0.01 * (high - low), value), ha="right", va="bottom", color="grey", fontsize="small"
        )
    axes.set_xlabel("CP-mixing angle α [°]")
    axes.set_ylabel("−2Δ ln L against data of α = 0")
    lines = [f"signal rate {'fitted' if floating else 'fixed'}, expected data"]
    axes.set_yscale("symlog", linthresh=LINEAR, linscale=1.5)
    axes.set_yticks([0, 2, 4, 6, 8, 10, *(10.0**k for k in range(2, 9) if 10.0**k < highest)])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())
    scale: Any = axes.yaxis.get_transform()
    style.make_room(axes, 0.0, highest, style.label(axes, lines=lines))
    # What make_room does on a linear axis, on this one.
    stretched = scale.transform(np.array([highest]))[0] * axes.get_ylim()[1] / highest
    axes.set_ylim(0.0, float(scale.inverted().transform(np.array([stretched]))[0]))
    return figure
