"""The whole story on the throw-away pool: `deploy submit` to verified plots, ONNX and scored ntuples.

Jobs run in the image that NNTRAINER_TEST_SIF names, most of them with this checkout's nntrainer in place of its own.
"""

from __future__ import annotations

import compileall
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
import yaml

REPOSITORY = Path(__file__).parents[2]
POOL = REPOSITORY / "condor/pool/pool.sh"
DONE, FAILED, USER_ERROR, STILL_RUNNING = 0, 1, 2, 3
CONFIG = {
    "name": "small",
    "data": {
        "tree": "events",
        "event_id": "id",
        "directory": "datasets",
        "samples": [
            {"name": "s", "files": "ntuples/s*.root", "label": "s"},
            {"name": "b", "files": "ntuples/b.root", "label": "b"},
        ],
    },
    "features": {"events": ["x"], "spectators": ["id"]},
    "preparation": {"folds": 2},
    "model": {"name": "dense", "layers": [4]},
    "training": {"epochs": 2, "batch_size": 16, "tensorboard": False, "threads": 1, "workers": 2},
    "evaluation": {"bootstrap": 5},
    "deploy": {"inject_jobs": 2},
}


class Place:
    """A directory with ntuples, a configuration and a site file, and `deploy` in it."""

    def __init__(self, path: Path, user: str | None) -> None:
        self.path, self._user = path, user
        (path / "ntuples").mkdir()
        rng = np.random.default_rng(1)
        for name, shift in (("s1", 1.0), ("s2", 1.0), ("b", 0.0)):
            with uproot.recreate(path / "ntuples" / f"{name}.root") as file:
                x = (rng.normal(size=300) + shift).astype(np.float32)
                file.mktree("events", {"id": "u8", "x": "f4"}).extend(
                    {"id": rng.integers(0, 2**40, 300, np.uint64), "x": x}
                )
        (path / "c.yaml").write_text(yaml.safe_dump(CONFIG))

    def site(self, **site: Any) -> None:
        needs = {"memory_mib": 1536, "disk_mib": 512, "walltime_s": 1800}
        whole = {
            "name": "test",
            "backend": "htcondor",
            "jobs": "parts",
            "gpus": [{"name": "V100", "capability": 7.0, "memory_mib": 16384}],
            "gpu": {"minimum_capability": 5.2, "minimum_memory_mib": 8000, "exclude_mig": True},
            "limits": {"memory_mib": 4096},
            "resources": dict.fromkeys(("run", "convert", "train", "evaluate", "inject"), needs),
            **site,
        }
        (self.path / "site.yaml").write_text(yaml.safe_dump(whole))
        if self._user:
            for path in (self.path, *self.path.rglob("*")):
                shutil.chown(path, self._user)

    def command(self, *arguments: str) -> list[str]:
        environment = ["env", f"PYTHONPATH={REPOSITORY}", "PYTHONDONTWRITEBYTECODE=1"]
        deploy = [*environment, sys.executable, "-m", "deploy", *arguments]
        return [str(POOL), "as-user", *deploy] if self._user else deploy

    def deploy(self, *arguments: str, code: int | None = DONE, seconds: float = 1500) -> str:
        done = subprocess.run(
            self.command(*arguments), cwd=self.path, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert code in (None, done.returncode), f"{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def submit(self, *arguments: str, **more: Any) -> str:
        return self.deploy("submit", "c.yaml", "--site-file", "site.yaml", "--name", "r", *arguments, **more)

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.deploy("status", "r", "--json", code=None).rpartition("\n}")[0] + "\n}"))

    @property
    def run(self) -> Path:
        return self.path / "runs/small/r"


