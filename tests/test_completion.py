"""The Tab key: what a shell asks of the commands, and a real Bash (and Zsh where there is one) with its scripts."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with configurations, runs, a site of one's own, and the commands in a path of their own."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "configs").mkdir()
    (folder / "configs/unique_name.yaml").write_text("name: x\n")
    for run in ("tth/first", "tth/second", "other/third"):
        (folder / "runs" / run).mkdir(parents=True)
        (folder / "runs" / run / "config.yaml").write_text("name: x\n")
    (folder / ".config/nntrainer/sites").mkdir(parents=True)
    (folder / ".config/nntrainer/sites/mine.yaml").write_text("name: mine\nbackend: local\n")
    (folder / "bin").mkdir()
    for command in ("nntrainer", "deploy"):
        script = folder / "bin" / command
        script.write_text(f"#!{sys.executable}\nfrom {command}.cli import main\n\nmain()\n")  # as pip would
        script.chmod(0o755)
    return folder


def environment(place: Path) -> dict[str, str]:
    path = os.pathsep.join([str(place / "bin"), os.environ["PATH"]])
    return os.environ | {"PATH": path, "HOME": str(place), "PYTHONPATH": str(REPOSITORY), "TERM": "dumb", "PS1": "$ "}


def asked(place: Path, line: str) -> set[str]:
    """Return what Bash is told when Tab is pressed at the end of a line."""
    words = line.split(" ")
    asks = {f"_{words[0].upper()}_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    command = [str(place / "bin" / words[0])]
    done = subprocess.run(
        command, env=environment(place) | asks, cwd=place, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return set(done.stdout.split("\n")) - {""}


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("nntrainer ", {"run", "train", "inject", "models", "schema", "find-lr"}),
        ("nntrainer in", {"inject", "inspect"}),
        ("nntrainer run x.yaml --st", {"--stage"}),
        ("nntrainer run x.yaml --stage ", {"convert", "inputs", "train", "evaluate", "export", "inject"}),
        ("nntrainer models de", {"deep_sets", "dense"}),
        ("nntrainer inject x.root --mode ", {"friend", "copy", "inplace"}),
        ("nntrainer generate x --channel l", {"ljets"}),
        ("deploy ", {"submit", "render", "status", "gather", "schema"}),
        ("deploy submit x.yaml --site ", {"local", "mine", "uchicago", "lxplus", "kubernetes"}),
        ("deploy render x.yaml --site u", {"uchicago"}),
        ("deploy sites mi", {"mine"}),
        ("deploy status ", {"tth/first", "tth/second", "other/third"}),
        ("deploy logs tth/s", {"tth/second"}),
    ],
)
def test_what_is_offered(line: str, some: set[str], place: Path) -> None:
    offered = asked(place, line)
    assert some <= offered
    assert all(each.startswith(line.rpartition(" ")[2]) for each in offered)


def test_files_are_left_to_the_shell(place: Path) -> None:
    assert asked(place, "nntrainer check con") == asked(place, "deploy submit con") == set()


class Terminal:
    """A shell in a pseudo-terminal, to which keys are sent."""

    def __init__(self, command: list[str], place: Path) -> None:
        self.main, side = pty.openpty()
        self.process = subprocess.Popen(
            command, cwd=place, env=environment(place), stdin=side, stdout=side, stderr=side, start_new_session=True
        )
        os.close(side)
        self.seen = ""

    def send(self, keys: str) -> None:
        os.write(self.main, keys.encode())

    def wait_for(self, pattern: str, seconds: float = 60) -> str:
        """Return what the shell wrote once it matches; the time is for machines that are busy."""
        until = time.monotonic() + seconds
        while not re.search(pattern, self.seen):
            assert time.monotonic() < until, f"{pattern!r} is not in {self.seen!r}"
            if select.select([self.main], [], [], 0.2)[0]:
                self.seen += os.read(self.main, 65536).decode(errors="replace")
        return self.seen

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.main)


@pytest.fixture(scope="module")
def bash(place: Path) -> Iterator[Terminal]:
    terminal = Terminal(["bash", "--norc", "--noprofile", "-i"], place)
    terminal.send("bind 'set bell-style none'; bind 'set enable-bracketed-paste off'\n")
    for command in ("nntrainer", "deploy"):
        terminal.send(f'eval "$({command} --show-completion)"; echo {command} rea""dy\n')
        terminal.wait_for(f"{command} ready")
    yield terminal
    terminal.close()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("nntrainer obs\t", r"nntrainer observables "),
        ("nntrainer models resi\t", r"nntrainer models residual "),
        ("nntrainer check configs/uni\t", r"nntrainer check configs/unique_name\.yaml "),
        ("deploy submit x.yaml --site uch\t", r"--site uchicago "),
        ("deploy gather oth\t", r"deploy gather other/third "),
    ],
)
def test_bash_completes(typed: str, completed: str, bash: Terminal) -> None:
    bash.seen = ""
    bash.send(typed)
    bash.wait_for(completed)
    bash.send('\x15echo cle""ared\n')  # away with the line
    bash.wait_for("cleared")


def test_zsh_completes(place: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("no zsh here; `apt-get install zsh` brings it")
    terminal = Terminal(["zsh", "-f", "-i"], place)
    try:
        terminal.send(
            "autoload -Uz compinit; compinit -u; setopt no_beep no_always_last_prompt; unsetopt zle_bracketed_paste\n"
        )
        for command in ("nntrainer", "deploy"):
            terminal.send(f'eval "$(_{command.upper()}_COMPLETE=source_zsh {command})"; echo {command} rea""dy\n')
            terminal.wait_for(f"{command} ready")
        terminal.send("nntrainer models resi\t")
        terminal.wait_for(r"residual")
        terminal.send("\x15deploy submit x.yaml --site uch\t")
        terminal.wait_for(r"uchicago")
    finally:
        terminal.close()


@pytest.mark.parametrize("command", ["nntrainer", "deploy"])
@pytest.mark.parametrize(
    ("shell", "words"), [("bash", "complete -o default"), ("zsh", "#compdef"), ("fish", "complete --command")]
)
def test_scripts_are_printed(command: str, shell: str, words: str, place: Path) -> None:
    variables = environment(place) | {f"_{command.upper()}_COMPLETE": f"source_{shell}"}
    done = subprocess.run([str(place / "bin" / command)], env=variables, capture_output=True, text=True, check=True)
    assert words in done.stdout and command in done.stdout


def test_the_command_of_the_documents_installs_it(place: Path, tmp_path: Path) -> None:
    variables = environment(place) | {"HOME": str(tmp_path)}
    subprocess.run(
        ["bash", "-c", "nntrainer --install-completion; true"], env=variables, check=True, capture_output=True
    )
    assert (tmp_path / ".bashrc").exists() or (tmp_path / ".zshrc").exists() or (tmp_path / ".config/fish").exists()
