"""Plots of a search for the best values of some keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from nntrainer.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DONE, PRUNED, BEST = style.COLOURS[1], "#9a9a9a", style.COLOURS[0]


@style.styled
def history(number: np.ndarray, value: np.ndarray, done: np.ndarray, title: str, *, smaller: bool) -> Figure:
    """Draw the value of every trial, and the best one so far.

    Args:
        number: int (N,), numbers of the trials, rising.
        value: float (N,), the objective; of a trial that was given up its last value.
        done: bool (N,), False for trials that were given up.
        title: what the objective is.
        smaller: whether a smaller value is better.

    Returns:
        The figure.
    """
    figure, (axes,) = style.canvas()
    _trials(axes, number, value, done)
    better = np.minimum.accumulate if smaller else np.maximum.accumulate
    if done.any():
        first, last = number[done], float(number.max())
        so_far = better(value[done])
        axes.step(np.append(first, last), np.append(so_far, so_far[-1]), where="post", color=BEST, label="best so far")
    axes.set_xlabel("Trial")
    axes.set_ylabel(title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    margin = 0.03 * max(float(np.ptp(number)), 1.0)
    axes.set_xlim(float(number.min()) - margin, float(number.max()) + margin)
    _frame(axes, value)
    return figure


@style.styled
def epochs(curves: Sequence[tuple[np.ndarray, np.ndarray, bool]], best: int | None, title: str) -> Figure:
    """Draw the value of every trial after each of its epochs.

    Args:
        curves: for each trial its epochs, int (N,), their values, float (N,), and whether it came to its end.
        best: which of them is the best one, None where it is not among them.
        title: what the objective is.

    Returns:
        The figure.
    """
    figure, (axes,) = style.canvas()
    labels: set[str] = set()

    def once(name: str) -> str | None:
        new = name not in labels
        labels.add(name)
        return name if new else None

    for index, (step, value, done) in enumerate(curves):
        marker = "o" if len(step) < 2 else None
        if index != best:
            name = once("finished" if done else "given up or failed")
            line = "-" if done else "--"
            axes.plot(step, value, line, color=DONE if done else PRUNED, marker=marker, lw=1.0, alpha=0.7, label=name)
    if best is not None:
        step, value, _ = curves[best]
        axes.plot(step, value, color=BEST, marker="o" if len(step) < 2 else None, lw=2.2, label="best", zorder=5)
    last = max(float(step.max()) for step, _, _ in curves)
    axes.set_xlabel("Epoch")
    axes.set_ylabel(title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(1 - 0.02 * last, last + 0.02 * last)
    _frame(axes, np.concatenate([value for _, value, _ in curves]))
    return figure


@style.styled
def importances(weight: Mapping[str, float]) -> Figure:
    """Draw how much each key decides the objective.

    Args:
        weight: the importance of each key; they add up to 1.

    Returns:
        The figure.
    """
    names = sorted(weight, key=lambda name: weight[name])
    figure, (axes,) = style.canvas(size=(8, 2.6 + 0.5 * len(names)))
    values = [weight[name] for name in names]
    axes.barh(range(len(names)), values, height=0.6, color=DONE)
    for y, value in enumerate(values):
        axes.text(value + 0.012, y, f"{value:.2f}", va="center", fontsize="small")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", which="both", length=0)
    axes.minorticks_off()
    axes.set_xlim(0, max(values) * 1.12 + 0.02)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel("Importance (PED-ANOVA)")
    style.label_above(axes)
    return figure


@style.styled
def slice_(
    key: str,
    x: np.ndarray,
    value: np.ndarray,
    done: np.ndarray,
    number: np.ndarray,
    title: str,
    *,
    log: bool,
    names: Sequence[str] | None,
    smaller: bool,
) -> Figure:
    """Draw the objective against one of the searched keys, whatever the others were.

    Args:
        key: the key.
        x: float (N,), its value in each trial, or the position of the choice.
        value: float (N,), the objective.
        done: bool (N,), False for trials that were given up.
        number: int (N,), numbers of the trials; later ones are darker.
        title: what the objective is.
        log: whether the key was searched by its logarithm.
        names: the choices; None for numbers.
        smaller: whether a smaller value is better.

    Returns:
        The figure.
    """
    figure, (axes,) = style.canvas(size=(8, 6))
    if log:
        axes.set_xscale("log")
    if names is not None:
        # Beside one another, those of one choice, in their order.
        x = x + 0.3 * (number / max(int(number.max()), 1) - 0.5)
        axes.set_xticks(range(len(names)), names)
        axes.xaxis.minorticks_off()
        axes.set_xlim(-0.6, len(names) - 0.4)
    else:
        low, high = (np.log10(x.min()), np.log10(x.max())) if log else (float(x.min()), float(x.max()))
        margin = 0.04 * (high - low) or 0.04 * abs(high) or 0.1
        axes.set_xlim(*((10 ** (low - margin), 10 ** (high + margin)) if log else (low - margin, high + margin)))
    _trials(axes, x, value, done)
    if done.any():
        at = int(np.argmin(np.where(done, value if smaller else -value, np.inf)))
        style_ = {"color": BEST, "markersize": 14, "markeredgecolor": "black", "linestyle": ""}
        axes.plot(x[at], value[at], "*", label="best", zorder=5, **style_)
    axes.set_xlabel(key)
    axes.set_ylabel(title)
    _frame(axes, value)
    return figure


def _trials(axes: Axes, x: np.ndarray, value: np.ndarray, done: np.ndarray) -> None:
    options: dict[str, Any] = {"linestyle": "", "markersize": 6}
    if done.any():
        axes.plot(x[done], value[done], "o", color=DONE, label="finished", **options)
    if not done.all():
        axes.plot(x[~done], value[~done], "o", color=PRUNED, markerfacecolor="white", label="given up", **options)


def _frame(axes: Axes, value: np.ndarray) -> None:
    # A trial that went astray must not press all others into one line.
    near, far = np.quantile(value, [0.1, 0.9])
    inside = value[(value >= near - 3 * (far - near)) & (value <= far + 3 * (far - near))]
    low, high = float(inside.min()), float(inside.max())
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    left_out = value.size - inside.size
    lines = [f"{left_out} of {value.size} values lie outside"] if left_out else []
    style.make_room(axes, low - margin, high + margin, style.label(axes, lines=lines))
