"""What an installed package carries, beyond its modules."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def test_a_wheel_has_the_sites_and_templates_of_deploy(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("nntrainer", "deploy", "condor", "k8s", "configs"):
        shutil.copytree(REPOSITORY / name, source / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(REPOSITORY / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("nntrainer-*.whl")
    carried = set(zipfile.ZipFile(wheel).namelist())
    data = {f"sites/{path.name}" for path in (REPOSITORY / "configs/sites").glob("*.yaml")}
    data |= {f"condor/{path.name}" for path in (REPOSITORY / "condor").glob("*.j2")}
    data |= {f"kubernetes/{path.name}" for path in (REPOSITORY / "k8s").glob("*.yaml")}
    assert {f"deploy/templates/{name}" for name in data} <= carried
    assert "nntrainer/networks/dense.py" in carried and "deploy/backends/htcondor.py" in carried
    assert not [name for name in carried if name.startswith("deploy/templates/") and name.endswith(".py")]
