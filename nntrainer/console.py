"""What the command lines share: tables, and what the Tab key offers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """Return a table; a column whose name begins with > is aligned to the right."""
    from rich.table import Table
    from rich.text import Text

    # As text, since rich would take [brackets] in paths and details for markup.
    made = Table(title=Text(title), title_justify="left")
    for column in columns:
        made.add_column(Text(column.removeprefix(">")), justify="right" if column.startswith(">") else "left")
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    return made


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table on standard output."""
    from rich.console import Console

    Console().print(table(title, columns, rows))


def starting(candidates: Iterable[tuple[str, str]], incomplete: str) -> list[tuple[str, str]]:
    """Return those of the words, each with a text for shells that show one, that begin with what is typed so far."""
    return [each for each in candidates if each[0].startswith(incomplete)]


def one_word(*allowed: str) -> Callable[[str], list[tuple[str, str]]]:
    """Return what completes an option that takes one of a few words."""
    return lambda incomplete: starting(((word, "") for word in allowed), incomplete)
