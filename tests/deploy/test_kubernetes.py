"""What Kubernetes sites are given, byte for byte; what is found before; what the cluster's words mean.

``UPDATE_GOLDEN=1 pytest tests/deploy/test_kubernetes.py`` writes tests/golden/kubernetes anew.
"""

from __future__ import annotations

import base64
import copy
import doctest
import json
import os
import re
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import credentials
from deploy.backends import (
    kubernetes_check,
    kubernetes_cluster,
    kubernetes_files,
    kubernetes_logs,
    kubernetes_manifests,
)
from deploy.backends.base import Batch
from deploy.backends.kubernetes import KubernetesBackend
from deploy.backends.kubernetes_words import pending, refused, seen, seen_mpi_job, why_ended
from deploy.credentials import token_end
from deploy.errors import GatherError, SiteError
from deploy.plan import plan, plan_search, resolved
from deploy.runs import text_of
from deploy.sites import KubernetesSite, load_site
from nntrainer.config import Config, load_config
from nntrainer.errors import MissingDependencyError

REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests/golden/kubernetes"
CRDS = REPOSITORY.parent / "shared/data/kubernetes"
SITES = ("kubernetes", "nrp", "cluster")
KINDS = ("parts", "single", "jobset", "mpijob")
HOSTILE = ["a \"b\" $(HOME) 'c'", "$(JOB_INDEX)", "é ü 漢", "x: {y}", "#", "&a *b !c", "$$", "a\nb: c", "", "-" * 300]


def config_with(*sets: str) -> Config:
    config = load_config(REPOSITORY / "configs/tth.yaml", ["training.workers=2", *sets], environment={})
    dump = config.dump()
    dump["data"]["samples"][0]["files"] = ["/input/ttH*.root"]
    dump["data"]["samples"][1]["files"] = ["ntuples/ttbb.root", "root://eospublic.cern.ch//eos/ttbb.root"]
    return Config.model_validate(dump)


def site(name: str, **changes: Any) -> KubernetesSite:
    found = load_site(name, REPOSITORY / f"configs/sites/{name}.yaml")
    assert isinstance(found, KubernetesSite)
    return found.model_copy(update=changes)


def batch_of(where: KubernetesSite, *sets: str, run: str = "/home/user/runs/tth/first") -> Batch:
    config = resolved(config_with(*sets), where, Path("/home/user"))
    return Batch(Path(run), where, tuple(plan(config, where, Path(run), Path("/home/user"))), config=text_of(config))


def batch_of_kind(name: str, kind: str) -> Batch:
    if kind == "single":
        return batch_of(site(name), "deploy.jobs=single")
    changes: dict[str, Any] = {"jobset": {"jobset": True}, "mpijob": {"nodes": 2}}.get(kind, {})
    return batch_of(site(name, **changes), "deploy.inject_jobs=2")


def rendered(batch: Batch) -> dict[str, Any]:
    return {name: yaml.safe_load(text) for name, text in KubernetesBackend().render(batch).items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SITES)
def test_golden_files(name: str, kind: str) -> None:
    files = KubernetesBackend().render(batch_of_kind(name, kind))
    folder = GOLDEN / name / kind
    if os.environ.get("UPDATE_GOLDEN"):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8")
    assert {path.name for path in folder.iterdir()} == set(files)
    for file, text in files.items():
        assert (folder / file).read_text(encoding="utf-8") == text, f"{folder / file}: see the head of this file"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SITES)
def test_every_pod_keeps_the_rules(name: str, kind: str) -> None:
    batch = batch_of_kind(name, kind)
    manifests = [*rendered(batch).values(), kubernetes_manifests.helper(batch, "reader", ("sleep", "1"), writes=False)]
    pods = [pod for manifest in manifests for pod in pods_of(manifest)]
    assert pods
    for pod in pods:
        spec = pod["spec"]
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True and security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False and spec["restartPolicy"] == "Never"
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        resources = container["resources"]
        assert resources["limits"]["memory"] == resources["requests"]["memory"]
        volumes = {each["name"] for each in spec["volumes"]}
        assert {each["name"] for each in container["volumeMounts"]} == volumes
        if "shm" in volumes:
            shm = next(each for each in spec["volumes"] if each["name"] == "shm")
            assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": f"{batch.site.shm_mib}Mi"}  # type: ignore[union-attr]
            assert spec["activeDeadlineSeconds"] >= 600 and spec["terminationGracePeriodSeconds"] >= 60


