"""What Kubernetes says about a job, in words: why it waits, why it failed, and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from deploy.backends.kubernetes_manifests import GPU, Manifest
from deploy.jobs import JobSeen
from nntrainer.errors import Interrupted, NNTrainerError

# What the scheduler says, by a part of its message.
UNSCHEDULABLE = (
    (rf"Insufficient {GPU}", "no machine has {gpus} free, or none has as many; ask for fewer, or wait"),
    (r"Insufficient memory", "no machine has {memory} of memory free; ask for less in deploy.resources, or wait"),
    (r"Insufficient cpu", "no machine has {cpus} processors free; ask for fewer in deploy.resources, or wait"),
    (r"Insufficient ephemeral-storage", "no machine has the scratch space free; ask for less disk_mib, or wait"),
    (r"persistentvolumeclaim \S+ not found", "a volume is missing; make the claim, or correct the site file"),
    (r"unbound.*PersistentVolumeClaims", "a volume claim is not bound yet; `kubectl describe pvc` says why"),
    (r"didn't match.*(selector|affinity)", "no machine has the labels of the site's node_selector; correct it"),
    (r"taint", "the machines that would do refuse it (taints); add tolerations to the site file"),
)
# What a container waits for, and what to do. These do not mend themselves.
STUCK = {
    "ImagePullBackOff": "the image {image} cannot be pulled; check its name, and the site's pull_secret",
    "ErrImagePull": "the image {image} cannot be pulled; check its name, and the site's pull_secret",
    "ErrImageNeverPull": "the image {image} is not on the machine, and the site never pulls; load it there",
    "InvalidImageName": "{image} is no name of an image; correct it in the site file",
    "CreateContainerConfigError": "the container cannot be made",
    "CreateContainerError": "the container cannot be made",
    "RunContainerError": "the container cannot be started",
}
# Why there is no pod, by the reasons of the events that say so: of a Job, and of an MPIJob.
NOT_MADE = ("FailedCreate", "MPIJobFailed", "ValidationError")
# Why pods end that no program ended, by the pod's own reason or that of a DisruptionTarget.
ENDED = {
    "NodeLost": "its machine was lost",
    "DeletionByTaintManager": "its machine was lost or drained",
    "DeletionByPodGC": "its machine was lost",
    "TerminationByKubelet": "its machine was shut down or ran short of something",
    "EvictionByEvictionAPI": "its machine was drained",
    "Shutdown": "its machine was shut down",
    "Terminated": "its machine was shut down",
    "NodeShutdown": "its machine was shut down",
    "Preempted": "it made way for a pod of higher priority",
    "PreemptionByScheduler": "it made way for a pod of higher priority",
    "Evicted": "its machine ran short of something",
    "UnexpectedAdmissionError": "its machine could not give it what it asked for",
}


def seen(name: str, job: Manifest, pods: Sequence[Manifest], events: Sequence[Manifest], cancelled: bool) -> JobSeen:
    """Return what can be said about a Job.

    Args:
        name: name of the job in its run.
        job: the Job.
        pods: its pods.
        events: events about the Job itself, such as pods that were refused.
        cancelled: whether the run was cancelled.

    Returns:
        State, why, where, with which GPUs, and the exit code.
    """
    pod = latest(pods)
    code = exit_code(pod) if pod else None
    place = {"host": (pod or {}).get("spec", {}).get("nodeName", ""), "gpus": _gpus(pod or {})}
    conditions = {each["type"]: each for each in job["status"].get("conditions", []) if each["status"] == "True"}
    if "Complete" in conditions:
        return JobSeen(name, "done", exit_code=0, **place)
    if failed := conditions.get("Failed"):
        state = "cancelled" if cancelled else "interrupted" if code == Interrupted.exit_code else "failed"
        return JobSeen(name, state, _why_failed(failed, pod), exit_code=code, **place)
    if job["metadata"].get("deletionTimestamp"):
        return JobSeen(name, "running", "it is being removed", **place)
    if pod is None:
        return JobSeen(name, "queued", refused(events))
    again = _attempt(pods)
    match pod["status"].get("phase"):
        case "Running":
            return JobSeen(name, "running", again, **place)
        case "Pending":
            state, why = pending(pod)
            return JobSeen(name, state, why or again, **place)
    ended = why_ended(pod)
    return JobSeen(name, "queued", f"waits to be tried again: {ended}" if ended else "", exit_code=code, **place)


def seen_mpi_job(
    name: str, mpi_job: Manifest, workers: Sequence[Manifest], events: Sequence[Manifest], cancelled: bool
) -> JobSeen:
    """Return what can be said about an MPIJob without launcher: its workers come first, its end outlives it.

    Args:
        name: name of the job in its run.
        mpi_job: the MPIJob.
        workers: the pods of its workers.
        events: events about the MPIJob itself.
        cancelled: whether the run was cancelled.

    Returns:
        State and why.
    """
    status = mpi_job.get("status", {})
    conditions = {each["type"]: each for each in status.get("conditions", []) if each["status"] == "True"}
    if "Succeeded" in conditions:
        return JobSeen(name, "done", exit_code=0)
    if failed := conditions.get("Failed"):
        return JobSeen(name, "cancelled" if cancelled else "failed", _why_failed(failed, None))
    if mpi_job["metadata"].get("deletionTimestamp"):
        return JobSeen(name, "running", "it is being removed")
    for pod in workers:
        state, why = pending(pod)
        if pod["status"].get("phase") == "Failed":
            state, why = "held", f"{why_ended(pod) or 'it ended'}; `deploy cancel`, then `deploy retry`"
        if why:
            return JobSeen(name, state, f"{pod['metadata']['name']}: {why}")
    unmade = refused(events) or ("" if status else "the cluster's MPI operator has not looked at it")
    return JobSeen(name, "queued", unmade or "waits until all of its workers run")


def worker_gpus(mpi_job: Manifest) -> str:
    """Return the GPUs of all workers of an MPIJob."""
    worker = mpi_job["spec"]["mpiReplicaSpecs"]["Worker"]
    gpus = _gpus(worker["template"])
    return f"{worker['replicas']} × {gpus}" if gpus else ""


def latest(pods: Sequence[Manifest]) -> Manifest | None:
    """Return the pod of the last attempt."""
    return max(pods, key=lambda pod: pod["metadata"]["creationTimestamp"], default=None)


def pending(pod: Manifest) -> tuple[str, str]:
    """Return the state of a pod that does not run yet, queued or held, and why."""
    waiting = _state(pod).get("waiting", {})
    if sentence := STUCK.get(waiting.get("reason", "")):
        said = waiting.get("message", "")
        return "held", sentence.format(image=_main(pod)["image"]) + (f" ({said[:300]})" if said else "")
    for condition in pod["status"].get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return "queued", unschedulable(condition.get("message", ""), pod)
    return "queued", ""


def unschedulable(message: str, pod: Manifest) -> str:
    """Return why no machine takes a pod.

    Args:
        message: what the scheduler says.
        pod: the pod.

    Returns:
        A sentence with the message behind it.
    """
    limits = _main(pod).get("resources", {}).get("limits", {})
    gpus = int(limits.get(GPU, 0))
    given = {
        "gpus": f"{gpus} GPU" + "s" * (gpus > 1),
        "memory": limits.get("memory", "that much"),
        "cpus": limits.get("cpu", ""),
    }
    found = [sentence.format(**given) for pattern, sentence in UNSCHEDULABLE if re.search(pattern, message)]
    return f"{'; '.join(found) or 'no machine takes it'} ({message.rstrip('.')})"


def refused(events: Sequence[Manifest]) -> str:
    """Return why no pod of a Job was made, as events about the Job say."""
    failures = [event for event in events if event.get("reason") in NOT_MADE]
    if not failures:
        return ""
    message = str(failures[-1].get("message", ""))
    if match := re.search(r"exceeded quota: (\S+?), requested: (\S+?),? used: (\S+?),? limited: (\S+)", message):
        quota, requested, used, limited = match.groups()
        what, _, asked = requested.partition("=")
        taken, most = (text.partition("=")[2].partition(",")[0] for text in (used, limited))
        return (
            f"the quota '{quota}' of the namespace does not grant it: {asked} {what.removeprefix('requests.')} asked"
            f" for, {taken} of {most} in use; wait, or ask for less"
        )
    return f"the cluster refuses its pods: {message.removeprefix('Error creating: ')[:300]}"


def exit_code(pod: Manifest) -> int | None:
    """Return the exit code of a pod's container, None where it has none."""
    code = _state(pod).get("terminated", {}).get("exitCode")
    return None if code is None else int(code)


