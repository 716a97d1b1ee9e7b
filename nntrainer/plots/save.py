"""Figures to files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt

from nntrainer.files import aside
from nntrainer.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# No dates and no versions: the same figure gives the same bytes.
FORMATS: dict[str, dict[str, Any]] = {
    "png": {"dpi": 150, "metadata": {"Software": None}},
    "pdf": {"metadata": {"CreationDate": None, "Creator": None, "Producer": None}},
}


def save(figure: Figure, path: str | Path) -> list[Path]:
    """Write a figure as PNG and PDF, each aside first and then renamed, and close it.

    Args:
        figure: the figure.
        path: where; both kinds, or only the one that its suffix names. Missing directories are made.

    Returns:
        The files written.
    """
    path = Path(path)
    kinds = list(FORMATS)
    if path.suffix.lower()[1:] in FORMATS:
        path, kinds = path.with_suffix(""), [path.suffix.lower()[1:]]
    path.parent.mkdir(parents=True, exist_ok=True)
    written = []
    try:
        for kind in kinds:
            final = path.with_name(f"{path.name}.{kind}")
            with style.context(), aside(final) as part:
                figure.savefig(part, format=kind, **FORMATS[kind])
            written.append(final)
            figure.set_layout_engine("none")  # the first kind has found the places; the others keep them
    finally:
        plt.close(figure)
    return written
