"""HTCondor's Python bindings, imported when they are needed."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from deploy.errors import SubmitError
from deploy.sites import HTCondorSite
from nntrainer.errors import MissingDependencyError

QUEUE = ["ClusterId", "JobStatus", "NNTrainerJob", "HoldReasonCode", "HoldReasonSubCode", "HoldReason", "RemoteHost"]
QUEUE += ["LastRemoteHost", "AssignedGPUs", "ExitCode", "ExitBySignal", "ExitSignal", "RequestMemory"]
QUEUE += ["MemoryProvisioned", "LastRejMatchReason", "EnteredCurrentStatus", "ServerTime"]
"""What is asked about a job."""
KEPT = "JobStatus == 4 && time() - (CompletionDate ?: time()) < 864000"
"""How long a spooled job stays: ten days. Clients from 25.14 on would let it go when its files are fetched once."""
IDLE, RUNNING, REMOVED, COMPLETED, HELD, SENDING, SUSPENDED = range(1, 8)
"""What JobStatus says."""


def bindings() -> Any:
    """Return the module of HTCondor's bindings.

    Returns:
        ``htcondor2``.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import htcondor2
    except ImportError:
        raise MissingDependencyError(
            "HTCondor's Python bindings are not installed: pip install 'nntrainer[condor]'"
        ) from None
    return htcondor2


def configured(site: HTCondorSite) -> Any:
    """Return HTCondor's bindings with the configuration that a site names, unless ``CONDOR_CONFIG`` names another."""
    htcondor = bindings()
    # The bindings set it to /dev/null where there is no configuration at all.
    if site.client is not None and os.environ.get("CONDOR_CONFIG", os.devnull) == os.devnull:
        os.environ["CONDOR_CONFIG"] = str(site.client.expanduser())
        htcondor.reload_config()
    return htcondor


def token_directories(site: HTCondorSite) -> list[Path]:
    """Return where HTCondor looks for tokens of this user; nothing where its bindings are missing."""
    try:
        settings = configured(site).param
    except MissingDependencyError:
        return []
    names = ("SEC_TOKEN_DIRECTORY", "SEC_TOKEN_SYSTEM_DIRECTORY")
    found = [str(settings[name]) for name in names if name in settings]
    return [Path(path) for path in [*found, str(Path("~/.condor/tokens.d").expanduser())] if path]


class Queue:
    """The queue of a schedd.

    Args:
        site: the pool.
        name: the schedd, where a run has been submitted already; that of the site or of this machine if absent.
    """

    def __init__(self, site: HTCondorSite, name: str | None = None) -> None:
        self._htcondor = configured(site)
        wanted = name or site.schedd
        try:
            collector = self._htcondor.Collector(site.pool) if site.pool else self._htcondor.Collector()
            found = collector.locate(self._htcondor.DaemonType.Schedd, wanted)
            if found is None:
                raise SubmitError(f"site '{site.name}': the pool has no schedd '{wanted}'; see the site's key schedd")
            self.name = str(found.get("Name", wanted or ""))
            self._schedd = self._htcondor.Schedd(found)
        except (self._htcondor.HTCondorException, RuntimeError, ValueError) as error:
            raise SubmitError(
                f"site '{site.name}': HTCondor's schedd cannot be reached ({_text(error)}); "
                "is this a machine of the site, or CONDOR_CONFIG set to its configuration?"
            ) from None

    def submit(self, description: Any, spool: bool) -> int:
        """Submit a job, sending its files along where they are spooled, and return its number."""
        if spool:
            description["leave_in_queue"] = KEPT
        with _told("the job was refused"):
            result = self._schedd.submit(description, spool=spool)
            if spool:
                self._schedd.spool(result)
        return int(result.cluster())

    def jobs(self, constraint: str) -> list[Any]:
        """Return the jobs of the queue that fulfil a constraint."""
        with _told("the queue cannot be read"):
            return list(self._schedd.query(constraint, projection=QUEUE))

    def act(self, action: str, constraint: str, reason: str) -> None:
        """Remove, hold or release jobs."""
        with _told(f"the jobs cannot be changed ({action})"):
            self._schedd.act(getattr(self._htcondor.JobAction, action), constraint, reason=reason)

    def edit(self, constraint: str, attribute: str, value: str) -> None:
        """Change an attribute of jobs."""
        with _told(f"{attribute} of the jobs cannot be changed"):
            self._schedd.edit(constraint, attribute, value)

    def retrieve(self, constraint: str) -> None:
        """Bring spooled files to where the jobs were submitted from."""
        with _told("the files cannot be brought back"):
            self._schedd.retrieve(constraint)


class _told:
    """Turns what HTCondor raises into a sentence."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None and isinstance(error, (bindings().HTCondorException, RuntimeError, ValueError)):
            raise SubmitError(f"HTCondor: {self._what}: {_text(error)}") from None


def _text(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