@pytest.fixture
def shared(htcondor2: Any, tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs root: sudo make test")
    folder = Path(os.environ.get("NNTRAINER_POOL_SHARED", "/srv/nntrainer-pool").split(":")[0])
    path = folder / f"test-{os.getpid()}-{tmp_path.name}"
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session", autouse=True)
def compiled() -> None:
    """Jobs get copies of this checkout's modules, and each would compile them for itself."""
    compileall.compile_dir(REPOSITORY / "nntrainer", quiet=1)


@pytest.fixture
def user() -> str:
    return os.environ.get("NNTRAINER_POOL_USER") or os.environ.get("SUDO_USER") or "nnpool"


def in_image(shared: Path, container: str) -> dict[str, Any]:
    """The part of a site file that runs jobs in the image, with this checkout's code."""
    given = os.environ.get("NNTRAINER_TEST_SIF")
    if not given or not Path(given).is_file():
        pytest.skip("no image: `make image`, and its path in NNTRAINER_TEST_SIF")
    image = shared / "image.sif"
    try:
        os.link(given, image)
    except OSError:
        shutil.copy(given, image)
    shutil.copytree(REPOSITORY / "nntrainer", shared / "code/nntrainer")
    # The container universe shows its jobs the shared folders by itself.
    binds = [str(shared / "code")] if container == "apptainer" else []
    environment = {"PYTHONPATH": str(shared / "code"), "PYTHONDONTWRITEBYTECODE": "1"}
    return {"container": container, "image": str(image), "binds": binds, "environment": environment}


def in_the_open(shared: Path, user: str) -> dict[str, Any]:
    """The same with this interpreter and no container."""
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('tensorflow') is None)"
    check = [POOL, "exec", "setpriv", "--reuid", user, "--clear-groups", sys.executable, "-c", code]
    if subprocess.run(check, capture_output=True, check=False, timeout=600).returncode:
        pytest.skip(
            f"the pool's jobs cannot run {sys.executable}: it lies neither in this checkout nor in their system"
        )
    shutil.copytree(REPOSITORY / "nntrainer", shared / "code/nntrainer")
    environment = {"PYTHONPATH": str(shared / "code"), "PYTHONDONTWRITEBYTECODE": "1"}
    return {"container": "none", "python": sys.executable, "environment": environment}


def make(transfer: str, container: str, shared: Path, user: str, tmp_path: Path, **more: Any) -> Place:
    """A place on the shared file system, used by its owner, or one far from the pool, used by root with a token."""
    path = shared / "place" if transfer != "spool" else tmp_path / "it's far away"
    path.mkdir()
    place = Place(path, user if transfer != "spool" else None)
    jobs = in_the_open(shared, user) if container == "none" else in_image(shared, container)
    place.site(transfer=transfer, **jobs, **more)
    return place


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("transfer", "container", "jobs", "folds"),
    [
        ("shared", "apptainer", "parts", 2),
        ("spool", "apptainer", "parts", 3),
        ("files", "universe", "parts", 2),
        ("shared", "none", "parts", 2),
        ("spool", "universe", "single", 2),
    ],
)
def test_from_submit_to_gathered_results(
    transfer: str, container: str, jobs: str, folds: int, shared: Path, user: str, tmp_path: Path
) -> None:
    place = make(transfer, container, shared, user, tmp_path, jobs=jobs)
    place.submit("--set", f"preparation.folds={folds}")
    assert "this run exists already" in place.submit("--set", f"preparation.folds={folds}", code=USER_ERROR)
    place.deploy("gather", "r", code=STILL_RUNNING)
    place.deploy("wait", "r", seconds=1500)
    seen = place.status()
    assert seen["state"] == "done" and seen["note"] == ""
    training = [f"train-fold{fold}" for fold in range(folds)]
    names = ["run"] if jobs == "single" else ["convert-s", "convert-b", *training, "evaluate"]
    assert [job["name"] for job in seen["jobs"]][: folds + 3] == names
    assert all(job["state"] == "done" and job["host"] for job in seen["jobs"])
    assert all(job["gpus"] for job in seen["jobs"] if job["name"] in ("run", *training))
    assert "verified" in place.deploy("gather", "r")
    assert "copied now" in place.deploy("gather", "r", "--to", "copy")
    copy = place.path / "copy"
    files = {each["path"] for each in json.loads((copy / "manifest.json").read_text())["files"]}
    assert {f"models/fold{fold}.onnx" for fold in range(folds)} | {"metrics.json", "history.csv"} <= files
    assert {"scored/s1.friend.root", "scored/s2.friend.root", "scored/b.friend.root"} <= files
    assert any(path.startswith("plots/Evaluation/") for path in files)
    for fold in range(folds):
        record = json.loads((copy / f"training/fold{fold}/training.json").read_text())
        assert (record["epochs"], record["workers"]) == (2, 2)
    with uproot.open(copy / "scored/b.friend.root") as file:
        assert np.isfinite(file["events_nn"]["nn_score"].array(library="np")).all()
    (copy / "metrics.json").write_text("{")
    assert "1 copied now" in place.deploy("gather", "r", "--to", "copy")
    victim = place.run / "models/fold0.onnx"
    victim.write_bytes(victim.read_bytes()[:-1])
    if transfer == "spool":
        assert "verified" in place.deploy("gather", "r")  # the pool has it still
    else:
        assert "models/fold0.onnx has" in place.deploy("gather", "r", code=USER_ERROR)
    place.deploy("rm", "r")
    assert not place.run.exists()


