"""The built website: links lead somewhere, nothing comes from elsewhere, and Markdown became what was meant."""

from __future__ import annotations

import posixpath
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

LOADED = {("link", "href"), ("script", "src"), ("img", "src"), ("source", "src"), ("iframe", "src"), ("use", "href")}
"""Attributes whose address a browser opens by itself."""


class Page(HTMLParser):
    """What a page links to, what it loads, where it can be linked to, and the text of its paragraphs."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.repeated: set[str] = set()
        self.paragraphs: list[str] = []
        self._in_paragraph = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if anchor := given.get("id"):
            if anchor in self.anchors:
                self.repeated.add(anchor)
            self.anchors.add(anchor)
        if tag == "a" and given.get("name"):
            self.anchors.add(given["name"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag != "link" or given.get("rel") != "canonical":
            self.loaded += [given[name] for each, name in LOADED if each == tag and given.get(name)]
        if tag == "p":
            self._in_paragraph = True
            self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "p":
            self._in_paragraph = False

    def handle_data(self, data: str) -> None:
        if self._in_paragraph:
            self.paragraphs[-1] += data


@pytest.fixture(scope="module")
def pages(built: Path) -> dict[str, Page]:
    return {path.relative_to(built).as_posix(): Page(path) for path in built.rglob("*.html")}


def test_every_link_leads_somewhere(pages: dict[str, Page], built: Path) -> None:
    wrong = []
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (
                posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(parts.path))) if parts.path else name
            )
            if name == "404.html" and parts.path.startswith("/"):
                target = parts.path.lstrip("/") or "index.html"
            if not (built / target).is_file():
                wrong.append(f"{name}: {link}: there is no such file")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                wrong.append(f"{name}: {link}: there is no such place")
    assert not wrong, "\n".join(wrong)


def test_no_place_has_two_names_alike(pages: dict[str, Page]) -> None:
    assert {name: page.repeated for name, page in pages.items() if page.repeated} == {}


def test_nothing_is_loaded_from_elsewhere(pages: dict[str, Page], built: Path) -> None:
    for name, page in pages.items():
        assert [each for each in page.loaded if urlsplit(each).netloc] == [], name
    for path in built.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//|@import", path.read_text(encoding="utf-8")), path


def test_lists_and_tables_were_understood(pages: dict[str, Page]) -> None:
    # GitHub takes a list or table without an empty line before it, this Markdown does not.
    wrong = [
        f"{name}: {text.strip()[:80]}"
        for name, page in pages.items()
        for text in page.paragraphs
        if re.search(r"^\s*(- |\* |\d+\. |\| )", text, re.MULTILINE) or "```" in text or "](" in text
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "page", ["index", "start", "tutorials/toy", "reference/configuration", "catalogue", "reference/api"]
)
def test_pages_are_there(page: str, built: Path) -> None:
    assert (built / f"{page}.html").stat().st_size > 10_000


def test_the_drawing_takes_the_colours_of_the_page(built: Path) -> None:
    text = (built / "index.html").read_text(encoding="utf-8")
    assert text.count('<svg class="ov drawing') == 2 and "overview.svg" not in text
