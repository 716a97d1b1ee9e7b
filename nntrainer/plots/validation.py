"""Plots of how the training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nntrainer.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Columns = Mapping[str, Sequence[float]]
QUANTITIES = {"loss": "Loss", "accuracy": "Accuracy", "learning_rate": "Learning rate"}


def history(history: Columns | Mapping[str, Columns]) -> dict[str, Figure]:
    """Draw loss, accuracy and learning rate against the epoch, in training and validation.

    Args:
        history: the columns epoch, loss, val_loss, accuracy, val_accuracy, learning_rate, and ``<task>_loss`` and
            ``<task>_accuracy`` of several tasks; or these for each fold by its name; a quantity that no fold has is not
            drawn.

    Returns:
        Figures by the name of the quantity.
    """
    nested = all(isinstance(value, Mapping) for value in history.values())
    folds: Mapping[str, Any] = history if nested else {"": history}
    tasks = dict.fromkeys(name for columns in folds.values() for name in columns)
    more = {
        name: name.replace("_", " ")
        for name in tasks
        if name.endswith(("_loss", "_accuracy")) and not name.startswith("val_") and name not in QUANTITIES
    }
    return {
        name: _curves(folds, name, title)
        for name, title in (QUANTITIES | more).items()
        if any(name in columns for columns in folds.values())
    }


@style.styled
def range_test(rates: Sequence[float], loss: Sequence[float], smoothed: Sequence[float], suggested: float) -> Figure:
    """Draw the loss of a learning-rate range test against the rate.

    Args:
        rates: learning rates, growing.
        loss: the loss of the batch at each rate.
        smoothed: its average over rates nearby.
        suggested: the rate that is suggested.

    Returns:
        The figure.
    """
    figure, (axes,) = style.canvas()
    axes.set_xscale("log")
    # Where training diverges the loss may be anything; what matters is how it fell, and the rest is left out.
    low, first = float(np.min(smoothed)), float(smoothed[0])
    high = min(float(np.max(loss)), first + max(first - low, 0.1 * abs(first)))
    low = min(low, float(np.min(loss)))
    shown = [np.where(np.asarray(values) <= high, values, np.nan) for values in (loss, smoothed)]
    axes.plot(rates, shown[0], color=style.BACKGROUND, linewidth=0.8, label="each batch")
    axes.plot(rates, shown[1], color=style.COLOURS[1], linewidth=2.0, label="smoothed")
    axes.axvline(suggested, color=style.SIGNAL, linestyle="--", label=f"steepest at {suggested:.2g}")
    axes.set_xlim(rates[0], rates[-1])
    axes.set_xlabel("Learning rate")
    axes.set_ylabel("Loss")
    style.make_room(axes, low - 0.05 * (high - low), high, style.label(axes))
    return figure


@style.styled
def _curves(folds: Mapping[str, Columns], name: str, title: str) -> Figure:
    figure, (axes,) = style.canvas()
    colours = [style.COLOURS[i % len(style.COLOURS)] for i in range(len(folds))]
    several, validated = len(folds) > 1, any(f"val_{name}" in columns for columns in folds.values())
    seen: list[np.ndarray] = []
    epochs: list[np.ndarray] = []
    for colour, columns in zip(colours, folds.values(), strict=True):
        for column, line in ((name, "--" if validated else "-"), (f"val_{name}", "-")):
            if column not in columns:
                continue
            value = np.asarray(columns[column], np.float64)
            epoch = np.asarray(columns.get("epoch", np.arange(1, value.size + 1)), np.float64)
            marker = "o" if value.size < 3 else None  # a line of one point cannot be seen
            axes.plot(epoch, value, line, color=colour, linewidth=1.6, marker=marker)
            seen.append(value[np.isfinite(value)])
            epochs.append(epoch)
            if column == "val_loss" and np.isfinite(value).any():
                best = int(np.nanargmin(value))
                axes.plot(epoch[best], value[best], "*", color=colour, markersize=12, markeredgecolor="black")
    values = np.concatenate(seen) if seen else np.zeros(0)
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    if name == "learning_rate" and low > 0 and high / low > 20:
        axes.set_yscale("log")
        low, high = low / 1.5, high * 1.2
    else:
        low, high = low - margin, high + margin
    handles = [Line2D([], [], color=c, label=fold) for c, fold in zip(colours, folds, strict=True) if several]
    colour = "black" if several else colours[0]
    if validated:
        handles.append(Line2D([], [], color=colour, linestyle="--", label="training"))
        handles.append(Line2D([], [], color=colour, label="validation"))
    if name == "loss" and validated:
        star = {"color": colour, "markersize": 12, "markeredgecolor": "black"}
        handles.append(Line2D([], [], linestyle="", marker="*", label="smallest validation loss", **star))
    axes.set_xlabel("Epoch")
    axes.set_ylabel(title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    first = min((float(e.min()) for e in epochs if e.size), default=0.0)
    last = max((float(e.max()) for e in epochs if e.size), default=1.0)
    axes.set_xlim(first - 0.02 * (last - first or 10), last + 0.02 * (last - first or 10))
    style.make_room(axes, low, high, style.label(axes), handles=handles, labels=[str(h.get_label()) for h in handles])
    return figure
