"""Plots of a run as images inside the page."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from nntrainer.report.blocks import Figure
from nntrainer.report.read import Run

LARGEST = 6_500_000
"""Bytes of all images of a page together: base64 makes of them a third more, and a page should stay below 10 MB."""
COLOURS = 256
"""Colours that an image keeps; a plot has few, and their blends at edges of letters and lines."""
PALETTE = 3
"""Colour type in the header of a PNG that has few colours."""
TITLES = {
    "auc_folds": "AUC of each fold",
    "roc": "ROC curves",
    "confusion_truth": "Confusion, normalised to truth",
    "confusion_prediction": "Confusion, normalised to prediction",
    "score": "Score, training and test events",
    "calibration": "Calibration",
    "threshold_scan": "Threshold scan of the score",
    "binned_score": "Score in the bins of the significance",
    "alpha_scan": "Scan of the CP-mixing angle",
    "loss": "Loss",
    "accuracy": "Accuracy",
    "learning_rate": "Learning rate",
}
STARTS = {
    "binned_discriminant_": "Bins of the discriminant of ",
    "discriminant_": "Discriminant of ",
    "threshold_scan_": "Threshold scan of the discriminant of ",
    "alpha_template_": "Template of ",
    "correlation_": "Correlations in ",
    "score_": "Output ",
}


def title_of(path: Path) -> str:
    """Return what a plot shows, by the name of its file."""
    name = path.stem
    if name in TITLES:
        return TITLES[name]
    start = next((each for each in STARTS if name.startswith(each)), None)
    return STARTS[start] + name.removeprefix(start) if start else name.replace("_", " ")


class Album:
    """Images for a page, as many as it may hold: who asks first gets them.

    Args:
        largest: bytes of all images together.

    Attributes:
        left_out: how many did not fit.
    """

    def __init__(self, largest: int = LARGEST) -> None:
        self._left = largest
        self.left_out = 0

    def take(self, run: Run, paths: Sequence[Path], title: str = "") -> tuple[Figure, ...]:
        """Return plots with their images, without them where no room is left.

        Args:
            run: the run.
            paths: PNG files.
            title: what they show; by their names if absent.

        Returns:
            The figures, in the same order.
        """
        return tuple(self._figure(run, path, title or title_of(path)) for path in paths)

    def _figure(self, run: Run, path: Path, title: str) -> Figure:
        name = path.relative_to(run.path).as_posix()
        data = smaller(path.read_bytes()) if self._left > 0 else b""
        if len(data) > self._left or not data:
            self.left_out += 1
            return Figure(title, name)
        self._left -= len(data)
        source = "data:image/png;base64," + base64.b64encode(data).decode("ascii")
        width, height = struct.unpack(">II", data[16:24])
        return Figure(title, name, source, (width, height))


def smaller(data: bytes) -> bytes:
    """Return a PNG with few colours, which looks the same and has half of the bytes; as it is without Pillow.

    Plots but those of many colours have been saved so, and are not decoded.
    """
    if data[25] == PALETTE:
        return data
    try:
        from PIL import Image
    except ModuleNotFoundError:
        return data
    with Image.open(io.BytesIO(data)) as image:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
    buffer = io.BytesIO()
    white.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(buffer, "PNG")
    return min(data, buffer.getvalue(), key=len)


def chosen(run: Run, folder: str, *starts: str, without: Sequence[str] = ()) -> list[Path]:
    """Return the plots of a directory whose names start so, and not otherwise; all of them if nothing is given."""
    return [
        path
        for path in run.plots.get(folder, ())
        if path.stem.startswith(starts or "") and not (without and path.stem.startswith(tuple(without)))
    ]


def in_order(paths: Sequence[Path], first: Sequence[str]) -> Iterator[Path]:
    """Yield plots, those whose names start so before all others."""
    ranked = sorted(range(len(paths)), key=lambda i: (_rank(paths[i].stem, first), i))
    for i in ranked:
        yield paths[i]


def _rank(name: str, first: Sequence[str]) -> int:
    return next((i for i, start in enumerate(first) if name.startswith(start)), len(first))
