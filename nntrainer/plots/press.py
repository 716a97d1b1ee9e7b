"""Figures drawn and saved by processes beside this one, one a core.

multiprocessing's own pools import the caller's script again, hang when their parent is killed, or fork what must not be
forked once TensorFlow runs threads. Here one new interpreter imports matplotlib once and forks; each copy reads
drawings from a socket and ends where that does, whatever ended the other side.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any

from nntrainer.errors import NNTrainerError
from nntrainer.progress import Progress, silent
from nntrainer.threads import cores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 8
"""Processes at most: each takes a hundred megabytes, and more would rather import than draw."""
DIED = (
    "a process that draws plots ended before its work was done, perhaps for want of memory; give the job more of it, "
    "or a single core: then plots are drawn one after another in the process itself"
)


def processes() -> int:
    """Return how many processes draw: one for each core that this one may use, also in a batch slot or a container."""
    limits = [cores(), MOST]
    if (slot := os.environ.get("OMP_NUM_THREADS", "")).isdigit():  # how HTCondor says how many cores a slot has
        limits.append(max(1, int(slot)))
    try:
        quota, period = map(int, Path("/sys/fs/cgroup/cpu.max").read_text().split())
        limits.append(max(1, -(-quota // period)))
    except (OSError, ValueError):
        pass  # no container, or one without a limit
    return min(limits)


class Press:
    """Draws figures and saves them, while the caller goes on; leaving the ``with`` statement waits for them.

    With one core they are drawn at once in the process itself. Import nothing heavy before this begins: it and the
    processes import at the same time.

    Args:
        progress: told how many are done.

    Attributes:
        paths: all files, in the order of the drawings; complete at the end.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress or silent()
        self._expected = False
        self.paths: list[Path] = []
        self._coming: list[Future[list[Path]]] = []
        self._free: SimpleQueue[Connection] = SimpleQueue()
        self._ours: list[Connection] = []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Press:
        """Start the processes."""
        if (number := processes()) > 1 and sys.executable:
            pairs = [Pipe() for _ in range(number)]
            self._ours, theirs = [one for one, _ in pairs], [other for _, other in pairs]
            self._process = _start(theirs)
            for ours, other in pairs:
                other.close()
                self._free.put(ours)
            self._threads = ThreadPoolExecutor(number, "press")
        return self

    def expect(self, description: str, total: int) -> None:
        """Begin to tell the progress: what is drawn, and how many drawings there will be."""
        self._progress.start(description, total, unit="plots")
        self._expected = True

    def draw(self, path: Path, plot: Callable[..., Any], *args: Any, **options: Any) -> None:
        """Draw a figure and save it.

        Args:
            path: where, as in `save`; a directory where there are several figures.
            plot: a function of a module that returns the figure, or several by name.
            *args: what it gets, small: histograms and results, not events.
            **options: the same by name.
        """
        if self._process is None:
            self._done(_save(plot(*args, **options), path))
            return
        from nntrainer.plots import style

        drawing = (style.words(), path, plot, args, options)
        self._coming.append(self._threads.submit(self._send, pickle.dumps(drawing)))
        while self._coming and self._coming[0].done():
            self._collect()

    def _send(self, drawing: bytes) -> list[Path]:
        """Have a process do a drawing, and return the files or raise what it raised."""
        connection = self._free.get()
        try:
            connection.send_bytes(drawing)
            answer = connection.recv()
        except (EOFError, OSError):
            raise NNTrainerError(DIED) from None
        finally:
            self._free.put(connection)
        if isinstance(answer, BaseException):
            raise answer
        return list(answer)

    def _collect(self) -> None:
        self._done(self._coming.pop(0).result())

    def _done(self, paths: list[Path]) -> None:
        self.paths += paths
        if self._expected:
            self._progress.advance(1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for all drawings, or after an error only for those that have begun; then no process is left."""
        try:
            while kind is None and self._coming:
                self._collect()
        finally:
            if self._process is not None:
                self._threads.shutdown(cancel_futures=True)
                for connection in self._ours:
                    connection.close()
                self._process.wait()
        if kind is None and self._expected:
            self._progress.finish()


def _save(drawn: Figure | Mapping[str, Figure], path: Path) -> list[Path]:
    from nntrainer.plots.save import save

    if isinstance(drawn, Mapping):
        return [file for name, figure in drawn.items() for file in save(figure, path / name)]
    return save(drawn, path)


def _start(theirs: Sequence[Connection]) -> subprocess.Popen[bytes]:
    """Start the interpreter that imports what this one can, and serves these ends of the connections."""
    numbers = [each.fileno() for each in theirs]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "MPLBACKEND": "agg",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, "-P", "-c", f"from {__name__} import serve_all; serve_all({numbers})"]
    return subprocess.Popen(command, pass_fds=numbers, stdin=subprocess.DEVNULL, env=environment)


def serve_all(numbers: Sequence[int]) -> None:
    """Serve connections, each in a process of its own, until their other ends are closed.

    Args:
        numbers: their file descriptors.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the parent, which closes the connections
    import nntrainer.plots.inputs
    import nntrainer.plots.save  # noqa: F401

    connections = [Connection(number) for number in numbers]
    children = []
    for mine in connections[1:]:
        if not (child := os.fork()):
            _serve_only(mine, connections)
            os._exit(0)
        children.append(child)
    _serve_only(connections[0], connections)
    for child in children:
        os.waitpid(child, 0)


def _serve_only(mine: Connection, connections: Sequence[Connection]) -> None:
    """Serve one connection and close the others, which must end where their own processes do."""
    for each in connections:
        if each is not mine:
            each.close()
    try:
        while True:
            drawing = mine.recv_bytes()
            mine.send(_answer(drawing))
    except (EOFError, OSError):
        mine.close()


def _answer(drawing: bytes) -> list[Path] | BaseException:
    """Do a drawing, and return its files or what went wrong, as it can be sent."""
    from nntrainer.plots import style

    try:
        words, path, plot, args, options = pickle.loads(drawing)  # noqa: S301 - from the parent, never from a file
        style.apply(label=words.label, description=words.description)
        return _save(plot(*args, **options), path)
    except Exception as error:
        error.add_note("".join(traceback.format_exception(error)))
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301
        except Exception:
            return RuntimeError("".join(traceback.format_exception(error)))
        return error
