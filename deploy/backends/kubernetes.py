"""A Kubernetes cluster: a Job for every fold, or a JobSet where the cluster has them. No controller of our own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploy.backends.base import Batch, read_record
from deploy.backends.kubernetes_check import check
from deploy.backends.kubernetes_cluster import Cluster, Refused
from deploy.backends.kubernetes_files import fetch, read_texts, run_helper
from deploy.backends.kubernetes_logs import fetch_logs, never_started
from deploy.backends.kubernetes_manifests import (
    INDEX_LABEL,
    JOB,
    ORIGIN,
    RUN,
    STAGE,
    Manifest,
    helper,
    job_name,
    origin,
    render,
    run_label,
    site_of,
    text_of,
)
from deploy.backends.kubernetes_words import latest, out_of_memory, seen
from deploy.errors import DeployError, SubmitError
from deploy.jobs import Finding, JobHandle, JobSeen, JobSpec
from deploy.quoting import kubernetes_label
from nntrainer.config import Config
from nntrainer.config.parts import RECORDS
from nntrainer.files import now, write_text

GONE_S = 60.0
"""How long ended pods may take to go."""
REMOVED_S = 600.0
"""How long the files of a run may take to be removed."""
MORE_MEMORY = 1.5
"""Factor after a job was killed for its memory."""
PROGRESS_S = 5.0
"""How old what is known of a running job's progress may be."""