def out_of_memory(pod: Manifest | None) -> bool:
    """Return whether a pod was killed for its memory."""
    return pod is not None and _state(pod).get("terminated", {}).get("reason") == "OOMKilled"


def why_ended(pod: Manifest) -> str:
    """Return why a pod failed."""
    status, ended = pod["status"], _state(pod).get("terminated", {})
    code = ended.get("exitCode")
    if out_of_memory(pod):
        limit = _main(pod)["resources"]["limits"]["memory"]
        return f"it needed more than its {limit} of memory and was killed; `deploy retry` gives it more"
    if status.get("reason") == "DeadlineExceeded":
        seconds = pod["spec"].get("activeDeadlineSeconds", "?")
        return (
            f"it ran longer than its {seconds} s; `deploy retry` goes on from the last checkpoint, "
            "deploy.resources.train.walltime_s asks for more"
        )
    disruption: Manifest = next(
        (
            each
            for each in status.get("conditions", [])
            if each["type"] == "DisruptionTarget" and each["status"] == "True"
        ),
        {},
    )
    reason = status.get("reason") or disruption.get("reason", "")
    if reason in ENDED:
        message = status.get("message") or disruption.get("message", "")
        return ENDED[reason] + (f" ({message})" if message else "")
    if code == Interrupted.exit_code:
        return "stopped with a checkpoint (exit code 85); `deploy retry` goes on from there"
    if code == NNTrainerError.exit_code:
        return "the configuration or an input is wrong (exit code 2); the end of `deploy logs` says what"
    if code == 137:
        return "it was killed (exit code 137)"
    if code == 143:
        return "it was asked to end (exit code 143)"
    if ended.get("reason") in ("ContainerCannotRun", "StartError"):
        return f"the container cannot be started: {ended.get('message', '')[:300]}"
    return "" if code in (None, 0) else f"exit code {code}"


