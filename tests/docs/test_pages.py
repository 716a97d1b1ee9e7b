"""What the pages tell people to type: tutorials are followed for real, everything else at least exists.

A tutorial is followed in a directory of its own, block by block: ```sh by Bash, ```python by Python, and ```yaml with a
title becomes that file. So that it takes seconds, `--events N` becomes 400 events, and trainings are cut short by the
environment (`SHORT`, `MORE`). Where a block needs what tests have not (a site, time), an HTML comment before it says
why, and the lines below the comment's first one are run instead.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploy.cli import app as deploy_app
from nntrainer.cli import app as nntrainer_app
from nntrainer.config import load_config
from nntrainer.config.schema import schema

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
FOLLOWED = ["start.md", "python.md", *sorted(f"tutorials/{path.name}" for path in (DOCS / "tutorials").glob("*.md"))]
PAGES = [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))]
FEWER = {"NNTRAINER__FEATURES__EVENTS": "[nJets, HT_all]", "NNTRAINER__FEATURES__OBJECTS": "{}"}
"""Where every feature would be drawn for seconds."""
MORE: dict[str, dict[str, str]] = {
    "start.md": FEWER,
    "tutorials/toy.md": FEWER,
    "tutorials/folds.md": FEWER | {"NNTRAINER__PREPARATION__FOLDS": "2"},
    "tutorials/higgs.md": {
        "NNTRAINER__PREPARATION__FOLDS": "null",
        "NNTRAINER__PREPARATION__FRACTIONS": "{}",
        "NNTRAINER__MODEL__LAYERS": "1",
    },
}
"""What is cut further on single pages."""
EVENTS = re.compile(r"--events \d+")
SHORT = {
    "NNTRAINER__TRAINING__EPOCHS": "1",
    "NNTRAINER__TRAINING__BATCH_SIZE": "64",
    "NNTRAINER__TRAINING__TENSORBOARD": "false",
    "NNTRAINER__EVALUATION__BOOTSTRAP": "2",
}
BLOCK = re.compile(
    r"(?:^<!--(?P<note>(?:(?!-->).)*)-->\n)?^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def _name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, and the comment before it."""

    line: int
    language: str
    title: str | None
    text: str
    note: str | None

    @property
    def run(self) -> str:
        """What the tests run: the block, or what the comment before it says instead."""
        return self.text if self.note is None else self.note.partition("\n")[2]


