"""Plots of what the network is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from nntrainer.plots import style
from nntrainer.plots.histograms import Histogram, histogram, sensible_edges

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ANNOTATED = 20  # a larger correlation matrix has no room for numbers


def feature_histograms(
    unit: str, values: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray], bins: int = 40
) -> dict[str, Histogram]:
    """Fill what `feature` draws: a histogram for each class, with common edges, in the unit that is shown.

    Entries outside the range (1 to 99 % quantiles) are in the first and the last bin. Errors are √Σw².

    Args:
        unit: unit of the feature; MeV is shown as GeV.
        values: float (N,) for each class.
        weights: float (N,), signed, for each class.
        bins: the most bins.

    Returns:
        The histograms.
    """
    scale, _ = shown_unit(unit)
    shown = {key: np.asarray(sample, np.float64) * scale for key, sample in values.items()}
    edges = sensible_edges(shown.values(), bins)
    return {key: histogram(shown[key], weights[key], edges) for key in shown}


@style.styled
def feature(name: str, unit: str, histograms: Mapping[str, Histogram], signal_label: str) -> Figure:
    """Draw a feature for signal and background, each normalised to unity, with their ratio below.

    In the ratio the points carry the signal's error and the band shows the background's.

    Args:
        name: name of the feature.
        unit: its unit; MeV is shown as GeV, and nothing or ``1`` as no unit.
        histograms: of each class, from `feature_histograms`.
        signal_label: which class is the signal; all others together are the background.

    Returns:
        The figure: panels distribution and ratio.
    """
    _, unit = shown_unit(unit)
    filled = dict(histograms)
    edges = next(iter(filled.values())).edges
    backgrounds = [key for key in filled if key != signal_label]
    if len(backgrounds) > 1:
        filled["background"] = _sum([filled[key] for key in backgrounds], edges)
    normal = {key: one.normalised() for key, one in filled.items()}
    together = "background" if len(backgrounds) > 1 else next(iter(backgrounds), "")

    figure, (main, below) = style.canvas(3, 1, size=(8, 7))
    colours = dict(zip(backgrounds, style.COLOURS[1:] * len(backgrounds), strict=False))
    colours |= {signal_label: style.SIGNAL, together: style.BACKGROUND}
    for key in sorted(normal, key=[together, signal_label, *backgrounds].index):
        one = normal[key]
        if one is None:
            main.plot([], [], " ", label=f"{key} (no positive sum of weights)")
        elif key in (signal_label, together):
            one.draw(main, colours[key], key, fill=key == together)
        else:
            main.stairs(one.values, one.edges, color=colours[key], linewidth=1.3, linestyle="--", label=key)
    width = edges[1] - edges[0]
    whole = bool(np.all(np.mod(edges, 1) == 0.5))
    each = f"{width:.3g} {unit}".strip()
    main.set_ylabel("Fraction of entries" + ("" if whole and each == "1" else f" / {each}"))
    box = style.label(
        main, lines=["first and last bin include overflow"] if any(h.outside for h in filled.values()) else []
    )
    present = [one for one in normal.values() if one is not None]
    top = max((float((one.values + one.errors).max()) for one in present), default=1.0)
    floor = min((float((one.values - one.errors).min()) for one in present), default=0.0)
    style.make_room(main, min(0.0, 1.1 * floor) if floor < -0.005 * top else 0.0, top, box)
    _ratio_panel(below, normal.get(signal_label), normal.get(together))
    below.set_xlabel(f"{name} [{unit}]" if unit else name)
    below.set_xlim(edges[0], edges[-1])
    if whole:
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        below.xaxis.minorticks_off()
    return figure


@style.styled
def field(name: str, unit: str, counts: np.ndarray, edges: np.ndarray) -> Figure:
    """Draw the entries of one field of a file, unweighted.

    Args:
        name: name of the field.
        unit: its unit; MeV is shown as GeV.
        counts: float (n,), entries in each bin.
        edges: float (n + 1,), rising.

    Returns:
        The figure.
    """
    scale, unit = shown_unit(unit)
    filled = Histogram(edges * scale, counts, np.sqrt(counts))
    figure, (axes,) = style.canvas()
    filled.draw(axes, style.BACKGROUND, f"{counts.sum():,.0f} entries", fill=True)
    width = filled.edges[1] - filled.edges[0]
    axes.set_ylabel(f"Entries / {width:.3g} {unit}".strip())
    axes.set_xlabel(f"{name} [{unit}]" if unit else name)
    axes.set_xlim(filled.edges[0], filled.edges[-1])
    top = float((filled.values + filled.errors).max(initial=1.0))
    style.make_room(axes, 0.0, top, style.label(axes))
    return figure


def shown_unit(unit: str) -> tuple[float, str]:
    """Return the factor and the unit that a plot shows: MeV as GeV, and ``1`` as no unit."""
    return (1e-3, "GeV") if unit == "MeV" else (1.0, "" if unit == "1" else unit)


def _sum(parts: Sequence[Histogram], edges: np.ndarray) -> Histogram:
    return Histogram(
        edges,
        np.sum([part.values for part in parts], axis=0),
        np.sqrt(np.sum([part.errors**2 for part in parts], axis=0)),
        sum(part.outside for part in parts),
    )


def _ratio_panel(axes: Axes, signal: Histogram | None, background: Histogram | None) -> None:
    """Draw signal over background, where there is background."""
    axes.axhline(1.0, color="black", linewidth=1, linestyle="--")
    axes.set_ylabel("Sig. / Bkg.", loc="center")
    axes.set_ylim(0.0, 2.0)
    if signal is None or background is None:
        return
    some = background.values > 0
    under = np.where(some, background.values, np.nan)
    ratio, error = signal.values / under, signal.errors / under
    spread = np.where(some, background.errors / under, 0.0)
    Histogram(background.edges, np.where(some, 1.0, np.nan), spread).band(axes, style.BACKGROUND, 0.5)
    axes.errorbar(signal.centres, ratio, error, fmt="o", color=style.SIGNAL, elinewidth=1.3, markersize=4)
    top = float(np.nanquantile(ratio, 0.95)) if some.any() else 1.0
    axes.set_ylim(0.0, min(max(2.0, np.ceil(1.2 * top)), 10.0))


class Correlations:
    """Weighted Pearson correlations of columns, of events that come in pieces.

    Args:
        size: number of columns, F.
    """

    def __init__(self, size: int) -> None:
        self._total, self._first, self._second = 0.0, np.zeros(size), np.zeros((size, size))
        self._shift: np.ndarray | None = None

    def add(self, values: np.ndarray, weights: np.ndarray) -> None:
        """Add events.

        Args:
            values: float (N, F); rows with a value that is not finite are left out.
            weights: float (N,), signed.
        """
        if not len(values):
            return
        if self._shift is None:
            # Shifted by a typical row, so that large means do not eat the digits of small variances.
            self._shift = np.nan_to_num(np.median(values[:1000], axis=0))
        values = np.asarray(values, np.float64) - self._shift
        kept = np.isfinite(values).all(axis=1)
        if not kept.all():
            values, weights = values[kept], weights[kept]
        self._total += weights.sum()
        self._first += weights @ values
        self._second += values.T @ (weights[:, None] * values)

    def matrix(self) -> np.ndarray:
        """Return them, float64 (F, F); NaN where a column does not vary (or its signed variance is not positive)."""
        if not self._total > 0:
            return np.full_like(self._second, np.nan)
        mean = self._first / self._total
        square = self._second / self._total
        covariance = square - np.outer(mean, mean)
        variance = np.diag(covariance)
        sigma = np.sqrt(np.where(variance > 1e-12 * np.abs(np.diag(square)), variance, np.nan))
        return np.asarray(covariance / np.outer(sigma, sigma))


def correlation_matrix(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted Pearson correlations of the columns, see `Correlations`.

    Args:
        values: float (N, F); rows with a value that is not finite are left out.
        weights: float (N,), signed.

    Returns:
        float64 (F, F).
    """
    found, weights = Correlations(values.shape[1]), np.asarray(weights, np.float64)
    for start in range(0, len(values), 100_000):
        found.add(values[start : start + 100_000], weights[start : start + 100_000])
    return found.matrix()


