"""root:// addresses, read from a real XRootD server on this machine."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import uproot

from nntrainer.config import Config
from nntrainer.dataset.conversion import convert
from nntrainer.dataset.store import open_store
from nntrainer.errors import InputError
from nntrainer.files import expand
from nntrainer.ntuples import reader
from nntrainer.ntuples.reader import identity, iterate, list_trees, open_tree

pytestmark = pytest.mark.skipif(
    shutil.which("xrootd") is None, reason="no xrootd server; `apt-get install xrootd-server` brings it"
)
N = 1000


class Server:
    """An XRootD server and its folder, run as an ordinary user, because as root it refuses to start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "data").mkdir()
        (folder / "admin").mkdir()
        (folder / "xrootd.cfg").write_text(
            f"xrd.port {self.port}\nxrd.network nodnr\nall.export {folder}/data\n"
            f"all.adminpath {folder}/admin\nall.pidpath {folder}/admin\n"
        )
        with uproot.recreate(folder / "data" / "n.root") as file:
            file.mktree("t", {"eventNumber": np.arange(N, dtype=np.uint64), "x": np.arange(N, dtype=np.float32)})

    def url(self, name: str = "n.root") -> str:
        return f"root://127.0.0.1:{self.port}/{self.folder}/data/{name}"

    def start(self) -> None:
        # Debian's xrootd 5.5.3 crashes (SIGSEGV) in about one start of a hundred on a busy machine.
        for _ in range(5):
            code = self._started()
            if code is None:
                return
            if code >= 0:
                break
        log = self.folder / "admin" / "log"
        said = log.read_text()[-2000:] if log.exists() else "it said nothing"
        raise RuntimeError(f"xrootd did not start (exit code {code}): {said}")

    def _started(self) -> int | None:
        """Start the server; return None when it is ready, and its exit code when it is not."""
        user = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
            user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        log = self.folder / "admin" / "log"
        log.unlink(missing_ok=True)
        command = ["xrootd", "-c", str(self.folder / "xrootd.cfg"), "-l", str(log)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, cwd=self.folder, **quiet, **user)
        for _ in range(600):
            if log.exists() and f":{self.port} initialization completed" in log.read_text(errors="replace"):
                return None
            if self.process.poll() is not None:
                return self.process.returncode
            time.sleep(0.05)
        self.stop()
        return 0

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def unstarted() -> Iterator[Server]:
    # Not below pytest's own folder, into which other users may not look; short, for the server's socket names.
    with tempfile.TemporaryDirectory(prefix="xrd") as folder:
        os.chmod(folder, 0o755)
        server = Server(Path(folder))
        yield server
        server.stop()


@pytest.fixture
def server(unstarted: Server) -> Server:
    unstarted.start()
    return unstarted


def test_the_same_as_the_file_itself(server: Server) -> None:
    local = str(server.folder / "data" / "n.root")
    assert expand([server.url()]) == [server.url()]
    assert list_trees(server.url()) == ["t"]
    assert identity(server.url()).key() == identity(local).key()
    chunks = list(iterate(server.url(), "t", ["x"], 300))
    assert [(start, stop) for start, stop, _ in chunks] == [(0, 300), (300, 600), (600, 900), (900, N)]
    assert np.array_equal(np.concatenate([part["x"] for _, _, part in chunks]), np.arange(N))


def test_convert(server: Server, tmp_path: Path) -> None:
    content = {
        "name": "remote",
        "data": {
            "tree": "t",
            "directory": str(tmp_path),
            "selection": "x >= 10",
            "samples": [{"name": "s", "files": server.url(), "label": "s"}],
        },
        "features": {"events": ["x"]},
        "model": "dense",
    }
    done = convert(Config.model_validate(content)).samples[0]
    with open_store(done.path) as store:
        assert np.array_equal(store.column("events", "x"), np.arange(10, N))
        assert store.attrs["sources"][0]["path"] == server.url()
    assert convert(Config.model_validate(content)).samples[0].skipped


