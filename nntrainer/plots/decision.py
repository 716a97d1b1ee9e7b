"""Plots of discriminants, and of yields with their significance in the bins of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nntrainer.plots import style
from nntrainer.plots.histograms import Histogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nntrainer.evaluation.decision import BinnedSignificance

Yields = tuple[np.ndarray, np.ndarray]


def discriminant_name(of: str, fractions: Mapping[str, float]) -> str:
    """Return how a discriminant is written on an axis."""
    terms = [f"p({name})" if f == 1 else f"{f:g} p({name})" for name, f in fractions.items() if f > 0]
    below = " + ".join(terms)
    return f"D({of}) = ln[ p({of}) / {below if len(terms) == 1 else f'({below})'} ]"


@style.styled
def shapes(histograms: Mapping[str, Histogram], title: str) -> Figure:
    """Draw normalised histograms over one another.

    Args:
        histograms: by name, with common edges, each of unit sum.
        title: title of the x axis.

    Returns:
        The figure.
    """
    figure, (axes,) = style.canvas(size=(8, 6))
    top, floor, edges = 0.0, 0.0, np.array([0.0, 1.0])
    for i, (name, one) in enumerate(histograms.items()):
        one.draw(axes, style.COLOURS[i % len(style.COLOURS)], name)
        edges = one.edges
        top = max(top, float((one.values + one.errors).max()))
        floor = min(floor, float((one.values - one.errors).min()))
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(title)
    axes.set_ylabel(f"Fraction of events / {edges[1] - edges[0]:.3g}")
    style.make_room(axes, 1.1 * floor if floor < -0.005 * top else 0.0, top or 1.0, style.label(axes))
    return figure


@style.styled
def binned(found: BinnedSignificance, yields: Mapping[str, Yields], signal: str, title: str) -> Figure:
    """Draw the yields of all classes stacked, the signal on top, and below the significance of each bin.

    The bins are drawn with equal widths; their edges are written below.

    Args:
        found: the significance.
        yields: for each class the yields (bins,) and their errors √Σw².
        signal: the class that counts as signal.
        title: title of the x axis.

    Returns:
        The figure.
    """
    figure, (main, below) = style.canvas(3, 1, size=(8.5, 7.5))
    bins = len(found.edges) - 1
    places, centres = np.arange(bins + 1), np.arange(bins) + 0.5
    base, variance = np.zeros(bins), np.zeros(bins)
    others = [name for name in yields if name != signal]
    order = [*sorted(others, key=lambda name: float(yields[name][0].sum())), signal]
    for name in order:
        values, errors = yields[name]
        i = 0 if name == signal else 1 + others.index(name)
        colour = style.COLOURS[i % len(style.COLOURS)]
        options = {"fill": True, "color": colour, "alpha": 0.55, "label": name}
        main.stairs(base + values, places, baseline=base, **options)
        base, variance = base + values, variance + errors**2
    error = np.sqrt(variance)
    main.stairs(
        base + error, places, baseline=base - error, fill=True, hatch="////", facecolor="none", lw=0, label="√Σw²"
    )
    main.stairs(
        yields[signal][0], places, color=style.COLOURS[0], linestyle="--", linewidth=1.8, label=f"{signal} alone"
    )
    positive = np.concatenate([each[each > 0] for each in (base, yields[signal][0])])
    main.set_yscale("log")
    main.set_ylabel("Events / bin")
    main.minorticks_on()
    below.xaxis.minorticks_off()
    z = np.where(found.trusted, found.significance, np.nan)
    below.stairs(np.nan_to_num(z), places, color="black", linewidth=1.6)
    if not found.trusted.all():
        below.plot(centres[~found.trusted], np.zeros(int((~found.trusted).sum())), "x", color="grey")
    below.set_ylim(0, 1.3 * float(np.nanmax(z, initial=0.1)))
    below.set_xlim(0, bins)
    every = max(1, int(np.ceil((bins + 1) / 12)))
    digits = int(max(0, 2 - np.floor(np.log10(np.ptp(found.edges)))))
    below.set_xticks(places[::every], [f"{edge:.{digits}f}" for edge in found.edges[::every]])
    below.set_xlabel(f"{title or 'Network score'} (edges of the bins)")
    below.set_ylabel("Z of the bin", loc="center")
    lines = [f"Z = √(Σ Z²) = {found.total:.3g}"]
    if missing := int((~found.trusted).sum()):
        lines.append(f"{missing} bin{'s' if missing > 1 else ''} with too little background not counted")
    low, high = (0.5 * float(positive.min()), float(positive.max())) if positive.size else (0.1, 1.0)
    style.make_room(main, low, high, style.label(main, lines=lines))
    return figure
