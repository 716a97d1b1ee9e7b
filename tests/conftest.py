"""Real files, and where they come from."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

REPOSITORY = Path(__file__).parents[1]
SHARED = Path(__file__).parents[2] / "shared" / "data" / "root"


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
def toy_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Toy ntuples: 400 events of ttH and of tt+bb."""
    from nntrainer.ntuples.toy import generate

    return generate(tmp_path_factory.mktemp("toy"), samples=("ttH", "ttbb"), events=400, seed=3)


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