class KubernetesBackend:
    """Submits Jobs with the rights of whoever runs deploy, and finds them again by their labels."""

    def check(self, batch: Batch, config: Config) -> list[Finding]:
        """Return what is missing in the cluster, or what it will not grant."""
        return check(batch, config)

    def render(self, batch: Batch) -> dict[str, str]:
        """Return the manifests; `kubectl apply` takes them."""
        return {name: text_of(manifest) for name, manifest in render(batch).items()}

    def submit(self, batch: Batch) -> list[JobHandle]:
        """Make the objects of a run; what a killed deploy made of them already stays.

        Args:
            batch: the run.

        Returns:
            How its jobs are found again.

        Raises:
            SubmitError: the cluster refuses, or has another run of this name. Then none of its objects stay.
        """
        manifests = list(render(batch).values())
        with Cluster(site_of(batch)) as cluster:
            try:
                made = [_made(cluster, batch, manifest) for manifest in manifests]
            except SubmitError:
                for manifest in manifests:
                    if (there := cluster.read(manifest["kind"], manifest["metadata"]["name"])) and _ours(batch, there):
                        cluster.delete(manifest["kind"], manifest["metadata"]["name"], propagation="Background")
                raise
            _own(cluster, made)
        return [_handle(batch, job) for job in batch.jobs]

    def find(self, batch: Batch) -> list[JobHandle]:
        """Return the jobs of a run whose submission was cut off: all of them if one is there, the others are lost."""
        with Cluster(site_of(batch)) as cluster:
            there = cluster.list("JobSet", _selector(batch)) if _job_set(batch) else _jobs(cluster, batch)
        return [_handle(batch, job) for job in batch.jobs] if there else []

    def look(self, batch: Batch) -> list[JobSeen]:
        """Return the state of every job; a few requests, however many jobs there are."""
        with Cluster(site_of(batch)) as cluster:
            jobs = _jobs(cluster, batch)
            pods = _pods(cluster, jobs)
            _progress(cluster, batch, pods)
            whole = _job_set(batch) and cluster.read("JobSet", batch.handles[0].id)
            found = []
            for job in batch.jobs:
                if there := jobs.get(job.name):
                    own = pods[job.name]
                    name = there["metadata"]["name"]
                    events = [] if own else cluster.list("Event", fields=f"involvedObject.name={name}")
                    found.append(seen(job.name, there, own, events, bool(batch.cancelled)))
                elif whole and not whole["metadata"].get("deletionTimestamp"):
                    found.append(JobSeen(job.name, "waiting", f"for {', '.join(job.needs)}" if job.needs else ""))
                else:
                    found.append(_gone(batch, job))
        return found

    def fetch_logs(self, batch: Batch) -> list[Path]:
        """Add what the pods have printed since to ``logs/<job>.log``, all attempts in one file."""
        with Cluster(site_of(batch)) as cluster:
            jobs = _jobs(cluster, batch)
            fetch_logs(cluster, batch.logs, _pods(cluster, jobs))
        return [batch.logs / f"{job.name}.log" for job in batch.jobs]

    def fetch(self, batch: Batch) -> None:
        """Bring the results here from the volume, through a pod that lives as long as that takes."""
        with Cluster(site_of(batch)) as cluster, _locked(batch.logs / ".gather.lock"):
            fetch(cluster, batch)

    def cancel(self, batch: Batch, grace_s: float) -> None:
        """End the pods, gently first, and remove all objects of the run; the logs are brought here before they go.

        Args:
            batch: the run.
            grace_s: how long pods may take to save their state, in seconds.

        Raises:
            DeployError: something does not go away.
        """
        with Cluster(site_of(batch)) as cluster:
            self._delete(cluster, batch, [job.name for job in batch.jobs], grace_s)
            cluster.delete("ConfigMap", run_label(batch))

    def retry(self, batch: Batch, names: Sequence[str]) -> list[JobHandle]:
        """Make jobs anew, with more memory where that was the reason; what is done on the volume is not done again.

        Args:
            batch: the run.
            names: the jobs.

        Returns:
            The handles of the whole run.

        Raises:
            DeployError: a job was killed for its memory, and has all that the site grants.
        """
        if _job_set(batch):
            names = [job.name for job in batch.jobs]
        with Cluster(site_of(batch)) as cluster:
            pods = _pods(cluster, _jobs(cluster, batch))
            again = {job.name: _enlarged(batch, job, latest(pods.get(job.name, ()))) for job in batch.jobs}
            # Without this, the ConfigMap would go with the last Job that owns it.
            with suppress(Refused):
                cluster.patch("ConfigMap", run_label(batch), {"metadata": {"ownerReferences": []}})
            self._delete(cluster, batch, names, GONE_S)
            known = {handle.name: handle for handle in batch.handles}
            jobs = tuple(again[job.name] for job in batch.jobs)
            handles = []
            for job in jobs:
                old = known.get(job.name) or _handle(batch, job)
                attempt = int(old.details.get("attempt", 1)) + (job.name in names)
                memory = job.resources.memory_mib
                handles.append(
                    replace(_handle(batch, job), details={**old.details, "attempt": attempt, "memory_mib": memory})
                )
            attempt = max(int(handle.details["attempt"]) for handle in handles if handle.name in names)
            made = [job for name, job in _jobs(cluster, batch).items() if name not in names]
            for file, manifest in render(replace(batch, jobs=jobs)).items():
                stem = Path(file).stem
                if manifest["kind"] == "Job" and stem not in names:
                    continue
                if manifest["kind"] != "ConfigMap":
                    write_text(batch.run / "rendered" / f"{stem}.attempt{attempt}.yaml", text_of(manifest))
                made.append(_made(cluster, batch, manifest))
            _own(cluster, made)
        return handles

    def remove(self, batch: Batch) -> None:
        """Remove the objects of a run, and its directory on the volume through a pod; datasets stay, others use them.

        Args:
            batch: the run.

        Raises:
            DeployError: the directory cannot be removed.
        """
        root = site_of(batch).on_volume(batch.run)
        with Cluster(site_of(batch)) as cluster:
            self._delete(cluster, batch, [job.name for job in batch.jobs], 0)
            cluster.delete("ConfigMap", run_label(batch))
            cluster.delete("Job", job_name(batch, "reader"))
            if not never_started(batch.logs):
                run_helper(cluster, helper(batch, "remover", ("rm", "-rf", "--", str(root)), writes=True), REMOVED_S)

    def _delete(self, cluster: Cluster, batch: Batch, names: Sequence[str], grace_s: float) -> None:
        """Delete the Jobs of jobs and wait for their pods to go, whose last words are kept."""
        jobs = {name: job for name, job in _jobs(cluster, batch).items() if name in names}
        pods = _pods(cluster, jobs)
        fetch_logs(cluster, batch.logs, pods)
        if _job_set(batch):
            cluster.delete("JobSet", batch.handles[0].id if batch.handles else run_label(batch))
        for job in jobs.values():
            cluster.delete("Job", job["metadata"]["name"])

        def gone() -> bool:
            nonlocal pods
            left = _pods(cluster, jobs)
            fetch_logs(cluster, batch.logs, {name: each for name, each in left.items() if each})
            pods = left
            return not any(left.values()) and not any(_there(cluster, job) for job in jobs.values())

        if _until(gone, grace_s):
            return
        for each in pods.values():
            for pod in each:
                cluster.delete("Pod", pod["metadata"]["name"], grace_s=0)
        if not _until(gone, GONE_S):
            raise DeployError(
                f"{batch.run}: its pods do not go away; `kubectl -n {cluster.namespace} get pods` shows them"
            )


