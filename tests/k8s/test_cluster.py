"""What jobs meet on a real Kubernetes, as the ordinary user Alice of k8s/cluster."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

CLUSTER = Path(__file__).parents[2] / "k8s" / "cluster" / "cluster.sh"
kubernetes = pytest.importorskip("kubernetes", reason="no Kubernetes client; `pip install .[kubernetes]` brings it")
pytestmark = pytest.mark.skipif(
    subprocess.run([CLUSTER, "status"], capture_output=True).returncode != 0,
    reason="no throw-away Kubernetes runs here; `make k8s-cluster` starts one",
)
NAMESPACE = "physics"
CLOSED = 8  # the last frame of a WebSocket


class Alice:
    """The two parts of the API, and pods and jobs with the settings of ours."""

    def __init__(self) -> None:
        shown = subprocess.run([CLUSTER, "env"], capture_output=True, text=True, check=True).stdout
        self.kubeconfig = shown.strip().removeprefix("export KUBECONFIG=")
        client = kubernetes.config.new_client_from_config(self.kubeconfig)
        self.core = kubernetes.client.CoreV1Api(client)
        self.batch = kubernetes.client.BatchV1Api(client)
        self.client = client

    def run(self, pod: str, command: str, stdin: bytes = b"") -> bytes:
        """Run a command in a pod and return its output."""
        stream = kubernetes.stream.stream(
            self.core.connect_get_namespaced_pod_exec,
            pod,
            NAMESPACE,
            command=["sh", "-c", command],
            stdin=bool(stdin),
            stdout=True,
            stderr=True,
            tty=False,
            binary=True,
            _preload_content=False,
        )
        channels = {1: bytearray(), 2: bytearray(), 3: bytearray()}  # output, error, status
        try:
            for start in range(0, len(stdin), 1 << 20):
                stream.write_stdin(stdin[start : start + (1 << 20)])
            # Its own update() copies all there is again with each frame, and stands still above 100 MB.
            while (frame := stream.sock.recv_data_frame(True))[0] != CLOSED:
                if frame[1].data:
                    channels[frame[1].data[0]] += frame[1].data[1:]
        finally:
            stream.sock.shutdown()  # close() does nothing after the other side has closed
        status = json.loads(channels[3])
        if status["status"] != "Success":
            code = next((int(c["message"]) for c in status["details"]["causes"] if c["reason"] == "ExitCode"), -1)
            raise subprocess.CalledProcessError(code, command, bytes(channels[1]), bytes(channels[2]))
        return bytes(channels[1])

    def pod_spec(
        self, command: str, memory: str = "64Mi", gpus: int = 0, image: str = "localhost/busybox:1"
    ) -> dict[str, Any]:
        resources = {"memory": memory} | ({"nvidia.com/gpu": str(gpus)} if gpus else {})
        return {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "runAsGroup": 1000,
                "fsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "imagePullPolicy": "Never",
                    "command": ["sh", "-c", command],
                    "resources": {"limits": resources, "requests": resources},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [
                        {"name": "shm", "mountPath": "/dev/shm"},
                        {"name": "output", "mountPath": "/output"},
                    ],
                }
            ],
            "volumes": [
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "32Mi"}},
                {"name": "output", "persistentVolumeClaim": {"claimName": "nntrainer-output"}},
            ],
        }

    def job(self, name: str, command: str, **options: Any) -> dict[str, Any]:
        body = {
            "metadata": {"name": name},
            "spec": {
                "backoffLimit": 0,
                "activeDeadlineSeconds": 900,
                "ttlSecondsAfterFinished": 900,
                "template": {"spec": self.pod_spec(command, **options)},
            },
        }
        self.batch.create_namespaced_job(NAMESPACE, body)
        return body

    def finished(self, name: str) -> SimpleNamespace:
        """Wait for the job's end and return its condition and its pod's container state."""
        condition = wait_for(
            lambda: next(iter(self.batch.read_namespaced_job(name, NAMESPACE).status.conditions or []), None)
        )
        (pod,) = self.pods(name)
        state = pod.status.container_statuses[0].state.terminated
        return SimpleNamespace(type=condition.type, reason=condition.reason, pod=pod.metadata.name, state=state)

    def pods(self, job: str) -> list[Any]:
        return self.core.list_namespaced_pod(NAMESPACE, label_selector=f"job-name={job}").items


def wait_for(what: Callable[[], Any], seconds: float = 1500) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > end:
            pytest.fail(f"nothing came in {seconds} s")
        time.sleep(0.3)
    return found


@pytest.fixture(scope="module")
def alice() -> Iterator[Alice]:
    alice = Alice()
    yield alice
    alice.client.rest_client.pool_manager.clear()  # its close() leaves connections open


@pytest.fixture
def name(alice: Alice) -> Iterator[str]:
    """A name for a job or a pod, both of which are removed after the test."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    yield name
    for delete in (alice.batch.delete_namespaced_job, alice.core.delete_namespaced_pod):
        try:
            delete(name, NAMESPACE, propagation_policy="Background", grace_period_seconds=0)
        except kubernetes.client.ApiException as error:
            if error.status != 404:
                raise


def test_a_job_runs_as_an_ordinary_user_with_shared_memory_and_a_volume(alice: Alice, name: str) -> None:
    commands = [
        "id -u",
        "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status",
        "grep -c '/dev/shm tmpfs' /proc/mounts",
        "head -c 9000000 /dev/zero > /dev/shm/x",
        f"echo hello > /output/{name}",
        f"rm /dev/shm/x /output/{name}",
        "echo written",
    ]
    alice.job(name, " && ".join(commands), gpus=2)
    end = alice.finished(name)
    assert (end.type, end.state.exit_code) == ("Complete", 0)
    lines = alice.core.read_namespaced_pod_log(end.pod, NAMESPACE).split("\n")
    assert lines == ["1000", "NoNewPrivs:\t1", "Seccomp:\t2", "1", "written", ""]


