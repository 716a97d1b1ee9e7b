"""An HTCondor pool: a DAG for a run in parts, a job for one in one go."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploy.backends.base import Batch
from deploy.backends.condor_bindings import COMPLETED, HELD, IDLE, Queue, bindings
from deploy.backends.condor_check import findings
from deploy.backends.condor_events import SIGNAL, Submitted, ended, last_by_node, read_log
from deploy.backends.condor_holds import MEMORY, SPOOLING, explain, hold_of
from deploy.backends.condor_submit import (
    DAG,
    LOG,
    dag_file,
    folder_of,
    htcondor_site,
    is_dag,
    node,
    run_key,
    submit_files,
)
from deploy.errors import DeployError
from deploy.jobs import Finding, JobHandle, JobSeen
from nntrainer.config import Config
from nntrainer.config.parts import RECORDS
from nntrainer.files import now, write_text

DAG_LOG = f"rendered/{DAG}.dagman.log"
"""The event log of DAGMan's own job, in the run directory."""
BROUGHT = "logs/.brought"
"""Its time says when the spooled logs were brought last."""
LOOK_S = 5.0
"""A schedd is not asked for spooled logs more often."""
SENDING_S = 120.0
"""So long may files be on their way to a schedd, which holds the job meanwhile."""
GONE_S = 60.0
"""How long removed jobs may take to leave the queue before they are forced."""
GONE = "gone"
"""State of a DAG that is not in the queue any more."""
UNDER_WAY = ("waiting", "queued", "running", "held")