def _why_failed(condition: Manifest, pod: Manifest | None) -> str:
    if pod is not None and (why := why_ended(pod)):
        return why
    if condition.get("reason") == "DeadlineExceeded":
        return "it took longer than its walltime; ask for more in deploy.resources"
    return f"{condition.get('reason', '')}: {condition.get('message', '')}".strip(": ")


def _attempt(pods: Sequence[Manifest]) -> str:
    """Return which attempt this is, where it is not the first, and how the one before ended."""
    if len(pods) < 2:
        return ""
    before = sorted(pods, key=lambda pod: pod["metadata"]["creationTimestamp"])[-2]
    return f"attempt {len(pods)}: {why_ended(before) or 'the one before ended'}"


def _main(pod: Manifest) -> Manifest:
    main: Manifest = pod["spec"]["containers"][0]
    return main


def _state(pod: Manifest) -> dict[str, Any]:
    statuses = pod["status"].get("containerStatuses") or [{}]
    state: dict[str, Any] = statuses[0].get("state", {})
    return state


def _gpus(pod: Manifest) -> str:
    """Return the number of GPUs of a pod and their kind, where the pod chose one."""
    spec = pod.get("spec", {})
    number = (spec.get("containers") or [{}])[0].get("resources", {}).get("limits", {}).get(GPU, "")
    product = spec.get("nodeSelector", {}).get(f"{GPU}.product", "")
    return " ".join(filter(None, (number, product))) if number else ""
