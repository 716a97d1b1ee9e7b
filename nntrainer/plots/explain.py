"""Plots of why a network decides as it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nntrainer.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 20
"""Bars or rows in a plot; the less important ones are left out."""
BAR = style.COLOURS[1]
POINTS = 1500
"""Points in a row of contributions."""
LINES = 60
"""Bins in which points of a row are counted, to make it as wide as they are many."""


@style.styled
def importance(names: Sequence[str], value: np.ndarray, error: np.ndarray, title: str, method: str) -> Figure:
    """Draw importances with their uncertainties, the largest on top.

    Args:
        names: the parts of the input.
        value: float (k,).
        error: float (k,).
        title: what the value is, for the axis.
        method: what found them.

    Returns:
        The figure.
    """
    shown = min(len(names), MOST)
    figure, (axes,) = style.canvas(size=(8, 2.4 + 0.36 * shown))
    _bars(axes, names, value, error)
    axes.set_xlabel(title)
    left_out = len(names) - shown
    style.label_above(axes, f"{method}; {left_out} less important ones not shown" if left_out else method)
    return figure


@style.styled
def slots(panels: Mapping[str, tuple[Sequence[str], np.ndarray, np.ndarray]], title: str, method: str) -> Figure:
    """Draw the importance of each object, and of whole collections beside it.

    Args:
        panels: by name the parts, float (k,) values and float (k,) errors, drawn in the order given.
        title: what the value is.
        method: what found them.

    Returns:
        The figure.
    """
    widths = [max(len(names), 2) for names, _, _ in panels.values()]
    figure, (first,) = style.canvas(size=(2.5 + 0.5 * sum(widths), 6))
    figure.delaxes(first)
    axes = figure.subplots(1, len(panels), squeeze=False, width_ratios=widths)[0]
    for panel, (name, (parts, value, error)) in zip(axes, panels.items(), strict=True):
        place = np.arange(len(parts))
        panel.bar(place, value, yerr=error, width=0.7, color=BAR, error_kw={"elinewidth": 1.2})
        panel.set_xticks(place, parts, rotation=90)
        panel.tick_params(axis="x", which="both", length=0)
        panel.set_xlim(-0.7, len(parts) - 0.3)
        panel.set_ylim(min(0.0, 1.1 * float((value - error).min())), 1.12 * float((value + error).max()) or 1.0)
        panel.set_xlabel(name, loc="center")
    axes[0].set_ylabel(title)
    style.label_above(axes[0], method)
    return figure


@style.styled
def contributions(
    rows: Sequence[tuple[str, np.ndarray, np.ndarray]], title: str, method: str, *, seed: int = 1
) -> Figure:
    """Draw the contributions to single events, a row a feature, coloured by the value of the feature.

    Args:
        rows: name, float (n,) contributions and float (n,) values of each feature, the most important one first; of an
            object's feature every object is a point.
        title: what is contributed to.
        method: what found them.
        seed: decides which points are drawn where there are more than fit.

    Returns:
        The figure.
    """
    rows = rows[:MOST]
    random = np.random.default_rng(seed)
    figure, (axes,) = style.canvas(size=(9, 2.6 + 0.42 * len(rows)))
    everything = np.concatenate([contribution for _, contribution, _ in rows])
    # A few far away must not press all others into one line: they are drawn at the edge.
    low, high = np.quantile(everything, [0.001, 0.999]) if len(everything) else (-1.0, 1.0)
    reach = max(abs(float(low)), abs(float(high))) * 1.05 or 1.0
    drawn: Any = None
    for place, (_, contribution, value) in enumerate(rows):
        take = random.permutation(len(contribution))[:POINTS]
        x = np.clip(contribution[take], -reach, reach)
        drawn = axes.scatter(
            x, -place + _spread(x, reach, random), c=_rank(value)[take], cmap="coolwarm", vmin=0, vmax=1, s=5, lw=0,
            rasterized=True,
        )  # fmt: skip
    axes.axvline(0, color="black", linewidth=0.8, zorder=0)
    axes.set_yticks(-np.arange(len(rows)), [name for name, _, _ in rows])
    axes.tick_params(axis="y", which="both", length=0)
    axes.set_ylim(-len(rows) + 0.4, 0.6)
    axes.set_xlim(-1.03 * reach, 1.03 * reach)
    axes.set_xlabel(f"Contribution to the {title}")
    bar = figure.colorbar(drawn, ax=axes, aspect=40, pad=0.02)
    bar.set_ticks([0, 1], labels=["low", "high"])
    bar.ax.minorticks_off()
    bar.ax.tick_params(which="both", length=0)
    bar.set_label("Value of the feature (by rank)", loc="center")
    style.label_above(axes, method)
    return figure


@style.styled
def agreement(methods: Sequence[str], matrix: np.ndarray) -> Figure:
    """Draw the rank correlations of importances between methods.

    Args:
        methods: the k methods.
        matrix: float (k, k), NaN where there is none.

    Returns:
        The figure.
    """
    count = len(methods)
    side = 4.0 + 0.8 * count
    figure, (axes,) = style.canvas(size=(side + 1.2, side))
    image = axes.imshow(np.ma.masked_invalid(matrix), cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set_facecolor("0.85")
    axes.set_xticks(range(count), methods, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), methods)
    axes.tick_params(which="both", length=0)
    axes.minorticks_off()
    for (row, column), number in np.ndenumerate(matrix):
        text = f"{number:.2f}" if np.isfinite(number) else "–"
        axes.text(column, row, text, ha="center", va="center", color="white" if abs(number) > 0.6 else "black")
    figure.colorbar(image, ax=axes, shrink=0.85).set_label("Rank correlation (Spearman)", loc="center")
    style.label_above(axes, "features by importance")
    return figure


def _bars(axes: Axes, names: Sequence[str], value: np.ndarray, error: np.ndarray) -> None:
    order = np.argsort(-value, kind="stable")[:MOST][::-1]
    place = np.arange(len(order))
    axes.barh(place, value[order], xerr=error[order], height=0.65, color=BAR, error_kw={"elinewidth": 1.2})
    axes.set_yticks(place, [names[i] for i in order])
    axes.tick_params(axis="y", which="both", length=0)
    low, high = float((value - error)[order].min()), float((value + error)[order].max())
    axes.set_xlim(min(0.0, 1.1 * low), 1.08 * high if high > 0 else 1.0)
    axes.set_ylim(-0.6, len(order) - 0.4)
    if low < 0:
        axes.axvline(0, color="black", linewidth=0.8)


def _spread(x: np.ndarray, reach: float, random: np.random.Generator) -> np.ndarray:
    """Return how far above or below its row each point is drawn: as far as there are others beside it."""
    if not len(x):
        return np.zeros(0)
    index = np.clip(((x + reach) / (2 * reach) * LINES).astype(int), 0, LINES - 1)
    count = np.bincount(index, minlength=LINES)
    return np.asarray(0.4 * count[index] / count.max() * random.uniform(-1, 1, len(x)))


def _rank(value: np.ndarray) -> np.ndarray:
    """Return where each value lies among all, 0 to 1; equal values are at one place."""
    if not len(value):
        return np.zeros(0)
    found, index = np.unique(value, return_inverse=True)
    counts = np.bincount(index)
    middle = np.cumsum(counts) - counts / 2
    return np.asarray((middle / len(value))[index]) if len(found) > 1 else np.full(len(value), 0.5)
