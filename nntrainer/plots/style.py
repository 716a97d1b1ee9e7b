"""How every plot looks: ATLAS style by mplhep, fonts that exist, the words in the corner."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import matplotlib as mpl
import mplhep
import numpy as np
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import TICKDOWN, TICKLEFT, TICKRIGHT, TICKUP
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea, VPacker
from matplotlib.ticker import AutoMinorLocator

if TYPE_CHECKING:
    from matplotlib.axes import Axes

P = ParamSpec("P")
R = TypeVar("R")

SIGNAL = "#d55e00"
BACKGROUND = "#56b4e9"
DPI = 150
"""Pixels per inch of a PNG; figures are laid out in it, so that a text is measured once."""
# Okabe and Ito's colours, which colour-blind readers can tell apart, without the yellow nobody can read.
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#000000", "#56b4e9", "#7f7f7f")


@dataclass(frozen=True)
class Words:
    """What stands in the upper left corner."""

    label: str = "nntrainer"
    description: str = ""


_words = Words()


def words() -> Words:
    """Return what `apply` chose."""
    return _words


def apply(*, label: str = "nntrainer", description: str = "") -> None:
    """Choose the words that the plots drawn from now on carry.

    The style itself is not set globally: each plot function draws in its own `context`.

    Args:
        label: the word in bold italics; an experiment's name only where the experiment has approved it.
        description: a second line, such as ``√s = 13 TeV, 140 fb⁻¹``.
    """
    global _words
    _words = Words(label, description)


@functools.cache
def _settings() -> dict[str, Any]:
    """Return mplhep's ATLAS style with fonts that are installed, and a fallback for missing glyphs."""
    known = set(font_manager.get_font_names())
    families = [name for name in ("TeX Gyre Heros", "Helvetica", "Nimbus Sans", "DejaVu Sans") if name in known]
    main = families[0]
    return {
        **mplhep.style.ATLAS,
        "font.family": families,
        "font.sans-serif": families,
        "font.size": 13,
        **{f"mathtext.{kind}": main for kind in ("rm", "sf", "tt", "cal")},
        "mathtext.it": f"{main}:italic",
        "mathtext.bf": f"{main}:bold",
        "mathtext.fallback": "stixsans",
        "axes.autolimit_mode": "data",
        "axes.formatter.limits": (-3, 5),
        "axes.formatter.use_mathtext": False,  # parsing every tick's label took a third of a plot's time
        "axes.titlesize": "medium",
        "figure.autolayout": False,
        "figure.constrained_layout.use": False,
        "legend.fontsize": "small",
        "legend.borderpad": 0.6,
        "xtick.major.pad": 7,
        "ytick.major.size": 8,
        "ytick.minor.size": 4,
        "lines.markersize": 5,
        "savefig.bbox": None,
    }


@contextmanager
def context() -> Iterator[None]:
    """Draw in this style inside, and leave matplotlib's settings as they were."""
    with mpl.rc_context(_settings()):
        yield


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Make a plot function draw in this style."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with context():
            return draw(*args, **kwargs)

    return wrapper


def canvas(*heights: float, size: tuple[float, float] = (8.0, 6.0)) -> tuple[Figure, list[Axes]]:
    """Make a figure with panels above each other that share the x axis.

    The figure is not registered with pyplot, so nothing leaks and no display is needed.

    Args:
        *heights: relative heights of the panels, from the top; one panel where none is given.
        size: width and height in inches.

    Returns:
        The figure and its panels.
    """
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)  # without one, each question for the size of a text makes one
    figure.get_layout_engine().set(h_pad=0.06, w_pad=0.08, hspace=0.0)
    panels = figure.subplots(len(heights) or 1, 1, sharex=True, squeeze=False, height_ratios=list(heights) or None)[
        :, 0
    ]
    for panel in panels:
        _MinorTicks(panel)
    for panel in panels[:-1]:
        panel.tick_params(labelbottom=False)
    if len(panels) > 1:
        figure.align_ylabels(panels)
    return figure, list(panels)


class _NoTicks(AutoMinorLocator):
    """Places of minor ticks that the axis makes no ticks at; any other locator in its place is obeyed as ever."""

    def __call__(self) -> list[float]:
        return []

    def places(self) -> np.ndarray:
        """Return where they are: between the major ticks, within the view."""
        low, high = sorted(self.axis.get_view_interval())
        places, major = np.asarray(super().__call__()), np.asarray(self.axis.get_majorticklocs())
        if not places.size:
            return places
        near = 1e-6 * (high - low)
        apart = np.abs(places[:, None] - major).min(axis=1) > near
        return places[apart & (places >= low - near) & (places <= high + near)]


