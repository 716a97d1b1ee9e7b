"""Do the models of the folds agree?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nntrainer.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@style.styled
def auc(folds: Sequence[Mapping[str, Any]], mean: float, spread: float) -> Figure:
    """Draw the AUC of each fold's test events with its uncertainty, the mean of the folds and their spread.

    Args:
        folds: ``fold``, ``auc`` and ``auc_error`` of each; what is None or not finite is left out.
        mean: mean of the AUC.
        spread: standard deviation of the AUC over the folds.

    Returns:
        The figure.
    """
    figure, (axes,) = style.canvas(size=(8, 6))
    place = np.array([each["fold"] for each in folds])
    values, errors = (np.array([each[key] for each in folds], np.float64) for key in ("auc", "auc_error"))
    text = f"mean {mean:.4f} and band of the spread {spread:.4f}"
    axes.axhspan(mean - spread, mean + spread, color=style.COLOURS[1], alpha=0.2, linewidth=0)
    axes.axhline(mean, color=style.COLOURS[1], linewidth=1.5, linestyle="--", label=text)
    axes.errorbar(
        place, values, np.nan_to_num(errors), fmt="o", color="black", capsize=3, label="events of the fold ± stat."
    )
    ends = np.concatenate(
        [values - np.nan_to_num(errors), values + np.nan_to_num(errors), [mean - spread, mean + spread]]
    )
    ends = ends[np.isfinite(ends)]
    low, high = (ends.min(), ends.max()) if ends.size else (0.0, 1.0)
    margin = 0.2 * (high - low) or 0.01
    axes.set_xticks(place)
    axes.minorticks_off()
    axes.set_xlim(place.min() - 0.5, place.max() + 0.5)
    axes.set_xlabel("Fold (event number % folds)")
    axes.set_ylabel("AUC of events the model never saw")
    style.make_room(axes, low - margin, high, style.label(axes))
    return figure
