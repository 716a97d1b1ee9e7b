"""The messages that the troubleshooting page explains are those of the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
HEADINGS = re.findall(
    r"^### `(.+)`$", (REPOSITORY / "docs/troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE
)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Every text in the code, with … for what is put in."""
    found = []
    for package in ("nntrainer", "deploy"):
        for path in (REPOSITORY / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    found.append("".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return found


@pytest.mark.parametrize("message", HEADINGS)
def test_the_code_says_it(message: str, texts: list[str]) -> None:
    pattern = ".*".join(re.escape(part) for part in message.split("…"))
    assert any(re.search(pattern, text) for text in texts), f"no message of the code reads like this: {message}"


def test_there_are_enough() -> None:
    assert len(HEADINGS) >= 25
