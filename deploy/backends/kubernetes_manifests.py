"""What is submitted to Kubernetes: the base manifests of ``k8s/``, filled in. No cluster is needed for it."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from deploy.backends.base import Batch
from deploy.errors import DeployError
from deploy.images import DIGEST
from deploy.jobs import JobSpec
from deploy.quoting import kubernetes_label, kubernetes_name, kubernetes_text
from deploy.sites import KubernetesSite
from nntrainer.config import Config

Manifest = dict[str, Any]

TEMPLATES = Path(__file__).parent.parent / "templates" / "kubernetes"
"""``k8s/`` of the repository, by a link in a checkout, by copies in an installed package."""
CONFIG = "config-map.yaml"
MAIN = "main"
"""Name of the container of every pod."""
GPU = "nvidia.com/gpu"
INDEX = "$(JOB_INDEX)"
INDEX_LABEL = "jobset.sigs.k8s.io/job-index"
GROUP_LENGTH = 40
"""Longest name of a JobSet or MPIJob: their pods add that of a stage and numbers to it."""
HOSTFILE = {"name": "NNTRAINER_HOSTFILE", "value": "/etc/mpi/hostfile"}
"""Tells nntrainer where the MPI operator mounts the names of the workers."""
WORKERS_WAIT_S = 3600
"""How long the workers of an MPIJob may wait for each other, beyond the time of the launcher."""
RUN, ORIGIN, JOB, STAGE = "nntrainer/run", "nntrainer/origin", "nntrainer/job", "nntrainer/stage"


def site_of(batch: Batch) -> KubernetesSite:
    """Return the site of a run.

    Args:
        batch: the run.

    Returns:
        The site.

    Raises:
        DeployError: it is no Kubernetes.
    """
    if not isinstance(batch.site, KubernetesSite):
        raise DeployError(f"site '{batch.site.name}' is no Kubernetes cluster")
    return batch.site


def run_label(batch: Batch) -> str:
    """Return what all objects of a run are labelled with, and what its ConfigMap is called."""
    return kubernetes_name(batch.run.parent.name, batch.run.name, length=GROUP_LENGTH)


def origin(batch: Batch) -> str:
    """Return what tells this run from one of the same name in another directory."""
    return hashlib.sha256(str(batch.run).encode()).hexdigest()[:12]


def render(batch: Batch) -> dict[str, Manifest]:
    """Return the manifests of a run.

    Args:
        batch: the run.

    Returns:
        By file name, in the order in which they are submitted.
    """
    site = site_of(batch)
    if site.nodes > 1:
        return {CONFIG: config_map(batch)} | {f"{job.name}.yaml": mpi_job(batch, job) for job in batch.jobs}
    if site.jobset and len(batch.jobs) > 1:
        return {CONFIG: config_map(batch), "jobset.yaml": job_set(batch)}
    return {CONFIG: config_map(batch)} | {f"{job.name}.yaml": one_job(batch, job) for job in batch.jobs}


def text_of(manifest: Manifest) -> str:
    """Return a manifest as a file."""
    text: str = yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def config_map(batch: Batch) -> Manifest:
    """Return the ConfigMap with the configuration."""
    base = _template(CONFIG)
    base["metadata"] = _metadata(batch, run_label(batch))
    base["data"] = {"config.yaml": batch.config}
    return base


def one_job(batch: Batch, job: JobSpec) -> Manifest:
    """Return the Job that does a job of a run."""
    base = _template("job.yaml")
    base["metadata"] = _metadata(batch, job_name(batch, job.name), job)
    base["spec"] = _job_spec(batch, job, base["spec"])
    return base


def job_name(batch: Batch, name: str) -> str:
    """Return what the Job of a job is called."""
    return kubernetes_name(batch.run.parent.name, batch.run.name, name)


def job_set(batch: Batch) -> Manifest:
    """Return the JobSet that does all jobs of a run, those of a stage as copies of one Job that know their number."""
    base, job_template = _template("jobset.yaml"), _template("job.yaml")
    base["metadata"] = _metadata(batch, run_label(batch))
    base["spec"]["ttlSecondsAfterFinished"] = site_of(batch).ttl_s
    groups: list[Manifest] = []
    for stage in dict.fromkeys(job.stage for job in batch.jobs):
        jobs = [job for job in batch.jobs if job.stage == stage]
        spec = _job_spec(batch, jobs[0], copy.deepcopy(job_template["spec"]))
        del spec["ttlSecondsAfterFinished"]  # the JobSet's own counts
        container = spec["template"]["spec"]["containers"][0]
        # The copies differ by their number alone, which the last argument ends with: train-fold0, inject-0of2.
        if stage != "convert":
            container["args"][-1] = container["args"][-1].replace("0", INDEX, 1)
            field = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX_LABEL}']"}}
            container["env"].append({"name": INDEX[2:-1], "valueFrom": field})
        after = {"dependsOn": [{"name": groups[-1]["name"], "status": "Complete"}]} if groups else {}
        labels = _labels(batch) | {STAGE: stage}
        template = {"metadata": {"labels": labels}, "spec": spec}
        spec["template"]["metadata"]["labels"] = labels
        groups.append({"name": stage, "replicas": len(jobs), **after, "template": template})
    base["spec"]["replicatedJobs"] = groups
    return base


def mpi_job(batch: Batch, job: JobSpec) -> Manifest:
    """Return the MPIJob that trains a fold on several machines; its launcher does all else, and needs no GPU."""
    site, base = site_of(batch), _template("mpijob.yaml")
    base["metadata"] = _metadata(batch, mpi_name(batch, job.name), job)
    spec = base["spec"]
    spec["slotsPerWorker"] = max(_share(config_of(batch.config).training.workers, site), 1)
    spec["runPolicy"] |= {"backoffLimit": site.max_retries, "ttlSecondsAfterFinished": site.ttl_s}
    for role, replica in spec["mpiReplicaSpecs"].items():
        own = replica["template"]["spec"]["containers"][0]
        template = _template("job.yaml")["spec"]["template"]
        pod = template["spec"]
        container = pod["containers"][0]
        replica["template"] = template
        if role == "Launcher":
            _fill_pod(template, batch, job, 0)
            container["env"].append(dict(HOSTFILE))
        else:
            _fill_pod(template, batch, job, _share(job.resources.gpus, site))
            container["args"] = own["args"]
            replica["replicas"] = site.nodes
            pod["activeDeadlineSeconds"] = job.resources.walltime_s * (1 + site.max_retries) + WORKERS_WAIT_S
    return base


def mpi_name(batch: Batch, name: str) -> str:
    """Return what the MPIJob of a job is called; its pods add to it."""
    return kubernetes_name(batch.run.parent.name, batch.run.name, name, length=GROUP_LENGTH)


def _share(number: int, site: KubernetesSite) -> int:
    return -(-number // site.nodes)


def helper(batch: Batch, what: str, command: tuple[str, ...], *, writes: bool) -> Manifest:
    """Return the Job of a pod that sees the work volume for a while.

    Args:
        batch: the run.
        what: what it is for: ``reader`` or ``remover``.
        command: what it runs.
        writes: whether it may write.

    Returns:
        The Job.
    """
    site, base = site_of(batch), _template("reader.yaml")
    base["metadata"] = _metadata(batch, job_name(batch, what))
    base["metadata"]["labels"][STAGE] = what
    pod = base["spec"]["template"]["spec"]
    base["spec"]["template"]["metadata"] = {"labels": base["metadata"]["labels"]}
    _fill_site(pod, site)
    container = pod["containers"][0]
    container["command"] = [kubernetes_text(word) for word in command]
    container["volumeMounts"], pod["volumes"] = [], []
    _mount(pod, "work", site.work.model_dump(mode="json") | {"read_only": not writes})
    return base


def _template(name: str) -> Manifest:
    try:
        # Through plain copies: an alias of YAML is one object in several places.
        manifest: Manifest = copy.deepcopy(yaml.safe_load((TEMPLATES / name).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise DeployError(f"{TEMPLATES / name}: this base manifest is missing; install nntrainer again") from None
    return manifest


@cache
def config_of(text: str) -> Config:
    """Return the configuration of a run from its text."""
    return Config.model_validate(yaml.safe_load(text))


def _labels(batch: Batch, job: JobSpec | None = None) -> dict[str, str]:
    labels = {
        "app.kubernetes.io/name": "nntrainer",
        "app.kubernetes.io/managed-by": "deploy",
        RUN: run_label(batch),
        ORIGIN: origin(batch),
        "nntrainer/digest": config_of(batch.config).digest()[:12],
    }
    if job is not None:
        labels |= {JOB: kubernetes_label(job.name), STAGE: job.stage}
        fold = job.name.removeprefix("train-fold")
        if fold != job.name:
            labels["nntrainer/fold"] = fold
    return labels


def _metadata(batch: Batch, name: str, job: JobSpec | None = None) -> Manifest:
    site = site_of(batch)
    annotations = {"nntrainer/name": batch.run.parent.name, "nntrainer/run-directory": str(site.on_volume(batch.run))}
    if job is not None and job.parts:
        annotations["nntrainer/parts"] = " ".join(job.parts)
    return {"name": name, "namespace": site.namespace, "labels": _labels(batch, job), "annotations": annotations}


def _job_spec(batch: Batch, job: JobSpec, spec: Manifest) -> Manifest:
    site = site_of(batch)
    spec["backoffLimit"] = site.max_retries
    spec["ttlSecondsAfterFinished"] = site.ttl_s
    if not site.failure_policy:
        del spec["podFailurePolicy"]  # code 85 then counts as a failure, and max_retries of them resume
    _fill_pod(spec["template"], batch, job, job.resources.gpus)
    return spec


def _fill_pod(template: Manifest, batch: Batch, job: JobSpec, gpus: int) -> None:
    site, pod = site_of(batch), template["spec"]
    template["metadata"] = {
        "labels": _labels(batch, job),
        "annotations": {"nntrainer/run-directory": str(site.on_volume(batch.run))},
    }
    _fill_site(pod, site)
    pod["activeDeadlineSeconds"] = job.resources.walltime_s
    pod["securityContext"]["fsGroup"] = site.run_as_group
    if site.service_account:
        pod["serviceAccountName"] = site.service_account
    else:
        pod.pop("serviceAccountName")
    if site.node_selector:
        pod["nodeSelector"] = dict(site.node_selector)
    container = pod["containers"][0]
    container["args"] = [kubernetes_text(word) for word in job.command]
    container["workingDir"] = str(job.directory)
    container["env"] = _variables(site, job)
    container["resources"] = _resources(job, gpus)
    container["volumeMounts"] = [each for each in container["volumeMounts"] if each["name"] in ("config", "shm", "tmp")]
    pod["volumes"] = [
        {"name": "config", "configMap": {"name": run_label(batch)}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{site.shm_mib}Mi"}},
        {"name": "tmp", "emptyDir": {"sizeLimit": f"{job.resources.disk_mib}Mi"}},
    ]
    _mount(pod, "work", site.work.model_dump(mode="json"))
    for number, volume in enumerate(site.inputs):
        _mount(pod, f"input-{number}", volume.model_dump(mode="json"))


def _fill_site(pod: Manifest, site: KubernetesSite) -> None:
    """Fill in what pods of all kinds have from their site."""
    pod["securityContext"] |= {"runAsUser": site.run_as_user, "runAsGroup": site.run_as_group}
    pod["containers"][0] |= {"image": site.image, "imagePullPolicy": site.pull_policy}
    if site.pull_secret:
        pod["imagePullSecrets"] = [{"name": site.pull_secret}]
    if site.tolerations:
        pod["tolerations"] = [dict(each) for each in site.tolerations]
    if site.priority_class:
        pod["priorityClassName"] = site.priority_class


def _mount(pod: Manifest, name: str, volume: Mapping[str, Any]) -> None:
    """Add a claim to a pod, as one volume also where it is mounted at several places."""
    claim = {"persistentVolumeClaim": {"claimName": volume["claim"]}}
    there = next((each["name"] for each in pod["volumes"] if each.items() >= claim.items()), None)
    if there is None:
        pod["volumes"].append({"name": name, **claim})
    mount = {"name": there or name, "mountPath": volume["path"]}
    if volume["sub_path"]:
        mount["subPath"] = volume["sub_path"]
    if volume["read_only"]:
        mount["readOnly"] = True
    pod["containers"][0]["volumeMounts"].append(mount)


def _variables(site: KubernetesSite, job: JobSpec) -> list[Manifest]:
    # A read-only root: what libraries cache in a home directory goes to /tmp.
    variables = {"HOME": "/tmp", **job.environment}
    if "@sha256:" in site.image:
        variables[DIGEST] = site.image.partition("@")[2]
    return [{"name": name, "value": kubernetes_text(value)} for name, value in variables.items()]


def _resources(job: JobSpec, gpus: int) -> Manifest:
    needs = {
        "cpu": str(job.resources.cpus),
        "memory": f"{job.resources.memory_mib}Mi",
        "ephemeral-storage": f"{job.resources.disk_mib}Mi",
    }
    if gpus:
        needs[GPU] = str(gpus)
    # Asked for and granted are the same: no job is slowed down or killed for another that takes more than it said.
    return {"requests": needs, "limits": dict(needs)}
