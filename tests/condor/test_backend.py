"""The HTCondor backend on the throw-away pool, with jobs of a few shell commands."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy import runs
from deploy.backends.base import Batch
from deploy.backends.condor_bindings import Queue
from deploy.backends.condor_submit import run_key
from deploy.backends.htcondor import HTCondorBackend
from deploy.errors import DeployError
from deploy.jobs import JobSeen, JobSpec, Resources
from deploy.runs import Run
from deploy.sites import HTCondorSite, Limits
from nntrainer.config import Config, load_config
from tests.condor.conftest import EXACT

CONFIG = """\
name: small
data:
  tree: events
  event_id: id
  samples: [{name: s, files: s.root, label: s}]
features: {events: [x]}
model: {name: dense, layers: [4]}
"""
PATIENCE_S = 1500.0
"""Waits end with what they wait for; only where that never comes they take so long."""
TRANSFERS = ("shared", "files", "spool")
HOSTILE = [
    "a b",
    "it's",
    'say "hi"',
    "$HOME $(ClusterId) $$(Memory)",
    "ünï·代码",
    "back\\slash",
    "",
    "*;&|<>`x`",
    "%d #",
    "x" * 200,
]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    return load_config(path, environment={})


class Pool:
    """Makes and follows runs on the pool, in a folder that its jobs see."""

    def __init__(self, folder: Path, config: Config, user: str) -> None:
        self.folder, self.config, self.user = folder, config, user
        self.backend, self.runs = HTCondorBackend(), list[Run]()

    def site(self, transfer: str = "shared", **more: Any) -> HTCondorSite:
        return HTCondorSite(name="pool", backend="htcondor", container="none", transfer=transfer, jobs="parts", **more)

    def create(
        self, site: HTCondorSite, *jobs: JobSpec, name: str = "run", sources: dict[str, str] | None = None
    ) -> Run:
        batch = Batch(self.folder / name, site, tuple(replace(job, directory=self.folder / name) for job in jobs))
        run = runs.create(batch.run, self.config, site, batch.jobs, self.backend.render(batch), sources)
        for path in (run.path, *run.path.rglob("*")):  # the pool's daemons write here as the jobs' owner
            shutil.chown(path, self.user)
            path.chmod(0o755 if path.is_dir() else 0o644) if not path.is_symlink() else None
        self.runs.append(run)
        return run

    def submit(self, site: HTCondorSite, *jobs: JobSpec, **more: Any) -> Run:
        run = self.create(site, *jobs, **more)
        runs.submit(run)
        return run

    def wait(self, run: Run, condition: Callable[[dict[str, JobSeen]], Any]) -> dict[str, JobSeen]:
        return self._until(run, lambda _, jobs: bool(condition(jobs)))

    def end(self, run: Run) -> dict[str, JobSeen]:
        return self._until(run, lambda state, _: state in runs.FINISHED)

    def _until(self, run: Run, condition: Callable[[str, dict[str, JobSeen]], bool]) -> dict[str, JobSeen]:
        end = time.monotonic() + PATIENCE_S
        while True:
            seen = runs.look(run)
            jobs = {job.name: job for job in seen.jobs}
            if condition(seen.state, jobs):
                return jobs
            if time.monotonic() > end:
                raise TimeoutError(str(jobs))
            time.sleep(0.2)

    def queue(self, run: Run) -> list[Any]:
        return Queue(self.site()).jobs(f'NNTrainerRun == "{run_key(run.path)}"')


@pytest.fixture
def pool(htcondor2: Any, config: Config, tmp_path: Path) -> Iterator[Pool]:
    if os.geteuid() != 0:
        pytest.skip("needs root: sudo make test")
    shared = Path(os.environ.get("NNTRAINER_POOL_SHARED", "/srv/nntrainer-pool").split(":")[0])
    user = os.environ.get("NNTRAINER_POOL_USER") or os.environ.get("SUDO_USER") or "nnpool"
    folder = shared / f"test-{os.getpid()}-{tmp_path.name}"
    folder.mkdir()
    made = Pool(folder, config, user)
    yield made
    for run in made.runs:
        made.backend.cancel(Batch(run.path, made.site(), ()), 0)
    shutil.rmtree(folder)


def job(name: str, script: str, *arguments: str, **more: Any) -> JobSpec:
    """A job of a few shell commands; like all of the real ones it may write to out/."""
    stage = name.split("-")[0]
    needs = Resources(memory_mib=64, disk_mib=10, walltime_s=600)
    given = {"resources": needs, "outputs": ("out",), **more}
    command = ("/bin/sh", "-c", f"mkdir -p out; {script}", "sh", *arguments)
    return JobSpec(name, stage, command, Path("."), **given)


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_files_go_from_job_to_job(pool: Pool, transfer: str) -> None:
    name = "it's $HOME é"
    (pool.folder / "n.root").write_text("ntuple")
    sources = {f"ntuples/{name}.root": str(pool.folder / "n.root")}
    first = job("convert-a.b", 'cat ntuples/*.root > out/a; printf "%s\\0" "$@" > out/arguments', *HOSTILE)
    first = replace(first, ntuples=tuple(sources), environment={"A": "b c", "Q": 'it\'s "$HOME"'})
    second = job("train-fold0", 'cat out/a > done; echo "$Q"; mkdir -p made; mv done made/', needs=("convert-a.b",))
    second = replace(second, inputs=("out/a",), outputs=("made",), environment={"Q": 'it\'s "$HOME" $$(x)'})
    run = pool.submit(pool.site(transfer), first, second, name='it\'s "a" $run é', sources=sources)
    seen = pool.end(run)
    assert {each.state for each in seen.values()} == {"done"}, seen
    assert seen["train-fold0"].exit_code == 0 and seen["train-fold0"].host
    pool.backend.fetch(run.batch())
    assert (run.path / "made/done").read_text() == "ntuple"
    assert (run.path / "out/arguments").read_text().split("\0")[:-1] == HOSTILE
    assert 'it\'s "$HOME" $$(x)' in (run.path / "logs/train-fold0.log").read_text()
    runs.remove(run)
    assert pool.queue(run) == []


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_a_mistake_is_not_repeated_and_a_crash_is(pool: Pool, transfer: str) -> None:
    run = pool.submit(
        pool.site(transfer, max_retries=1),
        job("convert-mistake", "echo no such branch; exit 2"),
        job("convert-crash", "echo crash; exit 1"),
        job("evaluate", "true", needs=("convert-mistake", "convert-crash")),
    )
    seen = pool.end(run)
    assert runs.look(run).state == "failed"
    assert (seen["convert-mistake"].state, seen["convert-mistake"].exit_code) == ("failed", 2)
    assert "mend it" in seen["convert-mistake"].why
    assert not seen["convert-mistake"].history
    assert (seen["convert-crash"].state, seen["convert-crash"].exit_code) == ("failed", 1)
    assert "ended with exit code 1, and is tried again" in " ".join(seen["convert-crash"].history)
    assert (seen["evaluate"].state, seen["evaluate"].why) == ("waiting", "what it needs has failed")
    assert "no such branch" in next(path for path in runs.logs_of(run) if path.stem == "convert-mistake").read_text()


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_retry_does_again_only_what_is_not_done(pool: Pool, transfer: str) -> None:
    run = pool.submit(
        pool.site(transfer, max_retries=0),
        job("convert-a", "date +%N > out/a"),
        job("train-fold0", "test -e out/mended || exit 2; cat out/a > out/b", needs=("convert-a",), inputs=("out",)),
    )
    assert pool.end(run)["train-fold0"].state == "failed"
    if transfer == "spool":
        pool.backend.fetch(run.batch())
    made = (run.path / "out/a").read_text()
    (run.path / "out/mended").touch()
    shutil.chown(run.path / "out/mended", pool.user)
    assert runs.retry(run) == ["train-fold0"]
    assert runs.look(run).state in ("queued", "running")
    seen = pool.end(run)
    assert {each.state for each in seen.values()} == {"done"}, seen
    pool.backend.fetch(run.batch())
    assert (run.path / "out/b").read_text() == made == (run.path / "out/a").read_text()
    assert "DONE" in (run.path / "rendered/retry1.dag").read_text()
    assert run.read("deploy.json")["retries"][0]["jobs"] == ["train-fold0"]


ALONE = {"requirements": EXACT}
HUNGRY = (
    "memory=$(sed -n 's/^Memory = //p' \"$_CONDOR_MACHINE_AD\"); "
    "python3 -c \"import time; x = b'x' * 300_000_000; time.sleep(0 if $memory > 400 else 300); print(len(x))\""
)
"""Waits to be held where it has too little memory."""


def hungry(cpus: int) -> JobSpec:
    """A job of as many processors as no other test asks for: with EXACT it gets no other's slot, nor its memory."""
    return job("convert-a", HUNGRY, resources=Resources(cpus=cpus, memory_mib=64, disk_mib=10, walltime_s=900))


