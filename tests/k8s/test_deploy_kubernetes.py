"""deploy on a real Kubernetes: k8s/cluster with an image of nntrainer loaded, as the ordinary user Alice.

The image gives the environment; the code that runs in it is that of this checkout, from the input volume.
"""

from __future__ import annotations

import compileall
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nntrainer.files import sha256

REPOSITORY = Path(__file__).parents[2]
CLUSTER = REPOSITORY / "k8s" / "cluster" / "cluster.sh"
IMAGE = os.environ.get("NNTRAINER_TEST_IMAGE", "")
kubernetes = pytest.importorskip("kubernetes", reason="no Kubernetes client; `pip install .[kubernetes]` brings it")
pytestmark = [
    pytest.mark.skipif(
        subprocess.run([CLUSTER, "status"], capture_output=True).returncode != 0,
        reason="no throw-away Kubernetes runs here; `make k8s-cluster` starts one",
    ),
    pytest.mark.skipif(
        not IMAGE,
        reason="no image; `docker save nntrainer:cpu | k8s/cluster/cluster.sh load /dev/stdin` loads it, "
        "NNTRAINER_TEST_IMAGE=docker.io/library/nntrainer:cpu names it",
    ),
]
PATIENCE_S = 1500.0
CONFIG = """\
name: small
data:
  tree: events
  event_id: id
  samples:
    - {name: s, files: "/input/NAME/ntuples/s*.root", label: s}
    - {name: b, files: "/input/NAME/ntuples/b.root", label: b}
  directory: NAME-datasets
features: {events: [x], spectators: [id]}
preparation: {folds: 2}
model: {name: dense, layers: [4]}
training: {epochs: 2, batch_size: 64, tensorboard: false, threads: 1}
evaluation: {bootstrap: 5}
"""


