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


def duration(seconds: float) -> str:
    """Return a time for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def print_times(stages: Iterable[tuple[str, float]]) -> None:
    """Print in one line where the time went: of each stage that took any; those of the same name together."""
    from rich.console import Console
    from rich.text import Text

    times: dict[str, float] = {}
    for name, seconds in stages:
        if seconds:
            times[name] = times.get(name, 0.0) + seconds
    if times:
        by_stage = ", ".join(f"{name} {duration(seconds)}" for name, seconds in times.items())
        Console().print(Text(f"time: {by_stage}; {duration(sum(times.values()))} together"), soft_wrap=True)


def starting(candidates: Iterable[tuple[str, str]], incomplete: str) -> list[tuple[str, str]]:
    """Return those of the words, each with a text for shells that show one, that begin with what is typed so far."""
    return [each for each in candidates if each[0].startswith(incomplete)]


def one_word(*allowed: str) -> Callable[[str], list[tuple[str, str]]]:
    """Return what completes an option that takes one of a few words."""
    return lambda incomplete: starting(((word, "") for word in allowed), incomplete)
