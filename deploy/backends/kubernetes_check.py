"""What a cluster lacks for a run, or will not grant, before anything is submitted."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

from deploy.backends.base import Batch
from deploy.backends.kubernetes_cluster import Cluster, Refused
from deploy.backends.kubernetes_manifests import GPU, config_of, site_of
from deploy.credentials import token_end
from deploy.errors import DeployError
from deploy.images import unserved
from deploy.jobs import Finding
from deploy.sites import KubernetesSite, Volume
from nntrainer.config import Config
from nntrainer.config.gpus import capability_of, text
from nntrainer.errors import NNTrainerError
from nntrainer.files import is_remote

IMAGE = re.compile(
    r"([a-z0-9.-]+(:\d+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|PRIVATE", re.IGNORECASE)
CONFIG_MAP_BYTES = 1 << 20
USER = 1000
"""The one user that the image knows by name."""
FAILURE_POLICY = (1, 26)
"""The Kubernetes that has podFailurePolicy without asking for it."""
RIGHTS = {
    "jobs": ("batch", ("create", "get", "list", "delete"), "nothing can be submitted"),
    "configmaps": ("", ("create", "get", "delete"), "nothing can be submitted"),
    "pods": ("", ("get", "list", "delete"), "the state of jobs cannot be seen"),
    "pods/log": ("", ("get",), "`deploy logs` shows nothing"),
    "pods/exec": ("", ("create", "get"), "`deploy gather` cannot read the volume"),
    "events": ("", ("list",), "it cannot be said why a job has no pod"),
}


def check(batch: Batch, config: Config) -> list[Finding]:
    """Look at a site, and at its cluster.

    Args:
        batch: the run.
        config: the configuration as the jobs read it.

    Returns:
        What was found.
    """
    site = site_of(batch)
    found = [*_site(site), *_batch(batch), *_gpus(batch), *_paths(site, config)]
    try:
        with Cluster(site) as cluster:
            cluster.list("Pod")
            for look in (_rights, _kinds, _volumes, _quota, _nodes, _token):
                found += look(cluster, batch)
    except (Refused, DeployError, NNTrainerError) as error:
        fix = "see `kubectl config get-contexts`, and the site's context and namespace"
        found.append(Finding("error", "cluster", str(error), fix))
    return found


def _site(site: KubernetesSite) -> Iterator[Finding]:
    if not IMAGE.fullmatch(site.image):
        what = f"{site.image!r} is no name of an image"
        yield Finding("error", "image", what, "give it as registry/name:tag or name@sha256:…, in lower case")
    elif "@" not in site.image and (":" not in site.image.rpartition("/")[2] or site.image.endswith(":latest")):
        what = f"'{site.image}' can be another image at every pull"
        yield Finding("warning", "image", what, "give a tag, or better a digest: name@sha256:…")
    for name in site.environment:
        if SECRET.search(name):
            what = f"{name} is written into manifests and records, where others can read it"
            yield Finding("error", f"environment.{name}", what, "keep secrets out of site files")
    if site.nodes > 1:
        what = "training on several machines was tried with a stand-in for the MPI operator, not yet with the real one"
        yield Finding("warning", "nodes", what, "look after the first run: `deploy status`, `deploy logs`")
        if site.run_as_user != USER:
            what = f"SSH refuses users that the image does not know, and it knows {USER}, not {site.run_as_user}"
            yield Finding("error", "run_as_user", what, f"leave run_as_user at {USER} where nodes is above 1")


def _batch(batch: Batch) -> Iterator[Finding]:
    nodes, workers = site_of(batch).nodes, config_of(batch.config).training.workers
    if workers % nodes:
        what = f"{workers} workers cannot be shared out evenly over the {nodes} machines of the site"
        yield Finding("error", "training.workers", what, f"set it to a multiple of {nodes}, or other nodes")
    size = len(batch.config.encode())
    if size > CONFIG_MAP_BYTES - 4096:
        what = f"the configuration has {size} bytes, a ConfigMap takes {CONFIG_MAP_BYTES}"
        yield Finding("error", "config", what, "name ntuples with patterns instead of one by one")


def _gpus(batch: Batch) -> Iterator[Finding]:
    """Compare the GPUs that pods may get with what the image has kernels for."""
    site = site_of(batch)
    if not any(job.resources.gpus for job in batch.jobs):
        return
    chosen = site.node_selector.get(f"{GPU}.product", "")
    capability = capability_of(chosen)
    names = {chosen: text(capability)} if capability else {gpu.name: f"{gpu.capability:.1f}" for gpu in site.gpus}
    yield from unserved(names, f"choose other GPUs with node_selector ({GPU}.product), or use another image")


def _paths(site: KubernetesSite, config: Config) -> Iterator[Finding]:
    """Look whether paths of the configuration lie on a volume."""
    volumes: list[Volume] = [site.work, *site.inputs]
    there = [str(volume.path) for volume in volumes]
    paths = {f"data.samples.{sample.name}": sample.files for sample in config.data.samples}
    if config.inject.files:
        paths["inject.files"] = config.inject.files
    for where, some in paths.items():
        for path in some:
            if not is_remote(path) and not any(Path(path).is_relative_to(each) for each in there):
                what = f"{path} lies on no volume of site '{site.name}'; they are at {', '.join(there)}"
                yield Finding("error", where, what, "write the path as pods see it, or add a volume to the site file")
    written = {"data.directory": config.data.directory, "inject.directory": config.inject.directory}
    writable = [volume.path for volume in volumes if not volume.read_only]
    for where, directory in written.items():
        if directory is not None and not any(Path(directory).is_relative_to(each) for each in writable):
            what = f"{directory} lies on no volume that can be written"
            yield Finding("error", where, what, f"leave it relative: it is then below {site.work.path}")


def _rights(cluster: Cluster, batch: Batch) -> Iterator[Finding]:
    rights = dict(RIGHTS)
    if site_of(batch).jobset:
        rights["jobsets"] = ("jobset.x-k8s.io", ("create", "get", "list", "delete"), "nothing can be submitted")
    if site_of(batch).nodes > 1:
        rights["mpijobs"] = ("kubeflow.org", ("create", "get", "list", "delete"), "nothing can be submitted")
    for resource, (group, verbs, consequence) in rights.items():
        refused = [verb for verb in verbs if not cluster.may(verb, resource, group)]
        if refused:
            level = "warning" if resource == "events" else "error"
            what = f"you may not {', '.join(refused)} {resource} in '{cluster.namespace}': {consequence}"
            yield Finding(level, "permissions", what, "ask whoever runs the cluster for it")


def _kinds(cluster: Cluster, batch: Batch) -> Iterator[Finding]:
    """Look for what newer clusters have, or those with more installed."""
    site = site_of(batch)
    for wanted, key, path, kind in (
        (site.jobset, "jobset", "/apis/jobset.x-k8s.io/v1alpha2", "JobSet"),
        (site.nodes > 1, "nodes", "/apis/kubeflow.org/v2beta1", "MPIJob v2beta1 of Kubeflow's MPI operator"),
    ):
        if wanted:
            try:
                cluster.get(path)
            except Refused as error:
                if error.code != 404:
                    raise
                yield Finding("error", key, f"the cluster has no {kind}", f"leave '{key}' out of the site file")
    version = cluster.get("/version")
    number = (int(re.sub(r"\D", "", version["major"]) or 0), int(re.sub(r"\D", "", version["minor"]) or 0))
    if site.failure_policy and number < FAILURE_POLICY:
        what = (
            f"Kubernetes {version['gitVersion']} drops podFailurePolicy: a lost machine counts as a failure of the job"
        )
        yield Finding("warning", "failure_policy", what, "set failure_policy: false, and max_retries high enough")


def _volumes(cluster: Cluster, batch: Batch) -> Iterator[Finding]:
    site = site_of(batch)
    if not cluster.may("get", "persistentvolumeclaims"):
        return
    for volume in (site.work, *site.inputs):
        claim = cluster.read("PersistentVolumeClaim", volume.claim)
        if claim is None:
            what = f"there is no volume claim '{volume.claim}' in '{cluster.namespace}'"
            yield Finding("error", "volumes", what, "make it (k8s/base.yaml has an example), or correct the site file")
            continue
        if (phase := claim["status"].get("phase")) != "Bound":
            # Some storage is bound only when a pod comes.
            what = f"the volume claim '{volume.claim}' is {phase}, not Bound"
            yield Finding(
                "warning", "volumes", what, f"see `kubectl -n {cluster.namespace} describe pvc {volume.claim}`"
            )
        modes = claim["spec"].get("accessModes", [])
        one = f"the volume claim '{volume.claim}' is {', '.join(modes)}"
        if site.nodes > 1 and volume is site.work and "ReadWriteMany" not in modes:
            what = f"{one}: a training on several machines writes to it from all of them"
            yield Finding("error", "volumes", what, "use a ReadWriteMany volume, or set nodes: 1")
        elif len(batch.jobs) > 1 and not {"ReadWriteMany", "ReadOnlyMany" if volume.read_only else ""} & set(modes):
            what = f"{one}: its jobs can run only on one machine at a time"
            fix = "use a ReadWriteMany volume, or one job: --set deploy.jobs=single, or --jobs 1 for a search"
            yield Finding("warning", "volumes", what, fix)


def _quota(cluster: Cluster, batch: Batch) -> Iterator[Finding]:
    """Compare what the largest job and all jobs ask for with the quotas of the namespace."""
    if not cluster.may("list", "resourcequotas"):
        return
    nodes = site_of(batch).nodes
    pods = 1 if nodes == 1 else nodes + 1  # a launcher beside the workers
    asked = [
        {
            f"requests.{GPU}": -(-job.resources.gpus // nodes) * nodes,
            "requests.memory": pods * job.resources.memory_mib << 20,
            "limits.memory": pods * job.resources.memory_mib << 20,
            "requests.cpu": pods * job.resources.cpus,
            "limits.cpu": pods * job.resources.cpus,
            "requests.ephemeral-storage": pods * job.resources.disk_mib << 20,
            "pods": pods,
            "count/jobs.batch": 1,
        }
        for job in batch.jobs
    ]
    for quota in cluster.list("ResourceQuota"):
        hard, used = quota["status"].get("hard", {}), quota["status"].get("used", {})
        name = quota["metadata"]["name"]
        for key in asked[0]:
            if key not in hard:
                continue
            most, free = quantity(hard[key]), quantity(hard[key]) - quantity(used.get(key, "0"))
            one, all_ = max(each[key] for each in asked), sum(each[key] for each in asked)
            if one > most:
                what = f"a job asks for {key} {_shown(key, one)}, the quota '{name}' grants {hard[key]} in all"
                yield Finding("error", f"quota.{key}", what, "ask for less in deploy.resources")
            elif all_ > free:
                what = f"the jobs ask for {key} {_shown(key, all_)}, the quota '{name}' has {_shown(key, free)} left"
                yield Finding("warning", f"quota.{key}", what, "some jobs wait until others have ended")


def _nodes(cluster: Cluster, batch: Batch) -> Iterator[Finding]:
    """Look for a machine that has what a job asks for, where machines may be seen."""
    site, most = site_of(batch), max(batch.jobs, key=lambda job: job.resources.gpus).resources
    if not most.gpus:
        return
    try:
        nodes = cluster.get("/api/v1/nodes")["items"]
    except Refused as error:
        if error.code in (401, 403):
            return
        raise
    fitting = [node for node in nodes if site.node_selector.items() <= (node["metadata"].get("labels") or {}).items()]
    if not fitting:
        wanted = ", ".join(f"{key}={value}" for key, value in site.node_selector.items())
        yield Finding("error", "node_selector", f"no machine has the labels {wanted}", "correct it in the site file")
        return
    largest = max(int(node["status"].get("allocatable", {}).get(GPU, 0)) for node in fitting)
    if largest < (gpus := -(-most.gpus // site.nodes)):
        what = f"a job asks for {gpus} GPUs on one machine, and the machines have at most {largest}"
        fix = f"set training.workers to at most {largest * site.nodes}, or 1 on processors"
        yield Finding("error", "resources.gpus", what, fix)


def _token(cluster: Cluster, batch: Batch) -> Iterator[Finding]:
    """Look when the token of the kubeconfig ends, where it says so itself."""
    ends = token_end(cluster.token())
    longest = max(job.resources.walltime_s for job in batch.jobs)
    if ends is not None and ends < time.time() + longest:
        hours = max(ends - time.time(), 0) / 3600
        what = f"the token of the kubeconfig is valid for {hours:.1f} h more, the jobs may run {longest / 3600:.1f} h"
        renew = next((each.renew for each in batch.site.credentials if each.kind == "kubeconfig" and each.renew), "")
        fix = "the jobs go on without it; to follow and gather them, renew it" + (f": {renew}" if renew else "")
        yield Finding("warning", "token", what, fix)


def quantity(text: str | int) -> float:
    """Return a quantity of Kubernetes as a number.

    >>> quantity("64Gi") == 64 * 2**30, quantity("500m"), quantity("4")
    (True, 0.5, 4.0)
    """
    match = re.fullmatch(r"([0-9.]+)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?", str(text))
    if match is None:
        return float("inf")
    factors = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
    factors |= {f"{letter}i": 2.0 ** (10 * power) for power, letter in enumerate("KMGTP", 1)}
    return float(match[1]) * factors.get(match[2] or "", 1.0)


def _shown(key: str, value: float) -> str:
    return f"{value / 2**30:.1f}Gi" if "memory" in key or "storage" in key else f"{value:g}"