class Place:
    """A directory that deploy is called from, and the cluster as Alice sees it."""

    def __init__(self, folder: Path) -> None:
        shown = subprocess.run([CLUSTER, "env"], capture_output=True, text=True, check=True).stdout
        self.kubeconfig = Path(shown.strip().removeprefix("export KUBECONFIG="))
        self.volumes = self.kubeconfig.parent / "volumes"
        self.folder = folder
        self.name = f"test-{os.getpid()}-{random.randrange(10**6)}"
        self.environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PYTHONPATH": str(REPOSITORY)}
        client = kubernetes.config.new_client_from_config(str(self.kubeconfig))
        self.client = client
        self.core, self.batch = kubernetes.client.CoreV1Api(client), kubernetes.client.BatchV1Api(client)
        site = yaml.safe_load((REPOSITORY / "configs/sites/cluster.yaml").read_text(encoding="utf-8"))
        site |= {"image": IMAGE, "environment": {"PYTHONPATH": f"/input/{self.name}"}}
        (folder / "cluster.yaml").write_text(yaml.safe_dump(site), encoding="utf-8")
        (folder / "c.yaml").write_text(CONFIG.replace("NAME", self.name), encoding="utf-8")

    def command(self, verb: str, *words: str) -> list[str]:
        return [sys.executable, "-m", "deploy", verb, *words]

    def deploy(self, verb: str, *words: str, code: int | None = 0) -> str:
        done = subprocess.run(
            self.command(verb, *words),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert code is None or done.returncode == code, f"{verb}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def submit(self, name: str, *sets: str, code: int = 0) -> str:
        words = [word for each in sets for word in ("--set", each)]
        return self.deploy("submit", "c.yaml", "--site-file", "cluster.yaml", "--name", name, *words, code=code)

    def status(self, name: str) -> dict[str, Any]:
        done = subprocess.run(
            self.command("status", name, "--json"),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.stdout, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def run(self, name: str) -> Path:
        return self.folder / "runs/small" / name

    def on_volume(self, name: str) -> Path:
        return self.volumes / "output/runs/small" / name

    def left(self, name: str) -> list[str]:
        """Return the objects of a run that are in the cluster, but pods that were killed and are still going."""
        some: list[Any] = []
        selector = "app.kubernetes.io/managed-by=deploy"
        some += self.batch.list_namespaced_job("physics", label_selector=selector).items
        some += self.core.list_namespaced_config_map("physics", label_selector=selector).items
        some += self.core.list_namespaced_pod("physics", label_selector=selector).items
        mine = [each for each in some if f"-{name}-" in each.metadata.name]
        return [each.metadata.name for each in mine if not (each.metadata.deletion_timestamp)]


def until(what: Callable[[], Any]) -> Any:
    """Wait for something, which on a busy machine may take as long as it likes."""
    end = time.monotonic() + PATIENCE_S
    while not (found := what()):
        if time.monotonic() > end:
            pytest.fail(f"nothing came in {PATIENCE_S} s")
        time.sleep(0.3)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    import numpy as np
    import uproot

    place = Place(tmp_path_factory.mktemp("deploy"))
    shared = place.volumes / "input" / place.name
    shared.mkdir()
    compileall.compile_dir(REPOSITORY / "nntrainer", quiet=1)  # each pod would do it for itself
    shutil.copytree(REPOSITORY / "nntrainer", shared / "nntrainer")
    # Python reads it when it starts: a job that needs more memory than it has, at once.
    (shared / "sitecustomize.py").write_text('import os\nhog = b"x" * (int(os.environ.get("HOG_MIB", 0)) << 20)\n')
    (shared / "ntuples").mkdir()
    rng = np.random.default_rng(1)
    for name, shift in (("s1", 1.0), ("s2", 1.0), ("b", 0.0)):
        with uproot.recreate(shared / "ntuples" / f"{name}.root") as file:
            tree = file.mktree("events", {"id": "u8", "x": "f4"})
            x = (rng.normal(size=300) + shift).astype(np.float32)
            tree.extend({"id": rng.integers(0, 2**40, 300).astype(np.uint64), "x": x})
    yield place
    for run in sorted((place.folder / "runs/small").glob("*")):
        place.deploy("cancel", str(run), "--grace", "0", code=None)
        place.deploy("rm", str(run), code=None)
    shutil.rmtree(shared)
    shutil.rmtree(place.volumes / f"output/{place.name}-datasets", ignore_errors=True)
    place.client.rest_client.pool_manager.clear()


def gathered(place: Place, name: str) -> dict[str, str]:
    """Return the SHA-256 of every file of a run's results, and check them against the volume's."""
    run, there = place.run(name), place.on_volume(name)
    files = {each["path"]: each["sha256"] for each in json.loads((run / "manifest.json").read_text())["files"]}
    for path, digest in files.items():
        assert sha256(run / path) == digest == sha256(there / path)
    assert not list(run.rglob("*.part"))
    return files


def test_a_run_in_one_job_is_cancelled_and_goes_on_where_it_was(place: Place) -> None:
    name = f"one{random.randrange(10**6)}"
    place.submit(name, "deploy.jobs=single", "training.epochs=100000", "preparation.folds=2")
    epochs = until(lambda: trained_epochs(place, name))
    assert place.status(name)["state"] == "running"
    said = place.deploy("cancel", name, "--grace", "300")
    assert "cancelled" in said
    until(lambda: not place.left(name))
    assert place.status(name)["state"] == "cancelled"
    assert "checkpoint" in place.deploy("logs", name)  # the last words came before the pod went
    stopped = trained_epochs(place, name)
    assert stopped >= epochs
    assert place.deploy("retry", name).strip().endswith("started again: run")
    until(lambda: trained_epochs(place, name) > stopped)
    # Not from zero: so many epochs take longer than it had.
    assert "---- attempt 2" in place.deploy("logs", name)
    place.deploy("cancel", name, "--grace", "300")
    until(lambda: not place.left(name))
    place.deploy("rm", name)
    assert not place.on_volume(name).exists() and not place.run(name).exists()


def trained_epochs(place: Place, name: str) -> int:
    try:
        return int(json.loads((place.on_volume(name) / "training/fold0/training.json").read_text())["epochs"])
    except (FileNotFoundError, KeyError, ValueError):
        return 0


def test_a_search_in_two_jobs(place: Place) -> None:
    name = f"search{random.randrange(10**6)}"
    parameters = "{training.optimizer.learning_rate: {low: 0.001, high: 0.1, log: true}}"
    sets = [f"tune.parameters={parameters}", "tune.sampler=random", "tune.trials=4"]
    words = [word for each in sets for word in ("--set", each)]
    place.deploy("submit", "c.yaml", "--site-file", "cluster.yaml", "--name", name, "--tune", "--jobs", "2", *words)
    place.deploy("wait", name)
    assert [job["name"] for job in place.status(name)["jobs"]] == ["tune-0of2", "tune-1of2"]
    place.deploy("gather", name)
    files = gathered(place, name)
    assert {"tune/best.yaml", "tune/trials.csv", "tune/plots/history.png"} <= set(files)
    trials = json.loads((place.run(name) / "tune/trials.json").read_text())["trials"]
    assert [(each["number"], each["state"]) for each in trials] == [(number, "done") for number in range(4)]
    assert {each["worker"] for each in trials} <= {"tune-0of2", "tune-1of2"}
    best = yaml.safe_load((place.run(name) / "tune/best.yaml").read_text())
    rates = {each["values"]["training.optimizer.learning_rate"] for each in trials}
    assert len(rates) == 4 and best["training"]["optimizer"]["learning_rate"] in rates
    place.deploy("rm", name)


def test_a_failing_job_is_explained(place: Place) -> None:
    name = f"bad{random.randrange(10**6)}"
    place.submit(name, "data.tree=nothing", "deploy.jobs=single")
    place.deploy("wait", name, code=1)
    status = place.status(name)
    assert status["state"] == "failed" and status["jobs"][0]["exit_code"] == 2
    assert "the configuration or an input is wrong" in status["note"]
    assert "there is no tree 'nothing'" in place.deploy("logs", name)
    assert "nothing gathered" in place.deploy("gather", name, code=1)
    assert "failed already" in place.deploy("cancel", name)
    place.deploy("rm", name)
    until(lambda: not place.left(name))


def test_more_gpus_than_there_are(place: Place) -> None:
    name = f"gpu{random.randrange(10**6)}"
    place.submit(name, "training.workers=12", "deploy.jobs=single", "deploy.resources.run.cpus=1")
    why = until(lambda: place.status(name)["note"])
    assert "no machine has 12 GPUs free" in why and "Insufficient nvidia.com/gpu" in why
    place.deploy("cancel", name)
    until(lambda: not place.left(name))
    assert "grants 64" in place.submit(f"{name}b", "training.workers=65", "deploy.jobs=single", code=2)


def test_an_image_that_is_not_there(place: Place) -> None:
    name = f"img{random.randrange(10**6)}"
    site = place.folder / "absent.yaml"
    site.write_text((place.folder / "cluster.yaml").read_text().replace(IMAGE, "localhost/absent:1"))
    place.deploy("submit", "c.yaml", "--site-file", "absent.yaml", "--name", name, "--set", "deploy.jobs=single")
    status = until(lambda: (s := place.status(name))["state"] == "held" and s)
    assert "the image localhost/absent:1 is not on the machine" in status["note"]
    place.deploy("cancel", name)
    until(lambda: not place.left(name))
    place.deploy("rm", name)  # it left nothing on the volume, which no pod of this image could remove


def test_a_job_over_its_memory_is_tried_again_with_more(place: Place) -> None:
    name = f"mem{random.randrange(10**6)}"
    site = yaml.safe_load((place.folder / "cluster.yaml").read_text())
    site["environment"]["HOG_MIB"] = "1000"
    (place.folder / "hog.yaml").write_text(yaml.safe_dump(site))
    sets = ["--set", "deploy.jobs=single", "--set", "deploy.resources.run.memory_mib=512"]
    place.deploy("submit", "c.yaml", "--site-file", "hog.yaml", "--name", name, *sets)
    place.deploy("wait", name, code=1)
    assert "more than its 512Mi of memory" in place.status(name)["note"]
    place.deploy("retry", name)
    jobs = place.batch.list_namespaced_job("physics", label_selector="nntrainer/job=run").items
    (job,) = [each for each in jobs if f"-{name}-" in each.metadata.name]
    assert job.spec.template.spec.containers[0].resources.limits["memory"] == "768Mi"
    (handle,) = place.status(name)["deploy"]["jobs"]
    assert (handle["details"]["memory_mib"], handle["details"]["attempt"]) == (768, 2)
    assert (place.run(name) / "rendered/run.attempt2.yaml").exists()
    place.deploy("cancel", name, "--grace", "0")


def test_deploy_killed_while_it_submits_loses_nothing(place: Place) -> None:
    rng = random.Random(3)
    for attempt in range(8):
        submit_and_kill(place, attempt, rng)


def submit_and_kill(place: Place, attempt: int, rng: random.Random) -> None:
    name = f"kill{attempt}x{random.randrange(10**6)}"
    words = ["c.yaml", "--site-file", "cluster.yaml", "--name", name, "--set", "training.epochs=100000"]
    process = subprocess.Popen(
        place.command("submit", *words),
        cwd=place.folder,
        env=place.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    if attempt % 2:
        until(lambda: (place.run(name) / "config.yaml").exists() or process.poll() is not None)
        time.sleep(rng.uniform(0, 0.2))
    else:
        time.sleep(rng.uniform(0.3, 2.0))
    process.kill()
    process.wait()
    if not (place.run(name) / "config.yaml").exists():
        assert not place.left(name)
        shutil.rmtree(place.run(name), ignore_errors=True)
        return
    place.status(name)
    place.deploy("retry", name, code=None)  # where all was submitted there is nothing to try again
    states = {job["state"] for job in place.status(name)["jobs"]}
    assert states and states <= {"queued", "running"}, states
    assert len([each for each in place.left(name) if "train-fold" in each]) >= 2
    place.deploy("cancel", name, "--grace", "0")
    until(lambda: not place.left(name))
