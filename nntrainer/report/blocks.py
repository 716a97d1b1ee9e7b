"""What a page is made of: sections of facts, tables, figures and text; and numbers as people write them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from nntrainer.console import duration

NOTHING = "–"
MARKS = ("", "good", "warning")


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what stands in it.
        sort: what it is sorted by, where that is not its text.
        mark: ``good`` or ``warning``.
        bar: length of a bar behind it, from 0 to 1.
    """

    text: str
    sort: float | None = None
    mark: str = ""
    bar: float | None = None


@dataclass(frozen=True)
class Text:
    """A paragraph; ``mark`` is ``warning`` for what should be noticed, ``small`` for an explanation."""

    kind: ClassVar[str] = "text"
    text: str
    mark: str = ""


@dataclass(frozen=True)
class Code:
    """Text as it stands in a file."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Facts:
    """Names and what they are."""

    kind: ClassVar[str] = "facts"
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Tile:
    """A number that should be seen first: what it is, the number, a word about it."""

    name: str
    number: str
    word: str = ""


@dataclass(frozen=True)
class Tiles:
    """Some numbers in large letters."""

    kind: ClassVar[str] = "tiles"
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by each column.

    Attributes:
        title: what it is.
        columns: heads of the columns.
        rows: cells.
        note: a sentence below it.
    """

    kind: ClassVar[str] = "table"
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether each column holds numbers, which are aligned to the right."""
        return tuple(
            any(row[i].sort is not None for row in self.rows)
            and all(row[i].sort is not None or row[i].text in (NOTHING, "") for row in self.rows)
            for i in range(len(self.columns))
        )


@dataclass(frozen=True)
class Figure:
    """A plot.

    Attributes:
        title: what it shows.
        name: path in the run directory.
        source: the image as a data: URI; empty where the page would become too large.
        size: width and height in pixels.
    """

    title: str
    name: str
    source: str = ""
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Figures:
    """Plots beside one another."""

    kind: ClassVar[str] = "figures"
    title: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Fold:
    """Blocks that open on request."""

    kind: ClassVar[str] = "fold"
    title: str
    blocks: tuple[Block, ...]


Block = Text | Code | Facts | Tiles | Table | Figures | Fold


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading and a place in its contents; left out where it has no blocks."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


def number(value: Any, digits: int = 4) -> str:
    """Return a number with so many significant digits, thousands apart; a dash for what is none."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return NOTHING if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return NOTHING
    if value != 0 and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}"
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    decimals = max(digits - whole, 0) if abs(value) >= 1 else digits - 1 - math.floor(math.log10(abs(value) or 1))
    return f"{value:,.{decimals}f}"


def measured(value: float | None, error: float | None, decimals: int | None = None) -> str:
    """Return a value with its uncertainty, which has two digits unless the decimals are given."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if error is None or not math.isfinite(error):
        return number(value) if decimals is None else f"{value:.{decimals}f}"
    if decimals is None:
        decimals = max(1 - math.floor(math.log10(error)), 0) if error > 0 else 4
    return f"{value:,.{decimals}f} ± {error:,.{decimals}f}"


def percent(value: float | None, decimals: int = 1) -> str:
    """Return a fraction in percent."""
    return NOTHING if value is None or not math.isfinite(value) else f"{100 * value:.{decimals}f} %"


def seconds(value: float | None) -> str:
    """Return a time for people."""
    return NOTHING if value is None else duration(value)


def size(count: float) -> str:
    """Return a number of bytes for people."""
    power = min(int(math.log10(count) // 3), 3) if count >= 1 else 0
    return f"{count / 1000**power:.{1 if power else 0}f} {('B', 'kB', 'MB', 'GB')[power]}"


def cell(value: Any, text: str | None = None, **more: Any) -> Cell:
    """Return a cell of any plain value; numbers are sorted as numbers."""
    if isinstance(value, Cell):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        shown = number(value) if text is None else text
        return Cell(shown, float(value) if math.isfinite(value) else None, **more)
    return Cell(text if text is not None else (NOTHING if value is None else str(value)), **more)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], note: str = "") -> Table:
    """Return a table of plain values and cells."""
    return Table(title, tuple(columns), tuple(tuple(cell(value) for value in row) for row in rows), note)


def facts(values: Mapping[str, Any]) -> Facts:
    """Return facts, without those that are not known."""
    return Facts(tuple((name, str(value)) for name, value in values.items() if value not in (None, "")))
