"""Files of a run on its volume, read through a pod: streamed, resumed where it was cut off, verified."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from deploy.backends.base import Batch
from deploy.backends.kubernetes_cluster import Cluster, Refused
from deploy.backends.kubernetes_manifests import Manifest, helper, site_of
from deploy.backends.kubernetes_words import pending, refused, why_ended
from deploy.errors import DeployError, GatherError
from nntrainer.config.parts import RECORDS
from nntrainer.files import sha256, write_text

READER_S = 3600
"""How long the pod lives that files are read through, if nobody removes it."""
START_S = 300.0
FILES_AT_ONCE = 500
# For every line "FIRST-BYTE PATH": the size of the file in a line, and its bytes from that one on; "-" where there is
# no file. The file is opened once, for a record may be replaced meanwhile. An empty line ends it: nothing else would.
SEND = """cd -- "$1" || exit
while IFS=' ' read -r first path && [ -n "$first" ]; do
  if [ -f "$path" ] && [ -r "$path" ]; then
    exec 3<"$path"
    size=$(stat -Lc %s /proc/self/fd/3)
    echo "$size"
    if [ "$first" -le "$size" ]; then tail -c "+$first" <&3 | head -c "$((size - first + 1))"; fi
    exec 3<&-
  else
    echo -
  fi
