"""Any JSON becomes tables and facts."""

from __future__ import annotations

from typing import Any

import pytest

from nntrainer.report.blocks import Facts, Table, measured, number, percent, seconds, size
from nntrainer.report.generic import blocks_of


def table_of(found: Any) -> Table:
    (table,) = [each for each in blocks_of(found, "t") if isinstance(each, Table)]
    return table


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_records_alike() -> None:
    expected = [["a", "1", "0.5000"], ["b", "2", "–"]]
    assert texts(table_of([{"name": "a", "n": 1, "x": 0.5}, {"name": "b", "n": 2, "x": None}])) == expected
    by_name = table_of({"a": {"n": 1, "x": 0.5}, "b": {"n": 2}})
    assert texts(by_name) == expected and by_name.columns == ("name", "n", "x")
    assert by_name.numeric == (False, True, True)


def test_lists_beside_one_another() -> None:
    table = table_of({"method": "m", "names": ["x", "y"], "value": [2.0, 1.0], "error": [0.1, 0.2], "unit": "AUC"})
    assert texts(table) == [["x", "2.000", "0.1000"], ["y", "1.000", "0.2000"]]
    assert [row[1].bar for row in table.rows] == [1.0, 0.5]


def test_what_is_deeper_gets_its_own_title_and_long_lists_go() -> None:
    blocks = blocks_of({"a": {"b": {"c": 1, "d": {"e": 2}}}, "curve": list(range(100)), "few": [1, 2]}, "t")
    facts = [each.rows for each in blocks if isinstance(each, Facts)]
    assert facts == [(("few", "1, 2"),), (("c", "1"),), (("e", "2"),)]


def test_odd_data_is_survived() -> None:
    for odd in (None, 3, "x", [], {}, [1, [2]], {"a": []}, {"a": [{}]}, {"a": {"b": [{"c": [1]}]}}, [[{}]]):
        blocks_of(odd, "t")
    assert texts(table_of([{"n": i} for i in range(300)]))[-1] == ["199"]


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (number(0.81234), "0.8123"),
        (number(1234.5), "1,234"),
        (number(12.345), "12.35"),
        (number(140000), "140,000"),
        (number(1.5e-7), "1.500e-07"),
        (number(0.0), "0.000"),
        (number(float("nan")), "–"),
        (number(None), "–"),
        (measured(0.81234, 0.0034), "0.8123 ± 0.0034"),
        (measured(125.3, 12.0), "125 ± 12"),
        (measured(1.0, None), "1.000"),
        (measured(None, 1.0), "–"),
        (percent(0.1234), "12.3 %"),
        (seconds(3.21), "3.2 s"),
        (seconds(61), "1 min 01 s"),
        (seconds(3720), "1 h 02 min"),
        (size(999), "999 B"),
        (size(1_500_000), "1.5 MB"),
    ],
)
def test_numbers_as_people_write_them(shown: str, text: str) -> None:
    assert shown == text
