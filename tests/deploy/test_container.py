"""The site of a GPU server: the job in a container on this machine, with Docker and with Apptainer."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import uproot

from deploy.backends.base import Batch
from deploy.backends.container import ContainerBackend, container_name
from deploy.errors import SiteError
from deploy.plan import plan, resolved
from deploy.sites import ContainerSite, load_site
from nntrainer import __version__
from nntrainer.config import Config, load_config

REPOSITORY = Path(__file__).parents[2]
IMAGE = os.environ.get("NNTRAINER_TEST_IMAGE", f"nntrainer:{__version__}-cpu")
SIF = Path(os.environ.get("NNTRAINER_TEST_SIF", REPOSITORY / f"build/nntrainer-{__version__}-cpu.sif"))
CONFIG = """\
name: small
data:
  tree: events
  event_id: id
  directory: datasets
  samples:
    - {name: s, files: n/s.root, label: s}
    - {name: b, files: n/b.root, label: b}
features: {events: [x]}
preparation: {folds: 2}
model: {name: dense, layers: [4]}
training: {epochs: 2, batch_size: 16, tensorboard: false}
evaluation: {bootstrap: 5}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "n").mkdir()
    rng = np.random.default_rng(1)
    for name, shift in (("s", 1.0), ("b", 0.0)):
        with uproot.recreate(tmp_path / f"n/{name}.root") as file:
            tree = file.mktree("events", {"id": "u8", "x": "f4"})
            x = (rng.normal(size=300) + shift).astype(np.float32)
            tree.extend({"id": np.arange(300, dtype=np.uint64), "x": x})
    (tmp_path / "c.yaml").write_text(CONFIG)
    for folder in (tmp_path, *tmp_path.parents):  # the container's user is not root
        if folder.is_relative_to("/tmp/pytest-of-root"):
            folder.chmod(folder.stat().st_mode | 0o055)
    return tmp_path


def batch_of(place: Path, **options: object) -> tuple[Config, Batch]:
    site = ContainerSite(name="box", backend="container", **{"image": IMAGE, "gpu": False, **options})
    config = resolved(load_config(place / "c.yaml", environment={}), site, place)
    run = place / "runs/small/one"
    return config, Batch(run, site, tuple(plan(config, site, run, place)))


def test_what_docker_and_apptainer_are_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    backend = ContainerBackend()
    _, batch = batch_of(place, engine="docker", gpu=True, binds=["/data"])
    told = backend.command(batch, batch.jobs[0])
    user = "1000:1000" if os.getuid() == 0 else f"{os.getuid()}:{os.getgid()}"
    line = shlex.join(told)
    assert line.startswith(f"docker run --rm --init --name {container_name(batch)} --user {user} --network host")
    for part in (
        "--gpus all",
        f"--volume {batch.run}:{batch.run}",
        f"--volume {place}/datasets:{place}/datasets",
        f"--volume {place}/n:{place}/n:ro",
        "--volume /data:/data:ro",
        "--env OMP_NUM_THREADS ",
        f"--workdir {batch.run} {IMAGE} nntrainer run {batch.run}/config.yaml --run-dir {batch.run}",
        "--security-opt no-new-privileges",
    ):
        assert part in line, part
    _, batch = batch_of(place, engine="apptainer", gpu=True, image="/images/x.sif")
    line = shlex.join(backend.command(batch, batch.jobs[0]))
    assert line == (
        f"apptainer exec --nv --no-home --bind {batch.run} --bind {place}/datasets --bind {place}/n:{place}/n:ro "
        f"--pwd {batch.run} /images/x.sif nntrainer run {batch.run}/config.yaml --run-dir {batch.run}"
    )
    _, batch = batch_of(place, engine="podman", gpu=True)
    assert "--device nvidia.com/gpu=all" in shlex.join(backend.command(batch, batch.jobs[0]))


def test_what_is_missing_is_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    config, batch = batch_of(place, gpu="auto")
    (found,) = ContainerBackend().check(batch, config)
    assert found.level == "error" and "docker nor podman nor apptainer is not installed" in found.what
    with pytest.raises(SiteError):
        ContainerBackend().render(batch)


