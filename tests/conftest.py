"""Real files, where they come from, a browser to look at pages with, and no skips where nothing may be missing."""

from __future__ import annotations

import base64
import fcntl
import http.server
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hypothesis
import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("nntrainer", deadline=None)
hypothesis.settings.load_profile("nntrainer")

REPOSITORY = Path(__file__).parents[1]
SHARED = Path(__file__).parents[2] / "shared" / "data" / "root"


MAY_BE_SKIPPED = ("there is a GPU",)
"""Reasons of tests that are for machines which lack something."""


def _must_not_be_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make a skip a failure where NNTRAINER_TESTS_COMPLETE says that nothing is missing, as in CI."""
    if not report.skipped or hasattr(report, "wasxfail") or os.environ.get("NNTRAINER_TESTS_COMPLETE", "0") == "0":
        return
    reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
    if not any(allowed in reason for allowed in MAY_BE_SKIPPED):
        report.outcome = "failed"
        report.longrepr = f"NNTRAINER_TESTS_COMPLETE is set, so this must not be skipped: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _must_not_be_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _must_not_be_skipped(report)
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow tests, so that at the end no process works alone."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


class _Downloaded:
    """Files of the package scikit-hep-testdata, fetched when asked for."""

    def __truediv__(self, name: str) -> Path:
        testdata = pytest.importorskip(
            "skhep_testdata",
            reason="no ../shared/data/root; `pip install scikit-hep-testdata` downloads the files",
        )
        try:
            return Path(testdata.data_path(name))
        except OSError as error:
            pytest.skip(f"{name} is neither in ../shared/data/root nor can it be downloaded: {error}")


@pytest.fixture(scope="session")
def real_files() -> Path | _Downloaded:
    """The folder of ROOT files written by real experiments' software."""
    return SHARED if SHARED.is_dir() else _Downloaded()


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Return a function that makes a folder once for all processes of a test run, for tests that only read it.

    It takes the folder's name and a function that fills the empty folder; processes that come later wait for the first.
    """
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder, made = root / name, root / f"{name}.made"
        root.mkdir(exist_ok=True)
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
                folder.mkdir()
                fill(folder)
                made.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def toy_files(once: Callable[..., Path]) -> list[Path]:
    """Toy ntuples: 400 events of ttH and of tt+bb."""
    from nntrainer.ntuples.toy import generate

    return sorted(once("toy", lambda folder: generate(folder, samples=("ttH", "ttbb"), events=400, seed=3)).iterdir())


@pytest.fixture(scope="session")
def finished_run(once: Callable[..., Path]) -> Path:
    """A small finished run of three classes, with names that mean something to HTML; not to be changed."""
    run = once("finished", _finish) / "run"
    return run.resolve()


def _finish(place: Path) -> None:
    import uproot

    from nntrainer.config import Config
    from nntrainer.pipeline import run

    folder = place / """<img src=x onerror="alert(1)"> & 'so'"""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for name, shift in (("s", 1.0), ("b", 0.0), ("c", -0.5)):
        with uproot.recreate(folder / f"{name}.root") as file:
            tree = file.mktree("events", {"id": "u8", "x": "f4", "y": "f4", "w": "f4"})
            x, y = rng.normal(size=(2, 1200)).astype(np.float32) + np.float32(shift)
            weight = np.where(rng.random(1200) < 0.1, -1, 1).astype(np.float32)
            tree.extend({"id": rng.permutation(1200).astype(np.uint64), "x": x, "y": y, "w": weight})
    samples = [{"name": name, "files": [str(folder / f"{name}.root")], "label": name} for name in ("s", "b", "c")]
    config = Config.model_validate(
        {
            "name": "small",
            "data": {
                "tree": "events",
                "event_id": "id",
                "weight": "w",
                "selection": "(x > -9) & (y < 9)",
                "directory": str(folder / "datasets"),
                "samples": samples,
            },
            "features": {"events": [{"name": "x", "unit": "GeV", "description": "<script>alert(2)</script>"}, "y"]},
            "preparation": {"folds": 2},
            "model": {"name": "dense", "layers": [4]},
            "training": {"epochs": 3, "batch_size": 64, "tensorboard": False, "threads": 1},
            "evaluation": {
                "bootstrap": 20,
                "discriminants": {"s": {"b": 0.5, "c": 0.5}},
                "description": "</title><script>alert(3)</script>",
            },
        }
    )
    (place / "run").symlink_to(run(config, root=folder / "runs").run.path)


@pytest.fixture(scope="session")
def jsroot(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[dict[str, Any]]]:
    """What reads trees with JSROOT: gets pairs of file and tree, gives what tests/jsroot/read.mjs finds in each."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js to run JSROOT; `apt-get install nodejs npm` and scripts/jsroot.sh bring both")
    where = subprocess.run([REPOSITORY / "scripts/jsroot.sh", "--check"], capture_output=True, text=True)
    if where.returncode:
        pytest.skip("JSROOT is not installed; scripts/jsroot.sh installs it into the cache")
    output = tmp_path_factory.mktemp("jsroot") / "found.json"

    def read(*trees: tuple[Path | str, str], only: Sequence[str] | None = None) -> list[dict[str, Any]]:
        requests = [json.dumps({"file": str(file), "tree": tree, "only": only}) for file, tree in trees]
        script = REPOSITORY / "tests/jsroot/read.mjs"
        subprocess.run([node, script, where.stdout.strip(), output, *requests], check=True, timeout=600)
        found = json.loads(output.read_text())
        output.unlink()
        for each in found:
            for branch in each.get("branches", {}).values():
                if branch.get("values") is not None:
                    branch["values"] = np.frombuffer(base64.b64decode(branch["values"]))
        return found

    return read


@pytest.fixture(scope="session")
def served() -> Callable[..., AbstractContextManager[str]]:
    """What serves a folder from this machine, with more headers if they are given: gives the address meanwhile."""

    @contextmanager
    def serve(folder: Path, **headers: str) -> Iterator[str]:
        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args, directory=str(folder))

            def end_headers(self) -> None:
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                super().end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            yield f"http://127.0.0.1:{server.server_address[1]}"
            server.shutdown()
            thread.join()

    return serve


class Visit:
    """A page that is open in the browser, and what it should not have done.

    Attributes:
        page: playwright's page.
        errors: what the console and the scripts complained about.
        outside: addresses it asked for that are neither files, nor in the page itself, nor on this machine.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        self.outside: list[str] = []
        page.on("console", lambda said: self.errors.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))

    def _asked(self, address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("file", "data", "blob", "about") and parts.hostname not in ("127.0.0.1", "localhost"):
            self.outside.append(address)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser without a window, playwright's; nothing it asks for leaves this machine."""
    found = subprocess.run([REPOSITORY / "scripts/chromium.sh", "--check"], capture_output=True, text=True)
    if found.returncode:
        pytest.skip("no Chromium to open pages; scripts/chromium.sh installs Debian's")
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright; `make venv` installs it")
    options = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # as root Chromium has none
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found.stdout.strip(), args=options)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Visit]]:
    """What opens an address: gets it, the width of the window, and options of playwright's `new_context`."""
    contexts = []

    def open_page(address: str, width: int = 1400, height: int = 900, **options: Any) -> Visit:
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        visited = Visit(context.new_page())
        visited.page.goto(address)
        return visited

    yield open_page
    for context in contexts:
        context.close()
