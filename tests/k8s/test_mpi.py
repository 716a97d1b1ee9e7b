"""Training on two pods of a real Kubernetes, as an MPIJob that deploy submits.

The cluster knows the kind MPIJob, by the definition that the MPI operator installs, but the operator itself is not
there: `Operator` of this file plays its part. It makes of an MPIJob what the operator's source does (v2beta1,
pkg/controller/mpi_job_controller.go of kubeflow/mpi-operator): key pair, hostfile, workers, and the Job of the launcher
with what is mounted and set in them. It also writes the workers' addresses into the launcher's /etc/hosts, because the
cluster has no DNS, and lets pods ask for less of its two processors. Not played: gang scheduling, suspension, workers
that are made anew.
"""

from __future__ import annotations

import base64
import copy
import json
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s import test_deploy_kubernetes as one_machine

kubernetes = one_machine.kubernetes
place, until, Place, REPOSITORY = (
    one_machine.place,
    one_machine.until,
    one_machine.Place,
    one_machine.REPOSITORY,
)
DEFINITION = REPOSITORY.parent / "shared/data/kubernetes/kubeflow.org_mpijobs.yaml"
pytestmark = [
    *one_machine.pytestmark,
    pytest.mark.skipif(
        not DEFINITION.exists(),
        reason="no kubeflow.org_mpijobs.yaml in ../shared/data/kubernetes; get it from the project's release on GitHub",
    ),
]
NAMESPACE = "physics"
MPI = {"group": "kubeflow.org", "version": "v2beta1", "namespace": NAMESPACE, "plural": "mpijobs"}
ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "mpi", "namespace": NAMESPACE},
    "rules": [{"apiGroups": ["kubeflow.org"], "resources": ["mpijobs"], "verbs": ["get", "list", "create", "delete"]}],
}
BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "RoleBinding",
    "metadata": {"name": "mpi", "namespace": NAMESPACE},
    "roleRef": {"kind": "Role", "name": "mpi", "apiGroup": "rbac.authorization.k8s.io"},
    "subjects": [{"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}],
}


class Operator(threading.Thread):
    """Makes pods of MPIJobs until it is stopped; keeps the last words of their workers."""

    def __init__(self, place: Place, folder: Path) -> None:
        super().__init__(daemon=True)
        self.client = kubernetes.config.new_client_from_config(str(place.kubeconfig.with_name("admin.kubeconfig")))
        self.core, self.batch = kubernetes.client.CoreV1Api(self.client), kubernetes.client.BatchV1Api(self.client)
        self.custom = kubernetes.client.CustomObjectsApi(self.client)
        self.folder = folder
        self.logs: dict[str, str] = {}
        self.error: Exception | None = None
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.5):
            try:
                for job in self.custom.list_namespaced_custom_object(**MPI)["items"]:
                    if "deletionTimestamp" not in job["metadata"]:
                        self.sync(job)
            except Exception as error:  # told by works()
                self.error = error
                return

    def works(self) -> bool:
        if self.error:
            raise self.error
        return True

    def stop(self) -> None:
        self.over.set()
        self.join(60)
        self.client.rest_client.pool_manager.clear()
        self.works()

    def sync(self, job: dict[str, Any]) -> None:
        name, spec = job["metadata"]["name"], job["spec"]
        conditions = {each["type"] for each in job.get("status", {}).get("conditions", [])}
        if conditions & {"Succeeded", "Failed"}:
            return
        if not conditions:
            self.tell(name, "Created")
        workers = [f"{name}-worker-{number}" for number in range(spec["mpiReplicaSpecs"]["Worker"]["replicas"])]
        hosts = [f"{worker}.{name}.{NAMESPACE}.svc" for worker in workers]
        lines = [f"{host} slots={spec['slotsPerWorker']}\n" for host in hosts]
        script = "#!/bin/sh\n" + "".join(f"echo {host}\n" for host in hosts)
        self.make(
            "config_map",
            job,
            {"data": {"hostfile": "".join(lines), "discover_hosts.sh": script}},
            f"{name}-config",
        )
        private, public = self.keys()
        secret = {"type": "kubernetes.io/ssh-auth", "data": {"ssh-privatekey": private, "ssh-publickey": public}}
        self.make("secret", job, secret, f"{name}-ssh")
        for number, worker in enumerate(workers):
            self.make("pod", job, self.pod(job, "Worker", worker, number), worker)
        pods = [self.core.read_namespaced_pod(worker, NAMESPACE) for worker in workers]
        ready = [any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or []) for pod in pods]
        assert spec["launcherCreationPolicy"] == "WaitForWorkersReady"
        launcher = self.read("job", f"{name}-launcher")
        if launcher is None and all(ready):
            template = self.pod(job, "Launcher", f"{name}-launcher")
            addresses = [{"ip": pod.status.pod_ip, "hostnames": [host]} for pod, host in zip(pods, hosts, strict=True)]
            template["spec"]["hostAliases"] = addresses
            policy = spec["runPolicy"]
            own = {
                "backoffLimit": policy["backoffLimit"],
                "ttlSecondsAfterFinished": policy["ttlSecondsAfterFinished"],
                "template": template,
            }
            self.make("job", job, {"spec": own}, f"{name}-launcher")
        for ended in (launcher.status.conditions or []) if launcher else []:
            self.logs |= {worker: self.core.read_namespaced_pod_log(worker, NAMESPACE) for worker in workers}
            self.tell(name, {"Complete": "Succeeded"}.get(ended.type, "Failed"))
            assert spec["runPolicy"]["cleanPodPolicy"] == "Running"
            for worker in workers:
                self.core.delete_namespaced_pod(worker, NAMESPACE)

    def pod(self, job: dict[str, Any], role: str, name: str, number: int | None = None) -> dict[str, Any]:
        mpi = job["metadata"]["name"]
        replica = job["spec"]["mpiReplicaSpecs"][role]
        template = copy.deepcopy(replica["template"])
        labels = {"job-name": mpi, "operator-name": "mpi-operator", "job-role": role.lower()}
        labels |= {} if number is None else {"replica-index": str(number)}
        template["metadata"]["labels"] |= {f"training.kubeflow.org/{key}": value for key, value in labels.items()}
        spec = template["spec"]
        spec |= {"hostname": name, "subdomain": mpi, "restartPolicy": replica["restartPolicy"]}
        (container,) = spec["containers"]
        container["resources"]["requests"]["cpu"] = "100m"
        items = [("ssh-privatekey", "id_rsa"), ("ssh-publickey", "id_rsa.pub"), ("ssh-publickey", "authorized_keys")]
        keys = {"secretName": f"{mpi}-ssh", "items": [{"key": key, "path": path} for key, path in items]}
        spec["volumes"].append({"name": "ssh-auth", "secret": keys})
        container["volumeMounts"].append({"name": "ssh-auth", "mountPath": job["spec"]["sshAuthMountPath"]})
        container["env"].append({"name": "K_MPI_JOB_ROLE", "value": role.lower()})
        if role == "Launcher":
            container["env"] += [
                {"name": "OMPI_MCA_orte_keep_fqdn_hostnames", "value": "true"},
                {"name": "OMPI_MCA_orte_default_hostfile", "value": "/etc/mpi/hostfile"},
                {"name": "OMPI_MCA_plm_rsh_args", "value": "-o ConnectionAttempts=10"},
                {"name": "OMPI_MCA_orte_set_default_slots", "value": str(job["spec"]["slotsPerWorker"])},
                {"name": "NVIDIA_VISIBLE_DEVICES"},
                {"name": "NVIDIA_DRIVER_CAPABILITIES"},
            ]
            files = [("hostfile", 0o444), ("discover_hosts.sh", 0o555)]
            items_of_config = [{"key": key, "path": key, "mode": mode} for key, mode in files]
            spec["volumes"].append(
                {"name": "mpi-job-config", "configMap": {"name": f"{mpi}-config", "items": items_of_config}}
            )
            container["volumeMounts"].append({"name": "mpi-job-config", "mountPath": "/etc/mpi"})
        return template

    def keys(self) -> tuple[str, str]:
        """Return a key pair of the operator's kind, ECDSA P-521 in PEM."""
        file = self.folder / "id_rsa"
        if not file.exists():
            words = ["-q", "-t", "ecdsa", "-b", "521", "-m", "PEM", "-N", "", "-C", "", "-f", str(file)]
            subprocess.run(["ssh-keygen", *words], check=True, stdin=subprocess.DEVNULL)
        return tuple(base64.b64encode(path.read_bytes()).decode() for path in (file, file.with_suffix(".pub")))  # type: ignore[return-value]

    def make(self, kind: str, job: dict[str, Any], body: dict[str, Any], name: str) -> None:
        if self.read(kind, name) is not None:
            return
        owner = {"apiVersion": "kubeflow.org/v2beta1", "kind": "MPIJob", "controller": True, "blockOwnerDeletion": True}
        owner |= {key: job["metadata"][key] for key in ("name", "uid")}
        body.setdefault("metadata", {}).update({"name": name, "ownerReferences": [owner]})
        body["metadata"].setdefault("labels", {})["app"] = job["metadata"]["name"]
        getattr(self.batch if kind == "job" else self.core, f"create_namespaced_{kind}")(NAMESPACE, body)

    def read(self, kind: str, name: str) -> Any:
        try:
            return getattr(self.batch if kind == "job" else self.core, f"read_namespaced_{kind}")(name, NAMESPACE)
        except kubernetes.client.ApiException as error:
            if error.status != 404:
                raise
            return None

    def tell(self, name: str, condition: str) -> None:
        told = {"type": condition, "status": "True", "reason": f"MPIJob{condition}", "message": f"MPIJob {name}"}
        self.custom.patch_namespaced_custom_object_status(**MPI, name=name, body={"status": {"conditions": [told]}})


