"""Plots of attention: heat maps of layers, and how attention depends on the distance of two objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from nntrainer.plots import style

if TYPE_CHECKING:
    from nntrainer.explain.attention.pairs import Curve

MARKERS = ("o", "s", "^", "D", "v", "P")


@style.styled
def maps(layer: str, queries: Sequence[str], keys: Sequence[str], means: Mapping[str, np.ndarray]) -> Figure:
    """Draw the mean attention of a layer: a row a class, a column a head.

    Args:
        layer: its name.
        queries: names of what looks.
        keys: names of what is looked at.
        means: by class (heads, queries, keys), NaN where there is nothing.

    Returns:
        The figure.
    """
    rows, columns = len(means), len(next(iter(means.values())))
    wide, high = max(0.24 * len(keys), 1.6), max(0.24 * len(queries), 0.5)
    words, height = 0.7, 1.9 + rows * (high + 0.35)
    figure = Figure(figsize=(2.6 + columns * (wide + 0.15), height + words), layout="constrained")
    strip, body = figure.subfigures(2, 1, height_ratios=[words, height])
    corner = strip.subplots()
    corner.axis("off")
    style.label(corner, lines=[f"attention layer '{layer}', mean over events with both"])
    panels = body.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    top = max(float(np.nanmax(each, initial=0.0)) for each in means.values())
    image: Any = None
    for row, (name, heads) in enumerate(means.items()):
        for column, each in enumerate(heads):
            axes = panels[row, column]
            image = axes.imshow(np.ma.masked_invalid(each), cmap="Blues", vmin=0.0, vmax=top or 1.0, aspect="auto")
            axes.set_title(f"{name}, head {column}", fontsize=10)
            axes.set_xticks(range(len(keys)), keys, rotation=90, fontsize=8)
            axes.set_yticks(range(len(queries)), queries, fontsize=8)
            axes.tick_params(which="both", length=0, top=False, right=False)
            axes.minorticks_off()
            axes.set_facecolor("0.85")
    body.supxlabel("looked at", fontsize=12)
    body.supylabel("looking", fontsize=12)
    bar = body.colorbar(image, ax=panels, shrink=0.9, pad=0.02)
    bar.set_label("Mean attention", fontsize=12, loc="center")
    bar.ax.tick_params(labelsize=10)
    return figure


@style.styled
def delta_r(layer: str, curves: Mapping[str, Curve]) -> Figure:
    """Draw the mean attention between two objects against their distance.

    Args:
        layer: its name.
        curves: what is compared, by name.

    Returns:
        The figure.
    """
    figure, (axes,) = style.canvas()
    low, top = 1.0, 1.0
    for i, (name, each) in enumerate(curves.items()):
        some = np.isfinite(each.value)
        if not some.any():
            continue
        edges, colour = each.edges, style.COLOURS[i % len(style.COLOURS)]
        centre, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
        # Points of several curves in a bin lie side by side, so that none hides another's uncertainty.
        x = centre + half * 0.3 * (i - (len(curves) - 1) / 2)
        options = {"color": colour, "fmt": MARKERS[i % len(MARKERS)], "linestyle": "none", "linewidth": 1.6}
        axes.errorbar(x[some], each.value[some], yerr=each.error[some], label=name, **options)
        axes.hlines(each.value[some], edges[:-1][some], edges[1:][some], color=colour, linewidth=0.8, alpha=0.6)
        low = min(low, float((each.value - each.error)[some].min()))
        top = max(top, float((each.value + each.error)[some].max()))
    axes.axhline(1.0, color="grey", linewidth=1.0, linestyle="--")
    axes.set_xlim(0.0, next(iter(curves.values())).edges[-1])
    axes.set_xlabel("ΔR of the two objects")
    axes.set_ylabel("Mean attention / attention to all alike")
    margin = 0.08 * (top - low) + 0.01
    style.make_room(axes, low - margin, top + margin, style.label(axes, lines=[f"attention layer '{layer}'"]))
    return figure
