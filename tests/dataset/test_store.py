"""The dataset file: what is in it, that it is whole or not there, and what is said when it is neither."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from nntrainer.dataset.schema import BOOKKEEPING, Field, ObjectSchema, Schema
from nntrainer.dataset.store import FORMAT_VERSION, StoreWriter, open_store
from nntrainer.errors import StoreError

SCHEMA = Schema(
    (*BOOKKEEPING, Field("met", "f4", "MeV", "missing momentum")),
    {"jets": ObjectSchema(3, (Field("pt", "f4", "MeV", "transverse momentum"), Field("eta", "f4")))},
)
ATTRS = {
    "sample": "s",
    "labels": ["s", "b"],
    "entries": {"before": 9, "after": 5},
    "luminosity_ipb": 1.5,
    "commit": None,
}


def rows(n: int, first: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    events = np.zeros(n, SCHEMA.dtype())
    events["eventNumber"] = 2**63 + first + np.arange(n, dtype=np.uint64)
    events["met"] = np.arange(first, first + n)
    jets = np.zeros((n, 3), SCHEMA.objects["jets"].dtype())
    jets["valid"] = np.arange(3) < (np.arange(first, first + n) % 4)[:, None]
    jets["pt"] = np.where(jets["valid"], 1000.0 * (1 + events["met"])[:, None], 0)
    return events, {"jets": jets}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "s.h5"
    with StoreWriter(path, SCHEMA, ATTRS) as writer:
        writer.append(*rows(3))
        writer.append(*rows(0))
        writer.append(*rows(2, 3))
    return path


def test_round_trip(path: Path) -> None:
    events, objects = rows(5)
    with open_store(path) as store:
        assert store.events == 5
        assert store.schema == SCHEMA
        assert {key: store.attrs[key] for key in ATTRS} == ATTRS
        assert store.attrs["format_version"] == FORMAT_VERSION
        assert np.array_equal(store.read(), events)
        assert np.array_equal(store.read("jets"), objects["jets"])
        assert np.array_equal(store.read("jets", ["eta", "pt"], 1, 3)["pt"], objects["jets"]["pt"][1:3])
        assert store.column("events", "eventNumber").tolist() == [2**63 + i for i in range(5)]
    assert [each.name for each in path.parent.iterdir()] == ["s.h5"]


def test_plain_h5py_reads_it(path: Path) -> None:
    """As the flavour-tagging tools do: compound datasets, events first, ``valid`` a boolean of each object."""
    with h5py.File(path) as file:
        assert sorted(file) == ["events", "jets"]
        assert file["events"].shape == (5,) and file["jets"].shape == (5, 3)
        assert file["jets"].dtype.names == ("valid", "pt", "eta")
        assert file["jets"].dtype["valid"] == np.bool_ and file["jets"].dtype["pt"] == np.float32
        assert file["events"].dtype["eventNumber"] == np.uint64
        buffer = np.empty((2, 3), file["jets"].dtype)
        file["jets"].read_direct(buffer, np.s_[1:3])
        assert buffer["pt"].tolist() == [[2000, 0, 0], [3000, 3000, 0]]
        for name in file:
            assert file[name].chunks and file[name].compression == "gzip" and file[name].shuffle
        # A newer superblock is not read by the HDF5 1.8 and 1.10 of other people's software.
        assert file.id.get_create_plist().get_version()[0] <= 2


def test_thousands_of_sources(tmp_path: Path) -> None:
    sources = [{"path": f"root://host//a/long/path/to/file{i}.root", "entries": [0, i]} for i in range(5000)]
    with StoreWriter(tmp_path / "s.h5", SCHEMA) as writer:
        writer.append(*rows(1))
        writer.attrs["sources"] = sources
    with open_store(tmp_path / "s.h5") as store:
        assert store.attrs["sources"] == sources


def test_an_error_leaves_what_was_there(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), StoreWriter(path, SCHEMA) as writer:
        writer.append(*rows(2))
        assert path.with_name("s.h5.part").exists()
        raise ZeroDivisionError
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["s.h5"]


KILLED = """
import os, sys
from pathlib import Path
import numpy as np
from nntrainer.dataset.schema import BOOKKEEPING, Schema
from nntrainer.dataset.store import StoreWriter
schema = Schema(BOOKKEEPING, {})
writer = StoreWriter(Path(sys.argv[1]), schema).__enter__()
writer.append(np.zeros(100_000, schema.dtype()), {})
os.kill(os.getpid(), 9)
"""


def test_killed_and_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False).returncode == -9
    assert [each.name for each in tmp_path.iterdir()] == ["s.h5.part"]
    with pytest.raises(StoreError, match="no such dataset file"):
        open_store(path)
    with StoreWriter(path, SCHEMA) as writer:
        writer.append(*rows(4))
    assert [each.name for each in tmp_path.iterdir()] == ["s.h5"]
    with open_store(path) as store:
        assert store.events == 4


def test_two_writers(tmp_path: Path) -> None:
    part = tmp_path / "s.h5.part"
    with part.open("wb") as other:
        other.write(b"half")
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match=r"s\.h5\.part: another process is writing it"):
            StoreWriter(tmp_path / "s.h5", SCHEMA).__enter__()
    assert part.read_bytes() == b"half"


def test_no_place_to_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"s\.h5: cannot be written"), StoreWriter(tmp_path / "file/s.h5", SCHEMA):
        pass


@pytest.mark.parametrize("tables", [{}, {"jets": rows(1)[1]["jets"]}], ids=["left out", "too few"])
def test_unequal_rows(tmp_path: Path, tables: dict[str, np.ndarray]) -> None:
    with pytest.raises(StoreError, match="differ in number"), StoreWriter(tmp_path / "s.h5", SCHEMA) as writer:
        writer.append(rows(2)[0], tables)
    assert not list(tmp_path.iterdir())


def test_unknown_names(path: Path) -> None:
    with open_store(path) as store:
        with pytest.raises(StoreError, match=r"no dataset 'jet'; there are 'events', 'jets'.* Did you mean 'jets'"):
            store.read("jet")
        with pytest.raises(StoreError, match=r"'jets' has no field 'etaa'\. Did you mean 'eta'"):
            store.column("jets", "etaa")


def spoil(path: Path, what: str) -> None:
    if what == "text":
        path.write_text("no HDF5 at all")
        return
    if what == "truncated":
        path.write_bytes(path.read_bytes()[:-500])
        return
    with h5py.File(path, "a") as file:
        if what == "newer":
            file.attrs["format_version"] = FORMAT_VERSION + 1
        elif what == "foreign":
            del file.attrs["format_version"]
        elif what == "version":
            file.attrs["format_version"] = "one"
        elif what == "group":
            file.create_group("more")
        elif what == "lengths":
            file["jets"].resize(4, axis=0)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("text", "not a readable HDF5 file"),
        ("truncated", "not a readable HDF5 file, perhaps incomplete"),
        ("newer", "format 2, and this version reads up to 1; update nntrainer"),
        ("foreign", "not a dataset file of nntrainer"),
        ("version", "not a dataset file of nntrainer"),
        ("group", "not a dataset file of nntrainer"),
        ("lengths", "incomplete: its datasets differ in length"),
    ],
)
def test_refused(path: Path, what: str, words: str) -> None:
    spoil(path, what)
    with pytest.raises(StoreError) as error:
        open_store(path)
    assert str(error.value).startswith(str(path)) and words in str(error.value)