def test_wrong_names_are_said_clearly(server: Server) -> None:
    with pytest.raises(InputError, match=r"no\.root: cannot be read after 3 attempts: .*no such file"):
        list_trees(server.url("no.root"))
    with pytest.raises(InputError, match=r"n\.root: there is no tree 'tt'"), open_tree(server.url(), "tt"):
        pass
    with open_tree(server.url(), "t") as tree, pytest.raises(InputError, match=r"n\.root: tree 't' has no branch 'y'"):
        tree.read(["y"], 0, 1)


def test_not_a_root_file(server: Server) -> None:
    (server.folder / "data" / "text.root").write_text("hello" * 1000)
    (server.folder / "data" / "text.root").chmod(0o644)
    with pytest.raises(InputError, match=r"text\.root: cannot be read after 3 attempts"):
        list_trees(server.url("text.root"))


def test_no_server(unstarted: Server) -> None:
    before = time.monotonic()
    with pytest.raises(InputError, match=r"n\.root: cannot be read after 3 attempts: .*[Cc]onnection"):
        list_trees(unstarted.url())
    assert time.monotonic() - before < 60


def test_a_server_that_comes_back(unstarted: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause before the second attempt is where the server starts."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        unstarted.start()

    monkeypatch.setattr(reader, "time", SimpleNamespace(sleep=pause))
    assert list_trees(unstarted.url()) == ["t"]
    assert pauses == [reader.BACKOFF_S]


@pytest.fixture
def long_file(server: Server) -> str:
    """A file that no client holds in memory after its first chunk: four baskets of 2 MB that do not compress."""
    values = np.random.default_rng(1).random((4, 250_000))
    path = server.folder / "data" / "long.root"
    with uproot.recreate(path, compression=None) as file:
        tree = file.mktree("t", {"x": "f8"})
        for part in values:
            tree.extend({"x": part})
    return server.url("long.root")


DYING = """
import os, signal, sys
from nntrainer.errors import InputError
from nntrainer.ntuples.reader import iterate
try:
    for start, _, _ in iterate(sys.argv[1], "t", ["x"], 250_000):
        os.kill(int(sys.argv[2]), signal.SIGKILL)
except InputError as error:
    print(start, error)
"""


def test_a_server_that_dies_while_it_is_read(server: Server, long_file: str) -> None:
    assert server.process is not None
    command = [sys.executable, "-c", DYING, long_file, str(server.process.pid)]
    done = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True)
    assert re.fullmatch(r"0 root:.*long\.root: cannot be read after 3 attempts: .*\n", done.stdout)
    assert done.stderr == ""  # nor does anything fall over at the end of the process


def test_a_server_that_is_restarted_while_it_is_read(server: Server, long_file: str) -> None:
    whole = np.random.default_rng(1).random(1_000_000)
    parts = []
    for start, _, arrays in iterate(long_file, "t", ["x"], 250_000):
        parts.append(arrays["x"])
        if start == 0:
            server.stop()
            server.start()
    assert np.array_equal(np.concatenate(parts), whole)


FORKS = """
import os, sys
from nntrainer.errors import InputError
from nntrainer.ntuples import reader

class Fork:
    @staticmethod
    def sleep(seconds):
        child = os.fork()
        if child == 0:
            os.execv("/bin/sh", ["sh", "-c", ":"])
        os.waitpid(child, 0)

reader.time = Fork
for i in range(60):
    try:
        reader.list_trees(f"{sys.argv[1]}{i}")
    except InputError:
        pass
"""


def test_processes_can_be_started_afterwards(unstarted: Server) -> None:
    """With XRootD's fork handler, a fork while its threads are busy hangs for good, here almost always."""
    subprocess.run([sys.executable, "-c", FORKS, unstarted.url()], check=True, timeout=60)
