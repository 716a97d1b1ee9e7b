"""The submit files of every site, as HTCondor's own condor_submit reads them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.condor.conftest import POOL
from tests.deploy.test_htcondor import SITES, anywhere, lines, rendered, site

__all__ = ["anywhere"]  # a fixture
OWN = dict(os.environ)
"""The environment without what that fixture changes."""


@pytest.mark.parametrize("name", SITES)
@pytest.mark.parametrize("jobs", ["parts", "single"])
def test_htcondor_itself_accepts_them(name: str, jobs: str, tmp_path: Path) -> None:
    if os.geteuid() != 0 or subprocess.run([POOL, "status"], env=OWN, capture_output=True, check=False).returncode:
        pytest.skip("no HTCondor pool runs: make condor-pool")
    tmp_path.chmod(0o755)
    run = tmp_path / "it's a run"
    (run / "logs").mkdir(parents=True)
    for file, text in rendered(site(name), f"deploy.jobs={jobs}", run=str(run)).items():
        if file.endswith(".sub"):
            (run / file).write_text(text)
            command = [POOL, "exec", "condor_submit", "-dry-run", "-", run / file]
            done = subprocess.run(command, env=OWN, capture_output=True, text=True, check=False, timeout=600)
            assert done.returncode == 0, f"{file}: {done.stderr}"
            ad = lines(done.stdout)
            assert ad["NNTrainerJob"] == f'"{file.removesuffix(".sub")}"'
            assert ad["Iwd"] == f'"{run}"' or site(name).transfer == "spool"  # then the schedd has its own
            assert "WARNING" not in done.stderr