def _handle(batch: Batch, job: JobSpec) -> JobHandle:
    details: dict[str, Any] = {"attempt": 1, "namespace": site_of(batch).namespace}
    if _job_set(batch):
        return JobHandle(job.name, run_label(batch), now(), {"kind": "JobSet", **details})
    return JobHandle(job.name, job_name(batch, job.name), now(), {"kind": "Job", **details})


def _job_set(batch: Batch) -> bool:
    return site_of(batch).jobset and len(batch.jobs) > 1


def _selector(batch: Batch) -> str:
    return f"{RUN}={run_label(batch)},{ORIGIN}={origin(batch)}"


def _ours(batch: Batch, manifest: Mapping[str, Any]) -> bool:
    return bool(manifest["metadata"].get("labels", {}).get(ORIGIN) == origin(batch))


def _made(cluster: Cluster, batch: Batch, manifest: Manifest) -> Manifest:
    """Make an object, or return the one that is there if it is this run's."""
    name = manifest["metadata"]["name"]
    try:
        return cluster.create(manifest)
    except Refused as error:
        if error.code != 409:
            raise
    there = cluster.read(manifest["kind"], name)
    if there is None:  # it was just going
        return cluster.create(manifest)
    if not _ours(batch, there):
        raise SubmitError(
            f"{batch.run}: the namespace '{cluster.namespace}' has a run '{batch.run.parent.name}/{batch.run.name}' of "
            f"another directory ({manifest['kind']} {name}); give another --name, or remove that one"
        )
    return there


def _own(cluster: Cluster, made: Sequence[Manifest]) -> None:
    """Let the ConfigMap go with the last of its Jobs."""
    configs = [each for each in made if each.get("kind") == "ConfigMap"]
    kinds = {"JobSet": "jobset.x-k8s.io/v1alpha2", "Job": "batch/v1"}
    owners = [
        {
            "apiVersion": kinds[each.get("kind", "Job")],  # a list leaves out what its items are
            "kind": each.get("kind", "Job"),
            "name": each["metadata"]["name"],
            "uid": each["metadata"]["uid"],
        }
        for each in made
        if each.get("kind") != "ConfigMap"
    ]
    for each in configs:
        with suppress(Refused):  # a role without patch: then it stays until `deploy rm`
            cluster.patch("ConfigMap", each["metadata"]["name"], {"metadata": {"ownerReferences": owners}})


def _jobs(cluster: Cluster, batch: Batch) -> dict[str, Manifest]:
    """Return the Jobs of a run that are there, by the names of the jobs."""
    there = cluster.list("Job", _selector(batch))
    found = {}
    for job in batch.jobs:
        alike = [each.name for each in batch.jobs if each.stage == job.stage]
        for each in there:
            labels = each["metadata"]["labels"]
            number = labels.get(INDEX_LABEL)
            same = labels.get(JOB) == kubernetes_label(job.name)
            if same or (number == str(alike.index(job.name)) and labels.get(STAGE) == job.stage):
                found[job.name] = each
    return found