done"""


@dataclass(frozen=True)
class Wanted:
    """A file of a manifest: its path in the run directory, size in bytes, SHA-256 (hex)."""

    path: PurePosixPath
    size: int
    sha256: str

    def is_in(self, run: Path) -> bool:
        """Return whether the file is there, and the right one."""
        path = run / self.path
        return path.is_file() and path.stat().st_size == self.size and sha256(path) == self.sha256


class _Stream:
    """Lines and counted bytes from pieces of a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def _more(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            raise GatherError("the connection to the cluster ended too early; the same command goes on from there")
        self._rest += piece

    def line(self) -> str:
        while b"\n" not in self._rest:
            self._more()
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def copy(self, count: int, sink: Callable[[bytes], object]) -> None:
        while count:
            if not self._rest:
                self._more()
            part, self._rest = self._rest[:count], self._rest[count:]
            sink(part)
            count -= len(part)

    def end(self) -> None:
        """Read to the end, where a command that failed is told."""
        for _ in self._pieces:
            pass


def read_texts(cluster: Cluster, pod: str, root: Path, paths: Sequence[str]) -> dict[str, str]:
    """Return small files of a run's directory through a pod that sees it; those that are not there are left out."""
    found: dict[str, str] = {}
    with _sending(cluster, pod, root, [(1, path) for path in paths]) as stream:
        for path in paths:
            if (size := stream.line()) != "-":
                content = bytearray()
                stream.copy(int(size), content.extend)
                found[path] = content.decode("utf-8", "replace")
        stream.end()
    return found


def fetch(cluster: Cluster, batch: Batch) -> None:
    """Bring the results of a run here: what its records list and is not here yet. The records come last.

    Args:
        cluster: the cluster.
        batch: the run.

    Raises:
        GatherError: a job left no record of success, or a file on the volume is missing or not what the record says.
    """
    names = [f"{RECORDS}/{part}.json" for job in batch.jobs for part in job.parts] or ["run.json", "manifest.json"]
    names = list(dict.fromkeys(names))
    here = {name: text for name in names if (text := _text(batch.run / name))}
    if _done(here, names) and all(each.is_in(batch.run) for each in listed(batch, here)):
        return
    root = site_of(batch).on_volume(batch.run)
    with reader(cluster, batch) as pod:
        records = read_texts(cluster, pod, root, names)
        if not _done(records, names):
            undone = [PurePosixPath(name).stem for name in names if not _is_done(name, records.get(name, ""))]
            raise GatherError(
                f"{batch.run}: on the volume, {root} has no record of success of {', '.join(undone)}; "
                f"`deploy status {batch.run}` says why, `deploy retry {batch.run}` does it again"
            )
        missing = [each for each in listed(batch, records) if not each.is_in(batch.run)]
        wrong: dict[Wanted, str] = {}
        for first in range(0, len(missing), FILES_AT_ONCE):
            wrong |= _copy(cluster, pod, root, batch.run, missing[first : first + FILES_AT_ONCE])
        if again := [each for each, why in wrong.items() if why == _HASH]:
            # What was here of it may have been damaged here: only a whole copy tells.
            wrong = {each: why for each, why in wrong.items() if why != _HASH} | _copy(
                cluster, pod, root, batch.run, again
            )
    if wrong:
        said = [f"{each.path} {why}" for each, why in list(wrong.items())[:5]]
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise GatherError(f"{batch.run}: on the volume, in {root}: {'; '.join(said)}{more}; run its job again")
    for name in names:
        (batch.run / name).parent.mkdir(parents=True, exist_ok=True)
        write_text(batch.run / name, records[name])


_HASH = "has another SHA-256 than its record says"


def listed(batch: Batch, records: Mapping[str, str]) -> list[Wanted]:
    """Return the files that records list, each once.

    Args:
        batch: the run.
        records: texts of records by their path.

    Returns:
        The files, sorted by path.

    Raises:
        GatherError: a record is damaged, or lists a file outside the run directory.
    """
    found: dict[str, Wanted] = {}
    for name, text in records.items():
        try:
            for each in json.loads(text).get("files", ()):
                found[each["path"]] = Wanted(PurePosixPath(each["path"]), int(each["size"]), str(each["sha256"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise GatherError(f"{batch.run}: the record {name} on the volume is damaged: {error!r}") from None
    for path, each in found.items():
        if each.path.is_absolute() or ".." in each.path.parts or "\n" in path:
            raise GatherError(f"{batch.run}: {path!r} in a record is no file of the run directory, or has a line break")
    return [found[path] for path in sorted(found)]


def _done(records: Mapping[str, str], names: Sequence[str]) -> bool:
    return all(_is_done(name, records.get(name, "")) for name in names)


def _is_done(name: str, text: str) -> bool:
    with suppress(ValueError, AttributeError):
        record = json.loads(text)
        return bool(record.get("state") == "done" or (name == "manifest.json" and "files" in record))
    return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _copy(cluster: Cluster, pod: str, root: Path, run: Path, files: Sequence[Wanted]) -> dict[Wanted, str]:
    """Copy files, each going on where its copy was cut off, and return what is wrong with those on the volume."""
    wrong: dict[Wanted, str] = {}
    parts = {each: _part(run, each) for each in files}
    firsts = {each: (part.stat().st_size if part.exists() else 0) + 1 for each, part in parts.items()}
    with _sending(cluster, pod, root, [(firsts[each], str(each.path)) for each in files]) as stream:
        for each in files:
            if (size := stream.line()) == "-":
                wrong[each] = "is missing, or cannot be read"
                continue
            with parts[each].open("ab") as output:
                stream.copy(max(int(size) - firsts[each] + 1, 0), output.write)
            if int(size) != each.size:
                wrong[each] = f"has {size} bytes instead of {each.size}"
            elif sha256(parts[each]) != each.sha256:
                wrong[each] = _HASH
            else:
                os.replace(parts[each], run / each.path)
                continue
            parts[each].unlink()
        stream.end()
    return wrong


def _part(run: Path, each: Wanted) -> Path:
    path = run / each.path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    if part.exists() and part.stat().st_size > each.size:
        part.unlink()
    return part


@contextmanager
def _sending(cluster: Cluster, pod: str, root: Path, files: Sequence[tuple[int, str]]) -> Iterator[_Stream]:
    lines = "".join(f"{first} {path}\n" for first, path in files) + "\n"
    with cluster.exec(pod, ("sh", "-c", SEND, "sh", str(root)), lines.encode()) as pieces:
        yield _Stream(pieces)


@contextmanager
def reader(cluster: Cluster, batch: Batch) -> Iterator[str]:
    """Start a pod that sees the volume, read-only, or take the one that a killed gather left; it is removed after.

    Args:
        cluster: the cluster.
        batch: the run.

    Yields:
        The name of the pod.

    Raises:
        GatherError: it does not start.
    """
    job = helper(batch, "reader", ("sleep", str(READER_S)), writes=False)
    name = job["metadata"]["name"]
    try:
        yield _started(cluster, job)
    finally:
        cluster.delete("Job", name, propagation="Background")
        with suppress(Refused):
            for pod in _pods(cluster, name):
                cluster.delete("Pod", pod["metadata"]["name"], grace_s=0)


def _started(cluster: Cluster, job: dict[str, Any]) -> str:
    """Make the Job, or a new one in the place of one that has ended, and return its running pod."""
    name, deadline = job["metadata"]["name"], time.monotonic() + START_S
    why = ""
    while time.monotonic() < deadline:
        there = cluster.read("Job", name)
        if there is None:
            with suppress_conflict():
                cluster.create(job)
        elif there["metadata"].get("deletionTimestamp") is None and there["status"].get("conditions"):
            cluster.delete("Job", name)
        for pod in _pods(cluster, name):
            if pod["metadata"].get("deletionTimestamp"):
                continue
            match pod["status"].get("phase"):
                case "Running":
                    return str(pod["metadata"]["name"])
                case "Pending":
                    state, why = pending(pod)
                    if state == "held":
                        raise GatherError(f"the pod that reads the volume does not start: {why}")
                case "Failed":
                    why = why_ended(pod)
        why = why or refused(cluster.list("Event", fields=f"involvedObject.name={name}"))
        time.sleep(0.5)
    raise GatherError(f"the pod that reads the volume did not start in {START_S:.0f} s: {why or 'it is still waiting'}")


def run_helper(cluster: Cluster, job: Manifest, seconds: float) -> None:
    """Run a Job of ours to its end, and remove it.

    Args:
        cluster: the cluster.
        job: the Job.
        seconds: how long it may take.

    Raises:
        DeployError: it does not start, fails, or takes too long.
    """
    name, deadline, why = job["metadata"]["name"], time.monotonic() + seconds, "it takes too long"
    with suppress_conflict():
        cluster.create(job)
    try:
        while time.monotonic() < deadline:
            ended = (cluster.read("Job", name) or {}).get("status", {}).get("conditions", [])
            if any(each["type"] == "Complete" for each in ended):
                return
            pods = _pods(cluster, name)
            if ended:
                why = next((why_ended(pod) for pod in pods), "") or str(ended[0].get("message", ""))
                break
            states = [pending(pod) for pod in pods if pod["status"].get("phase") == "Pending"]
            if held := [told for state, told in states if state == "held"]:
                why = held[0]
                break
            time.sleep(0.5)
    finally:
        cluster.delete("Job", name, propagation="Background")
    command = " ".join(job["spec"]["template"]["spec"]["containers"][0]["command"])
    raise DeployError(f"the pod that was to do `{command}` on the volume did not: {why}; do it by hand")


@contextmanager
def suppress_conflict() -> Iterator[None]:
    """Let it pass that there is an object of this name already."""
    try:
        yield
    except Refused as error:
        if error.code != 409:
            raise


def _pods(cluster: Cluster, job: str) -> list[dict[str, Any]]:
    return cluster.list("Pod", selector=f"job-name={job}")
