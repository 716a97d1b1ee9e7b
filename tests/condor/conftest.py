"""The throw-away pool of `make condor-pool`, where it runs."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
POOL = REPOSITORY / "condor" / "pool" / "pool.sh"
CONFIG = Path(os.environ.get("NNTRAINER_POOL_DIR", "/run/nntrainer-pool")) / "client" / "condor_config"
RUNNING, COMPLETED, HELD = 2, 4, 5
EXACT = "Cpus >= RequestCpus && (PartitionableSlot =?= True || Cpus == RequestCpus)"
"""Keeps a job that is to outgrow its memory from the slot of a job of more processors, which would have more."""
SPOOLING_INPUT = 16  # a job submitted with its files is held by this code until they have arrived


class Job:
    """One job submitted with its files (spool), as a client far from the pool does it."""

    def __init__(self, htcondor2: Any, folder: Path, script: str, **description: str):
        self.schedd = htcondor2.Schedd(htcondor2.Collector().locate(htcondor2.DaemonType.Schedd))
        self.actions = htcondor2.JobAction
        self.folder = folder
        (folder / "job.sh").write_text("#!/bin/sh\n" + script)
        (folder / "job.sh").chmod(0o755)
        standard = {
            "executable": str(folder / "job.sh"),
            "initialdir": str(folder),
            "output": "out",
            "error": "err",
            "log": "job.log",
            "request_cpus": "1",
            "request_memory": "64MB",
            "request_disk": "10MB",
            "should_transfer_files": "YES",
            "when_to_transfer_output": "ON_EXIT_OR_EVICT",
        }
        submitted = self.schedd.submit(htcondor2.Submit(standard | description), spool=True)
        self.constraint = f"ClusterId == {submitted.cluster()}"
        self.schedd.spool(submitted)

    def wait(self, *states: int, seconds: float = 1500) -> Any:
        """The job's ad, once it is in one of the states."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            (ad,) = self.schedd.query(self.constraint)
            if ad["JobStatus"] in states and ad.get("HoldReasonCode") != SPOOLING_INPUT:
                return ad
            time.sleep(0.3)
        raise TimeoutError(f"job {self.constraint} is in state {ad['JobStatus']}: {ad.get('HoldReason')}")

    def output(self) -> str:
        """What the completed job printed; its files come into the folder."""
        ad = self.wait(COMPLETED, HELD)
        assert ad["JobStatus"] == COMPLETED, ad["HoldReason"]
        self.schedd.retrieve(self.constraint)
        return (self.folder / "out").read_text()

    def act(self, action: str) -> None:
        self.schedd.act(getattr(self.actions, action), self.constraint)


@pytest.fixture(scope="session")
def htcondor2() -> Any:
    if not CONFIG.is_file():
        pytest.skip("no HTCondor pool runs: make condor-pool")
    os.environ["CONDOR_CONFIG"] = str(CONFIG)
    module = pytest.importorskip("htcondor2", reason="needs the HTCondor client: pip install 'nntrainer[condor]'")
    module.reload_config()
    try:
        module.Collector().locate(module.DaemonType.Schedd)
    except module.HTCondorException as error:
        pytest.skip(f"the HTCondor pool does not answer ({error}): make condor-pool")
    return module


@pytest.fixture
def submit(htcondor2: Any, tmp_path: Path) -> Any:
    jobs: list[Job] = []

    def start(script: str, **description: str) -> Job:
        jobs.append(Job(htcondor2, tmp_path, script, **description))
        return jobs[-1]

    yield start
    for job in jobs:
        job.act("Remove")


@pytest.fixture
def run_pool() -> Callable[..., bytes]:
    """Runs a verb of pool.sh and gives what it prints."""
    if os.geteuid() != 0:
        pytest.skip("needs root: sudo make test")
    return lambda *arguments: subprocess.run([POOL, *arguments], check=True, capture_output=True, timeout=600).stdout
