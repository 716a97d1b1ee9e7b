"""HTCondor's event logs as a real pool wrote them: a hold for memory, an eviction, crashes, a removal."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("htcondor2", reason="needs the HTCondor client: pip install 'nntrainer[condor]'")
from deploy.backends.condor_events import Submitted, last_by_node, read_log

LOG = Path(__file__).parents[1] / "golden/htcondor/events.log"


@pytest.fixture(scope="module")
def jobs() -> dict[str, Submitted]:
    return last_by_node(read_log(LOG))


def test_no_log_is_no_job(tmp_path: Path) -> None:
    assert read_log(tmp_path / "none") == []


def test_states(jobs: dict[str, Submitted]) -> None:
    states = {name: job.state for name, job in jobs.items()}
    assert states == {
        "convert-hungry": "done",
        "train-fold0": "done",
        "convert-mistake": "failed",
        "convert-crash": "failed",
        "convert-killed": "failed",
        "convert-slow": "running",
        "convert-held": "held",
    }
    codes = {name: job.exit_code for name, job in jobs.items() if job.state == "failed"}
    assert codes == {"convert-mistake": 2, "convert-crash": 1, "convert-killed": 137}
    assert jobs["convert-killed"].why == "ended by signal 9"


def test_more_memory(jobs: dict[str, Submitted]) -> None:
    story = jobs["convert-hungry"].history
    assert "held: the job needed more memory than it had asked for" in story[0] and "code 34/0" in story[0]
    assert "released" in story[1]
    assert story[-1].endswith("with 512 MiB of memory")
    assert jobs["convert-hungry"].memory_mib == 512


def test_eviction_and_gpus(jobs: dict[str, Submitted]) -> None:
    job = jobs["train-fold0"]
    assert job.history[0].split(" ", 1)[1] == "evicted"
    assert job.starts == 2 and job.gpus == "2 × Tesla V100-PCIE-16GB" and job.host


def test_a_hold_names_the_file(jobs: dict[str, Submitted]) -> None:
    assert "/shared/runs/run/ntuples/gone.root" in jobs["convert-held"].why
    assert jobs["convert-held"].hold == (13, 2)


def test_a_removed_job_was_submitted_again(jobs: dict[str, Submitted]) -> None:
    assert "removed from the queue" in jobs["convert-slow"].history[-1]


def test_a_log_that_is_being_written_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    text = LOG.read_text(encoding="utf-8")
    for size in (0, 1, 500, 5001, len(text) - 20):
        (tmp_path / "log").write_text(text[:size], encoding="utf-8")
        assert len(read_log(tmp_path / "log")) <= len(read_log(LOG))
