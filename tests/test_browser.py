"""The browser that other tests open pages in: it notices what pages must not do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_what_a_page_does_wrong_is_seen(visit: Callable[..., Any], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    good = "<!DOCTYPE html><html lang=en><title>t</title><img alt='' src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>"
    page.write_text(good)
    fine = visit(page.as_uri(), width=360)
    assert fine.page.title() == "t" and fine.page.evaluate("innerWidth") == 360
    assert (fine.errors, fine.outside) == ([], [])
    page.write_text(
        good + "<img alt='' src='https://example.org/a.png'><script>console.error('no'); nothing()</script>"
    )
    bad = visit(page.as_uri())
    assert bad.outside == ["https://example.org/a.png"]
    assert any("no" in each for each in bad.errors) and any("nothing" in each for each in bad.errors)