@pytest.fixture(scope="module")
def operator(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    admin = [place.kubeconfig.with_name("kubectl"), f"--kubeconfig={place.kubeconfig.with_name('admin.kubeconfig')}"]
    for each in (yaml.safe_load(DEFINITION.read_text(encoding="utf-8")), ROLE, BINDING):
        # Not `apply`: it keeps a copy in an annotation, and the definition is too large for one.
        made = subprocess.run(
            [*admin, "create", "-f", "-"], input=json.dumps(each), text=True, capture_output=True, check=False
        )
        assert made.returncode == 0 or "AlreadyExists" in made.stderr, made.stderr
    wait = ["wait", "--for=condition=Established", "crd/mpijobs.kubeflow.org", "--timeout=60s"]
    subprocess.run([*admin, *wait], check=True, capture_output=True)
    site = yaml.safe_load((place.folder / "cluster.yaml").read_text(encoding="utf-8"))
    (place.folder / "cluster.yaml").write_text(yaml.safe_dump(site | {"nodes": 2}), encoding="utf-8")
    operator = Operator(place, tmp_path_factory.mktemp("operator"))
    operator.start()
    yield operator
    for run in sorted((place.folder / "runs/small").glob("*")):
        place.deploy("cancel", str(run), "--grace", "0", code=None)
        place.deploy("rm", str(run), code=None)
    operator.stop()
    for kind, name in (("rolebinding", "mpi"), ("role", "mpi"), ("crd", "mpijobs.kubeflow.org")):
        words = ["-n", NAMESPACE] if kind != "crd" else []
        subprocess.run([*admin, *words, "delete", kind, name, "--timeout=120s"], check=True, capture_output=True)


ONE_MODEL = ("training.workers=2", "preparation.folds=null", "preparation.fractions={train: 0.6, validation: 0.2}")


def left(place: Place, operator: Operator, name: str) -> list[str]:
    """Return what is left of a run in the cluster."""
    some = [each["metadata"]["name"] for each in operator.custom.list_namespaced_custom_object(**MPI)["items"]]
    some += [each.metadata.name for each in place.core.list_namespaced_secret(NAMESPACE).items]
    some += [each.metadata.name for each in place.core.list_namespaced_config_map(NAMESPACE).items]
    some += [each.metadata.name for each in place.core.list_namespaced_pod(NAMESPACE).items]
    return [each for each in [*some, *place.left(name)] if f"-{name}-" in each]


def wait(place: Place, operator: Operator, name: str) -> None:
    """Wait until a run is done."""
    until(lambda: operator.works() and place.status(name)["state"] not in ("queued", "running"))
    state = place.status(name)
    assert state["state"] == "done", (state, place.deploy("logs", name))


def record(place: Place, name: str, fold: int = 0) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((place.on_volume(name) / f"training/fold{fold}/training.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def launcher_pods(place: Place, name: str) -> list[Any]:
    pods = place.core.list_namespaced_pod(NAMESPACE, label_selector="training.kubeflow.org/job-role=launcher").items
    return [each for each in pods if f"-{name}-" in each.metadata.name]


def test_two_folds_on_two_pods_from_submit_to_gathered_results(place: Place, operator: Operator) -> None:
    """One MPIJob for everything trains one fold after the other, so that one needs no more than two GPUs."""
    name = f"mpi{random.randrange(10**6)}"
    words = ["c.yaml", "--site-file", "cluster.yaml", "--set", "training.workers=2", "--set", "deploy.jobs=single"]
    assert "stand-in" in place.deploy("check", *words)
    place.deploy("submit", *words, "--name", name)
    assert place.status(name)["state"] in ("queued", "running")
    wait(place, operator, name)
    (job,) = place.status(name)["jobs"]
    assert (job["state"], job["gpus"]) == ("done", "2 × 1 Pretend")
    for fold in range(2):
        one, other = record(place, name, fold)["weights_sha256_by_worker"]
        assert one == other and record(place, name, fold)["workers"] == 2
    # The launcher was let in by both workers: horovodrun's look around and a training, for each fold.
    logs = [log for worker, log in operator.logs.items() if f"-{name}-" in worker]
    assert len(logs) == 2 and all(log.count("Accepted publickey for nntrainer") >= 4 for log in logs), logs
    assert "fold 0: 2 epochs" in place.deploy("logs", name)
    assert " MB verified" in place.deploy("gather", name)
    assert {"metrics.json", "models/fold1.onnx", "scored/s1.friend.root"} <= set(one_machine.gathered(place, name))
    place.deploy("rm", name)
    until(lambda: not left(place, operator, name))


def test_a_search_trains_its_trials_on_two_pods(place: Place, operator: Operator) -> None:
    name = f"tune{random.randrange(10**6)}"
    search = "tune={sampler: random, trials: 2, parameters: {model.dropout: {low: 0.0, high: 0.5}}}"
    words = [word for each in (*ONE_MODEL, search) for word in ("--set", each)]
    site = ("--site-file", "cluster.yaml")
    place.deploy("submit", "c.yaml", *site, "--name", name, "--tune", "--jobs", "1", *words)
    wait(place, operator, name)
    trials = sorted((place.on_volume(name) / "tune/trials").glob("*/training/fold0/training.json"))
    said = [json.loads(each.read_text()) for each in trials]
    assert [(each["state"], each["workers"]) for each in said] == [("done", 2), ("done", 2)]
    place.deploy("gather", name)
    assert "tune/best.yaml" in one_machine.gathered(place, name)


def test_a_launcher_that_is_asked_to_end_leaves_a_checkpoint_and_goes_on(place: Place, operator: Operator) -> None:
    name = f"term{random.randrange(10**6)}"
    place.submit(name, *ONE_MODEL, "training.epochs=300")
    until(lambda: record(place, name).get("epochs", 0) >= 3)
    (pod,) = launcher_pods(place, name)
    place.core.delete_namespaced_pod(pod.metadata.name, NAMESPACE)
    until(lambda: record(place, name).get("state") == "interrupted")
    epochs = record(place, name)["epochs"]
    assert 3 <= epochs < 300 and (place.on_volume(name) / "training/fold0/checkpoint.h5").exists()
    place.status(name)  # reads the logs of the pod that goes
    lowest = until(lambda: record(place, name).get("state") == "running" and record(place, name)["epochs"])
    assert lowest >= epochs
    wait(place, operator, name)
    done = record(place, name)
    assert (done["state"], done["epochs"]) == ("done", 300) and len(set(done["weights_sha256_by_worker"])) == 1


def test_workers_stop_without_their_launcher_and_cancel_leaves_what_retry_goes_on_with(
    place: Place, operator: Operator
) -> None:
    name = f"kill{random.randrange(10**6)}"
    place.submit(name, *ONE_MODEL, "training.epochs=100000")
    until(lambda: record(place, name).get("epochs", 0) >= 3)
    (pod,) = launcher_pods(place, name)
    # As if its machine were lost: nothing is asked of the workers, their connection ends.
    kill = [place.kubeconfig.with_name("kubectl"), f"--kubeconfig={place.kubeconfig}", "-n", NAMESPACE, "exec"]
    ended = subprocess.run(
        [*kill, pod.metadata.name, "--", "pkill", "-KILL", "-f", "nntrainer run"], capture_output=True
    )
    assert ended.returncode in (0, 137), ended.stderr
    until(lambda: record(place, name).get("state") == "interrupted")
    epochs = record(place, name)["epochs"]
    # The Job of the launcher makes another, which goes on.
    until(lambda: record(place, name).get("epochs", 0) > epochs)
    workers = [each for each in place.core.list_namespaced_pod(NAMESPACE).items if f"-{name}-" in each.metadata.name]
    workers = [each.metadata.name for each in workers if "-worker-" in each.metadata.name]
    assert len(workers) == 2
    for worker in workers:
        count = subprocess.run(
            [*kill, worker, "--", "pgrep", "-fc", r"^[^ ]+ -m nntrainer\.training\.worker "],
            capture_output=True,
            text=True,
        )
        assert count.stdout == "1\n", count
    start = time.monotonic()
    place.deploy("cancel", name, "--grace", "300")
    assert time.monotonic() - start < 290  # nobody was killed
    assert record(place, name)["state"] == "interrupted"
    until(lambda: not left(place, operator, name))
    epochs = record(place, name)["epochs"]
    place.deploy("retry", name)
    until(lambda: operator.works() and record(place, name).get("epochs", 0) > epochs)
    assert place.status(name)["state"] == "running"
    place.deploy("cancel", name, "--grace", "300")
    until(lambda: not left(place, operator, name))