class _MinorTicks(Artist):
    """The minor ticks of a panel, drawn as four rows of marks.

    matplotlib makes six artists for each tick and asks each of them for its size, which took half of a plot's time.

    Args:
        axes: the panel; its minor ticks are turned off and on as those of any other.
    """

    def __init__(self, axes: Axes) -> None:
        super().__init__()
        self.set_zorder(axes.xaxis.get_zorder())
        self.set_in_layout(False)
        self._rows = []
        for name, axis, marks in (("x", axes.xaxis, (TICKUP, TICKDOWN)), ("y", axes.yaxis, (TICKRIGHT, TICKLEFT))):
            axis.set_minor_locator(_NoTicks())
            of = {key: mpl.rcParams[f"{name}tick.{key}"] for key in ("minor.size", "minor.width", "color")}
            looks = {"markersize": of["minor.size"], "markeredgewidth": of["minor.width"], "color": of["color"]}
            transform = axes.get_xaxis_transform if name == "x" else axes.get_yaxis_transform
            for end, mark in enumerate(marks):
                row = Line2D([], [], linestyle="", marker=mark, **looks)
                row.set_transform(transform(which=f"tick{end + 1}"))
                self._rows.append((axis, end, row))
        axes.add_artist(self)
        self.set_clip_path(None)

    def draw(self, renderer: Any) -> None:
        """Draw them where they are now."""
        for axis, end, row in self._rows:
            locator = axis.get_minor_locator()
            if isinstance(locator, _NoTicks):
                places = locator.places()
                ends = np.full(len(places), float(end))
                row.set_figure(self.get_figure())
                row.set_data(*((places, ends) if axis.axis_name == "x" else (ends, places)))
                row.draw(renderer)


def label(
    axes: Axes, text: str | None = None, *, description: str | None = None, lines: Sequence[str] = ()
) -> AnchoredOffsetbox:
    """Write the label in the upper left corner inside the frame.

    Args:
        axes: where.
        text: the word in bold italics, before "Simulation"; by default the one given to `apply`.
        description: the second line; by default the one given to `apply`.
        lines: more lines below, in smaller letters.

    Returns:
        The text box.
    """
    text = _words.label if text is None else text
    description = _words.description if description is None else description
    size = mpl.rcParams["font.size"]
    word = TextArea(text, textprops={"fontweight": "bold", "fontstyle": "italic", "fontsize": 1.2 * size})
    kind = TextArea("Simulation", textprops={"fontsize": 1.2 * size})
    rows: list[Any] = [HPacker(children=[word, kind], align="baseline", pad=0, sep=6)]
    rows += [TextArea(description, textprops={"fontsize": size})] if description else []
    rows += [TextArea(line, textprops={"fontsize": 0.8 * size}) for line in lines]
    return _corner(axes, rows)


def note(axes: Axes, lines: Sequence[str]) -> AnchoredOffsetbox:
    """Write lines of text where another panel would have the label."""
    return _corner(axes, [TextArea(line, textprops={"fontsize": mpl.rcParams["font.size"]}) for line in lines])


def _corner(axes: Axes, rows: list[Any]) -> AnchoredOffsetbox:
    column = VPacker(children=rows, align="left", pad=0, sep=4)
    box = AnchoredOffsetbox(loc="upper left", child=column, frameon=False, pad=0.0, borderpad=0.9)
    axes.add_artist(box)
    return box


def label_above(axes: Axes, title: str = "") -> None:
    """Write the label above the frame, where the frame itself is full; the title follows on its own line.

    Args:
        axes: where.
        title: what is shown.
    """
    size = mpl.rcParams["font.size"]
    word = TextArea(_words.label, textprops={"fontweight": "bold", "fontstyle": "italic", "fontsize": 1.1 * size})
    kind = TextArea("Simulation", textprops={"fontsize": 1.1 * size})
    rows: list[Any] = [HPacker(children=[word, kind], align="baseline", pad=0, sep=6)]
    rows += [TextArea(line, textprops={"fontsize": 0.9 * size}) for line in (_words.description, title) if line]
    box = AnchoredOffsetbox(
        loc="lower left",
        child=VPacker(children=rows, align="left", pad=0, sep=4),
        frameon=False,
        pad=0.0,
        borderpad=0.0,
        bbox_to_anchor=(0.0, 1.02),
        bbox_transform=axes.transAxes,
    )
    axes.add_artist(box)


def make_room(axes: Axes, low: float, high: float, box: AnchoredOffsetbox, **legend: Any) -> None:
    """Draw the legend in the upper right, and end the y axis so that data stay below it and the label.

    Args:
        axes: where; its scale may be linear or logarithmic.
        low: lower end of the y axis.
        high: the highest data value.
        box: the label.
        **legend: options of the legend.
    """
    handles, names = axes.get_legend_handles_labels()
    handles, names = legend.pop("handles", handles), legend.pop("labels", names)
    axes.set_ylim(low, high)

    def place(columns: int) -> tuple[Any, Any]:
        inset = axes.legend(handles, names, loc="upper right", ncols=columns, **legend)
        inset.set_in_layout(False)  # a wide one must not squeeze the frame
        # The frame is a little smaller here than it will be: there is room enough, and no need to lay it out twice.
        return inset, inset.get_window_extent().transformed(axes.transAxes.inverted())

    inset, names_box = place(2 if len(names) > 6 else 1)
    if names_box.width > 0.95:
        inset, names_box = place(1)
    words = box.get_window_extent().transformed(axes.transAxes.inverted())
    bottom = min(words.y0, names_box.y0)
    if words.x1 > names_box.x0:  # side by side they would overlap: put the legend below the label
        inset.set_loc("upper left")
        inset.set_bbox_to_anchor((0.0, words.y0), transform=axes.transAxes)
        bottom = words.y0 - names_box.height
    used = max(bottom - 0.04, 0.25)
    if axes.get_yscale() == "log":
        axes.set_ylim(low, 10 ** (np.log10(low) + (np.log10(high) - np.log10(low)) / used))
    else:
        axes.set_ylim(low, low + (high - low) / used)