def pods_of(manifest: Any) -> list[Any]:
    """Return all pod templates in a manifest."""
    if isinstance(manifest, list):
        return [pod for each in manifest for pod in pods_of(each)]
    if not isinstance(manifest, dict):
        return []
    if "containers" in manifest.get("spec", {}):
        return [manifest]
    return [pod for each in manifest.values() for pod in pods_of(each)]


FAILURE_POLICY_SCHEMA = "1.29"
"""Before, the published schema asked for ``onPodConditions`` in every rule of podFailurePolicy; the API never did."""


def versions() -> tuple[str, str]:
    """Return the oldest and the newest version of Kubernetes whose schemas are here."""
    validate = pytest.importorskip(
        "kubernetes_validate", reason="no schemas of Kubernetes; `pip install .[dev]` brings them"
    )
    folders = Path(validate.__file__).parent.glob("kubernetes-json-schema/v*-local-strict")
    known = sorted({tuple(map(int, re.findall(r"\d+", path.name)[:2])) for path in folders})
    oldest, newest = (f"{major}.{minor}" for major, minor in (known[0], known[-1]))
    return oldest, newest


def base_manifests() -> list[Any]:
    files = (path for path in sorted((REPOSITORY / "k8s").glob("*.yaml")))
    return [each for path in files for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("which", [0, 1])
def test_manifests_have_the_schema_of_an_old_and_of_the_newest_kubernetes(which: int) -> None:
    import kubernetes_validate

    version = versions()[which]
    own = ("JobSet", "MPIJob")
    manifests = base_manifests()
    for name in SITES:
        for kind in KINDS:
            batch = batch_of_kind(name, kind)
            manifests += rendered(batch).values()
            manifests.append(kubernetes_manifests.helper(batch, "remover", ("rm", "x"), writes=True))
    checked = [each for each in manifests if each["kind"] not in own]
    assert {each["kind"] for each in checked} >= {"Job", "ConfigMap", "Namespace", "PersistentVolumeClaim"}
    seen_versions = set()
    for manifest in checked:
        policy = "podFailurePolicy" in manifest.get("spec", {})
        seen_versions.add(
            kubernetes_validate.validate(
                manifest, FAILURE_POLICY_SCHEMA if policy and which == 0 else version, strict=True
            )
        )
    assert versions()[which] in seen_versions
    # What is inside of the others is that of Kubernetes, too.
    for manifest in manifests:
        for pod in pods_of(manifest) if manifest["kind"] in own else []:
            template = {"metadata": pod.get("metadata", {}), "spec": pod["spec"]}
            job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": {"template": template}}
            kubernetes_validate.validate(job, version, strict=True)


def test_the_validator_does_refuse() -> None:
    import kubernetes_validate

    job = rendered(batch_of(site("kubernetes")))["train-fold0.yaml"]
    job["spec"]["template"]["spec"]["restartpolicy"] = "Never"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, versions()[1], strict=True)


@pytest.mark.parametrize(("kind", "file"), [("jobset", "jobset.x-k8s.io_jobsets"), ("mpijob", "kubeflow.org_mpijobs")])
def test_custom_resources_have_their_schema(kind: str, file: str) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="no jsonschema; `pip install .[dev]` brings it")
    if not CRDS.is_dir():
        pytest.skip(f"no {file}.yaml in ../shared/data/kubernetes; get it from the project's release on GitHub")
    definition = yaml.safe_load((CRDS / f"{file}.yaml").read_text(encoding="utf-8"))["spec"]
    manifests = [each for name in SITES for each in rendered(batch_of_kind(name, kind)).values()]
    manifests = [each for each in [*manifests, *base_manifests()] if each["kind"] == definition["names"]["kind"]]
    assert len(manifests) >= len(SITES) + 1
    for manifest in manifests:
        group, _, name = manifest["apiVersion"].partition("/")
        (version,) = [each for each in definition["versions"] if each["name"] == name]
        assert group == definition["group"]
        schema = closed(version["schema"]["openAPIV3Schema"])
        jsonschema.Draft4Validator(schema).validate(manifest)
        broken = copy.deepcopy(manifest)
        broken["spec"]["replicated_jobs"] = []
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft4Validator(schema).validate(broken)