@pytest.mark.parametrize("transfer", ["shared", "spool"])
def test_a_job_that_outgrows_its_memory_gets_more_by_itself(pool: Pool, transfer: str) -> None:
    site = pool.site(transfer, max_retries=3, limits=Limits(memory_mib=1024), submit=ALONE)
    run = pool.submit(site, hungry(3 if transfer == "shared" else 4))
    seen = pool.end(run)["convert-a"]
    assert seen.state == "done", seen
    story = "\n".join(seen.history)
    assert "held: the job needed more memory than it had asked for" in story
    assert "released" in story and "with 512 MiB of memory" in story


def test_a_held_job_is_explained_and_retried_with_more_memory_up_to_the_limit(pool: Pool) -> None:
    run = pool.submit(pool.site(max_retries=0, limits=Limits(memory_mib=512), submit=ALONE), hungry(5))
    for memory in (256, 512):
        seen = pool.wait(run, lambda jobs: jobs["convert-a"].state == "held")["convert-a"]
        assert "needed more memory" in seen.why and "deploy.resources" in seen.why
        assert runs.retry(run) == ["convert-a"]
        (ad,) = [each for each in pool.queue(run) if each.get("NNTrainerJob") == "convert-a"]
        assert int(ad["RequestMemory"]) == memory
        pool.wait(run, lambda jobs: jobs["convert-a"].state != "held")
    assert pool.end(run)["convert-a"].state == "done"
    assert len(run.read("deploy.json")["retries"]) == 2


