"""Several dataset files as one dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nntrainer.dataset.dataset import open_dataset
from nntrainer.dataset.schema import BOOKKEEPING, Field, ObjectSchema, Schema
from nntrainer.dataset.store import StoreWriter
from nntrainer.errors import StoreError

SCHEMA = Schema(
    (*BOOKKEEPING, Field("ht", "f4", "MeV", "scalar sum")),
    {"jets": ObjectSchema(3, (Field("jet_pt", "f4", "MeV"), Field("jet_eta")))},
)


def write(path: Path, n: int, label: int, schema: Schema = SCHEMA, **attrs: Any) -> Path:
    rng = np.random.default_rng(n)
    events = np.zeros(n, schema.dtype())
    events["eventNumber"] = 2**60 + np.arange(n, dtype=np.uint64)
    events["label"] = label
    events["weight"] = rng.normal(1, 0.8, n)
    events[schema.events[-1].name] = rng.exponential(1e5, n)
    jets = np.zeros((n, 3), schema.objects["jets"].dtype())
    jets["valid"] = np.arange(3) < (np.arange(n) % 4)[:, None]
    jets["jet_pt"] = np.where(jets["valid"], rng.exponential(5e4, (n, 3)), 0)
    told = {"sample": path.stem, "labels": ["signal", "background"], "signal": "signal"}
    with StoreWriter(path, schema, {**told, **attrs}) as store:
        store.append(events[: n // 2], {"jets": jets[: n // 2]})
        store.append(events[n // 2 :], {"jets": jets[n // 2 :]})
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [write(tmp_path / "s.h5", 10, 0), write(tmp_path / "b.h5", 7, 1), write(tmp_path / "none.h5", 0, 1)]


def test_files_follow_each_other(files: list[Path]) -> None:
    with open_dataset(files) as dataset:
        assert (dataset.n, len(dataset)) == (17, 17)
        assert dataset.labels == ("signal", "background")
        assert dataset.signal == "signal"
        assert dataset.samples == ("s", "b", "none")
        assert dataset.sample_index.tolist() == [0] * 10 + [1] * 7
        assert dataset.column("label").tolist() == [0] * 10 + [1] * 7
        assert dataset.column("eventNumber").dtype == np.uint64
        assert dataset.column("eventNumber")[9] == 2**60 + 9
        assert dataset.events(["ht", "weight"]).dtype.names == ("ht", "weight")
        assert np.array_equal(dataset.events()["ht"], dataset.column("ht"))
        jets = dataset.objects("jets")
        assert jets.shape == (17, 3)
        assert np.array_equal(jets["jet_pt"], dataset.column("jet_pt", "jets"))
        assert jets["valid"].sum(axis=1).tolist() == [i % 4 for i in range(10)] + [i % 4 for i in range(7)]


def test_one_file_or_a_directory(files: list[Path]) -> None:
    with open_dataset(files[0]) as one, open_dataset(files[0].parent) as every:
        assert (one.n, every.n) == (10, 17)
        assert every.samples == ("b", "none", "s")


def test_frames(files: list[Path]) -> None:
    with open_dataset(files) as dataset:
        events, jets = dataset.to_pandas(), dataset.to_pandas("jets")
        table = dataset.objects("jets")
    assert events.index.name == "event"
    assert events.shape == (17, 7)
    assert events["sample"].tolist() == ["s"] * 10 + ["b"] * 7
    assert jets.index.names == ["event", "slot"]
    assert list(jets.columns) == ["jet_pt", "jet_eta"]
    assert len(jets) == table["valid"].sum()
    assert jets.loc[(13, 2), "jet_pt"] == table["jet_pt"][13, 2] > 0
    assert (10, 0) not in jets.index  # the first event of the second file has no jet
    leading = jets.xs(0, level="slot")["jet_pt"]
    assert events.join(leading)["jet_pt"].notna().sum() == (table["valid"][:, 0]).sum()


def test_what_is_not_there_is_named(files: list[Path], tmp_path: Path) -> None:
    with open_dataset(files) as dataset:
        with pytest.raises(StoreError, match=r"no field 'htt' in 'events'.*Did you mean 'ht'"):
            dataset.column("htt")
        with pytest.raises(StoreError, match=r"no dataset 'jet'.*Did you mean 'jets'"):
            dataset.objects("jet")
        with pytest.raises(StoreError, match="no field 'x' in 'jets'"):
            dataset.objects("jets", ["x"])
        with pytest.raises(StoreError, match="no dataset 'muons'"):
            dataset.to_pandas("muons")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="empty is a directory without dataset files"):
        open_dataset(tmp_path / "empty")
    with pytest.raises(StoreError, match="at least one file"):
        open_dataset([])
    with pytest.raises(StoreError, match=r"missing\.h5"):
        open_dataset([files[0], tmp_path / "missing.h5"])


def test_files_that_do_not_fit(files: list[Path], tmp_path: Path) -> None:
    labels = write(tmp_path / "labels.h5", 3, 0, labels=["signal", "other"])
    with pytest.raises(StoreError, match=r"labels\.h5 has labels .*'other'.*s\.h5"):
        open_dataset([files[0], labels])
    schema = Schema((*BOOKKEEPING, Field("mass")), SCHEMA.objects)
    fields = write(tmp_path / "fields.h5", 3, 0, schema)
    with pytest.raises(StoreError, match=r"fields\.h5 has other fields than .*s\.h5"):
        open_dataset([files[0], fields])
