"""The scripts that make .venv, on a small scale: nothing is fetched."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[1]
UV = re.compile(r"^export (\w+)=(.*)$", re.MULTILINE)


def pinned(lock: str) -> dict[str, str]:
    """Return the versions of a lock by package."""
    text = (REPOSITORY / f"requirements/{lock}.txt").read_text()
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", text, re.MULTILINE))


@pytest.mark.parametrize("lock", ["seed", "train", "docs", "cpu", "gpu"])
def test_locks_agree(lock: str) -> None:
    """From one part to the next packages are only added."""
    versions, all_versions = pinned(lock), pinned("dev")
    assert versions
    assert {name: version for name, version in versions.items() if all_versions.get(name, version) != version} == {}
    if lock in ("train", "docs"):
        assert versions.keys() <= all_versions.keys()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose locks are empty, and a package that needs nothing."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("scripts", "requirements"):
        (root / name).mkdir()
    for name in ("make_venv.sh", "horovod_wheel.sh", "uv.sh", "pip_settings.py"):
        shutil.copy(REPOSITORY / "scripts" / name, root / "scripts")
    for name in ("seed", "train", "docs", "dev", "build", "horovod"):
        (root / f"requirements/{name}.txt").write_text("")
    shutil.copy(REPOSITORY / "requirements/uv.txt", root / "requirements")
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "small"\nversion = "1"\n'
    )
    (root / "backend.py").write_text(BACKEND)
    return root


@pytest.fixture(scope="module")
def made(bare: Path) -> Path:
    """The same, after `scripts/make_venv.sh train`."""
    first = set_up(bare, "train")
    assert (first.returncode, first.stderr) == (0, "Installing into .venv: train\n")
    return bare


@pytest.fixture
def checkout(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return shutil.copytree(made, tmp_path / "checkout", symlinks=True)


BACKEND = """
import zipfile

def build_editable(directory, config_settings=None, metadata_directory=None):
    name = "small-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{directory}/{name}", "w") as file:
        file.writestr("small.py", "")
        file.writestr("small-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: small\\nVersion: 1\\n")
        file.writestr("small-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        file.writestr("small-1.dist-info/RECORD", "")
    return name
"""
"""As setuptools, which is not there."""


def set_up(checkout: Path, *parts: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/make_venv.sh with pip and nothing to fetch."""
    variables = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(checkout),
        "PYTHON": getattr(sys, "_base_executable", sys.executable),
        "INSTALLER": "pip",
        "PIP_NO_INDEX": "1",
    }
    command = ["bash", "scripts/make_venv.sh", *parts]
    return subprocess.run(command, cwd=checkout, env=variables | environment, capture_output=True, text=True)


def stamp(checkout: Path) -> list[str]:
    """Return the parts that .venv says it has."""
    return (checkout / ".venv/.installed").read_text().split()[1:]


def test_parts_are_added_once(checkout: Path) -> None:
    subprocess.run([checkout / ".venv/bin/python", "-c", "import small"], check=True)
    made = (checkout / ".venv/pyvenv.cfg").stat().st_mtime_ns
    again = set_up(checkout, "train")
    assert (again.returncode, again.stdout + again.stderr) == (0, "")
    assert set_up(checkout, "docs", "train").stderr == "Installing into .venv: docs\n"
    assert set_up(checkout).stderr == "Installing into .venv: dev\n"
    assert stamp(checkout) == ["train", "docs", "dev"]
    assert (checkout / ".venv/pyvenv.cfg").stat().st_mtime_ns == made


def test_dev_has_all_but_horovod(checkout: Path) -> None:
    assert set_up(checkout, "dev").returncode == 0
    assert set_up(checkout, "train", "docs").stderr == ""
    needed = set_up(checkout, "horovod")
    assert needed.returncode == 1
    assert "Installing into .venv: horovod" in needed.stderr and "has no TensorFlow" in needed.stderr
    assert stamp(checkout) == ["train", "dev"]
    assert set_up(checkout, "dev").stderr == ""  # what failed has taken nothing away


def test_changed_locks_count_for_every_part(checkout: Path) -> None:
    assert set_up(checkout, "docs").returncode == 0
    horovod = checkout / ".venv/lib/python3.11/site-packages/horovod"
    horovod.mkdir()
    (checkout / "requirements/dev.txt").write_text("# newer\n")
    assert set_up(checkout, "train").stderr == "Installing into .venv: train\n"
    assert stamp(checkout) == ["train"]
    assert not horovod.exists()  # it was built against another TensorFlow, perhaps