def test_gpuserv1_is_a_container_with_the_gpu(place: Path) -> None:
    site = load_site("gpuserv1", REPOSITORY / "configs/sites/gpuserv1.yaml")
    assert isinstance(site, ContainerSite) and site.gpus[0].capability == 5.2
    assert site.image == f"nntrainer:{__version__}-gpu"


@pytest.fixture
def docker() -> None:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no Docker engine; `scripts/docker_engine.sh start` starts one")
    if subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, check=False).returncode:
        pytest.skip(f"no image {IMAGE}; `make image` builds it")


@pytest.fixture
def apptainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which ``apptainer`` can be called, also where it is not installed."""
    if not SIF.exists():
        pytest.skip(f"no {SIF}; `make image` builds it")
    if shutil.which("apptainer"):
        yield dict(os.environ)
        return
    if os.getuid() != 0:
        pytest.skip("Apptainer is not installed, and only root can use scripts/apptainer.sh instead")
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "apptainer"
    path = os.environ["PATH"]
    script.write_text(f'#!/bin/sh\nPATH={shlex.quote(path)} exec {REPOSITORY}/scripts/apptainer.sh "$@"\n')
    script.chmod(0o755)
    yield {**os.environ, "PATH": f"{folder}:{path}"}


def deploy(place: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**(env or os.environ), "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "deploy", *arguments]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, env=environment, timeout=600)


def whole(place: Path, site: str, env: dict[str, str] | None = None) -> dict[str, object]:
    """Submit, wait, gather; return the record of the run."""
    (place / "box.yaml").write_text(site)
    where = ["--site-file", "box.yaml"]
    checked = deploy(place, "check", "c.yaml", *where, env=env)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    submitted = deploy(place, "submit", "c.yaml", *where, "--name", "one", env=env)
    assert submitted.returncode == 0, submitted.stderr
    waited = deploy(place, "wait", "small/one", env=env)
    assert waited.returncode == 0, waited.stdout + waited.stderr
    assert deploy(place, "gather", "small/one", env=env).returncode == 0
    run = place / "runs/small/one"
    assert (run / "models/fold0.onnx").exists() and (run / "scored/s.friend.root").exists()
    return dict(json.loads((run / "run.json").read_text()))


def test_a_run_in_docker(place: Path, docker: None) -> None:
    record = whole(place, f"{{name: box, backend: container, image: '{IMAGE}', engine: docker, gpu: auto}}")
    digest = record["provenance"]["image_digest"]  # type: ignore[index]
    assert str(digest).startswith("sha256:")
    assert os.stat(place / "runs/small/one/run.json").st_uid == (1000 if os.getuid() == 0 else os.getuid())


def test_cancel_leaves_no_container(place: Path, docker: None) -> None:
    (place / "box.yaml").write_text(f"{{name: box, backend: container, image: '{IMAGE}', engine: docker}}")
    more = ["--set", "training.epochs=100000"]
    submitted = deploy(place, "submit", "c.yaml", "--site-file", "box.yaml", "--name", "one", *more)
    assert submitted.returncode == 0, submitted.stderr
    deadline = time.monotonic() + 600
    while not (place / "runs/small/one/training/fold0/checkpoint.h5").exists():
        assert time.monotonic() < deadline, deploy(place, "logs", "small/one").stdout
        time.sleep(0.5)
    name = container_name(batch_of(place, engine="docker")[1])
    shown = ["docker", "ps", "-aq", "--filter", f"name={name}"]
    assert subprocess.run(shown, capture_output=True, text=True, check=True).stdout != ""
    assert "cancelled" in deploy(place, "cancel", "small/one", "--grace", "300").stdout
    assert json.loads((place / "runs/small/one/logs/exit.json").read_text())["exit_code"] == 85
    assert subprocess.run(shown, capture_output=True, text=True, check=True).stdout == ""


def test_a_run_in_apptainer(place: Path, apptainer: dict[str, str]) -> None:
    record = whole(place, f"{{name: box, backend: container, image: '{SIF}'}}", apptainer)
    assert str(record["provenance"]["image_digest"]).startswith("sha256:")  # type: ignore[index]
