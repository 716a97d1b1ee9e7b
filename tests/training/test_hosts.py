"""The machines of a training on several; tests/k8s/test_mpi.py trains on two pods."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nntrainer.errors import TrainingError
from nntrainer.training import hosts, launch

pytestmark = pytest.mark.slow

# As the MPI operator writes it.
TWO = "j-worker-0.j.physics.svc slots=2\nj-worker-1.j.physics.svc slots=1\n"


def write(folder: Path, text: str) -> dict[str, str]:
    (folder / "hostfile").write_text(text, encoding="utf-8")
    return {hosts.HOSTFILE: str(folder / "hostfile")}


def test_a_hostfile_gives_machines_and_their_slots(tmp_path: Path) -> None:
    assert hosts.find_hosts(3, {}) == {}
    wanted = {"j-worker-0.j.physics.svc": 2, "j-worker-1.j.physics.svc": 1}
    assert hosts.find_hosts(3, write(tmp_path, TWO)) == wanted
    assert hosts.find_hosts(3, write(tmp_path, f"# two machines\n\n{TWO.replace(' ', '   ')}")) == wanted


@pytest.mark.parametrize(
    ("workers", "text", "said"),
    [
        (2, TWO, r"training\.workers is 2, but .*hostfile has 3 slots on 2 machines; make them the same"),
        (1, TWO, r"training\.workers is 1, but"),
        (1, "", r"has 0 slots on 0 machines"),
        (2, "worker-0:2\n", r"line 1: 'worker-0:2'; each machine has one line such as 'worker-0 slots=2'"),
        (2, "w slots=1\nw slots=1\n", r"line 2: 'w slots=1'; each machine has one line"),
        (2, "-oProxyCommand=x slots=2\n", r"line 1: "),
        (2, "a;b slots=2\n", r"line 1: "),
    ],
)
def test_what_is_wrong_with_a_hostfile_is_said(workers: int, text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=said):
        hosts.find_hosts(workers, write(tmp_path, text))


def test_a_hostfile_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"NNTRAINER_HOSTFILE names .*none, which cannot be read"):
        hosts.find_hosts(2, {hosts.HOSTFILE: str(tmp_path / "none")})


def test_the_launcher_is_given_the_machines() -> None:
    here = launch._command(2, {}, 0, Path("/run/fold0"))
    assert here[here.index("-H") + 1] == "localhost:2" and "--parent" in here
    there = launch._command(3, {"a.svc": 2, "b.svc": 1}, 0, Path("/run/fold0"))
    assert there[there.index("-np") + 1] == "3" and there[there.index("-H") + 1] == "a.svc:2,b.svc:1"
    assert "--parent" not in there


def test_a_machine_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "SSH", ("sh", "-c", "echo 'ssh: no route' >&2; exit 255"))
    with pytest.raises(TrainingError, match=r"the machine 'w\.svc' of NNTRAINER_HOSTFILE .* by SSH: ssh: no route"):
        hosts.wait_for_hosts({"w.svc": 1}, seconds=0)
    monkeypatch.setattr(hosts, "SSH", ("no-such-ssh",))
    with pytest.raises(TrainingError, match="needs the program `ssh`"):
        hosts.wait_for_hosts({"w.svc": 1})
    monkeypatch.setattr(hosts, "SSH", ("true",))
    hosts.wait_for_hosts({"w.svc": 1}, seconds=0)


@pytest.mark.parametrize("end", ["pipe", "socket"])
def test_a_worker_notices_that_nobody_listens_any_more(end: str) -> None:
    """SSH's server gives a command a pair of sockets as its output, others a pipe."""
    import socket

    code = (
        "import time; from nntrainer.training.interrupt import somebody_listens as listens\n"
        "print(listens(), end='', flush=True)\n"
        "while listens(): time.sleep(0.05)\n"
    )
    if end == "pipe":
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.read(4) == b"True"
        close = process.stdout.close
    else:
        mine, theirs = socket.socketpair()
        process = subprocess.Popen([sys.executable, "-c", code], stdin=theirs, stdout=theirs)
        theirs.close()
        mine.shutdown(socket.SHUT_WR)  # the end of its input says nothing
        assert mine.recv(100) == b"True"
        close = mine.close
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    close()
    assert process.wait(10) == 0