def test_more_memory_than_the_site_grants_is_refused(pool: Pool) -> None:
    run = pool.submit(pool.site(max_retries=0, limits=Limits(memory_mib=128), submit=ALONE), hungry(6))
    pool.wait(run, lambda jobs: jobs["convert-a"].state == "held")
    with pytest.raises(DeployError, match="convert-a had 128 MiB of memory, and site 'pool' grants no more"):
        runs.retry(run)
    assert not run.read("deploy.json")["retries"]


COUNT = (
    "n=$(cat out/n 2>/dev/null || echo 0); echo start $n; [ $n = 0 ] || exit 0; trap 'echo $n > out/n; exit 85' TERM; "
    "while n=$((n + 1)); do sleep 0.2; mkdir -p training/fold0; "
    'echo \'{"epochs": 1, "best_val_loss": 0}\' > training/fold0/training.json; '
    "[ $n != 2 ] || /usr/libexec/condor/condor_chirp ulog counting; done"
)
"""Counts until SIGTERM, and keeps how far it has come, as a training does; then it has nothing more to do.

It tells of its progress as a training does, too: in a file where that is seen, else in the event log.
"""


def went_on(run: Run) -> bool:
    """Whether the last start of COUNT began where the one before it had ended."""
    said = re.findall(r"start (\d+)", (run.path / "logs/train-fold0.log").read_text())
    return said[-1] == (run.path / "out/n").read_text().strip() != "0"


