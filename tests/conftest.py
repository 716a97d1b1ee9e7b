"""Real files, and where they come from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

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
