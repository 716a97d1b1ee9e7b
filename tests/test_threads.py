"""Work ahead of its reader: in order, errors told, and nothing goes on when nobody reads."""

from __future__ import annotations

from collections.abc import Generator
from threading import current_thread, main_thread

import pytest

from nntrainer.threads import ahead, cores


def test_items_come_in_order_from_another_thread() -> None:
    def items() -> Generator[tuple[int, bool], None, None]:
        for number in range(20):
            yield number, current_thread() is main_thread()

    assert list(ahead(items())) == [(number, False) for number in range(20)]
    assert cores() >= 1


def test_one_item_ahead_and_no_more() -> None:
    made = []

    def items() -> Generator[int, None, None]:
        for number in range(10):
            made.append(number)
            yield number

    for number in ahead(items()):
        assert len(made) <= number + 2


def test_an_error_comes_after_what_was_made_before_it() -> None:
    def items() -> Generator[int, None, None]:
        yield 1
        raise ZeroDivisionError

    got = []
    with pytest.raises(ZeroDivisionError):
        for each in ahead(ahead(items())):
            got.append(each)
    assert got == [1]


def test_stopping_early_closes_the_generator() -> None:
    closed = []

    def items() -> Generator[int, None, None]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    with pytest.raises(KeyError):
        for _ in ahead(ahead(items())):
            raise KeyError
    assert closed == [True]