def closed(schema: Any) -> Any:
    """Return a schema that takes no unknown key: the API drops them without a word."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema and schema["properties"]:
        schema["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    if schema.get("x-kubernetes-int-or-string"):
        schema = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    return schema


def test_a_jobset_runs_its_stages_in_order_with_resources_of_their_own() -> None:
    groups = rendered(batch_of_kind("kubernetes", "jobset"))["jobset.yaml"]["spec"]["replicatedJobs"]
    assert [(each["name"], each["replicas"]) for each in groups] == [
        *(("convert", 1), ("train", 2), ("evaluate", 1), ("inject", 2))
    ]
    assert [each.get("dependsOn") for each in groups] == [
        None,
        *([{"name": stage, "status": "Complete"}] for stage in ("convert", "train", "evaluate")),
    ]
    last = [pods_of(each)[0]["spec"]["containers"][0]["args"][-1] for each in groups]
    assert last == ["convert-ttbb", "train-fold$(JOB_INDEX)", "evaluate", "inject-$(JOB_INDEX)of2"]
    gpus = [pods_of(each)[0]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu") for each in groups]
    assert gpus == [None, "2", None, None]


def test_the_base_manifests_agree_with_each_other() -> None:
    """What jobset.yaml and mpijob.yaml show is what job.yaml is, and every pod of them finds its claims."""
    base = {each["kind"]: each for each in base_manifests() if each["kind"] in ("JobSet", "MPIJob")}
    job = yaml.safe_load((REPOSITORY / "k8s/job.yaml").read_text(encoding="utf-8"))
    wanted = bare(job["spec"]["template"]["spec"])
    for kind in base:
        for pod in pods_of(base[kind]):
            if kind == "MPIJob":  # the launcher has no GPU, the workers more time
                pod["spec"]["containers"][0]["resources"] = wanted["containers"][0]["resources"]
                pod["spec"]["activeDeadlineSeconds"] = wanted["activeDeadlineSeconds"]
            assert bare(pod["spec"]) == wanted
    claims = {each["metadata"]["name"] for each in base_manifests() if each["kind"] == "PersistentVolumeClaim"}
    for volume in job["spec"]["template"]["spec"]["volumes"]:
        if claim := volume.get("persistentVolumeClaim"):
            assert claim["claimName"] in claims


@pytest.mark.parametrize("which", ["base", "rendered"])
def test_the_slots_of_an_mpijob_are_the_workers_of_the_training(which: str) -> None:
    rendered_one = rendered(batch_of(site("kubernetes", nodes=2), "training.workers=4"))["train-fold0.yaml"]
    base = next(each for each in base_manifests() if each["kind"] == "MPIJob")
    spec = (rendered_one if which == "rendered" else base)["spec"]
    launcher, worker = (spec["mpiReplicaSpecs"][role] for role in ("Launcher", "Worker"))
    slots = spec["slotsPerWorker"]
    assert (slots, worker["replicas"]) == ((2, 2) if which == "rendered" else (1, 2))
    mine, others = (each["template"]["spec"]["containers"][0] for each in (launcher, worker))
    assert "nvidia.com/gpu" not in mine["resources"]["limits"]
    assert others["resources"]["limits"]["nvidia.com/gpu"] == str(slots) and others["args"] == ["mpi-worker"]
    hostfile = {"name": "NNTRAINER_HOSTFILE", "value": "/etc/mpi/hostfile"}
    assert hostfile in mine["env"] and hostfile not in others["env"]
    times = [each["template"]["spec"]["activeDeadlineSeconds"] for each in (launcher, worker)]
    attempts = 1 + spec["runPolicy"]["backoffLimit"]
    assert times[1] == attempts * times[0] + kubernetes_manifests.WORKERS_WAIT_S
    # Where the image's SSH looks for the keys.
    for file in ("sshd_config", "ssh_config"):
        assert f"{spec['sshAuthMountPath']}/id_rsa" in (REPOSITORY / "containers" / file).read_text()


def test_a_jobset_of_mpijobs_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "kubernetes.yaml"
    text = (REPOSITORY / "configs/sites/kubernetes.yaml").read_text(encoding="utf-8")
    file.write_text(text.replace("jobset: false", "jobset: true") + "nodes: 2\n", encoding="utf-8")
    with pytest.raises(SiteError, match=r"jobset: true and nodes above 1 exclude each other; leave one of them out$"):
        load_site(None, file)


def bare(pod: Any) -> Any:
    pod = copy.deepcopy(pod)
    for key in ("command", "args", "env"):
        pod["containers"][0].pop(key, None)
    return pod


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_arrive_or_are_refused(text: str) -> None:
    where = site("kubernetes", environment={"NOTE": text})
    for run in (f"/home/user/runs/tth/{text.replace('/', '_')[:80] or 'x'}", f"/home/{text}/runs/tth/first"):
        batch = batch_of(where, run=run)
        for name, manifest in rendered(batch).items():
            metadata = manifest["metadata"]
            assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", metadata["name"]) and len(metadata["name"]) <= 52
            for value in metadata["labels"].values():
                assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?", value) and len(value) <= 63
            if name == "config-map.yaml":
                assert manifest["data"]["config.yaml"] == batch.config
                continue
            container = pods_of(manifest)[0]["spec"]["containers"][0]
            variables = {each["name"]: each["value"] for each in container["env"]}
            assert expanded(variables["NOTE"]) == text
            assert [expanded(word) for word in container["args"]] == list(
                batch.jobs[int(name.removeprefix("train-fold")[0])].command
            )


def expanded(text: str) -> str:
    """Do what the kubelet does, where no variable is known: $$ is $, $(NAME) stays."""
    return re.sub(r"\$\$", "$", text)


def test_runs_of_one_name_in_two_places_are_told_apart() -> None:
    one, other = (batch_of(site("kubernetes"), run=f"/home/{user}/runs/tth/first") for user in ("anne", "bob"))
    labels = [rendered(each)["config-map.yaml"]["metadata"]["labels"] for each in (one, other)]
    assert labels[0]["nntrainer/run"] == labels[1]["nntrainer/run"]
    assert labels[0]["nntrainer/origin"] != labels[1]["nntrainer/origin"]


def test_rendering_needs_no_client_and_is_repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "kubernetes", None)
    batch = batch_of(site("kubernetes"))
    assert KubernetesBackend().render(batch) == KubernetesBackend().render(batch)
    with pytest.raises(MissingDependencyError, match=r"pip install 'nntrainer\[kubernetes\]'"):
        KubernetesBackend().look(batch)


def test_the_wheel_carries_the_manifests(tmp_path: Path) -> None:
    import subprocess
    import sys

    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, REPOSITORY],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("job.yaml", "jobset.yaml", "mpijob.yaml", "config-map.yaml", "reader.yaml"):
        assert f"deploy/templates/kubernetes/{name}" in names


# ---- what is found before anything is submitted


def found(where: KubernetesSite, *sets: str) -> dict[str, str]:
    batch = batch_of(where, *sets)
    config = Config.model_validate(yaml.safe_load(batch.config))
    some = [*kubernetes_check._site(where), *kubernetes_check._batch(batch), *kubernetes_check._gpus(batch)]
    some += kubernetes_check._paths(where, config)
    return {each.where: f"{each.level}: {each.what}" for each in some}


def test_a_good_site_has_no_findings() -> None:
    assert found(site("kubernetes")) == {}


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        ({"image": "Nntrainer GPU"}, "image", "error: 'Nntrainer GPU' is no name of an image"),
        ({"image": "registry.example.org/nntrainer"}, "image", "warning: .*another image at every pull"),
        ({"image": "nntrainer:latest"}, "image", "warning: .*another image"),
        ({"environment": {"API_TOKEN": "x"}}, "environment.API_TOKEN", "error: API_TOKEN is written into manifests"),
        (
            {"node_selector": {"nvidia.com/gpu.product": "NVIDIA-B200"}},
            "gpus",
            "error: the image does not serve NVIDIA-B200: compute capability 10.0 is not served",
        ),
        ({"nodes": 2}, "nodes", "warning: training on several machines was tried with a stand-in for the MPI operator"),
        ({"nodes": 2, "run_as_user": 7}, "run_as_user", "error: SSH refuses users that the image does not know"),
        ({"nodes": 3}, "training.workers", "error: 2 workers cannot be shared out evenly over the 3 machines"),
        ({"inputs": ()}, "data.samples.ttH", "error: /input/ttH.* lies on no volume of site 'kubernetes'"),
    ],
)
def test_what_is_wrong_with_a_site_is_said(changes: dict[str, Any], where: str, what: str) -> None:
    assert re.match(what, found(site("kubernetes", **changes))[where])


def test_a_directory_that_cannot_be_written_is_named() -> None:
    said = found(site("kubernetes"), "data.directory=/input/datasets", "inject.directory=/else/where")
    assert said["data.directory"] == "error: /input/datasets lies on no volume that can be written"
    assert said["inject.directory"].startswith("error: /else/where")


def test_no_secret_of_the_environment_is_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNTRAINER_SECRET", "s3cr3t-value")
    monkeypatch.setenv("KUBECONFIG", "/home/user/secret.kubeconfig")
    for kind in KINDS:
        for text in KubernetesBackend().render(batch_of_kind("nrp", kind)).values():
            assert "s3cr3t-value" not in text and "secret.kubeconfig" not in text


def test_when_a_token_ends() -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": 17}).encode()).decode().rstrip("=")
    assert token_end(f"x.{claims}.y") == 17
    assert token_end(f"x.{base64.urlsafe_b64encode(b'{}').decode()}.y") == float("inf")
    assert token_end("plain") is None and token_end("a.b.c") is None
    assert doctest.testmod(kubernetes_check).failed == 0 and doctest.testmod(credentials).failed == 0


class Answers(kubernetes_cluster.Cluster):
    """A cluster that answers from a table; what it does not know is not there."""

    def __init__(self, where: KubernetesSite, answers: dict[str, Any], token: str = "") -> None:
        self.site, self.namespace, self.answers, self._token = where, where.namespace, answers, token

    def get(self, path: str, **query: str) -> Any:
        if path not in self.answers:
            raise kubernetes_cluster.Refused(404, "not found")
        return self.answers[path]

    def may(self, verb: str, resource: str, group: str = "") -> bool:
        return f"no {verb} {resource}" not in self.answers

    def token(self) -> str:
        return self._token


NAMESPACE = "/api/v1/namespaces/nntrainer"
VERSION = {"/version": {"major": "1", "minor": "20", "gitVersion": "v1.20.2"}}


@pytest.mark.parametrize(
    ("look", "answers", "changes", "what"),
    [
        (
            "_rights",
            {"no create pods/exec": 1},
            {},
            "error: you may not create pods/exec in 'nntrainer': `deploy gather`",
        ),
        ("_rights", {"no list events": 1}, {}, "warning: you may not list events"),
        ("_kinds", VERSION, {}, "warning: Kubernetes v1.20.2 drops podFailurePolicy"),
        ("_kinds", VERSION, {"failure_policy": False}, None),
        (
            "_kinds",
            VERSION,
            {"nodes": 2, "failure_policy": False},
            "error: the cluster has no MPIJob v2beta1 of Kubeflow",
        ),
        ("_rights", {"no create mpijobs": 1}, {"nodes": 2}, "error: you may not create mpijobs in 'nntrainer'"),
        (
            "_volumes",
            {
                f"{NAMESPACE}/persistentvolumeclaims/nntrainer-{name}": {
                    "status": {"phase": "Bound"},
                    "spec": {"accessModes": ["ReadWriteMany" if name == "input" else "ReadWriteOnce"]},
                }
                for name in ("work", "input")
            },
            {"nodes": 2},
            "error: the volume claim 'nntrainer-work' is ReadWriteOnce: a training on several machines writes to it",
        ),
        (
            "_quota",
            {
                f"{NAMESPACE}/resourcequotas": {
                    "items": [{"metadata": {"name": "q"}, "status": {"hard": {"pods": "2", "requests.memory": "64Gi"}}}]
                }
            },
            {"nodes": 2},
            "warning: the jobs ask for requests.memory 96.0Gi, the quota 'q' has 64.0Gi left",
        ),
        (
            "_nodes",
            {"/api/v1/nodes": {"items": [{"metadata": {}, "status": {"allocatable": {"nvidia.com/gpu": "1"}}}]}},
            {"nodes": 2},
            None,
        ),
        ("_kinds", VERSION, {"jobset": True, "failure_policy": False}, "error: the cluster has no JobSet"),
        ("_volumes", {}, {}, "error: there is no volume claim 'nntrainer-work' in 'nntrainer'"),
        (
            "_volumes",
            {
                f"{NAMESPACE}/persistentvolumeclaims/nntrainer-{name}": {
                    "status": {"phase": "Pending" if name == "work" else "Bound"},
                    "spec": {"accessModes": ["ReadWriteMany"]},
                }
                for name in ("work", "input")
            },
            {},
            "warning: the volume claim 'nntrainer-work' is Pending, not Bound",
        ),
        (
            "_quota",
            {
                f"{NAMESPACE}/resourcequotas": {
                    "items": [{"metadata": {"name": "q"}, "status": {"hard": {"requests.memory": "1Gi"}}}]
                }
            },
            {},
            "error: a job asks for requests.memory 16.0Gi, the quota 'q' grants 1Gi in all",
        ),
        (
            "_nodes",
            {"/api/v1/nodes": {"items": [{"metadata": {}, "status": {"allocatable": {"nvidia.com/gpu": "1"}}}]}},
            {},
            "error: a job asks for 2 GPUs on one machine, and the machines have at most 1",
        ),
        (
            "_nodes",
            {"/api/v1/nodes": {"items": [{"metadata": {}, "status": {}}]}},
            {"node_selector": {"a": "b"}},
            "error: no machine has the labels a=b",
        ),
    ],
)
def test_what_is_wrong_with_a_cluster_is_said(
    look: str, answers: dict[str, Any], changes: dict[str, Any], what: str | None
) -> None:
    where = site("kubernetes", **changes)
    findings = list(getattr(kubernetes_check, look)(Answers(where, answers), batch_of(where)))
    texts = [f"{each.level}: {each.what}" for each in findings]
    assert (not texts) if what is None else texts[0].startswith(what), texts
    assert all(each.fix for each in findings)


def test_a_token_that_ends_before_the_jobs_is_a_warning() -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": time.time() + 3600}).encode()).decode()
    where = site("nrp")
    (finding,) = kubernetes_check._token(Answers(where, {}, f"x.{claims}.y"), batch_of(where))
    assert finding.level == "warning" and "valid for 1.0 h more, the jobs may run 3" in finding.what
    assert "fetch a new kubeconfig" in finding.fix


# ---- what the cluster says, in words; the objects are cut from those of a real one


def pod(phase: str = "Failed", state: dict[str, Any] | None = None, **status: Any) -> Any:
    return {
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "nodeName": "gpu7",
            "activeDeadlineSeconds": 600,
            "nodeSelector": {"nvidia.com/gpu.product": "A100"},
            "containers": [
                {"image": "nntrainer:x", "resources": {"limits": {"memory": "1Gi", "cpu": "2", "nvidia.com/gpu": "3"}}}
            ],
        },
        "status": {"phase": phase, "containerStatuses": [{"state": state or {}}], **status},
    }


def job(*conditions: tuple[str, str], **metadata: Any) -> Any:
    some = [{"type": kind, "status": "True", "reason": reason} for kind, reason in conditions]
    return {"metadata": {"name": "j", **metadata}, "status": {"conditions": some}}


def ended(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason}}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (pod(state=ended(137, "OOMKilled")), "more than its 1Gi of memory.*`deploy retry` gives it more"),
        (pod(state=ended(143), reason="DeadlineExceeded"), "longer than its 600 s; `deploy retry` goes on"),
        (pod(state=ended(2)), "configuration or an input is wrong"),
        (pod(state=ended(85)), "stopped with a checkpoint"),
        (pod(state=ended(137)), "was killed"),
        (pod(state=ended(1)), "exit code 1"),
        (pod(reason="Evicted", message="low on disk"), r"ran short of something \(low on disk\)"),
        (pod(reason="NodeLost"), "its machine was lost"),
        (
            pod(conditions=[{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]),
            "made way for a pod of higher priority",
        ),
        (
            pod(state={"terminated": {"exitCode": 128, "reason": "StartError", "message": "no such file"}}),
            "no such file",
        ),
    ],
)
def test_why_a_pod_failed(given: Any, why: str) -> None:
    assert re.search(why, why_ended(given))


@pytest.mark.parametrize(
    ("given", "state", "why"),
    [
        (
            pod("Pending", {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}),
            "held",
            "the image nntrainer:x cannot be pulled.*Back-off",
        ),
        (pod("Pending", {"waiting": {"reason": "ErrImageNeverPull"}}), "held", "not on the machine"),
        (pod("Pending", {"waiting": {"reason": "ContainerCreating"}}), "queued", "^$"),
        *(
            (
                pod("Pending", conditions=[{"type": "PodScheduled", "status": "False", "message": message}]),
                "queued",
                why,
            )
            for message, why in (
                ("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.", "^no machine has 3 GPUs free"),
                ("0/1 nodes are available: 1 Insufficient memory.", "no machine has 1Gi of memory free"),
                ("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.", "node_selector"),
                ("0/1 nodes are available: 1 node(s) had taint {x: y}, that the pod didn't tolerate.", "tolerations"),
                ('persistentvolumeclaim "x" not found', "a volume is missing"),
                ("something new", r"^no machine takes it \(something new\)"),
            )
        ),
    ],
)
def test_why_a_pod_waits(given: Any, state: str, why: str) -> None:
    told = pending(given)
    assert told[0] == state and re.search(why, told[1])


@pytest.mark.parametrize(
    ("status", "workers", "events", "state", "why"),
    [
        ({}, [], [], "queued", "the cluster's MPI operator has not looked at it"),
        (
            {},
            [],
            [{"reason": "MPIJobFailed", "message": "worker pod created failed: pods is forbidden"}],
            "queued",
            "the cluster refuses its pods: worker pod created failed",
        ),
        (
            {"conditions": [{"type": "Created", "status": "True"}]},
            [],
            [],
            "queued",
            "waits until all of its workers run",
        ),
        ({}, [pod("Pending", {"waiting": {"reason": "ErrImageNeverPull"}})], [], "held", "p: the image nntrainer:x is"),
        (
            {},
            [pod("Failed", reason="DeadlineExceeded")],
            [],
            "held",
            "p: it ran longer than its 600 s.*`deploy cancel`",
        ),
        ({"conditions": [{"type": "Succeeded", "status": "True"}]}, [], [], "done", "^$"),
        (
            {"conditions": [{"type": "Failed", "status": "True", "reason": "MPIJobEvicted", "message": "1/2 workers"}]},
            [],
            [],
            "failed",
            "^MPIJobEvicted: 1/2 workers$",
        ),
    ],
)
def test_why_an_mpijob_has_no_launcher(status: Any, workers: Any, events: Any, state: str, why: str) -> None:
    told = seen_mpi_job("j", {"metadata": {"name": "m"}, "status": status}, workers, events, cancelled=False)
    assert told.state == state and re.search(why, told.why)


def test_why_there_is_no_pod() -> None:
    message = (
        'Error creating: pods "x" is forbidden: exceeded quota: physics, requested: requests.nvidia.com/gpu=5, '
        "used: requests.nvidia.com/gpu=2, limited: requests.nvidia.com/gpu=4"
    )
    told = refused([{"reason": "FailedCreate", "message": message}])
    assert told == (
        "the quota 'physics' of the namespace does not grant it: 5 nvidia.com/gpu asked for, 2 of 4 in use; wait, or "
        "ask for less"
    )
    assert "unable to validate" in refused(
        [{"reason": "FailedCreate", "message": "Error creating: unable to validate"}]
    )
    assert refused([]) == ""


@pytest.mark.parametrize(
    ("given", "pods", "cancelled", "state"),
    [
        (job(("Complete", "")), [pod("Succeeded", ended(0))], False, "done"),
        (job(("Failed", "BackoffLimitExceeded")), [pod(state=ended(1))], False, "failed"),
        (job(("Failed", "BackoffLimitExceeded")), [pod(state=ended(85))], False, "interrupted"),
        (job(("Failed", "BackoffLimitExceeded")), [pod(state=ended(143))], True, "cancelled"),
        (job(("Failed", "DeadlineExceeded")), [], False, "failed"),
        (job(), [], False, "queued"),
        (job(), [pod("Running")], False, "running"),
        (job(), [pod("Failed", ended(1))], False, "queued"),
        (job(deletionTimestamp="x"), [pod("Running")], True, "running"),
    ],
)
def test_states(given: Any, pods: list[Any], cancelled: bool, state: str) -> None:
    told = seen("train-fold0", given, pods, [], cancelled)
    assert told.state == state
    if pods:
        assert (told.host, told.gpus) == ("gpu7", "3 A100")


# ---- logs and files


class Logs(Answers):
    """Logs of pods as the API gives them: from a whole second on."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def log(self, pod: str, since: str | None = None) -> Any:
        for line in self.lines:
            if since is None or line[:19] >= since[:19]:
                yield line.encode()


