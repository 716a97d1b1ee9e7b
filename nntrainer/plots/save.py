"""Figures to files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from nntrainer.files import aside
from nntrainer.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# No dates and no versions: the same figure gives the same bytes.
PDF = {"CreationDate": None, "Creator": None, "Producer": None}
KINDS = ("png", "pdf")
COLOURS = 256
"""Colours of a PNG that has not many more: it has half of the bytes and looks the same."""
MANY = 4096
"""A heat map has more colours than this, and keeps them."""


def save(figure: Figure, path: str | Path) -> list[Path]:
    """Write a figure as PNG and PDF, each aside first and then renamed, and close it.

    Args:
        figure: the figure; it is laid out once, for both kinds.
        path: where; both kinds, or only the one that its suffix names. Missing directories are made.

    Returns:
        The files written.
    """
    path = Path(path)
    kinds: tuple[str, ...] = KINDS
    if path.suffix.lower()[1:] in KINDS:
        path, kinds = path.with_suffix(""), (path.suffix.lower()[1:],)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = []
    try:
        with style.context():
            figure.set_dpi(style.DPI)
            if (engine := figure.get_layout_engine()) is not None:
                engine.execute(figure)
                figure.set_layout_engine(None)  # or each kind would be drawn once more, only to find the same places
            for kind in kinds:
                final = path.with_name(f"{path.name}.{kind}")
                with aside(final) as part:
                    if kind == "png":
                        _png(figure, part)
                    else:
                        figure.savefig(part, format=kind, metadata=PDF)
                written.append(final)
    finally:
        plt.close(figure)
    return written


def _png(figure: Figure, path: Path) -> None:
    """Draw a figure as PNG."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    if image.getcolors(MANY) is not None:
        image = image.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    image.save(path, "PNG", dpi=(style.DPI, style.DPI))
