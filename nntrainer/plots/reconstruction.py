"""Plots of particles that are put together from objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nntrainer.plots import style
from nntrainer.plots.histograms import histogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nntrainer.evaluation.weighted import Fraction

Sample = tuple[np.ndarray, np.ndarray]
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D")
NAMES = {"truth": "true objects"}
"""How a choice is called in a legend, where its name is short."""


@style.styled
def fractions(particle: str, kind: str, edges: np.ndarray, curves: Mapping[str, Sequence[Fraction]]) -> Figure:
    """Draw how often all objects of a particle are right, against its true pT.

    Args:
        particle: its name.
        kind: ``all`` or ``matchable`` events.
        edges: (bins + 1,) pT in GeV.
        curves: for each way to choose objects the fraction in each bin.

    Returns:
        The figure.
    """
    figure, (axes,) = style.canvas()
    centres, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    for i, (name, values) in enumerate(curves.items()):
        some = [each.events > 0 for each in values]
        y, error = (np.array([getattr(each, what) for each in values])[some] for what in ("value", "error"))
        # Points of several curves in a bin lie side by side, so that none hides another's uncertainty.
        x = centres[some] + half[some] * 0.15 * (i - (len(curves) - 1) / 2)
        colour = style.COLOURS[i % len(style.COLOURS)]
        marker = MARKERS[i % len(MARKERS)]
        axes.errorbar(x, y, yerr=error, color=colour, fmt=marker, linestyle="none", linewidth=1.6, label=name)
        axes.hlines(y, edges[:-1][some], edges[1:][some], color=colour, linewidth=0.8, alpha=0.6)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(f"True pT of {particle} [GeV]")
    axes.set_ylabel(f"Fraction of events with {particle} right")
    style.make_room(axes, 0.0, 1.0, style.label(axes, lines=[f"{kind} events"]))
    return figure


@style.styled
def masses(particle: str, samples: Mapping[str, Sample]) -> Figure:
    """Draw the mass of the chosen objects of matchable events.

    Args:
        particle: its name.
        samples: for each way to choose objects (n,) masses in GeV and their weights.

    Returns:
        The figure.
    """
    high = float(max(np.quantile(values, 0.98) for values, _ in samples.values()))
    return _distributions(f"Mass of {particle} [GeV]", np.linspace(0.0, max(high, 1.0), 41), samples)


@style.styled
def responses(particle: str, samples: Mapping[str, Sample]) -> Figure:
    """Draw the relative difference between chosen and true pT in matchable events.

    Args:
        particle: its name.
        samples: for each way to choose objects (n,) differences and their weights.

    Returns:
        The figure.
    """
    return _distributions(f"(pT − true pT) / true pT of {particle}", np.linspace(-1.0, 2.0, 41), samples)


def _distributions(title: str, edges: np.ndarray, samples: Mapping[str, Sample]) -> Figure:
    figure, (axes,) = style.canvas()
    high = 0.0
    for i, (name, (values, weights)) in enumerate(samples.items()):
        drawn = histogram(values, weights, edges).normalised()
        if drawn is None:
            continue
        colour = "black" if name == "truth" else style.COLOURS[i % len(style.COLOURS)]
        axes.stairs(
            drawn.values, edges, color=colour, linewidth=1.8, linestyle=LINES[i % 4], label=NAMES.get(name, name)
        )
        drawn.band(axes, colour, 0.25)
        high = max(high, float(np.max(drawn.values + drawn.errors)))
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(title)
    axes.set_ylabel("Fraction of events per bin")
    style.make_room(axes, 0.0, high or 1.0, style.label(axes, lines=["matchable events; ends hold what is beyond"]))
    return figure