@pytest.mark.timeout(1800)
def test_the_configuration_and_the_site_that_come_along(htcondor2: Any, tmp_path: Path) -> None:
    """As a user types it, with nothing set up for it, in the image as it was built."""
    if not Path("/srv/nntrainer-pool/nntrainer-cpu.sif").is_file():
        pytest.skip("no image where the site has it: `make image condor-pool`")
    environment = {name: value for name, value in os.environ.items() if name != "CONDOR_CONFIG"}

    def command(*words: str) -> str:
        whole = [sys.executable, "-m", *words]
        done = subprocess.run(
            whole, cwd=tmp_path, env={**environment, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True
        )
        assert done.returncode == DONE, done.stdout + done.stderr
        return done.stdout

    command("nntrainer", "generate", "demo/ntuples", "--events", "6000")
    quick = ("--set", "training.epochs=2", "--set", "evaluation.bootstrap=5")
    config = str(REPOSITORY / "configs/tth.yaml")
    command("deploy", "submit", config, "--site", "pool", "--name", "far", "--set", "training.workers=2", *quick)
    command("deploy", "wait", "far")
    assert "verified" in command("deploy", "gather", "far")
    run = tmp_path / "runs/tth/far"
    digests = {json.loads(path.read_text())["provenance"]["image_digest"] for path in (run / "parts").glob("*.json")}
    assert len(digests) == 1 and len(digests.pop()) > len("sha256:")
    for sample in ("ttH", "ttbb"):
        with uproot.open(run / f"scored/{sample}.friend.root") as file:
            assert np.isfinite(file["nominal_Loose_nn"]["nn_tth_score"].array(library="np")).all()
    command("deploy", "rm", "far")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("transfer", "container"), [("shared", "apptainer"), ("spool", "apptainer"), ("shared", "none")]
)
def test_a_search_of_eight_trials(transfer: str, container: str, shared: Path, user: str, tmp_path: Path) -> None:
    """Two jobs share one study where they see the run directory, and have a share of the trials each where not."""
    place = make(transfer, container, shared, user, tmp_path)
    search = {
        "sampler": "random",
        "trials": 8,
        "parameters": {"training.optimizer.learning_rate": {"low": 1.0e-3, "high": 0.1, "log": True}},
    }
    training = {**CONFIG["training"], "workers": 1}
    (place.path / "c.yaml").write_text(yaml.safe_dump({**CONFIG, "training": training, "tune": search}))
    place.submit("--tune", "--jobs", "2")
    place.deploy("wait", "r", seconds=1500)
    seen = place.status()
    assert seen["state"] == "done"
    word = "" if transfer == "shared" else "share"
    workers = {f"tune-{word}{i}of2" for i in range(2)}
    assert [job["name"] for job in seen["jobs"]] == ["convert-s", "convert-b", *sorted(workers), "tune-best"]
    assert all(job["gpus"] for job in seen["jobs"] if job["name"] in workers)
    assert "verified" in place.deploy("gather", "r", "--to", "copy")
    found = json.loads((place.path / "copy/tune/trials.json").read_text())
    assert [(each["number"], each["state"]) for each in found["trials"]] == [(number, "done") for number in range(8)]
    worked = {each["worker"] for each in found["trials"]}
    assert worked == workers if word else worked <= workers  # one may be done with all before the other starts
    rates = {each["values"]["training.optimizer.learning_rate"] for each in found["trials"]}
    assert len(rates) == 8  # drawn from the trial's number: the same eight in both modes
    best = yaml.safe_load((place.path / "copy/tune/best.yaml").read_text())
    assert best["training"]["optimizer"]["learning_rate"] in rates and best.get("tune") is None
    assert (place.path / "copy/tune/plots/history.png").exists()
    place.deploy("rm", "r")


