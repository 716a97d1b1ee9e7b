"""The website in a real browser: phone, tablet and screen, light and dark; it searches, sorts and enlarges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Visit = Callable[..., Any]
PAGES = ("index.html", "tutorials/toy.html", "reference/configuration.html", "catalogue.html")


@pytest.fixture(scope="module")
def address(built: Path, served: Callable[..., Any]) -> Iterator[str]:
    """The website, served from this machine."""
    with served(built) as address:
        yield address


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1400])
def test_it_fits_and_loads_nothing(visit: Visit, address: str, width: int, scheme: str) -> None:
    visited = visit(f"{address}/{PAGES[0]}", width=width, color_scheme=scheme)
    for name in PAGES:
        visited.page.goto(f"{address}/{name}")
        assert visited.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        broken = visited.page.evaluate(
            "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
        )
        assert broken == [], name
        dark = visited.page.evaluate("document.body.dataset.mdColorScheme") == "slate"
        assert dark == (scheme == "dark"), name
    assert (visited.errors, visited.outside) == ([], [])


@pytest.mark.parametrize(("width", "shown"), [(360, "narrow"), (1400, "wide")])
def test_the_drawing_that_fits_is_shown(visit: Visit, address: str, width: int, shown: str) -> None:
    page = visit(f"{address}/index.html", width=width).page
    widths = {
        kind: page.locator(f"svg.drawing.{kind}").evaluate("e => e.getBoundingClientRect().width")
        for kind in ("wide", "narrow")
    }
    assert [kind for kind, each in widths.items() if each > 200] == [shown]


def test_the_colours_of_the_drawing_follow_the_switch(visit: Visit, address: str) -> None:
    page = visit(f"{address}/index.html", color_scheme="light").page
    ink = "getComputedStyle(document.querySelector('svg.wide .name')).fill"
    light = page.evaluate(ink)
    page.locator("label[for='__palette_1']").click()
    page.wait_for_function("document.body.dataset.mdColorScheme === 'slate'")
    assert light == "rgb(29, 39, 51)" and page.evaluate(ink) == "rgb(230, 237, 243)"


def test_tables_sort(visit: Visit, address: str) -> None:
    page = visit(f"{address}/reference/codes.html").page
    table = page.locator("table").first
    numbers = lambda: [int(text) for text in table.locator("tbody tr td:nth-child(2)").all_inner_texts()]  # noqa: E731
    before = numbers()
    assert before != sorted(before)
    table.get_by_role("button", name="code").click()
    assert numbers() == sorted(before)
    assert table.locator("th[aria-sort='ascending']").inner_text().startswith("code")
    table.get_by_role("button", name="code").press("Enter")
    assert numbers() == sorted(before, reverse=True)


def test_tables_whose_rows_belong_together_do_not_sort(visit: Visit, address: str) -> None:
    page = visit(f"{address}/benchmarks.html").page
    assert page.locator("table").count() > 3 and page.locator("table:has(td:first-child:empty) th button").count() == 0


def test_pictures_are_enlarged(visit: Visit, address: str) -> None:
    page = visit(f"{address}/start.html").page
    picture = page.locator(".md-content img").first
    small = picture.bounding_box()
    picture.click()
    dialog = page.locator("dialog.enlarged img")
    assert dialog.bounding_box()["height"] > 1.2 * small["height"]
    page.keyboard.press("Escape")
    page.wait_for_function("document.querySelector('dialog.enlarged') === null")


def test_search_finds_a_key(visit: Visit, address: str) -> None:
    visited = visit(f"{address}/index.html")
    page = visited.page
    page.keyboard.press("/")
    page.keyboard.type("label_smoothing", delay=20)
    page.wait_for_selector(".md-search-result__item a[href*='configuration.html']")
    assert visited.outside == []


def test_a_key_can_be_linked_to(visit: Visit, address: str) -> None:
    page = visit(f"{address}/reference/configuration.html#training.optimizer.adam.learning_rate").page
    assert page.locator("a:target").inner_text() == "learning_rate"
    top = page.locator("a:target").evaluate("e => e.getBoundingClientRect().top")
    assert 0 < top < 900


def test_the_menu_opens_on_a_phone(visit: Visit, address: str) -> None:
    page = visit(f"{address}/tutorials/toy.html", width=360).page
    page.locator("header label[for='__drawer']").click()
    page.wait_for_selector(".md-nav--primary >> text=Tutorials", state="visible")
