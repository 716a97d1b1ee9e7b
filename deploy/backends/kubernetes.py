"""A Kubernetes cluster: a Job or MPIJob for every fold, or a JobSet where it has them. No controller of our own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploy.backends.base import Batch, read_record
from deploy.backends.kubernetes_check import check
from deploy.backends.kubernetes_cluster import GROUPS, Cluster, Refused
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
    mpi_name,
    origin,
    render,
    run_label,
    site_of,
    text_of,
)
from deploy.backends.kubernetes_words import latest, out_of_memory, seen, seen_mpi_job, worker_gpus
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
            _own(cluster, batch, made)
        return [_handle(batch, job) for job in batch.jobs]

    def find(self, batch: Batch) -> list[JobHandle]:
        """Return the jobs of a run whose submission was cut off: all of them if one is there, the others are lost."""
        with Cluster(site_of(batch)) as cluster:
            kind = _kind(batch)
            there = _jobs(cluster, batch) if kind == "Job" else cluster.list(kind, _selector(batch))
        return [_handle(batch, job) for job in batch.jobs] if there else []

    def look(self, batch: Batch) -> list[JobSeen]:
        """Return the state of every job; a few requests, however many jobs there are."""
        with Cluster(site_of(batch)) as cluster:
            jobs, mpi_jobs = _jobs(cluster, batch), _mpi_jobs(cluster, batch)
            pods, workers = _pods(cluster, batch, jobs), _workers(cluster, batch)
            _progress(cluster, batch, pods)
            whole = _job_set(batch) and cluster.read("JobSet", batch.handles[0].id)
            found = []
            for job in batch.jobs:
                mpi_job = mpi_jobs.get(job.name)
                if there := jobs.get(job.name):
                    own = pods[job.name]
                    name = there["metadata"]["name"]
                    events = [] if own else cluster.list("Event", fields=f"involvedObject.name={name}")
                    one = seen(job.name, there, own, events, bool(batch.cancelled))
                    found.append(replace(one, gpus=worker_gpus(mpi_job)) if mpi_job else one)
                elif mpi_job:
                    events = cluster.list("Event", fields=f"involvedObject.name={mpi_job['metadata']['name']}")
                    own = workers.get(job.name, [])
                    found.append(seen_mpi_job(job.name, mpi_job, own, events, bool(batch.cancelled)))
                elif whole and not whole["metadata"].get("deletionTimestamp"):
                    found.append(JobSeen(job.name, "waiting", f"for {', '.join(job.needs)}" if job.needs else ""))
                else:
                    found.append(_gone(batch, job))
        return found

    def fetch_logs(self, batch: Batch) -> list[Path]:
        """Add what the pods have printed since to ``logs/<job>.log``, all attempts in one file."""
        with Cluster(site_of(batch)) as cluster:
            jobs = _jobs(cluster, batch)
            fetch_logs(cluster, batch.logs, _pods(cluster, batch, jobs))
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
            pods = _pods(cluster, batch, _jobs(cluster, batch))
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
            others = _mpi_jobs(cluster, batch) or _jobs(cluster, batch)
            made = [each for name, each in others.items() if name not in names]
            for file, manifest in render(replace(batch, jobs=jobs)).items():
                stem = Path(file).stem
                if manifest["kind"] in ("Job", "MPIJob") and stem not in names:
                    continue
                if manifest["kind"] != "ConfigMap":
                    write_text(batch.run / "rendered" / f"{stem}.attempt{attempt}.yaml", text_of(manifest))
                made.append(_made(cluster, batch, manifest))
            _own(cluster, batch, made)
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
        """Delete what was made for jobs and wait for their pods to go, whose last words are kept."""
        jobs = {name: job for name, job in _jobs(cluster, batch).items() if name in names}
        mpi_jobs = {name: job for name, job in _mpi_jobs(cluster, batch).items() if name in names}
        fetch_logs(cluster, batch.logs, _pods(cluster, batch, jobs))
        if _job_set(batch):
            cluster.delete("JobSet", batch.handles[0].id if batch.handles else run_label(batch))
        for job in mpi_jobs.values():  # with its launcher, which the operator would make anew
            cluster.delete("MPIJob", job["metadata"]["name"])
        for job in () if mpi_jobs else jobs.values():
            cluster.delete("Job", job["metadata"]["name"])
        pods: list[Manifest] = []

        def gone() -> bool:
            nonlocal pods
            left = _pods(cluster, batch, jobs)
            fetch_logs(cluster, batch.logs, {name: each for name, each in left.items() if each})
            workers = _workers(cluster, batch)
            pods = [pod for each in left.values() for pod in each]
            pods += [pod for name in mpi_jobs for pod in workers.get(name, ())]
            objects = [("MPIJob", job) for job in mpi_jobs.values()] or [("Job", job) for job in jobs.values()]
            return not pods and not any(_there(cluster, kind, each) for kind, each in objects)

        if _until(gone, grace_s):
            return
        for pod in pods:
            cluster.delete("Pod", pod["metadata"]["name"], grace_s=0)
        if not _until(gone, GONE_S):
            raise DeployError(
                f"{batch.run}: its pods do not go away; `kubectl -n {cluster.namespace} get pods` shows them"
            )


def _handle(batch: Batch, job: JobSpec) -> JobHandle:
    details: dict[str, Any] = {"attempt": 1, "kind": _kind(batch), "namespace": site_of(batch).namespace}
    names = {"JobSet": run_label(batch), "MPIJob": mpi_name(batch, job.name), "Job": job_name(batch, job.name)}
    return JobHandle(job.name, names[_kind(batch)], now(), details)


def _kind(batch: Batch) -> str:
    """Return the kind of what is made for the jobs of a run."""
    return "MPIJob" if site_of(batch).nodes > 1 else "JobSet" if _job_set(batch) else "Job"


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


def _own(cluster: Cluster, batch: Batch, made: Sequence[Manifest]) -> None:
    """Let the ConfigMap go with the last of its Jobs."""
    kind = _kind(batch)
    group, version, _ = GROUPS[kind]
    owners = [
        {
            "apiVersion": f"{group}/{version}",
            "kind": kind,
            "name": each["metadata"]["name"],
            "uid": each["metadata"]["uid"],
        }
        for each in made
        if each.get("kind") != "ConfigMap"  # a list leaves out what its items are
    ]
    with suppress(Refused):  # a role without patch: then it stays until `deploy rm`
        cluster.patch("ConfigMap", run_label(batch), {"metadata": {"ownerReferences": owners}})


def _jobs(cluster: Cluster, batch: Batch) -> dict[str, Manifest]:
    """Return the Jobs of a run that are there, by the names of the jobs; of MPIJobs the Jobs of their launchers."""
    found = {}
    if _kind(batch) == "MPIJob":
        for name, mpi_job in _mpi_jobs(cluster, batch).items():
            if launcher := cluster.read("Job", f"{mpi_job['metadata']['name']}-launcher"):
                found[name] = launcher
        return found
    there = cluster.list("Job", _selector(batch))
    for job in batch.jobs:
        alike = [each.name for each in batch.jobs if each.stage == job.stage]
        for each in there:
            labels = each["metadata"]["labels"]
            number = labels.get(INDEX_LABEL)
            same = labels.get(JOB) == kubernetes_label(job.name)
            if same or (number == str(alike.index(job.name)) and labels.get(STAGE) == job.stage):
                found[job.name] = each
    return found


def _mpi_jobs(cluster: Cluster, batch: Batch) -> dict[str, Manifest]:
    """Return the MPIJobs of a run that are there, by the names of the jobs."""
    if _kind(batch) != "MPIJob":
        return {}
    there = {each["metadata"]["name"]: each for each in cluster.list("MPIJob", _selector(batch))}
    return {job.name: there[name] for job in batch.jobs if (name := mpi_name(batch, job.name)) in there}


def _pods(cluster: Cluster, batch: Batch, jobs: Mapping[str, Manifest]) -> dict[str, Sequence[Manifest]]:
    """Return the pods of Jobs, oldest first."""
    if not jobs:
        return {}
    pods = cluster.list("Pod", _selector(batch))
    pods.sort(key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    names = {name: job["metadata"]["name"] for name, job in jobs.items()}
    return {
        name: [pod for pod in pods if pod["metadata"]["labels"].get("job-name") == of] for name, of in names.items()
    }


def _workers(cluster: Cluster, batch: Batch) -> dict[str, list[Manifest]]:
    """Return the pods of a run's MPIJobs that the launchers train on: the MPI operator makes them without a Job."""
    found: dict[str, list[Manifest]] = {}
    for pod in cluster.list("Pod", f"{_selector(batch)},!job-name") if _kind(batch) == "MPIJob" else ():
        labels = pod["metadata"]["labels"]
        name = next((job.name for job in batch.jobs if kubernetes_label(job.name) == labels.get(JOB)), "")
        found.setdefault(name, []).append(pod)
    return found


def _there(cluster: Cluster, kind: str, each: Manifest) -> bool:
    now_there = cluster.read(kind, each["metadata"]["name"])
    return now_there is not None and bool(now_there["metadata"]["uid"] == each["metadata"]["uid"])


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