def jobs_of(run: Path) -> list[Any]:
    from deploy.backends.condor_bindings import Queue
    from deploy.backends.condor_submit import run_key
    from deploy.sites import HTCondorSite

    queue = Queue(HTCondorSite(name="pool", backend="htcondor"))
    return queue.jobs(f'NNTrainerRun == "{run_key(run)}"')


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("transfer", ["shared", "spool"])
def test_a_training_that_is_evicted_does_not_start_from_zero(
    transfer: str, shared: Path, user: str, tmp_path: Path, htcondor2: Any
) -> None:
    place = make(transfer, "apptainer", shared, user, tmp_path)
    epochs = 1000
    place.submit(
        *("--set", f"training.epochs={epochs}", "--set", "training.workers=1"),
        *("--set", "preparation.folds=null", "--set", "preparation.fractions={}"),
    )
    train = wait_for(
        lambda: [
            job for job in jobs_of(place.run) if str(job.get("NNTrainerJob")) == "train-fold0" and job["JobStatus"] == 2
        ]
    )
    (told,) = wait_for(lambda: [each["progress"] for each in place.status()["jobs"] if each["progress"]])
    assert re.fullmatch(r"\d+ epochs, best val loss 0\.\d{4}", told)
    schedd = htcondor2.Schedd()
    schedd.act(htcondor2.JobAction.Vacate, f"ClusterId == {train[0]['ClusterId']}")
    place.deploy("wait", "r", seconds=1500)
    (job,) = [each for each in place.status()["jobs"] if each["name"] == "train-fold0"]
    assert any("evicted" in line for line in job["history"]), job
    place.deploy("gather", "r")
    record = json.loads((place.run / "training/fold0/training.json").read_text())
    assert record["epochs"] == epochs
    found = re.search(r"is in epoch (\d+) of", (place.run / "logs/train-fold0.log").read_text())
    assert found and 1 < int(found[1]) < epochs
    with (place.run / "history.csv").open() as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    assert len(seconds) == epochs
    # TensorFlow compiles in the first epoch of each start: the second start began where the first one ended.
    assert seconds[int(found[1]) - 1] > 5 * float(np.median(seconds))
    place.deploy("rm", "r")


def wait_for(condition: Any, seconds: float = 1500) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.5)
    return found


def ended(place: Place, name: str) -> bool:
    """Whether a run is done; what is lost, or overdue (deploy.backends.htcondor.SENDING_S), is submitted again."""
    state = json.loads(place.deploy("status", name, "--json", code=None).rpartition("\n}")[0] + "\n}")["state"]
    assert state in ("queued", "running", "held", "lost", "done"), state
    if state in ("held", "lost"):
        place.deploy("retry", name)
    return bool(state == "done")


@pytest.mark.parametrize("transfer", ["shared", "spool"])
def test_deploy_killed_while_it_submits_loses_nothing(transfer: str, shared: Path, user: str, tmp_path: Path) -> None:
    """At whatever moment: there is no run, or one that is found or submitted by `retry`; never two in the queue."""
    path = shared / "place" if transfer == "shared" else tmp_path / "place"
    path.mkdir()
    place = Place(path, user if transfer == "shared" else None)
    program = shared / "program"  # does nothing but what the next jobs are sent
    program.write_text(
        "#!/bin/sh\nfor name; do :; done\n"
        'for d in datasets/*/; do [ ! -d "$d" ] || touch "$d/${name#convert-}.h5"; done\n'
    )
    program.chmod(0o755)
    place.site(transfer=transfer, container="none", python=str(program))
    # Killed as soon as there is: a directory, its record, its configuration, the DAG's submit file, something in the
    # queue; and a little later.
    files = ("", "deploy.json", "config.yaml", "rendered/run.dag.condor.sub")
    moments = [lambda run, file=file: (run / file).exists() for file in files]
    moments.append(lambda run: bool(jobs_of(run)))
    outcomes = []
    for number, (moment, later) in enumerate([(each, later) for each in moments for later in (0, 0.1)]):
        name = f"k{number}"
        run = place.path / "runs/small" / name
        command = place.command("submit", "c.yaml", "--site-file", "site.yaml", "--name", name)
        process = subprocess.Popen(command, cwd=place.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not moment(run) and process.poll() is None:
            pass
        time.sleep(later)
        process.kill()
        process.wait()
        # What the killed one had sent, the schedd has taken before it answers twice: it does one thing after another.
        for _ in range(2):
            jobs_of(run)
        if not (run / "config.yaml").exists():
            outcomes.append("nothing")
            shutil.rmtree(run)
            place.deploy("submit", "c.yaml", "--site-file", "site.yaml", "--name", name)
            continue
        record = json.loads((run / "deploy.json").read_text())
        record["submitted"] = "2020-01-01T00:00:00+00:00"  # as if a minute had passed
        (run / "deploy.json").write_text(json.dumps(record))
        seen = json.loads(place.deploy("status", name, "--json", code=None).rpartition("\n}")[0] + "\n}")
        outcomes.append("recorded" if record["jobs"] else seen["state"])
        if seen["state"] in ("lost", "held"):
            place.deploy("retry", name, code=None)  # what was on its way to the queue may have arrived since
    for number in range(len(outcomes)):
        wait_for(lambda name=f"k{number}": ended(place, name))
        assert len([job for job in jobs_of(place.path / f"runs/small/k{number}") if job["JobStatus"] != 4]) <= 1
        place.deploy("rm", f"k{number}")
    assert {"nothing", "lost"} < set(outcomes), outcomes
