"""Results that come from the volume of a real Kubernetes: verified, cut off, damaged. The tests share one run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from nntrainer.files import sha256
from tests.k8s.test_deploy_kubernetes import PATIENCE_S, Place, gathered, place, pytestmark

__all__ = ["place", "pytestmark"]  # a fixture, and when the tests can run


@pytest.fixture(scope="module")
def trained(place: Place) -> str:
    """A run of two folds that has ended well."""
    name = f"two{random.randrange(10**6)}"
    assert "ready" in place.deploy("check", "c.yaml", "--site-file", "cluster.yaml")
    place.submit(name)
    assert place.status(name)["state"] in ("queued", "running")
    said = place.deploy("wait", name)
    assert f"{name}: done" in said
    return name


def forget(place: Place, name: str) -> None:
    """Remove what was gathered of a run."""
    for folder in ("parts", "plots", "models", "training", "scored"):
        shutil.rmtree(place.run(name) / folder, ignore_errors=True)
    for file in ("manifest.json", "metrics.json", "history.csv"):
        (place.run(name) / file).unlink(missing_ok=True)


def test_two_folds_from_submit_to_gathered_results(place: Place, trained: str) -> None:
    status = place.status(trained)
    assert [(job["name"], job["state"], job["gpus"]) for job in status["jobs"]] == [
        ("train-fold0", "done", "1 Pretend"),
        ("train-fold1", "done", "1 Pretend"),
    ]
    logs = place.deploy("logs", trained)
    assert "fold 0: 2 epochs" in logs and "fold 1: 2 epochs" in logs and logs.count("test AUC") == 1
    assert place.deploy("logs", trained) == logs
    said = place.deploy("gather", trained)
    assert " MB verified" in said
    files = gathered(place, trained)
    assert {"metrics.json", "models/fold0.onnx", "scored/s1.friend.root"} <= set(files) and len(files) > 20
    assert place.deploy("gather", trained) == said
    assert not [name for name in place.left(trained) if "reader" in name]
    copy = place.deploy("gather", trained, "--to", str(place.folder / "copy"))
    assert f"{len(files)} copied now" in copy
    pods = json.loads((place.run(trained) / "logs/pods.json").read_text())
    assert all(pod["image"] and pod["exit_code"] == 0 for job in pods.values() for pod in job["pods"].values())


def test_a_second_run_of_the_name_is_refused(place: Place, trained: str) -> None:
    assert "this run exists already" in place.submit(trained, code=2)
    elsewhere = place.folder / "elsewhere"
    elsewhere.mkdir()
    words = ["--site-file", str(place.folder / "cluster.yaml"), "--name", trained]
    done = subprocess.run(
        place.command("submit", str(place.folder / "c.yaml"), *words),
        cwd=elsewhere,
        env=place.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "of another directory" in done.stderr
    assert place.status(trained)["state"] == "done"  # and the one that is there is left alone


def big_output(place: Place, name: str, size: int) -> Path:
    """Add a large file to the results of a run, on the volume, as if its last part had made it."""
    path = place.on_volume(name) / "models/large.bin"
    with path.open("wb") as output:
        for _ in range(size >> 20):
            output.write(os.urandom(1 << 20))
    record = place.on_volume(name) / "parts/evaluate.json"
    data = json.loads(record.read_text())
    data["files"] = [each for each in data["files"] if each["path"] != "models/large.bin"]
    data["files"].append({"path": "models/large.bin", "size": path.stat().st_size, "sha256": sha256(path)})
    record.write_text(json.dumps(data))
    return path


def bytes_here(place: Place, name: str) -> int:
    """Return how many bytes of a run's models are gathered; a file may get its last name meanwhile."""
    found = 0
    for path in place.run(name).glob("models/*"):
        with suppress(FileNotFoundError):
            found += path.stat().st_size
    return found


def test_a_gather_killed_twenty_times_ends_with_the_same_tree(place: Place, trained: str) -> None:
    large = 150 << 20
    big_output(place, trained, large)
    forget(place, trained)
    place.deploy("gather", trained)
    wanted = gathered(place, trained)
    assert "models/large.bin" in wanted
    forget(place, trained)
    rng, attempts, cuts = random.Random(7), 0, set[int]()
    while attempts < 20 or len(cuts) < 5:  # a quick one is not always cut off in the middle
        attempts += 1
        process = subprocess.Popen(
            place.command("gather", trained),
            cwd=place.folder,
            env=place.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if attempts % 2:  # at any byte, or at any moment
            target = rng.uniform(bytes_here(place, trained), large)
            while bytes_here(place, trained) < target and process.poll() is None:
                time.sleep(0.002)
        else:
            time.sleep(rng.uniform(0.3, 4.0))
        process.send_signal(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT]))
        process.wait(PATIENCE_S)
        if 0 < bytes_here(place, trained) < large:
            cuts.add(bytes_here(place, trained))
        if not (place.run(trained) / "parts/evaluate.json").exists():
            assert "nothing gathered" not in place.deploy("status", trained)  # a partial result changes no state
        else:  # it was complete: from here on once more
            forget(place, trained)
    place.deploy("gather", trained)
    assert gathered(place, trained) == wanted
    assert not [name for name in place.left(trained) if "reader" in name]


@pytest.mark.parametrize("damage", ["flipped", "truncated", "longer", "missing"])
def test_a_damaged_file_on_the_volume_is_named(place: Place, trained: str, damage: str) -> None:
    victim = place.on_volume(trained) / "models/fold1.onnx"
    content = victim.read_bytes()
    forget(place, trained)
    try:
        if damage == "flipped":
            victim.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
        elif damage == "truncated":
            victim.write_bytes(content[:-5])
        elif damage == "longer":
            victim.write_bytes(content + b"x")
        else:
            victim.unlink()
        said = place.deploy("gather", trained, code=2)
        why = {
            "flipped": "has another SHA-256",
            "truncated": f"has {len(content) - 5} bytes instead of {len(content)}",
            "longer": f"has {len(content) + 1} bytes instead of {len(content)}",
            "missing": "is missing",
        }[damage]
        assert f"models/fold1.onnx {why}" in said
        assert not (place.run(trained) / "manifest.json").exists()
    finally:
        victim.write_bytes(content)
    # What was here of it, from a disk that failed, is not blamed on the volume.
    part = place.run(trained) / "models/fold1.onnx.part"
    part.write_bytes(b"\0" * 50)
    place.deploy("gather", trained)
    gathered(place, trained)
