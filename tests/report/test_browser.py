"""The page in a real browser: phone, tablet and screen, light and dark, keys and clicks, paper, and no script."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nntrainer.report.page import report

pytestmark = pytest.mark.slow

Visit = Callable[..., Any]
WIDTHS = (360, 800, 1400)


@pytest.fixture(scope="module")
def compared(rich_run: Path, finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report([rich_run, finished_run], tmp_path_factory.mktemp("compared") / "compare.html")


@pytest.fixture(scope="module")
def strict(rich_run: Path, served: Callable[..., Any]) -> Iterator[str]:
    """Serve the page with a policy that forbids all scripts."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    with served(rich_run, Content_Security_Policy=policy) as address:
        yield f"{address}/report.html"


def overflowing(page: Any) -> list[str]:
    """Return what reaches beyond the right edge of the page and lies in nothing that scrolls."""
    found: list[str] = page.evaluate(
        """() => [...document.body.querySelectorAll("*")].filter((each) => {
          if (each.closest(".wide") !== null && !each.matches(".wide") || each.closest("pre, dialog")) return false;
          return each.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5;
        }).map((each) => each.outerHTML.slice(0, 120))"""
    )
    wider = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    return found + (["the page itself"] if wider else [])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_and_loads_nothing(visit: Visit, rich_run: Path, compared: Path, width: int, scheme: str) -> None:
    for path in (rich_run / "report.html", compared):
        visited = visit(path.as_uri(), width=width, color_scheme=scheme)
        page = visited.page
        assert overflowing(page) == []
        assert (visited.errors, visited.outside) == ([], [])
        broken = page.evaluate("[...document.images].filter(i => i.src && !i.naturalWidth).map(i => i.alt)")
        assert broken == [] and page.locator("figure img").count() > 5
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (colour == "rgb(255, 255, 255)") == (scheme == "light")
        card = page.evaluate("getComputedStyle(document.querySelector('.zoom')).backgroundColor")
        assert card == "rgb(255, 255, 255)"


def test_links_lead_to_headings(visit: Visit, rich_run: Path) -> None:
    page = visit((rich_run / "report.html").as_uri()).page
    links = page.locator("nav a")
    assert links.count() == 9
    for i in range(links.count()):
        links.nth(i).click()
        heading = page.locator("section:target h2")
        assert heading.inner_text() == links.nth(i).inner_text()
        assert heading.evaluate("each => each.getBoundingClientRect().top < innerHeight")


def test_tables_are_sorted_by_numbers_and_by_words(visit: Visit, rich_run: Path) -> None:
    page = visit((rich_run / "report.html").as_uri()).page
    table = page.locator("h3:text-is('Samples') + .wide table")

    def column(number: int) -> list[str]:
        return [text.strip() for text in table.locator(f"td:nth-child({number})").all_inner_texts()]

    assert column(1) == ["s", "b", "c"]
    head = table.locator("th").first
    head.locator("button").click()
    assert column(1) == ["b", "c", "s"] and head.get_attribute("aria-sort") == "ascending"
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert column(1) == ["s", "c", "b"] and head.get_attribute("aria-sort") == "descending"
    table.locator("th:nth-child(6) button").click()
    sums = [float(text.replace(",", "")) for text in column(6)]
    assert sums == sorted(sums) and len(set(sums)) > 1
    assert head.get_attribute("aria-sort") is None
    folds = page.locator("h3:text-is('Folds') + .wide table").last
    folds.locator("th:nth-child(2) button").click()  # a column with empty cells: mean and spread have no events
    assert folds.locator("td:nth-child(1)").all_inner_texts()[2:] == ["mean", "spread"]


def test_plots_enlarge_by_click_and_by_key(visit: Visit, rich_run: Path) -> None:
    for width in WIDTHS:
        page = visit((rich_run / "report.html").as_uri(), width=width).page
        plot, dialog = page.locator(".zoom").nth(2), page.locator("dialog")
        small = plot.bounding_box()
        assert not dialog.is_visible()
        plot.click()
        assert dialog.is_visible()
        box = dialog.locator("img").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["y"] + box["height"] <= 900
        assert box["width"] > (0.85 if width == 360 else 1) * small["width"]
        first = dialog.locator("figcaption").inner_text()
        assert first == plot.locator("img").get_attribute("alt")
        page.keyboard.press("ArrowRight")
        second = dialog.locator("figcaption").inner_text()
        dialog.get_by_label("Previous plot").click()
        assert dialog.locator("figcaption").inner_text() == first != second
        page.keyboard.press("Escape")
        assert not dialog.is_visible()
        assert page.evaluate("document.activeElement.classList.contains('zoom')")
        page.keyboard.press("Enter")
        assert dialog.is_visible()
        dialog.get_by_label("Close").click()
        assert not dialog.is_visible()


def test_on_paper_everything_is_open(visit: Visit, rich_run: Path, tmp_path: Path) -> None:
    page = visit((rich_run / "report.html").as_uri(), width=800).page
    folds = page.locator("details")
    assert folds.count() >= 4
    inside = "each => each.lastElementChild.checkVisibility({contentVisibilityAuto: true})"
    assert not any(folds.nth(i).evaluate(inside) for i in range(folds.count()))
    page.emulate_media(media="print")
    heights = [folds.nth(i).evaluate("each => each.getBoundingClientRect().height") for i in range(folds.count())]
    assert all(folds.nth(i).evaluate(inside) for i in range(folds.count())) and min(heights) > 60
    assert not page.locator("nav").is_visible()
    assert overflowing(page) == []
    assert page.evaluate("[...document.querySelectorAll('.wide, pre')].every(e => e.scrollWidth <= e.clientWidth + 1)")
    paper = page.pdf(path=tmp_path / "report.pdf", format="A4", print_background=True)
    pages = len(re.findall(rb"/Type\s*/Page[^s]", paper))
    assert paper.startswith(b"%PDF") and pages >= 4
    page.emulate_media(media="screen")
    assert not any(folds.nth(i).evaluate(inside) for i in range(folds.count()))  # closed again


def test_a_policy_without_scripts_leaves_all_to_read(visit: Visit, strict: str, rich_run: Path) -> None:
    visited = visit(strict)
    page = visited.page
    assert page.locator("th button").count() == 0  # no script ran
    assert page.locator("h2").all_inner_texts()[0] == "Summary" and overflowing(page) == []
    assert page.evaluate("[...document.images].filter(i => i.src).every(i => i.naturalWidth > 0)")
    page.locator("summary").first.click()
    assert page.locator("details[open] table").first.is_visible()
    assert visited.outside == []
    assert all("Content Security Policy" in each for each in visited.errors)


def test_a_script_that_slipped_in_does_not_run(visit: Visit, rich_run: Path, tmp_path: Path) -> None:
    """Should escaping ever fail, the page's own policy still refuses what is not its own."""
    page = tmp_path / "page.html"
    shutil.copy(rich_run / "report.html", page)
    bad = "<script>document.title = 'bad'</script><img src='x:' alt='' onerror=\"document.title = 'bad'\"></body>"
    page.write_text(page.read_text().replace("</body>", bad))
    visited = visit(page.as_uri())
    assert visited.page.title() != "bad" and visited.errors