def test_logs_come_once_however_often_and_wherever_they_were_cut_off(tmp_path: Path) -> None:
    lines = [f"2026-01-01T00:00:{n // 3:02d}.{n:09d}Z line {n}\n" for n in range(30)]
    running = pod("Running")
    for end in (0, 1, 2, 10, 10, 11):
        kubernetes_logs.fetch_logs(Logs(lines[:end]), tmp_path, {"train": [running]})
    with (tmp_path / "train.log").open("a") as log:  # killed while it wrote
        log.write("line 11\nlin")
    kubernetes_logs.fetch_logs(Logs([*lines, "2026-01-01T00:00:59.5Z half"]), tmp_path, {"train": [running]})
    assert (tmp_path / "train.log").read_text() == "".join(f"line {n}\n" for n in range(30))
    second = pod("Succeeded", ended(0)) | {"metadata": {"name": "q", "creationTimestamp": "2026-01-01T01:00:00Z"}}
    kubernetes_logs.fetch_logs(Logs(["2026-01-01T02:00:00.1Z again"]), tmp_path, {"train": [second]})
    assert (tmp_path / "train.log").read_text().endswith("line 29\n---- attempt 2: pod q ----\nagain")
    pods = json.loads((tmp_path / "pods.json").read_text())["train"]["pods"]
    assert pods["q"]["exit_code"] == 0 and pods["q"]["host"] == "gpu7"


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b", "a\nb"])
def test_records_that_lead_out_of_the_run_are_refused(path: str) -> None:
    record = json.dumps({"state": "done", "files": [{"path": path, "size": 1, "sha256": "x"}]})
    with pytest.raises(GatherError, match="no file of the run directory"):
        kubernetes_files.listed(batch_of(site("kubernetes")), {"parts/evaluate.json": record})


