"""What `inspect` says about HDF5 and ROOT files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import awkward as ak
import h5py
import numpy as np
import pytest
import uproot
from rich.console import Console

from nntrainer.dataset import inspect_hdf5, inspection
from nntrainer.dataset.inspect import inspect
from nntrainer.dataset.inspect_root import is_numeric
from nntrainer.dataset.inspect_view import render
from nntrainer.dataset.inspection import Inspection
from nntrainer.dataset.schema import BOOKKEEPING, Field, ObjectSchema, Schema
from nntrainer.dataset.store import StoreWriter
from nntrainer.errors import NNTrainerError

N = 1000
SCHEMA = Schema(
    (*BOOKKEEPING, Field("ht", "f4", "MeV", "scalar sum"), Field("n_jets")),
    {"jets": ObjectSchema(3, (Field("jet_pt", "f4", "MeV"),))},
)


def arrays() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    events = np.zeros(N, SCHEMA.dtype())
    events["eventNumber"] = 2**60 + np.arange(N, dtype=np.uint64)
    events["label"] = np.arange(N) % 4 == 0
    events["weight"] = rng.normal(1, 0.8, N)
    events["ht"] = rng.exponential(1e5, N)
    events["ht"][:3] = np.nan, np.inf, -np.inf
    jets = np.zeros((N, 3), SCHEMA.objects["jets"].dtype())
    jets["valid"] = np.arange(3) < (np.arange(N) % 4)[:, None]
    jets["jet_pt"] = np.where(jets["valid"], rng.exponential(5e4, (N, 3)) + 25e3, 0)
    events["n_jets"] = jets["valid"].sum(axis=1)
    return events, jets


@pytest.fixture
def dataset_file(tmp_path: Path) -> Path:
    events, jets = arrays()
    attrs = {
        "sample": "s",
        "labels": ["signal", "background"],
        "signal": "signal",
        "sum_of_weights": {"before": 7.5},
    }
    with StoreWriter(tmp_path / "s.h5", SCHEMA, attrs) as store:
        store.append(events, {"jets": jets})
    return tmp_path / "s.h5"


def shown(found: Inspection) -> str:
    buffer = io.StringIO()
    Console(file=buffer, width=400).print(*render(found), sep="\n")
    return buffer.getvalue()


# Small chunks: whatever is gathered must not depend on them.
@pytest.mark.parametrize("chunk_bytes", [inspect_hdf5.CHUNK_BYTES, 700])
def test_dataset_file(dataset_file: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int) -> None:
    monkeypatch.setattr(inspect_hdf5, "CHUNK_BYTES", chunk_bytes)
    events, jets = arrays()
    found = inspect(dataset_file, head=2)
    assert [(group.name, group.entries, group.slots) for group in found.groups] == [
        ("events", N, None),
        ("jets", N, 3),
    ]
    fields = {field.name: field for group in found.groups for field in group.fields}
    ht, good = fields["ht"], events["ht"][3:].astype(float)
    assert (ht.type, ht.unit, ht.description, ht.count, ht.nan, ht.inf) == ("float32", "MeV", "scalar sum", N, 1, 2)
    assert (ht.min, ht.max, ht.mean) == (good.min(), good.max(), pytest.approx(good.mean()))
    assert (fields["eventNumber"].min, fields["eventNumber"].max) == (2**60, 2**60 + N - 1)
    pt, valid = fields["jet_pt"], jets["valid"]
    assert pt.count == valid.sum()
    assert pt.valid == pytest.approx(valid.mean())
    assert pt.min == jets["jet_pt"][valid].min() > 25e3
    assert fields["valid"].mean == pytest.approx(valid.mean())

    weight = events["weight"].astype(float)
    assert found.weights is not None
    assert found.weights.sum == pytest.approx(weight.sum())
    assert found.weights.negative == (weight < 0).sum() > 0
    assert found.weights.effective_events == pytest.approx(weight.sum() ** 2 / (weight**2).sum())
    assert [(each.label, each.events) for each in found.classes] == [("signal", 750), ("background", 250)]
    assert found.classes[1].sum_of_weights == pytest.approx(weight[::4].sum())
    assert found.attrs is not None
    assert found.attrs["sum_of_weights"] == {"before": 7.5}
    assert found.groups[0].head[0]["ht"] == "nan"
    assert [row["jet_pt"] for row in found.groups[1].head] == [[], [jets["jet_pt"][1, 0]]]
    json.dumps(found.as_dict(), allow_nan=False)
    text = shown(found)
    for word in ("ht", "MeV", "scalar sum", "background", "negative", "sum_of_weights", "first rows"):
        assert word in text


@pytest.mark.parametrize("chunk_bytes", [inspect_hdf5.CHUNK_BYTES, 700])
def test_one_field_of_a_dataset_file(dataset_file: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int) -> None:
    monkeypatch.setattr(inspect_hdf5, "CHUNK_BYTES", chunk_bytes)
    events, jets = arrays()
    for name, values in (("ht", events["ht"][3:]), ("jets.jet_pt", jets["jet_pt"][jets["valid"]])):
        found = inspect(dataset_file, field=name)
        assert [len(group.fields) for group in found.groups] == [1]
        detail = found.detail
        assert detail is not None
        assert detail.unit == "MeV"
        assert detail.count == len(values) == sum(detail.counts) == detail.quantile_values
        assert detail.std == pytest.approx(values.astype(float).std())
        assert detail.quantiles["0.5"] == pytest.approx(np.median(values))
        assert detail.quantiles["0.95"] == pytest.approx(np.quantile(values.astype(float), 0.95))
        expected = np.histogram(values.astype(float), detail.edges)[0]
        assert list(detail.counts) == expected.tolist()
        assert "quantiles" in shown(found)


def test_integers_have_a_bin_each(dataset_file: Path) -> None:
    detail = inspect(dataset_file, field="label").detail
    assert detail is not None
    assert detail.counts == (750, 250)
    assert detail.edges == (-0.5, 0.5, 1.5)
    constant = inspect(dataset_file, field="source").detail
    assert constant is not None
    assert constant.counts == (N,)


def test_quantiles_of_a_sample(dataset_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "SAMPLE", 200)
    monkeypatch.setattr(inspect_hdf5, "CHUNK_BYTES", 4000)
    detail = inspect(dataset_file, field="jet_pt").detail
    assert detail is not None
    assert detail.quantile_values == 200
    values = arrays()[1]["jet_pt"]
    assert detail.quantiles["1"] == values.max()
    middle = np.median(values[values > 0])
    assert detail.quantiles["0.5"] == pytest.approx(middle, rel=0.2)
    assert "sample of 200" in shown(inspect(dataset_file, field="jet_pt"))


def test_other_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file.attrs["made_by"] = "hand"
        file["a/matrix"] = np.arange(12.0).reshape(4, 3)
        file["scalar"] = 3
        file["names"] = np.array([b"x", b"y"])
        file["empty"] = np.empty(0, [("x", "f4")])
        mixed = np.zeros(3, [("x", "f4"), ("word", "S4")])
        file["mixed"] = mixed
    found = inspect(path, head=1)
    fields = {f"{group.name}.{field.name}": field for group in found.groups for field in group.fields}
    assert set(fields) == {"a/matrix.matrix", "names.names", "empty.x", "mixed.x", "mixed.word"}
    assert (fields["a/matrix.matrix"].min, fields["a/matrix.matrix"].max) == (0, 11)
    assert fields["names.names"].note == fields["mixed.word"].note == "not a number"
    assert fields["empty.x"].min is None
    assert found.weights is None
    assert found.attrs == {"made_by": "hand"}
    json.dumps(found.as_dict(), allow_nan=False)
    assert "made_by" in shown(found)
    empty = inspect(path, field="empty.x").detail
    assert empty is not None
    assert (empty.count, empty.quantiles) == (0, {})
    assert shown(inspect(path, field="empty.x"))
    with pytest.raises(NNTrainerError, match=r"'word' of 'mixed' is \|S4, not a number"):
        inspect(path, field="word")


@pytest.fixture
def ntuple(tmp_path: Path) -> Path:
    rng = np.random.default_rng(2)
    path = tmp_path / "n.root"
    jets = ak.unflatten(rng.exponential(5e4, 6).astype(np.float32), [3, 0, 1, 2])
    branches = {"x": np.array([1.5, np.nan, -2.0, 4.0]), "n": np.array([3, 0, 1, 2], np.int32), "jet_pt": jets}
    with uproot.recreate(path) as file:
        file.mktree("nominal", {"x": "f8", "n": "i4", "jet_pt": "var * float32", "name": "string"}).extend(
            {**branches, "name": ak.Array(["a", "b", "c", "d"])}
        )
        file.mkrntuple("syst/up", branches)
        file.mktree("empty", {"x": "f8"})
    return path


def test_ntuple(ntuple: Path) -> None:
    found = inspect(ntuple, head=3)
    assert [(group.name, group.kind, group.entries) for group in found.groups] == [
        ("nominal", "TTree", 4), ("syst/up", "RNTuple", 4), ("empty", "TTree", 0)
    ]  # fmt: skip
    fields = {field.name: field for field in found.groups[0].fields}
    x = fields["x"]
    assert (x.type, x.count, x.nan, x.min, x.max, x.mean) == ("double", 4, 1, -2, 4, pytest.approx(3.5 / 3))
    assert (fields["jet_pt"].type, fields["jet_pt"].count) == ("float[]", 6)
    assert fields["name"].note
    assert len(found.groups[0].head) == 3
    assert found.groups[0].head[1] == {"x": "nan", "n": 0, "njet_pt": 0, "jet_pt": []}
    assert found.groups[2].fields[0].min is None
    json.dumps(found.as_dict(), allow_nan=False)
    assert "syst/up" in shown(found)
    assert [group.name for group in inspect(ntuple, tree="syst/up").groups] == ["syst/up"]


def test_one_branch(ntuple: Path) -> None:
    found = inspect(ntuple, field="jet_pt", tree="syst/up")
    assert found.detail is not None
    assert (found.detail.group, found.detail.count, sum(found.detail.counts)) == ("syst/up", 6, 6)
    assert shown(found)
    first = inspect(ntuple, field="n").detail
    assert first is not None
    assert (first.group, first.counts) == ("nominal", (1, 1, 1, 1))
    other = inspect(ntuple, field="syst/up.n").detail
    assert other is not None
    assert other.group == "syst/up"
    nothing = inspect(ntuple, field="x", tree="empty").detail
    assert nothing is not None
    assert nothing.count == 0


def test_first_entries_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nntrainer.dataset.inspect_root.SCANNED", 10)
    monkeypatch.setattr("nntrainer.dataset.inspect_root.CHUNK", 4)
    with uproot.recreate(tmp_path / "n.root") as file:
        file["t"] = {"x": np.arange(100)}
    found = inspect(tmp_path / "n.root", head=6)
    assert (found.groups[0].entries, found.groups[0].scanned) == (100, 10)
    assert (found.groups[0].fields[0].count, found.groups[0].fields[0].max) == (10, 9)
    assert [row["x"] for row in found.groups[0].head] == list(range(6))
    assert "first 10" in shown(found)


@pytest.mark.parametrize(
    ("field", "tree", "words"),
    [
        ("jet_pr", None, ["n.root", "'jet_pr'", "Did you mean 'jet_pt'"]),
        ("x", "nominl", ["n.root", "'nominl'", "Did you mean 'nominal'"]),
        ("name", None, ["n.root", "'name'", "char*"]),
    ],
)
def test_wrong_names_in_an_ntuple(ntuple: Path, field: str, tree: str | None, words: list[str]) -> None:
    with pytest.raises(NNTrainerError) as error:
        inspect(ntuple, field=field, tree=tree)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    ("field", "tree", "words"),
    [
        ("hT", None, ["s.h5", "'hT'", "'events', 'jets'"]),
        ("jet_px", None, ["Did you mean 'jet_pt'"]),
        (None, "event", ["s.h5", "'event'", "Did you mean 'events'"]),
        ("jet_pt", "events", ["'jet_pt' in 'events'"]),
    ],
)
def test_wrong_names_in_a_dataset_file(
    dataset_file: Path, field: str | None, tree: str | None, words: list[str]
) -> None:
    with pytest.raises(NNTrainerError) as error:
        inspect(dataset_file, field=field, tree=tree)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_files_that_are_none(tmp_path: Path, dataset_file: Path) -> None:
    with pytest.raises(NNTrainerError, match=r"none\.h5: no such file"):
        inspect(tmp_path / "none.h5")
    (tmp_path / "text.yaml").write_text("name: x")
    with pytest.raises(NNTrainerError, match=r"text\.yaml: neither an HDF5 nor a ROOT file"):
        inspect(tmp_path / "text.yaml")
    (tmp_path / "cut.h5").write_bytes(dataset_file.read_bytes()[:300])
    with pytest.raises(NNTrainerError, match=r"cut\.h5"):
        inspect(tmp_path / "cut.h5")
    with h5py.File(dataset_file, "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(NNTrainerError, match="format 99"):
        inspect(dataset_file)


@pytest.mark.parametrize(
    ("name", "numeric"),
    [
        ("float", True),
        ("std::vector<std::vector<float>>", True),
        ("std::vector<bool>", True),
        ("ROOT::VecOps::RVec<std::uint64_t>", True),
        ("int32_t[3][2]", True),
        ("std::array<double, 4>", True),
        ("unsigned char", True),
        ("char*", False),
        ("std::vector<std::string>", False),
        ("TLorentzVector", False),
        ("unknown", False),
    ],
)
def test_types(name: str, numeric: bool) -> None:
    assert is_numeric(name) == numeric


REAL = {
    "nanoAOD_2015_CMS_Open_Data_ttbar.root": ("Events", "Jet_pt"),
    "uproot-HZZ.root": ("events", "Jet_E"),
    "uproot-HZZ-objects.root": ("events", "muoniso"),
    "uproot-Zmumu.root": ("events", "M"),
    "uproot-issue434.root": ("KM3NET_TIMESLICE_L1", "vector<KM3NETDAQ::JDAQSuperFrame>.id"),
    "uproot-sample-6.16.00-lz4.root": ("sample", "Af4"),
    "uproot-sample-5.30.00-zlib.root": ("sample", "ai4"),
    "uproot-sample-6.08.04-lzma.root": ("sample", "u8"),
    "uproot-physlite-rntuple_v1-0-0-0.root": ("EventTag", "RunNumber"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(real_files: Path, name: str) -> None:
    tree, branch = REAL[name]
    path = real_files / name
    found = inspect(path, head=1, tree=tree)
    with uproot.open(path) as file:
        opened = file[tree]
        assert found.groups[0].entries == opened.num_entries
        assert {field.name for field in found.groups[0].fields} == set(opened.keys())
        full = next(key for key in opened.keys() if key == branch or key.endswith("/" + branch))  # noqa: SIM118
        values = ak.to_numpy(ak.flatten(opened[full].array(), axis=None))
    field = next(each for each in found.groups[0].fields if each.name == full)
    assert (field.count, field.min, field.max) == (len(values), values.min(), values.max())
    assert field.mean == pytest.approx(values.astype(float).mean(), rel=1e-6)
    json.dumps(found.as_dict(), allow_nan=False)
    assert shown(found)
    detail = inspect(path, field=full, tree=tree).detail
    assert detail is not None
    assert sum(detail.counts) == len(values)
