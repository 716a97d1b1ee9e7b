"""Sections about what other commands measured: any JSON file and any plots, whatever is in them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nntrainer.report.blocks import Block, Cell, Section, Text, cell, facts, number, table
from nntrainer.report.figures import Album
from nntrainer.report.read import Run
from nntrainer.report.results import figures

EXPLAIN = "explain"
PLACED = ("Inputs", "Validation", "Evaluation", "Reconstruction")
"""Directories of plots that have a place of their own."""
NOT_SHOWN = ("provenance", "config_digest", "warnings", "history")
MOST_ROWS = 200
DEEPEST = 4


def explanations(run: Run, album: Album) -> Section:
    """Return what `nntrainer explain` found: importances, agreement of methods, plots."""
    blocks: list[Block] = []
    for name, found in run.more.items():
        if name.startswith(f"{EXPLAIN}/"):
            blocks += blocks_of(found, name.removeprefix(f"{EXPLAIN}/").replace("_", " "))
    for folder, paths in run.plots.items():
        if folder.split("/")[0].lower() == EXPLAIN:
            blocks += figures(run, album, "", paths)
    return Section("explain", "What the network looks at", tuple(blocks))


def validations(run: Run, album: Album) -> Section:
    """Return all other results, each file and each directory of plots under its name."""
    blocks: list[Block] = []
    for name, found in run.more.items():
        if not name.startswith(f"{EXPLAIN}/"):
            blocks += blocks_of(found, name.replace("/", ": ", 1).replace("_", " "))
    for folder, paths in run.plots.items():
        if folder not in PLACED and folder.split("/")[0].lower() != EXPLAIN:
            blocks += figures(run, album, folder, paths)
    return Section("validation", "Validation and robustness", tuple(blocks))


def blocks_of(found: Any, title: str, depth: int = 0) -> list[Block]:
    """Return plain data as tables and facts.

    What is a number or a word becomes a fact; mappings or lists of alike records, and lists of equal length beside
    one another, become tables; deeper mappings become blocks of their own. Long lists of numbers alone are left out.

    Args:
        found: plain data.
        title: what it is.
        depth: how many mappings it lies in.

    Returns:
        The blocks.
    """
    if isinstance(found, list):
        records = [each for each in found if isinstance(each, dict)]
        return [_records(title, records)] if records and len(records) == len(found) else []
    if not isinstance(found, dict):
        return [facts({title: _word(found)})]
    values = {str(key): value for key, value in found.items() if key not in NOT_SHOWN}
    if (whole := _as_table(title, values)) is not None:
        return [whole]
    beside = _beside(values)
    rest = {key: value for key, value in values.items() if not any(key in columns for columns in beside)}
    simple = {key: _word(value) for key, value in rest.items() if not isinstance(value, dict | list)}
    simple |= {key: ", ".join(map(_word, value)) for key, value in rest.items() if _few_words(value)}
    blocks: list[Block] = []
    if simple:
        blocks += [Text(title, "title"), facts({key.replace("_", " "): value for key, value in simple.items()})]
    blocks += [_columns("" if simple else title, columns) for columns in beside]
    for key, value in rest.items():
        deeper = isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))
        if depth < DEEPEST and deeper:
            blocks += blocks_of(value, f"{title}: {key.replace('_', ' ')}", depth + 1)
    return blocks


def _beside(values: Mapping[str, Any]) -> list[dict[str, list[Any]]]:
    """Return lists that belong together: as long as one another, words among them, nothing nested."""
    lists = {key: value for key, value in values.items() if isinstance(value, list) and value and _flat(value)}
    found = []
    for length in dict.fromkeys(map(len, lists.values())):
        alike = {key: value for key, value in lists.items() if len(value) == length}
        if len(alike) > 1 and any(isinstance(each, str) for value in alike.values() for each in value):
            found.append(alike)
    return found


def _flat(value: Sequence[Any]) -> bool:
    return not any(isinstance(each, dict | list) for each in value)


def _as_table(title: str, values: Mapping[str, Any]) -> Any:
    """Return a table of a mapping whose values are records alike, or None."""
    records = list(values.values())
    if len(records) < 2 or not all(isinstance(one, dict) for one in records):
        return None
    if any(isinstance(value, dict | list) for one in records for value in one.values()):
        return None
    return _records(title, [{"name": key, **one} for key, one in values.items()])


def _records(title: str, records: Sequence[Mapping[str, Any]]) -> Any:
    names = list(dict.fromkeys(name for one in records for name in one if name not in NOT_SHOWN))
    names = [name for name in names if any(not isinstance(one.get(name), dict | list) for one in records)]
    rows = [[_cell(one.get(name)) for name in names] for one in records[:MOST_ROWS]]
    return _with_bars(title, names, rows, len(records))


def _columns(title: str, columns: Mapping[str, Sequence[Any]]) -> Any:
    rows = [[_cell(value) for value in row] for row in zip(*columns.values(), strict=True)]
    return _with_bars(title, list(columns), rows[:MOST_ROWS], len(rows))


def _with_bars(title: str, names: Sequence[str], rows: list[list[Cell]], total: int) -> Any:
    """Return a table, with bars behind a column of importances."""
    for i, name in enumerate(names):
        lengths = [row[i].sort for row in rows]
        known = [each for each in lengths if each is not None]
        if name in ("importance", "value") and known and min(known) >= 0 and (largest := max(known)) > 0:
            for row, length in zip(rows, lengths, strict=True):
                if length is not None:
                    row[i] = Cell(row[i].text, length, bar=length / largest)
    note = f"The first {MOST_ROWS} of {total:,} rows." if total > MOST_ROWS else ""
    return table(title, [name.replace("_", " ") for name in names], rows, note)


def _cell(value: Any) -> Cell:
    if isinstance(value, dict | list):
        return Cell("…")
    return cell(value) if isinstance(value, int | float) and not isinstance(value, bool) else Cell(_word(value))


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value) if math.isfinite(value) else "–"
    return "–" if value is None else str(value)


def _few_words(value: Any) -> bool:
    """Return whether a list is short and holds nothing but words and numbers."""
    return isinstance(value, list) and 0 < len(value) <= 6 and _flat(value)