def test_damaged_records_are_named() -> None:
    for text in ("{", '{"files": 1}', '{"files": [{}]}', "[]"):
        with pytest.raises(GatherError, match=r"the record parts/x\.json on the volume is damaged"):
            kubernetes_files.listed(batch_of(site("kubernetes")), {"parts/x.json": text})


def test_plan_groups_parts_where_nothing_orders_them() -> None:
    jobs = batch_of(site("kubernetes")).jobs
    assert [job.name for job in jobs] == ["train-fold0", "train-fold1"]
    assert jobs[0].parts == ("convert-ttH", "convert-ttbb", "train-fold0", "evaluate", "inject-0of1")
    assert [word for word in jobs[1].command if word != "--part"][-4:] == [
        "convert-ttH",
        "convert-ttbb",
        "train-fold1",
        "rest",
    ]
    assert jobs[0].resources.gpus == 2 and jobs[0].resources.memory_mib == 16384
    alone = replace(jobs[0].resources)
    assert alone.walltime_s > 43200  # the conversion's and the others' time come on top


def test_plan_of_a_search() -> None:
    sets = ("tune.parameters={model.dropout: {low: 0.0, high: 0.5}}", "tune.trials=8", "deploy.jobs=single")
    path = Path("/home/user/runs/tth/search")

    def search(jobs: int, **changes: Any) -> Batch:
        where = site("kubernetes", **changes)
        config = resolved(config_with(*sets), where, Path("/home/user"))
        return Batch(path, where, tuple(plan_search(config, where, path, path, jobs)), config=text_of(config))

    alone = search(9)
    assert [job.name for job in alone.jobs] == [f"tune-{i}of8" for i in range(8)]  # never more jobs than trials
    first = alone.jobs[0]
    assert first.parts == ("convert-ttH", "convert-ttbb", "tune-0of8", "tune-best")
    words = [word for word in first.command if word != "--part"]
    assert words[-4:] == ["convert-ttH", "convert-ttbb", "tune-0of8", "rest"]
    assert first.stage == "tune" and first.resources.gpus == 2
    stages = rendered(search(3, jobset=True))["jobset.yaml"]["spec"]["replicatedJobs"]
    assert [(each["name"], each["replicas"]) for each in stages] == [("convert", 1), ("tune", 3), ("evaluate", 1)]
    pods = [each["template"]["spec"]["template"]["spec"]["containers"][0] for each in stages]
    assert [pod["args"][-1] for pod in pods[1:]] == ["tune-$(JOB_INDEX)of3", "tune-best"]
    assert [pod["resources"]["limits"].get("nvidia.com/gpu") for pod in pods] == [None, "2", None]
    assert [each["dependsOn"][0]["name"] for each in stages[1:]] == ["convert", "tune"]