class HTCondorBackend:
    """Submits to the schedd of a site, and follows the event log."""

    def check(self, batch: Batch, config: Config) -> list[Finding]:
        """Return what the site would refuse, hold or remove."""
        return findings(batch, config)

    def render(self, batch: Batch) -> dict[str, str]:
        """Return the submit files, and the DAG."""
        return submit_files(batch)

    def submit(self, batch: Batch) -> list[JobHandle]:
        """Submit what lies in ``rendered/``."""
        return self._submit(batch, DAG)

    def _submit(self, batch: Batch, dag: str) -> list[JobHandle]:
        site, htcondor = htcondor_site(batch), bindings()
        for folder in ("logs", RECORDS):
            (batch.run / folder).mkdir(exist_ok=True)
        for path in {path for job in batch.jobs for path in job.outputs if path.startswith("/")}:
            Path(folder_of(path)).mkdir(parents=True, exist_ok=True)
        (batch.run / BROUGHT).unlink(missing_ok=True)
        queue = Queue(site)
        # From within the run directory, so that no name of it stands on DAGMan's command line.
        with chdir(batch.run):
            if is_dag(batch):
                options = {"force": True, "dagman": str(site.dagman)}
                job = htcondor.Submit.from_dag(f"rendered/{dag}", options)
                job["log"] = DAG_LOG
                job["getenv"] = "False"  # this machine's configuration of HTCondor is not that of the schedd's
                job["My.NNTrainerRun"] = f'"{run_key(batch.run)}"'
                job["batch_name"] = f"{batch.run.parent.name}/{batch.run.name}".replace('"', "").replace("$", "")
                if site.transfer == "spool":
                    job["should_transfer_files"] = "YES"
                    job["transfer_executable"] = "False"
                    job["transfer_input_files"] = ", ".join(self._spooled(batch))
                    job["transfer_output_files"] = f"logs, {RECORDS}"
                else:
                    job["initialdir"] = str(batch.run).replace("$", "$(DOLLAR)")
            else:
                job = htcondor.Submit((batch.run / "rendered" / f"{batch.jobs[0].name}.sub").read_text("utf-8"))
            cluster = queue.submit(job, spool=site.transfer == "spool")
        return [self._handle(cluster, queue.name)]

    def _handle(self, cluster: int, schedd: str) -> JobHandle:
        return JobHandle("run", str(cluster), now(), {"schedd": schedd})

    def _spooled(self, batch: Batch) -> list[str]:
        """Return what is sent to a remote schedd: all that the jobs read, and what they have made already."""
        made = {path.split("/", 1)[0] for job in batch.jobs for path in (*job.inputs, *job.outputs, *job.ntuples)}
        there = sorted(name for name in made | {"logs", RECORDS} if (batch.run / name).exists())
        return ["config.yaml", "rendered", *there]

    def find(self, batch: Batch) -> list[JobHandle]:
        """Return the job of a run from its event log, or by its mark in the queue."""
        log = batch.run / (DAG_LOG if is_dag(batch) else LOG)
        if written := read_log(log):
            return [self._handle(written[-1].cluster, "")]
        queue = Queue(htcondor_site(batch))
        found = queue.jobs(f'NNTrainerRun == "{run_key(batch.run)}" && DAGManJobId is undefined')
        return [self._handle(max(int(job["ClusterId"]) for job in found), queue.name)] if found else []

    def look(self, batch: Batch) -> list[JobSeen]:
        """Return the state of every job, from the event log; spooled logs are brought first."""
        if not is_dag(batch):
            if htcondor_site(batch).transfer == "spool":
                return [self._look_in_queue(batch)]
            jobs = read_log(batch.run / LOG)
            return [self._seen(batch, batch.jobs[0].name, jobs[-1] if jobs else None, None)]
        dag = self._dag(batch)
        number = int(batch.handles[0].id)
        # Of earlier submissions, what is done stays done; the rest is done again.
        nodes = last_by_node(read_log(batch.run / LOG))
        nodes = {name: job for name, job in nodes.items() if job.cluster > number or job.state == "done"}
        seen = [self._seen(batch, job.name, nodes.get(node(job.name)), dag) for job in batch.jobs]
        if not self._over(dag) and not any(each.state in UNDER_WAY[1:] for each in seen):
            # DAGMan submits what failed once more, or is about to end: the run has not ended yet, and so have its jobs.
            seen = [_undecided(job) if job.state == "failed" else job for job in seen]
        return [self._waiting(batch, each, seen, dag) for each in seen]

    def _seen(self, batch: Batch, name: str, job: Submitted | None, dag: Submitted | None) -> JobSeen:
        if job is None:
            return JobSeen(name, "waiting" if is_dag(batch) else "queued")
        state, why = job.state, job.why
        if batch.cancelled and state in UNDER_WAY and self._over(dag):
            state = "cancelled"
        asked = next(each.resources.gpus for each in batch.jobs if each.name == name)
        gpus = job.gpus if asked else ""  # a job may find itself where the one before it had some
        progress = job.progress if state == "running" else ""
        return JobSeen(name, state, why, job.host, gpus, job.exit_code, tuple(job.history), progress)

    def _over(self, dag: Submitted | None) -> bool:
        return dag is not None and dag.state in ("done", "failed", "cancelled", GONE)

    def _dag(self, batch: Batch) -> Submitted | None:
        """Return DAGMan's own job; of a spooled run, bring the logs and records first, but not too often."""
        number = int(batch.handles[0].id)

        def written() -> Submitted | None:
            return next((each for each in read_log(batch.run / DAG_LOG) if each.cluster == number), None)

        dag, mark = written(), batch.run / BROUGHT
        if htcondor_site(batch).transfer != "spool" or self._over(dag):
            return dag
        if mark.exists() and time.time() - mark.stat().st_mtime < LOOK_S:
            return dag
        found = self._queue(batch).jobs(f"ClusterId == {number}")
        if not found:
            why = "it has left the queue; the site removes runs that are not gathered in time"
            return Submitted(number, state="cancelled" if batch.cancelled else GONE, why=why)
        status = int(found[0]["JobStatus"])
        if status == IDLE or (status == HELD and _arriving(found[0])):
            return Submitted(number)  # DAGMan has not started: what it writes is not there yet, and cannot be brought
        if status == HELD:
            return Submitted(number, state="held", why=explain(*_hold(found[0]), str(found[0]["HoldReason"])))
        self._bring(batch, ["logs", RECORDS])
        mark.touch()
        return written()

    def _waiting(self, batch: Batch, job: JobSeen, jobs: Sequence[JobSeen], dag: Submitted | None) -> JobSeen:
        """Say what has become of a node that the DAG has not reached, or did not follow to its end."""
        if job.state not in UNDER_WAY or dag is None:
            return job
        if dag.state == "held":
            return replace(job, state="held", why=f"DAGMan itself is held: {dag.why}")
        if not self._over(dag):
            return job
        if batch.cancelled or dag.state == "cancelled":
            return replace(job, state="cancelled", why=dag.why)
        if job.state == "waiting" and any(each.state in ("failed", "cancelled") for each in jobs):
            return replace(job, why="what it needs has failed")
        if dag.state == GONE:
            return replace(job, state="lost", why=dag.why)
        why = f"DAGMan has ended ({dag.why or 'exit code 0'}); rendered/{DAG}.dagman.out says why"
        return replace(job, state="lost", why=why)

    def _look_in_queue(self, batch: Batch) -> JobSeen:
        """Return the state of a spooled job, which is known to the schedd only."""
        name, handle = batch.jobs[0].name, batch.handles[0]
        found = self._queue(batch).jobs(f"ClusterId == {handle.id}")
        if not found:
            jobs = read_log(batch.run / LOG)
            if jobs and jobs[-1].state not in UNDER_WAY:
                return self._seen(batch, name, jobs[-1], None)
            if batch.cancelled:
                return JobSeen(name, "cancelled")
            return JobSeen(name, "lost", "it has left the queue; the site removes jobs that are not fetched in time")
        (job,) = found
        host = str(job.get("RemoteHost") or job.get("LastRemoteHost") or "").rpartition("@")[2]
        gpus = _defined(job, "AssignedGPUs")
        status = int(job["JobStatus"])
        if status == HELD and _arriving(job):
            return JobSeen(name, "queued")
        if status == HELD:
            return JobSeen(name, "held", explain(*_hold(job), str(job["HoldReason"])), host, gpus)
        if status == COMPLETED:
            code = int(_defined(job, "ExitCode") or 0)
            code = SIGNAL + int(_defined(job, "ExitSignal") or 0) if job.get("ExitBySignal") is True else code
            return JobSeen(name, "failed" if code else "done", ended(code) if code else "", host, gpus, code)
        if status == IDLE:
            return JobSeen(name, "queued", _defined(job, "LastRejMatchReason").strip(), host)
        return JobSeen(name, "running", "", host, gpus)

    def _queue(self, batch: Batch) -> Queue:
        details = batch.handles[0].details if batch.handles else {}
        return Queue(htcondor_site(batch), str(details.get("schedd") or "") or None)

    def _bring(self, batch: Batch, names: Sequence[str]) -> None:
        """Bring files of a spooled run to the run directory."""
        queue, own = self._queue(batch), f"ClusterId == {batch.handles[0].id}"
        if is_dag(batch):
            queue.edit(own, "TransferOutput", f'"{",".join(names)}"')
        queue.retrieve(own)

    def fetch_logs(self, batch: Batch) -> list[Path]:
        """Return the logs, brought from the spool where they lie there."""
        if is_dag(batch):
            self._dag(batch)
        return [batch.logs / f"{job.name}.log" for job in batch.jobs]

    def fetch(self, batch: Batch) -> None:
        """Bring the outputs of spooled jobs that have ended well; gather verifies them."""
        if htcondor_site(batch).transfer != "spool" or not batch.handles:
            return
        self._fetch(batch, datasets=False)

    def _fetch(self, batch: Batch, datasets: bool) -> None:
        seen = {job.name for job in self.look(batch) if job.state == "done"}
        made = {path.split("/", 1)[0] for job in batch.jobs if job.name in seen for path in job.outputs}
        made -= set() if datasets else {"datasets"}
        self._bring(batch, sorted(made | {"logs", RECORDS}))

    def cancel(self, batch: Batch, grace_s: float) -> None:
        """Remove the DAG, which takes its nodes along, and wait until nothing is left in the queue.

        Args:
            batch: the run.
            grace_s: how long jobs may take to save their state, in seconds.

        Raises:
            DeployError: something stays in the queue.
        """
        if batch.handles and is_dag(batch):
            self._dag(batch)  # what it has done so far
        self._clear(batch, grace_s, "deploy cancel")

    def _clear(self, batch: Batch, grace_s: float, reason: str) -> None:
        """Take the jobs of a run out of the queue, the DAG first, which would submit others."""
        queue, own = self._queue(batch), f'NNTrainerRun == "{run_key(batch.run)}"'
        queue.act("Remove", f"{own} && DAGManJobId is undefined", reason)
        deadline = time.monotonic() + max(grace_s, GONE_S)
        while left := queue.jobs(own):
            if time.monotonic() > deadline:
                queue.act("RemoveX", own, reason)
                if left := queue.jobs(own):
                    numbers = ", ".join(str(job["ClusterId"]) for job in left)
                    raise DeployError(f"{batch.run}: jobs {numbers} do not leave the queue; `condor_rm -forcex` them")
                break
            queue.act("Remove", f"{own} && JobStatus != 3", reason)
            time.sleep(0.5)
        (batch.run / BROUGHT).unlink(missing_ok=True)

    def retry(self, batch: Batch, names: Sequence[str]) -> list[JobHandle]:
        """Release held jobs, with more memory where it was not enough; submit again what is not in the queue.

        Args:
            batch: the run.
            names: the jobs.

        Returns:
            The handles of the run.

        Raises:
            DeployError: the jobs have failed, but the DAG has others to do before it can be submitted again.
        """
        queue, own = self._queue(batch), f'NNTrainerRun == "{run_key(batch.run)}"'
        there = queue.jobs(f"{own} && JobStatus != {COMPLETED}")
        held = [job for job in there if int(job["JobStatus"]) == HELD]
        unsent = [job for job in held if hold_of(int(job["HoldReasonCode"])) is SPOOLING]
        if not there or unsent:
            return self._again(batch, queue, own)
        if not held:
            raise DeployError(f"{batch.run}: other jobs of the run are under way; try again when they have ended")
        for job in held:
            self._release(batch, queue, job)
        return list(batch.handles)

    def _release(self, batch: Batch, queue: Queue, ad: Mapping[str, Any]) -> None:
        own = f"ClusterId == {ad['ClusterId']}"
        if hold_of(*_hold(ad)) is MEMORY:
            had = int(_defined(ad, "MemoryProvisioned") or 0)
            most = batch.site.limits.memory_mib
            if most is not None and had >= most:
                raise DeployError(
                    f"{batch.run}: {_defined(ad, 'NNTrainerJob')} had {had} MiB of memory, and site "
                    f"'{batch.site.name}' grants no more; make training.batch_size or data.chunk_events smaller"
                )
            queue.edit(own, "RequestMemory", str(min(2 * had, most or 2 * had)))
        queue.act("Release", own, "deploy retry")

    def _again(self, batch: Batch, queue: Queue, own: str) -> list[JobHandle]:
        """Submit anew, without the nodes that are done."""
        done: list[str] = []
        if is_dag(batch):
            done = [job.name for job in self.look(batch) if job.state == "done"]
            if htcondor_site(batch).transfer == "spool" and done:
                self._fetch(batch, datasets=True)
        queue.act("Remove", own, "deploy retry")
        if not is_dag(batch):
            return self._submit(batch, DAG)
        number = len(list((batch.run / "rendered").glob("retry*.dag"))) + 1
        name = f"retry{number}.dag"
        write_text(batch.run / "rendered" / name, dag_file(batch, done))
        return self._submit(batch, name)

    def remove(self, batch: Batch) -> None:
        """Remove what a schedd keeps of the run, DAGMan too where it is about to end."""
        over = is_dag(batch) and self._over(self._dag(batch))
        if htcondor_site(batch).transfer == "spool" or (is_dag(batch) and not over):
            self._clear(batch, 0, "deploy rm")


def _undecided(job: JobSeen) -> JobSeen:
    """Return a job that has failed as long as DAGMan may try it again."""
    return replace(
        job, state="queued", why=f"{job.why}; DAGMan has yet to say whether it is tried again", exit_code=None
    )


def _arriving(ad: Mapping[str, Any]) -> bool:
    """Return whether a held job only waits for its files, and not for too long."""
    spooling = hold_of(int(ad["HoldReasonCode"])) is SPOOLING
    return spooling and int(ad["ServerTime"]) - int(ad["EnteredCurrentStatus"]) < SENDING_S


def _hold(ad: Mapping[str, Any]) -> tuple[int, int]:
    """Return code and subcode of a hold."""
    return int(ad["HoldReasonCode"]), int(_defined(ad, "HoldReasonSubCode") or 0)


def _defined(ad: Mapping[str, Any], name: str) -> str:
    """Return an attribute as text, empty where it is absent or undefined."""
    value = ad.get(name)
    return "" if value is None or str(value) in ("Undefined", "undefined", "Value.Undefined") else str(value)
