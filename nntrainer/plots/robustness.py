"""Plot of how a network stands changes of its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nntrainer.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@style.styled
def robustness(
    epsilon: Sequence[float], attacks: Mapping[str, Mapping[str, Sequence[float | None]]], classes: int
) -> Figure:
    """Draw balanced accuracy and AUC against the largest change of the inputs.

    Args:
        epsilon: the largest changes in standard deviations, rising from 0.
        attacks: for each attack ``balanced_accuracy``, ``auc`` and their ``…_error`` at each of them.
        classes: number of classes; guessing is right in one of so many.

    Returns:
        The figure: panels accuracy and AUC.
    """
    figure, (main, below) = style.canvas(1.4, 1, size=(8, 7.5))
    x = np.asarray(epsilon)
    markers, top = ("o", "s", "^"), 1 / classes
    for axes, key in ((main, "balanced_accuracy"), (below, "auc")):
        for i, (name, columns) in enumerate(attacks.items()):
            values = np.array(columns[key], np.float64)
            errors = np.nan_to_num(np.array(columns[f"{key}_error"], np.float64))
            top = max(top, float(np.nanmax(values + errors, initial=0.0))) if axes is main else top
            line = ("-", "--", "-.")[i % 3]
            axes.errorbar(
                x, values, errors, fmt=f"{markers[i % 3]}{line}", color=style.COLOURS[i], linewidth=1.5, label=name
            )
    main.axhline(1 / classes, color="grey", linestyle=":", linewidth=1.2, label="guessing")
    below.axhline(0.5, color="grey", linestyle=":", linewidth=1.2)
    margin = 0.03 * float(x.max())
    main.set_xlim(-margin, x.max() + margin)
    below.set_ylim(0.0, 1.0)
    below.set_xlabel("Largest change of a feature ε [standard deviations]")
    main.set_ylabel("Balanced accuracy")
    below.set_ylabel("AUC")
    style.make_room(main, 0.0, top, style.label(main))
    return figure