@pytest.mark.parametrize("transfer", ["shared", "spool"])
def test_a_training_whose_time_is_up_goes_on(pool: Pool, transfer: str) -> None:
    needs = Resources(memory_mib=64, disk_mib=10, walltime_s=3)
    # Where nothing is done in that time, on a busy machine, it is up often.
    run = pool.submit(pool.site(transfer, max_retries=9), job("train-fold0", COUNT, resources=needs))
    seen = pool.end(run)["train-fold0"]
    assert seen.state == "done", seen
    story = "\n".join(seen.history)
    assert "held: its time was up" in story and "code 46/" in story and "released by itself" in story
    pool.backend.fetch(run.batch())
    assert went_on(run)


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_an_evicted_training_goes_on(pool: Pool, transfer: str) -> None:
    run = pool.submit(pool.site(transfer), job("train-fold0", COUNT))
    pool.wait(run, lambda jobs: jobs["train-fold0"].progress)
    (ad,) = [each for each in pool.queue(run) if each.get("NNTrainerJob") == "train-fold0"]
    Queue(pool.site()).act("Vacate", f"ClusterId == {ad['ClusterId']}", "a test")
    seen = pool.end(run)["train-fold0"]
    assert seen.state == "done"
    assert "evicted" in "\n".join(seen.history)
    pool.backend.fetch(run.batch())
    assert went_on(run)


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_cancel_leaves_nothing_in_the_queue(pool: Pool, transfer: str) -> None:
    converts = [job(f"convert-{n}", "exec sleep 900") for n in range(3)]
    evaluate = job("evaluate", "true", needs=tuple(each.name for each in converts))
    run = pool.submit(pool.site(transfer), *converts, evaluate)
    pool.wait(run, lambda jobs: all(jobs[each.name].state == "running" for each in converts))
    assert len(pool.queue(run)) == 4
    assert runs.cancel(run, 1) == "cancelled"
    assert pool.queue(run) == []
    assert {each.state for each in runs.look(run).jobs} == {"cancelled"}
    runs.remove(run)


def test_a_missing_input_is_named(pool: Pool) -> None:
    first = replace(job("convert-a", "true"), ntuples=("ntuples/gone.root",))
    run = pool.submit(pool.site("files"), first)
    seen = pool.wait(run, lambda jobs: jobs["convert-a"].state == "held")["convert-a"]
    assert "ntuples/gone.root" in seen.why and "could not be sent" in seen.why


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_one_job_for_everything(pool: Pool, transfer: str) -> None:
    run = pool.submit(pool.site(transfer), replace(job("run", "echo hello > out/x"), stage="run"))
    assert pool.end(run)["run"].state == "done"
    pool.backend.fetch(run.batch())
    assert (run.path / "out/x").read_text() == "hello\n"
    assert "sh" not in (run.path / "logs/run.log").read_text()
    runs.remove(run)
    assert pool.queue(run) == []


@pytest.mark.parametrize("transfer", ["shared", "spool"])
def test_a_submission_that_was_not_recorded_is_found(pool: Pool, transfer: str) -> None:
    run = pool.submit(pool.site(transfer), job("convert-a", "true"))
    run.update(jobs=[])  # deploy was killed between the queue and its record
    seen = pool.end(run)
    assert seen["convert-a"].state == "done"


def test_files_that_never_arrived_are_sent_again(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    import htcondor2

    run = pool.create(pool.site("spool"), job("convert-a", "true"))
    original = htcondor2.Schedd.spool
    try:
        htcondor2.Schedd.spool = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt())  # killed between the two calls
        with pytest.raises(KeyboardInterrupt):
            runs.submit(run)
    finally:
        htcondor2.Schedd.spool = original
    assert runs.look(run).state == "queued"  # they may be on their way
    monkeypatch.setattr("deploy.backends.htcondor.SENDING_S", 0)
    seen = runs.look(run)
    assert seen.state == "held" and "its submission was cut off" in seen.note
    runs.retry(run)
    monkeypatch.undo()
    assert pool.end(run)["convert-a"].state == "done"
    assert len(pool.queue(run)) == 1
