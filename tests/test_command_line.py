"""The commands start fast and without anything heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCK = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {heavy!r}:
            raise ImportError(f'{{name}} must not be imported')
sys.meta_path.insert(0, Refuse())
sys.argv = {argv!r}
from {package}.cli import main
main()
"""
HEAVY = {
    "tensorflow",
    "keras",
    "horovod",
    "onnxruntime",
    "onnx",
    "uproot",
    "awkward",
    "pandas",
    "matplotlib",
    "h5py",
}


@pytest.mark.parametrize("argv", [["nntrainer", "--help"], ["deploy", "--help"], ["nntrainer", "inject", "--help"]])
def test_help_needs_nothing_heavy(argv: list[str]) -> None:
    code = BLOCK.format(heavy=HEAVY, argv=argv, package=argv[0])
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Usage" in result.stdout


def test_check_needs_nothing_heavy() -> None:
    code = BLOCK.format(heavy=HEAVY, argv=["nntrainer", "check", "configs/tth.yaml"], package="nntrainer")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "valid" in result.stdout


def test_deploy_needs_only_the_plain_installation() -> None:
    extras = HEAVY | {
        "h5py",
        "scipy",
        "sklearn",
        "hist",
        "mplhep",
        "xrootd",
        "fsspec_xrootd",
        "htcondor2",
        "kubernetes",
    }
    files = [part for i in (0, 1) for part in ("--set", f"data.samples.{i}.files={__file__}")]
    argv = ["deploy", "render", "configs/minimal.yaml", "--site", "local", *files]
    code = BLOCK.format(heavy=extras, argv=argv, package="deploy")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "nntrainer run" in result.stdout


def test_error_without_traceback_and_debug_with() -> None:
    command = [sys.executable, "-m", "nntrainer"]
    plain = subprocess.run([*command, "check", "nothing.yaml"], capture_output=True, text=True, check=False)
    assert plain.returncode == 2
    assert plain.stderr.startswith("error: nothing.yaml: no such configuration file")
    debug = subprocess.run([*command, "--debug", "check", "nothing.yaml"], capture_output=True, text=True, check=False)
    assert "Traceback" in debug.stderr
