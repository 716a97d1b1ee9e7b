"""What people read about networks and makers comes from the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nntrainer.config import catalogue
from nntrainer.config.registry import MAKERS, NETWORKS

REPOSITORY = Path(__file__).parents[2]


def test_page_is_up_to_date() -> None:
    written = REPOSITORY / "docs/catalogue.md"
    assert written.read_text(encoding="utf-8") == catalogue.page(), "`make catalogue` writes it again"


@pytest.mark.parametrize("name", NETWORKS.names())
def test_every_network_tells_its_paper_and_inputs(name: str) -> None:
    text = " ".join(catalogue.description(NETWORKS.get(name)).split())
    assert re.search(r"Paper: .*Inputs: ", text), name
    if not NETWORKS.get(name).own:
        assert re.search(r"arXiv \d{4}\.\d{4,5}", text), name


@pytest.mark.parametrize("part", [*map(NETWORKS.get, NETWORKS.names()), *map(MAKERS.get, MAKERS.names())])
def test_every_option_is_described(part: type) -> None:
    for name, kind, default, text in catalogue.options(part):
        assert text.endswith(".") and kind and default, name


def test_types_are_in_words() -> None:
    found = {name: (kind, default) for name, kind, default, _ in catalogue.options(NETWORKS.get("transformer"))}
    assert found["width"] == ("integer > 0", "64")
    assert found["dropout"] == ("number ≥ 0, < 1", "0.1")
    assert found["head"] == ("list of integer > 0", "[64]")
    assert "name" not in found
    assert dict((row[0], row[1]) for row in catalogue.options(MAKERS.get("ht")))["select"] == "text or null"


def _models(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nntrainer", "models", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env={"COLUMNS": "200"})


def test_models_lists_and_shows() -> None:
    listed, one, full = _models(), _models("residual"), _models("--verbose")
    assert listed.returncode == one.returncode == full.returncode == 0, listed.stderr
    assert all(name in listed.stdout for name in NETWORKS.names())
    assert "arXiv 1603.05027" in one.stdout and "kernel_initializer" in one.stdout and '"he_normal"' in one.stdout
    assert "arXiv" not in listed.stdout
    assert all(catalogue.summary(NETWORKS.get(name)).replace("``", "") in full.stdout for name in NETWORKS.names())
    wrong = _models("transfomer")
    assert wrong.returncode == 2 and "Did you mean 'transformer'?" in wrong.stderr