def _pods(cluster: Cluster, jobs: Mapping[str, Manifest]) -> dict[str, Sequence[Manifest]]:
    """Return the pods of Jobs, oldest first."""
    if not jobs:
        return {}
    labels = next(iter(jobs.values()))["metadata"]["labels"]
    pods = cluster.list("Pod", f"{RUN}={labels[RUN]},{ORIGIN}={labels[ORIGIN]}")
    pods.sort(key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    names = {name: job["metadata"]["name"] for name, job in jobs.items()}
    return {
        name: [pod for pod in pods if pod["metadata"]["labels"].get("job-name") == of] for name, of in names.items()
    }


def _there(cluster: Cluster, job: Manifest) -> bool:
    now_there = cluster.read("Job", job["metadata"]["name"])
    return now_there is not None and bool(now_there["metadata"]["uid"] == job["metadata"]["uid"])


def _gone(batch: Batch, job: JobSpec) -> JobSeen:
    """Return what can be said about a job whose Job is not there: cancelled, done long ago, or removed."""
    records = [read_record(batch.run / RECORDS / f"{part}.json") for part in job.parts]
    records = records or [read_record(batch.run / "run.json")]
    if all(record.get("state") == "done" for record in records):
        return JobSeen(job.name, "done")
    if batch.cancelled:
        return JobSeen(job.name, "cancelled")
    why = (
        f"its Job is gone: removed by somebody, or ended more than {site_of(batch).ttl_s} s ago; `deploy retry` "
        "goes on with what is on the volume"
    )
    return JobSeen(job.name, "lost", why)


def _progress(cluster: Cluster, batch: Batch, pods: Mapping[str, Sequence[Manifest]]) -> None:
    """Bring the records of running jobs here, for the epochs and losses so far; it may fail, they tell no state."""
    root = site_of(batch).on_volume(batch.run)
    for job in batch.jobs:
        pod = latest(pods.get(job.name, ()))
        if pod is None or pod["status"].get("phase") != "Running" or pod["metadata"].get("deletionTimestamp"):
            continue
        fold = job.name.removeprefix("train-")
        paths = ["run.json"] if job.stage == "run" else [f"training/{fold}/training.json"]
        first = batch.run / paths[0]
        if first.exists() and time.time() - first.stat().st_mtime < PROGRESS_S:
            continue
        with suppress(Refused, OSError, DeployError):
            for path, text in read_texts(cluster, pod["metadata"]["name"], root, paths).items():
                (batch.run / path).parent.mkdir(parents=True, exist_ok=True)
                write_text(batch.run / path, text)


def _enlarged(batch: Batch, job: JobSpec, pod: Manifest | None) -> JobSpec:
    """Return a job with the memory of its last attempt, or more where that was too little."""
    known = {handle.name: handle.details for handle in batch.handles}.get(job.name, {})
    memory = max(int(known.get("memory_mib", 0)), job.resources.memory_mib)
    if out_of_memory(pod):
        most = batch.site.limits.memory_mib
        wanted = int(memory * MORE_MEMORY)
        wanted = wanted if most is None else min(wanted, most)
        if wanted <= memory:
            raise DeployError(
                f"{batch.run}: {job.name} was killed for its memory, and {memory} MiB are all that site "
                f"'{batch.site.name}' grants; make it need less: smaller training.batch_size or data.chunk_events"
            )
        memory = wanted
    return replace(job, resources=replace(job.resources, memory_mib=memory))


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition, gently, and return whether it came true in time."""
    deadline, pause = time.monotonic() + seconds, 0.3
    while not (true := condition()) and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(pause * 1.5, 2.0)
    return true


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    import fcntl

    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DeployError(f"{path.parent.parent}: another `deploy gather` is at work here; wait for it") from None
        yield
