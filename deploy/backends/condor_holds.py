"""Why HTCondor holds jobs: what each code means, what to do, and whether a retry may do it by itself.

Codes: https://htcondor.readthedocs.io/en/latest/classad-attributes/job-classad-attributes.html, HoldReasonCode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mend = Literal["automatic", "retry", "person"]
"""Released by the job's own rule (a limited number of times), by ``deploy retry``, or by it after a person's work."""


@dataclass(frozen=True)
class Hold:
    """A kind of hold.

    Attributes:
        meaning: what happened.
        fix: what to do.
        mend: who may release it.
    """

    meaning: str
    fix: str
    mend: Mend = "person"


MEMORY = Hold(
    "the job needed more memory than it had asked for",
    "`deploy retry` gives it twice as much, up to what the site grants; or set deploy.resources.STAGE.memory_mib",
    "automatic",
)
INPUT = Hold("a file could not be sent with the job", "see that the file named exists and can be read, then retry")
OUTPUT = Hold(
    "a file could not be brought back from the job",
    "see that the file named can be written: directory, rights, quota; then retry",
)
SPOOLING = Hold(
    "the job's files have not arrived: its submission was cut off", "`deploy retry` sends it again", "retry"
)
STDIO = Hold(
    "the job's log cannot be opened", "see that logs/ of the run can be written where HTCondor runs, then retry"
)
POLICY = Hold("a rule of the site held it", "the reason says which; ask for what the site grants, or ask its people")
EXECUTE = Hold("the machine could not start or run the job", "`deploy retry`; a machine may be broken", "retry")

HOLDS: dict[int, Hold] = {
    1: Hold("someone held it", "`deploy retry` releases it", "retry"),
    3: POLICY,
    4: Hold("a credential has expired or is damaged", "renew it (`deploy check` names the command), then retry"),
    5: POLICY,
    6: Hold(
        "the machine could not start the job's program or enter its directory",
        "see that the site's jobs see the run directory and the container's program, then retry",
    ),
    7: STDIO,
    8: INPUT,
    9: STDIO,
    10: INPUT,
    11: EXECUTE,
    12: OUTPUT,
    13: INPUT,
    14: Hold("the run directory cannot be entered", "runs must lie where HTCondor's machines see them; see --runs"),
    15: Hold("it was submitted on hold", "`deploy retry` releases it", "retry"),
    16: SPOOLING,
    17: EXECUTE,
    18: EXECUTE,
    19: EXECUTE,
    20: EXECUTE,
    21: EXECUTE,
    22: STDIO,
    23: Hold("HTCondor cannot act as you", "ask the site's people about your account"),
    24: EXECUTE,
    26: POLICY,
    27: POLICY,
    32: Hold("more files are sent with the job than the site allows", "send fewer: name ntuples by root:// addresses"),
    33: Hold("more files come back than the site allows", "inject in several jobs: deploy.inject_jobs"),
    34: MEMORY,
    35: Hold("the container image cannot be used", "see the site's image key; `deploy check` looks for it"),
    36: Hold("the checkpoint could not be saved", "see the disk that was asked for, then retry", "retry"),
    45: Hold("Apptainer does not work on that machine", "`deploy retry`; another machine may do", "retry"),
    46: Hold(
        "its time was up",
        "`deploy retry` goes on from the checkpoint; or set deploy.resources.STAGE.walltime_s",
        "automatic",
    ),
    47: Hold(
        "its time was up",
        "`deploy retry` goes on from the checkpoint; or set deploy.resources.STAGE.walltime_s",
        "automatic",
    ),
}
UNKNOWN = Hold("HTCondor held it", "the reason says why; `deploy retry` releases it")


def hold_of(code: int, subcode: int = 0) -> Hold:
    """Return what is known about a hold."""
    if (code, subcode) == (21, 102):  # the machine's own watch over memory, where the kernel's is not used
        return MEMORY
    return HOLDS.get(code, UNKNOWN)


def explain(code: int, subcode: int, reason: str) -> str:
    """Return a hold in words: what happened, HTCondor's own reason, what to do."""
    hold = hold_of(code, subcode)
    return f"{hold.meaning} ({reason.strip().rstrip('.') or 'no reason given'}; code {code}/{subcode}); {hold.fix}"


def table() -> str:
    """Return the table of docs/htcondor.md."""
    by_itself = {"automatic": "by itself, a limited number of times", "retry": "`deploy retry`", "person": "no"}
    lines = ["| code | what it means | what to do | released without a person's work |", "|---|---|---|---|"]
    for code, hold in {**HOLDS, 34: MEMORY}.items():
        name = f"{code}, 21/102" if code == 34 else str(code)
        lines.append(f"| {name} | {hold.meaning} | {hold.fix} | {by_itself[hold.mend]} |")
    return "\n".join(lines) + "\n"