def test_what_was_cut_short_is_begun_again(checkout: Path) -> None:
    (checkout / "requirements/docs.txt").write_text("not-to-be-had==1 --hash=sha256:" + "0" * 64 + "\n")
    assert set_up(checkout, "docs").returncode != 0
    left = checkout / ".venv/half"
    left.write_text("of a package")
    assert set_up(checkout, "train").stderr != ""  # .venv is not taken as complete
    assert stamp(checkout) == ["train"] and not left.exists()
    (checkout / "requirements/docs.txt").write_text("")
    (checkout / ".venv/.unfinished").touch()
    assert set_up(checkout, "docs").returncode == 0
    assert stamp(checkout) == ["docs"]


def test_mistakes_are_one_sentence(checkout: Path) -> None:
    wrong = set_up(checkout, "everything")
    assert wrong.returncode == 1 and "there is no part 'everything'" in wrong.stderr
    shutil.rmtree(checkout / ".venv")
    other = set_up(checkout, "train", PYTHON="/bin/true")
    assert other.returncode == 1
    assert other.stderr.splitlines()[1:] == ["venv: PYTHON is '/bin/true', which is not a Python 3.11"]
    assert not (checkout / ".venv").exists()


def test_without_uv_one_line_says_so(checkout: Path) -> None:
    done = set_up(checkout, "docs", INSTALLER="uv", PIP_FIND_LINKS=str(checkout))
    (said,) = done.stderr.splitlines()[1:]
    assert done.returncode == 0
    assert said.startswith("uv cannot be fetched") and "pip installs the same packages instead" in said


def variables(**environment: str) -> dict[str, str]:
    """Return the variables that uv gets where pip is configured by the environment."""
    command = [sys.executable, REPOSITORY / "scripts/pip_settings.py", "uv"]
    given = {"PATH": "/usr/bin:/bin", "PIP_CONFIG_FILE": "/dev/null", **environment}
    text = subprocess.run(command, env=given, capture_output=True, text=True, check=True).stdout
    return {name: shlex.split(value)[0] for name, value in UV.findall(text)}


def test_uv_is_given_what_pip_is_configured_with(tmp_path: Path) -> None:
    told = variables(
        PIP_INDEX_URL="https://user:a$b@index.example.org/simple",
        PIP_EXTRA_INDEX_URL=f"https://more.example.org/simple {tmp_path.as_uri()} file:///not/there",
        PIP_FIND_LINKS=f"/not/there {tmp_path}",
        PIP_CERT=str(tmp_path),
        PIP_PROXY="http://proxy.example.org:3128",
    )
    assert told["UV_DEFAULT_INDEX"] == "https://user:a$b@index.example.org/simple"
    assert told["UV_INDEX"] == f"https://more.example.org/simple {tmp_path.as_uri()}"
    assert (told["UV_FIND_LINKS"], told["SSL_CERT_FILE"]) == (str(tmp_path), str(tmp_path))
    assert told["ALL_PROXY"] == "http://proxy.example.org:3128"
    assert "UV_OFFLINE" not in told and variables(PIP_NO_INDEX="1")["UV_OFFLINE"] == "1"
    assert "UV_DEFAULT_INDEX" not in variables(PIP_INDEX_URL="https://a.org", UV_DEFAULT_INDEX="https://b.org")


def test_an_image_is_given_what_means_something_there(tmp_path: Path) -> None:
    configured = tmp_path / "pip.conf"
    configured.write_text(
        f"[global]\nindex-url = https://index.example.org/simple\nextra-index-url = {tmp_path.as_uri()}\n"
        f"cert = {configured}\nfind-links = https://links.example.org\n"
    )
    command = [sys.executable, REPOSITORY / "scripts/pip_settings.py", "conf"]
    given = {"PATH": "/usr/bin:/bin", "PIP_CONFIG_FILE": str(configured), "HOME": "/", "XDG_CONFIG_DIRS": "/nowhere"}
    text = subprocess.run(command, env=given, capture_output=True, text=True, check=True).stdout
    assert text == "[global]\nindex-url = https://index.example.org/simple\n"
