"""Hostile texts through the rules of the places they are written to."""

from __future__ import annotations

import doctest
import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy import quoting
from deploy.errors import DeployError

HOSTILE = [
    "",
    " ",
    "a b",
    "it's",
    '"',
    "''",
    '"\'"',
    "$(HOME)",
    "$$(x)",
    "$ENV(HOME)",
    "`id`",
    "\\",
    "é ü 漢",
    "-x",
    "#a",
    "a=b",
    "*",
]


def test_examples() -> None:
    assert doctest.testmod(quoting).failed == 0


def test_shell() -> None:
    command = ["printf", "%s\\0", *HOSTILE, "a\nb"]
    said = subprocess.run(["sh", "-c", quoting.shell(command)], capture_output=True, text=True, check=True).stdout
    assert said.split("\0")[:-1] == command[2:]


def split_condor(value: str) -> list[str]:
    """Read the new syntax of arguments as HTCondor's manual describes it, macros expanded before."""
    value = value.replace("$$(DOLLARDOLLAR)", "$$").replace("$(DOLLAR)", "$")
    assert value[0] == value[-1] == '"'
    value, words, word, quoted = value[1:-1].replace('""', '"'), [], None, False
    i = 0
    while i < len(value):
        char = value[i]
        if char == "'":
            if quoted and value[i + 1 : i + 2] == "'":
                word = (word or "") + "'"
                i += 1
            else:
                quoted, word = not quoted, word or ""
        elif char in " \t" and not quoted:
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + char
        i += 1
    return words if word is None else [*words, word]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=20), max_size=5))
def test_condor_arguments_come_back(arguments: list[str]) -> None:
    written = quoting.condor_arguments(arguments)
    assert split_condor(written) == arguments
    assert not re.search(r"\$(?!\(DOLLAR\)|\$\(DOLLARDOLLAR\)|\(DOLLARDOLLAR\))", written)


def test_hostile_condor_arguments_and_environment() -> None:
    assert split_condor(quoting.condor_arguments(HOSTILE)) == HOSTILE
    variables = {f"V{i}": text for i, text in enumerate(HOSTILE)}
    assert split_condor(quoting.condor_environment(variables)) == [f"{k}={v}" for k, v in variables.items()]


@pytest.mark.parametrize("text", ["a\nb", "a\r", "\0"])
def test_line_breaks_are_refused(text: str) -> None:
    with pytest.raises(DeployError, match="line break"):
        quoting.condor_arguments([text])


@pytest.mark.parametrize("path", ["a,b", " a", "a "])
def test_paths_that_a_list_cannot_hold(path: str) -> None:
    with pytest.raises(DeployError, match="rename it"):
        quoting.condor_path(path)


@given(st.lists(st.text(max_size=80), min_size=1, max_size=3))
def test_kubernetes_names_and_labels(parts: list[str]) -> None:
    name = quoting.kubernetes_name(*parts)
    assert len(name) <= quoting.NAME_LENGTH and re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name)
    for part in parts:
        label = quoting.kubernetes_label(part)
        assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?", label)


def test_different_parts_have_different_names() -> None:
    long = "x" * 100
    names = {quoting.kubernetes_name(*parts) for parts in (("a", "b"), ("a-b",), ("A", "b"), (long, "1"), (long, "2"))}
    assert len(names) == 5