@style.styled
def correlation(names: Sequence[str], matrix: np.ndarray, title: str) -> Figure:
    """Draw the correlation matrix of features, with numbers where there are few.

    Args:
        names: the F names.
        matrix: float (F, F), from `correlation_matrix`.
        title: whose events these are.

    Returns:
        The figure.
    """
    count = len(names)
    small = count <= ANNOTATED
    side = min(3.0 + (0.6 if small else 0.25) * count, 20.0)
    figure, (axes,) = style.canvas(size=(max(side + 1.2, 6.0), max(side, 5.0)))
    image = axes.imshow(np.ma.masked_invalid(matrix), cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set_facecolor("0.85")
    size = 11 if small else 8
    axes.set_xticks(range(count), names, rotation=90, fontsize=size)
    axes.set_yticks(range(count), names, fontsize=size)
    axes.tick_params(which="both", length=0)
    axes.minorticks_off()
    if small:
        for (row, column), number in np.ndenumerate(matrix):
            colour = "white" if abs(number) > 0.6 else "black"
            text = f"{round(number, 2) + 0.0:.2f}" if np.isfinite(number) else "–"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=10)
    bar = figure.colorbar(image, ax=axes, shrink=0.9)
    bar.set_label("Linear correlation coefficient", loc="center")
    style.label_above(axes, title)
    return figure