def test_a_failing_job_is_tried_once(alice: Alice, name: str) -> None:
    alice.job(name, "echo bad luck; exit 85")
    end = alice.finished(name)
    assert (end.type, end.reason, end.state.reason, end.state.exit_code) == (
        "Failed",
        "BackoffLimitExceeded",
        "Error",
        85,
    )
    assert alice.core.read_namespaced_pod_log(end.pod, NAMESPACE) == "bad luck\n"


def test_a_job_over_its_memory_is_killed(alice: Alice, name: str) -> None:
    alice.job(name, "tail /dev/zero", memory="16Mi")
    end = alice.finished(name)
    assert (end.type, end.state.reason, end.state.exit_code) == ("Failed", "OOMKilled", 137)


def test_twelve_gpus_of_eight_stay_pending(alice: Alice, name: str) -> None:
    alice.job(name, "true", gpus=12)
    (pod,) = wait_for(lambda: alice.pods(name))
    condition = wait_for(
        lambda: next(iter(alice.core.read_namespaced_pod(pod.metadata.name, NAMESPACE).status.conditions or []), None)
    )
    assert (condition.type, condition.status, condition.reason) == ("PodScheduled", "False", "Unschedulable")
    assert condition.message == "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."


def test_sixty_five_gpus_are_over_the_quota(alice: Alice, name: str) -> None:
    alice.job(name, "true", gpus=65)  # the job is accepted, its pod is not
    event = wait_for(
        lambda: next(
            iter(
                alice.core.list_namespaced_event(
                    NAMESPACE, field_selector=f"involvedObject.name={name},reason=FailedCreate"
                ).items
            ),
            None,
        )
    )
    assert "exceeded quota: physics, requested: requests.nvidia.com/gpu=65" in event.message
    assert alice.pods(name) == []


def test_files_stream_out_of_a_short_lived_pod(alice: Alice, name: str) -> None:
    alice.core.create_namespaced_pod(NAMESPACE, {"metadata": {"name": name}, "spec": alice.pod_spec("sleep 900")})
    wait_for(lambda: alice.core.read_namespaced_pod(name, NAMESPACE).status.phase == "Running")
    content = os.urandom(3_000_000)
    # Nothing ends the input over this protocol: its length does. And the shell has to outlive its redirection:
    # containerd ends the input, without an error, as soon as no process holds the output.
    written = alice.run(
        name,
        f"mkdir /output/{name} && head -c {len(content)} > /output/{name}/file; sha256sum /output/{name}/file",
        content,
    )
    assert written.split()[0].decode() == hashlib.sha256(content).hexdigest()
    archive = alice.run(name, f"tar -C /output -cf - {name} && rm -r /output/{name}")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.extractfile(f"{name}/file")
        assert member is not None and member.read() == content


def test_a_command_in_a_pod_tells_its_exit_code(alice: Alice, name: str) -> None:
    alice.core.create_namespaced_pod(NAMESPACE, {"metadata": {"name": name}, "spec": alice.pod_spec("sleep 900")})
    wait_for(lambda: alice.core.read_namespaced_pod(name, NAMESPACE).status.phase == "Running")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        alice.run(name, "exit 3")
    assert failed.value.returncode == 3


def test_a_loaded_image_runs(alice: Alice, name: str, tmp_path: Path) -> None:
    busybox = (Path(alice.kubeconfig).parent / "kubectl").resolve().with_name("busybox.tar")
    with tarfile.open(busybox) as old, tarfile.open(tmp_path / "image.tar", "w") as new:
        for member in old:
            content = old.extractfile(member).read()  # type: ignore[union-attr]
            content = content.replace(b"localhost/busybox:1", f"{name}:cpu".encode())
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    subprocess.run([CLUSTER, "load", tmp_path / "image.tar"], check=True, capture_output=True)
    alice.job(name, "true", image=f"{name}:cpu")
    assert alice.finished(name).type == "Complete"


def test_deleting_a_job_removes_its_pods(alice: Alice, name: str) -> None:
    alice.job(name, "sleep 900")
    wait_for(lambda: alice.pods(name) and alice.pods(name)[0].status.phase == "Running")
    alice.batch.delete_namespaced_job(name, NAMESPACE, propagation_policy="Background")
    wait_for(lambda: not alice.pods(name))


def test_an_image_that_is_not_there_is_named(alice: Alice, name: str) -> None:
    spec = alice.pod_spec("true", image="localhost/absent:1")
    alice.core.create_namespaced_pod(NAMESPACE, {"metadata": {"name": name}, "spec": spec})

    def waiting() -> Any:
        statuses = alice.core.read_namespaced_pod(name, NAMESPACE).status.container_statuses
        state = statuses[0].state.waiting if statuses else None
        return state if state and state.reason != "ContainerCreating" else None

    state = wait_for(waiting)
    assert state.reason == "ErrImageNeverPull"
    assert 'Container image "localhost/absent:1" is not present' in state.message


def test_alice_sees_no_other_namespace(alice: Alice) -> None:
    with pytest.raises(kubernetes.client.ApiException) as refused:
        alice.core.list_namespaced_pod("kube-system")
    assert refused.value.status == 403