def blocks(path: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = path.read_text(encoding="utf-8")
    return [
        Block(
            text.count("\n", 0, each.start("language")) + 1, each["language"], each["title"], each["text"], each["note"]
        )
        for each in BLOCK.finditer(text)
    ]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory as the tutorials begin in: the checkout's configurations, and nothing else."""
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    return tmp_path


def own_ntuples(place: Path) -> None:
    """Make ntuples with other names than the toy's, as tutorials/own.md has them."""
    import uproot

    from nntrainer.ntuples.toy import generate

    names = {"eventNumber": "event", "weight_mc": "w", "nJets": "njet", "HT_all": "ht", "met_met": "met"}
    names |= {f"jet_{part}": f"j{part}" for part in ("pt", "eta", "phi", "e")}
    (place / "ntuples").mkdir()
    for path in generate(place / "toy", samples=("ttH", "ttbb"), events=400, seed=5):
        with uproot.open(path) as old, uproot.recreate(place / "ntuples" / path.name) as new:
            arrays = old["nominal_Loose"].arrays(list(names))
            flat = {name: arrays[name].to_numpy().dtype for name in names if not name.startswith("jet_")}
            kinds = {names[name]: flat.get(name, "var * float32") for name in names}
            new.mktree("analysis/events", kinds).extend({names[name]: arrays[name] for name in names})


@pytest.mark.slow
@pytest.mark.parametrize("page", FOLLOWED)
def test_a_tutorial_can_be_followed(page: str, place: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = (
        os.environ
        | SHORT
        | MORE.get(page, {})
        | {"PATH": path, "HOME": str(place), "USER": "someone", "COLUMNS": "160"}
    )
    if page == "tutorials/own.md":
        own_ntuples(place)
    if page == "python.md":
        subprocess.run(
            ["nntrainer", "generate", "demo/ntuples", "--events", "400"], cwd=place, env=environment, check=True
        )
    python = ""  # a notebook: what one block imports, the next ones have
    for block in blocks(DOCS / page):
        if block.title:
            (place / block.title).write_text(block.text)
            continue
        text = EVENTS.sub("--events 400", block.run)
        if block.language == "sh":
            command = ["bash", "-euo", "pipefail", "-c", text]
        elif block.language == "python":
            python += text
            command = [sys.executable, "-W", "ignore", "-c", python if page == "python.md" else text]
        else:
            continue
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{page}:{block.line}: {text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize("page", FOLLOWED)
def test_what_is_not_run_says_why(page: str) -> None:
    for block in blocks(DOCS / page):
        if block.language == "sh" and block.note is not None:
            assert re.search(
                r"the tests .*(instead:|leave it out|do the same|copy the run)", block.note.splitlines()[0]
            ), block
        assert block.language in ("sh", "python", "yaml", "text"), f"{page}:{block.line}: say what the block is"


@pytest.fixture(scope="module")
def partly() -> Any:
    """The schema of parts of a configuration: nothing is required but what tells alternatives apart."""
    whole = schema()
    for each in (whole, *whole["$defs"].values()):
        tags = [key for key, value in each.get("properties", {}).items() if "const" in value]
        each["required"] = [key for key in each.get("required", ()) if key in tags]
    return jsonschema.Draft202012Validator(whole)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_yaml_is_a_configuration(page: Path, partly: Any, tmp_path: Path) -> None:
    for block in blocks(page):
        data = yaml.safe_load(block.text) if block.language == "yaml" else None
        if data is None or (block.note or "").strip().startswith("No configuration"):
            continue
        assert isinstance(data, dict), block
        wrong = [f"{'.'.join(map(str, each.path))}: {each.message}" for each in partly.iter_errors(data)]
        assert wrong == [], f"{page}:{block.line}"
        if {"name", "data", "features", "model"} <= set(data):
            (tmp_path / "whole.yaml").write_text(block.text)
            load_config(tmp_path / "whole.yaml", environment={})


def _commands(app: Any) -> dict[str, set[str]]:
    import typer.main

    group = typer.main.get_command(app)
    assert hasattr(group, "commands")
    return {verb: {flag for each in command.params for flag in each.opts} for verb, command in group.commands.items()}


COMMANDS = {"nntrainer": _commands(nntrainer_app), "deploy": _commands(deploy_app)}
GLOBAL = {"--help", "--debug", "--install-completion", "--show-completion"}


def _typed(page: Path) -> Iterator[str]:
    """Yield every call of the two commands in the fenced blocks of a page and in its text."""
    text = page.read_text(encoding="utf-8")
    found = []
    for block in blocks(page):
        if block.language in ("", "sh", "bash"):
            found += [line.partition(" #")[0] for line in re.sub(r"\\\n", " ", block.text).splitlines()]
    found += re.findall(r"(?<!`)`((?:nntrainer|deploy) [^`\n]+)`", BLOCK.sub("", text))
    for line in dict.fromkeys(found):
        for call in re.findall(r"(?:^|[/ (&;$])((?:nntrainer|deploy) +[a-z-][^#|>;&]*)", line):
            yield call.strip().rstrip(")")


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_commands_exist(page: Path) -> None:
    for call in _typed(page):
        command, *words = shlex.split(re.sub("[\"'…]", " ", call))
        verb = next((word for word in words if not word.startswith("-")), None)
        options = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)} - GLOBAL
        if verb is None or verb.isupper():
            continue
        assert verb in COMMANDS[command], f"{page}: `{call}`: {command} has no verb '{verb}'"
        assert options <= COMMANDS[command][verb], f"{page}: `{call}`: {options - COMMANDS[command][verb]}"


def test_there_are_calls_to_look_at() -> None:
    assert sum(len(list(_typed(page))) for page in PAGES) > 100
