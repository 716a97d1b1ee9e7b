"""ROOT to HDF5, compared with the same computed event by event; what is counted, skipped and refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import awkward as ak
import h5py
import numpy as np
import pytest
import uproot

from nntrainer.config import Config
from nntrainer.config.parts import dataset_path
from nntrainer.dataset.build import build
from nntrainer.dataset.conversion import convert
from nntrainer.dataset.schema import schema_of
from nntrainer.dataset.store import open_store
from nntrainer.errors import ConfigError, InputError, NNTrainerError

N = 60


def branches(n: int = N, seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 6, n)
    total = int(counts.sum())
    return {
        "eventNumber": 2**53 + 1 + np.arange(n, dtype=np.uint64) + 1000 * seed,
        "w": rng.choice([-0.5, 1.0, 2.0], n),
        "met": rng.exponential(5e4, n).astype(np.float32),
        "njet": counts.astype(np.int32),
        "Jets.pt": ak.unflatten(rng.exponential(5e4, total).astype(np.float32), counts),
        "tag": ak.unflatten(rng.integers(0, 2, total).astype(np.int32), counts),
        "pair": rng.normal(size=(n, 2)).astype(np.float32),
    }


def write(path: Path, content: dict[str, Any] | None = None, kind: str = "TTree", step: int = 25) -> str:
    """Write a tree in several clusters; an RNTuple cannot have dots in names."""
    content = branches() if content is None else content
    if kind == "RNTuple":
        content = {name.replace(".", ":"): values for name, values in content.items()}
    n = len(content["eventNumber"])
    with uproot.recreate(path) as file:
        make = file.mktree if kind == "TTree" else file.mkrntuple
        tree = make("t", {name: values[:step] for name, values in content.items()})
        for start in range(step, n, step):
            tree.extend({name: values[start : start + step] for name, values in content.items()})
    return str(path)


def config(tmp_path: Path, files: list[str] | str, data: dict[str, Any] | None = None, **more: Any) -> Config:
    jets = {
        "max": 3,
        "selection": "tag",
        "features": [{"name": "pt", "expression": 'branch("Jets.pt") / 1000', "unit": "GeV"}],
    }
    block: dict[str, Any] = {
        "tree": "t",
        "directory": str(tmp_path / "datasets"),
        "selection": "big",
        "weight": "w",
        "luminosity_ipb": 10,
        "variables": {"big": "double_met > 4e4", "double_met": "2 * met"},
        "chunk_events": 7,
        "samples": [{"name": "s", "files": files, "label": "sig", "selection": "njet > 0", "weight": "0.5"}],
    }
    content: dict[str, Any] = {
        "name": "test",
        "data": block | (data or {}),
        "features": {
            "events": ["met", {"name": "first", "expression": 'at(branch("Jets.pt"), 0, -1)'}],
            "objects": {"jets": jets, "pairs": {"max": 4, "features": ["pair"]}},
            "spectators": [{"name": "n", "expression": "njet"}],
        },
        "model": "dense",
    }
    return Config.model_validate(content | more)


def expected(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The selected events, computed one by one."""
    rows = []
    for i in range(len(content["eventNumber"])):
        if not (2 * content["met"][i] > 4e4 and content["njet"][i] > 0):
            continue
        pts, tags = content["Jets.pt"][i].to_list(), content["tag"][i].to_list()
        rows.append(
            {
                "entry": i,
                "eventNumber": int(content["eventNumber"][i]),
                "weight": content["w"][i] * 0.5 * 10,
                "met": content["met"][i],
                "first": pts[0],
                "n": len(pts),
                "jets": [np.float32(pt) / np.float32(1000) for pt, tag in zip(pts, tags, strict=True) if tag],
                "pairs": content["pair"][i].tolist(),
            }
        )
    return rows


def check(path: Path, rows: list[dict[str, Any]]) -> None:
    with open_store(path) as store:
        assert store.events == len(rows)
        for name in ("entry", "eventNumber", "weight", "met", "first", "n"):
            column = store.column("events", name)
            assert np.array_equal(column, np.array([row[name] for row in rows], column.dtype)), name
        for collection, field in (("jets", "pt"), ("pairs", "pair")):
            table = store.read(collection)
            for got, row in zip(table, rows, strict=True):
                values = row[collection][: table.shape[1]]
                empty = table.shape[1] - len(values)
                assert got["valid"].tolist() == [True] * len(values) + [False] * empty
                assert got[field].tolist() == pytest.approx([float(v) for v in values] + [0.0] * empty, rel=1e-6)


@pytest.mark.parametrize("chunk", [1, 7, 25, 1000])
@pytest.mark.parametrize("kind", ["TTree", "RNTuple"])
def test_values(tmp_path: Path, kind: str, chunk: int) -> None:
    content = branches()
    settings = config(tmp_path, write(tmp_path / "s.root", content, kind), {"chunk_events": chunk})
    if kind == "RNTuple":
        settings = Config.model_validate_json(settings.model_dump_json().replace("Jets.pt", "Jets:pt"))
    done = convert(settings).samples[0]
    rows = expected(content)
    check(done.path, rows)
    assert done.path == dataset_path(settings, "s")
    assert (done.entries, done.events, done.skipped) == (N, len(rows), False)
    assert done.sum_before == pytest.approx(5 * content["w"].sum())
    assert done.sum_after == pytest.approx(sum(row["weight"] for row in rows))
    assert done.overflow == {"jets": sum(len(row["jets"]) > 3 for row in rows), "pairs": 0}
    assert done.overflow["jets"] > 0


def test_what_the_file_tells(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{name}.root", branches(seed=i)) for i, name in enumerate("ab")]
    settings = config(tmp_path, files)
    path = convert(settings).samples[0].path
    with open_store(path) as store:
        attrs = store.attrs
        assert store.schema == schema_of(settings)
        source, entry = store.column("events", "source"), store.column("events", "entry")
        first = [row["entry"] for row in expected(branches(seed=0))]
        second = [row["entry"] for row in expected(branches(seed=1))]
        assert entry.tolist() == first + second
        assert source.tolist() == [0] * len(first) + [1] * len(second)
    assert [(each["path"], each["entries"]) for each in attrs["sources"]] == [(file, [0, N]) for file in files]
    for each in attrs["sources"]:
        with uproot.open(each["path"]) as file:
            assert each["uuid"] == str(file.file.uuid)
        assert each["size"] == Path(each["path"]).stat().st_size
    assert attrs["config_digest"] == settings.data_digest()
    assert (attrs["label"], attrs["labels"], attrs["signal"], attrs["tree"]) == ("sig", ["sig"], "sig", "t")
    assert attrs["selection"] == ["big", "njet > 0"]
    assert attrs["entries"] == {"before": 2 * N, "after": len(entry)}
    with h5py.File(path) as plain:
        assert plain["jets"].dtype.names == ("valid", "pt")
        assert '"unit": "GeV"' in plain["jets"].attrs["fields"]


def test_up_to_date(tmp_path: Path) -> None:
    file = write(tmp_path / "s.root")
    settings = config(tmp_path, file)
    first = convert(settings).samples[0]
    again = convert(settings).samples[0]
    assert again.skipped and not first.skipped
    assert (again.events, again.sum_before, again.sum_after, again.overflow) == (
        first.events,
        first.sum_before,
        first.sum_after,
        first.overflow,
    )
    assert not convert(settings, force=True).samples[0].skipped
    assert not convert(config(tmp_path, file, {"selection": "met > 0"})).samples[0].skipped
    assert convert(settings).samples[0].skipped
    write(tmp_path / "s.root", branches(seed=2))
    assert not convert(settings).samples[0].skipped
    first.path.write_bytes(first.path.read_bytes()[:-100])
    assert not convert(settings).samples[0].skipped
    check(first.path, expected(branches(seed=2)))


KILLED = """
import os, sys
from nntrainer.config import Config
from nntrainer.dataset import convert

class Bomb:
    def start(self, *args): pass
    def advance(self, n): os.kill(os.getpid(), 9)
    def finish(self): pass

convert(Config.model_validate_json(sys.argv[1]), progress=Bomb())
"""


def test_killed_and_begun_again(tmp_path: Path) -> None:
    settings = config(tmp_path, write(tmp_path / "s.root"))
    path = dataset_path(settings, "s")
    killed = subprocess.run([sys.executable, "-c", KILLED, settings.model_dump_json()], check=False)
    assert killed.returncode == -9
    assert [each.name for each in path.parent.iterdir()] == ["s.h5.part"]
    assert not convert(settings).samples[0].skipped
    assert [each.name for each in path.parent.iterdir()] == ["s.h5"]
    check(path, expected(branches()))


def test_the_functions_for_notebooks() -> None:
    import nntrainer.dataset
    from nntrainer.dataset import convert as lazy

    assert lazy is convert
    with pytest.raises(AttributeError, match="no attribute 'covert'"):
        _ = nntrainer.dataset.covert


def test_nothing_selected(tmp_path: Path) -> None:
    settings = config(tmp_path, [write(tmp_path / "a.root"), write(tmp_path / "b.root")], {"selection": "met < 0"})
    with pytest.raises(InputError, match=r"sample 's' has no event: the selection 'met < 0 and njet > 0' keeps none"):
        convert(settings)
    assert not list((tmp_path / "datasets").rglob("*.*"))


def test_an_empty_tree_among_others(tmp_path: Path) -> None:
    nothing = {name: values[:0] for name, values in branches().items()}
    files = [write(tmp_path / "a.root", nothing), write(tmp_path / "b.root")]
    check(convert(config(tmp_path, files)).samples[0].path, expected(branches()))
    with pytest.raises(InputError, match=r"there are 0 entries in .*a\.root"):
        convert(config(tmp_path, files[0]))


def test_duplicate_event_ids(tmp_path: Path) -> None:
    content = branches()
    content["eventNumber"][:] = np.arange(N)
    content["eventNumber"][-4:] = 0
    files = [write(tmp_path / "s.root", content), write(tmp_path / "b.root", content)]
    samples = [{"name": name, "files": file, "label": name} for name, file in zip("sb", files, strict=True)]
    done = convert(config(tmp_path, files, {"samples": samples, "selection": None}))
    assert done.duplicates == {"s": 4, "b": 4, "between samples": N - 4}
    assert done.paths == [each.path for each in done.samples]
    assert [each.sample for each in convert(config(tmp_path, files, {"samples": samples}), samples=["b"]).samples] == [
        "b"
    ]
    with pytest.raises(InputError, match="no sample 'c'; samples are 's', 'b'"):
        convert(config(tmp_path, files, {"samples": samples}), samples=["c"])


def with_nan() -> dict[str, Any]:
    content = branches()
    content["met"][:] = 1e5
    content["njet"][:] = 1
    content["njet"][5] = 0  # not selected
    content["pair"][[3, 4, 5, 40], 0] = np.nan, np.inf, np.nan, -np.inf
    return content


def test_nan_is_refused_with_counts(tmp_path: Path) -> None:
    settings = config(tmp_path, write(tmp_path / "s.root", with_nan()), {"chunk_events": 1000})
    with pytest.raises(InputError, match=r"s\.root: tree 't': NaN or infinity in feature 'pairs\.pair' \(3 values\)"):
        convert(settings)
    assert not list((tmp_path / "datasets").rglob("*.h5*"))


def test_nan_is_replaced_and_counted(tmp_path: Path) -> None:
    policy = {"non_finite": {"policy": "replace", "value": -7}}
    path = convert(config(tmp_path, write(tmp_path / "s.root", with_nan()), policy)).samples[0].path
    with open_store(path) as store:
        assert store.attrs["non_finite"] == {"pairs.pair": 3}
        chosen = np.isin(store.column("events", "entry"), [3, 4, 40])
        assert np.array_equal(store.read("pairs")["pair"][:, 0] == -7, chosen)


def test_too_large_for_a_float_is_infinite(tmp_path: Path) -> None:
    features = {"events": [{"name": "huge", "expression": "float64(met) * 1e300"}]}
    with pytest.raises(InputError, match="NaN or infinity in feature 'huge'"):
        convert(config(tmp_path, write(tmp_path / "s.root"), features=features))


def test_made_features_are_looked_at_too(tmp_path: Path) -> None:
    makers = {"feature_makers": [{"maker": "ht", "collection": "jets", "pt": "pt"}]}
    jets = {"max": 3, "features": [{"name": "pt", "expression": 'branch("Jets.pt") * 0 + 3e38'}]}
    features = {"events": ["met"], "objects": {"jets": jets}}
    with pytest.raises(InputError, match="NaN or infinity in feature 'ht'"):
        convert(config(tmp_path, write(tmp_path / "s.root"), features=features, preparation=makers))


def test_all_missing_branches_at_once(tmp_path: Path) -> None:
    content = branches()
    del content["met"], content["tag"]
    settings = config(tmp_path, write(tmp_path / "s.root", content))
    with pytest.raises(InputError, match=r"s\.root: tree 't' has no branches .*'met'.*'tag'|.*'tag'.*'met'"):
        convert(settings)


def test_a_number_an_event_is_the_object_of_a_collection_with_one_slot(tmp_path: Path) -> None:
    met = {"max": 1, "features": ["met", {"name": "twice", "expression": "2 * met"}], "selection": "met > 5e4"}
    settings = config(tmp_path, write(tmp_path / "s.root"), features={"objects": {"met": met}})
    convert(settings)
    with open_store(dataset_path(settings, "s")) as store:
        table = store.read("met")
    met = np.array([row["met"] for row in expected(branches())])
    assert 0 < (met > 5e4).sum() < len(met)
    np.testing.assert_array_equal(table["valid"][:, 0], met > 5e4)
    np.testing.assert_array_equal(table["twice"][:, 0], np.where(met > 5e4, 2 * met, 0))


@pytest.mark.parametrize(
    ("where", "feature", "words"),
    [
        ("events", "text", "feature 'text': 'text' must give one number an event, and gives string"),
        ("events", "tag", "feature 'tag': 'tag' must give one number an event, and gives var * int32"),
        ("events", "nested", "feature 'nested': 'nested' must give one number an event, and gives var * var"),
        ("jets", "met", "feature 'met' of 'jets': 'met' must give a list of numbers an event"),
        ("jets", "nested", "feature 'nested' of 'jets': 'nested' must give a list of numbers an event, and gives var"),
        ("jets", "text", "feature 'text' of 'jets': 'text' must give a list of numbers"),
        ("jets", "pair", "'pair' has other numbers of objects in an event than 'tag'"),
        ("jets", "tag[:2]", "gives 2 entries instead of 60; slice objects by x[:, :2]"),
    ],
)
def test_wrong_kinds_of_branches(tmp_path: Path, where: str, feature: str, words: str) -> None:
    content = branches()
    content["text"] = ak.Array(["a", "bc"] * (N // 2))
    content["nested"] = ak.Array([[[1, 2], []], [[3]]] * (N // 2))
    file = write(tmp_path / "s.root", content, "RNTuple")
    named = {"name": feature.split("[")[0], "expression": feature}
    features: dict[str, Any] = {"events": [named]}
    if where == "jets":
        both = [{"name": "other", "expression": "tag"}, named] if feature == "pair" else [named]
        features = {"objects": {"jets": {"max": 2, "features": both}}}
        words = words.replace("than 'tag'", "than 'other'")
    with pytest.raises(InputError) as error:
        convert(config(tmp_path, file, {"chunk_events": 1000}, features=features))
    assert str(error.value).startswith(f"{file}: tree 't': ") and words in str(error.value)


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ({"events": ["entry"]}, "'entry' would be there twice"),
        (
            {"objects": {"jets": {"max": 1, "features": ["valid"]}}},
            "features.objects.jets.features: the column 'valid'",
        ),
        ({"objects": {"events": {"max": 1, "features": ["tag"]}}}, "no collection can be called 'events'"),
    ],
)
def test_columns_of_one_name(tmp_path: Path, features: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        convert(config(tmp_path, write(tmp_path / "s.root"), features=features))
    assert words in str(error.value)


def test_variables_in_a_circle(tmp_path: Path) -> None:
    circle = {"variables": {"a": "b + 1", "b": "a + 1"}, "selection": "a > 0"}
    with pytest.raises(NNTrainerError, match="a → b → a"):
        convert(config(tmp_path, write(tmp_path / "s.root"), circle))


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    content = branches()
    content["met"][:] = 1e5
    content["njet"][:] = 1
    content["w"][[7, 8]] = np.nan
    with pytest.raises(InputError, match=r"data\.weight: 'w' is NaN or infinite for 2 selected events"):
        convert(config(tmp_path, write(tmp_path / "s.root", content)))


@pytest.mark.parametrize("bad", ["met", "njet - 9"])
def test_event_ids_that_are_none(tmp_path: Path, bad: str) -> None:
    with pytest.raises(InputError, match=r"data\.event_id: '.*' (must give integers|is negative)"):
        convert(config(tmp_path, write(tmp_path / "s.root"), {"event_id": bad}))


def test_missing_values() -> None:
    """An RNTuple's optional fields: a missing number is NaN, a missing list empty, a missing truth value false."""
    arrays = {
        "eventNumber": np.arange(4, dtype=np.uint64),
        "x": ak.Array([1.0, None, 3.0, 4.0]),
        "flag": ak.Array([True, True, None, True]),
        "pt": ak.Array([[1.0, None], [], [2.0], None]),
    }
    settings = Config.model_validate(
        {
            "name": "test",
            "data": {
                "samples": [{"name": "s", "files": "f", "label": "s"}],
                "selection": "flag",
                "non_finite": {"policy": "replace", "value": -1},
            },
            "features": {"events": ["x"], "objects": {"jets": {"max": 2, "features": ["pt"]}}},
            "model": "dense",
        }
    )
    rows = build(settings, arrays)
    assert rows.selected.tolist() == [True, True, False, True]
    assert rows.events["x"].tolist() == [1, -1, 3, 4]
    assert rows.objects["jets"]["pt"].tolist() == [[1, -1], [0, 0], [2, 0], [0, 0]]
    assert rows.objects["jets"]["valid"].sum(axis=1).tolist() == [2, 0, 1, 0]
    assert rows.non_finite == {"x": 1, "jets.pt": 1}


def test_progress_ends_after_an_error(tmp_path: Path) -> None:
    told: list[str] = []

    class Told:
        def start(self, description: str, total: int | None, unit: str = "events") -> None:
            told.append(f"{description} {total} {unit}")

        def advance(self, n: int) -> None:
            told.append(str(n))

        def note(self, text: str) -> None:
            told.append(text)

        def finish(self) -> None:
            told.append("end")

    file = write(tmp_path / "s.root")
    convert(config(tmp_path, file, {"chunk_events": 40}), progress=Told())
    assert told == ["convert s 60 events", "50", "10", "end"]  # a chunk ends where baskets do
    with pytest.raises(InputError):
        convert(config(tmp_path, file, {"event_id": "met"}), progress=Told())
    assert told[4:] == ["convert s 60 events", "end"]


def test_toy(tmp_path: Path, toy_files: list[Path]) -> None:
    samples = [{"name": p.stem, "files": str(p), "label": p.stem} for p in toy_files]
    content = {
        "name": "toy",
        "data": {"samples": samples, "directory": str(tmp_path), "chunk_events": 150},
        "features": {"objects": {"jets": {"max": 4, "features": ["jet_pt"]}}},
        "model": "dense",
    }
    done = convert(Config.model_validate(content))
    assert set(done.duplicates.values()) == {0}
    for each, file in zip(done.samples, toy_files, strict=True):
        with uproot.open(file) as source, open_store(each.path) as store:
            pt = source["nominal_Loose"]["jet_pt"].array()
            padded = ak.to_numpy(ak.fill_none(ak.pad_none(pt, 4, clip=True), 0)).astype(np.float32)
            assert np.array_equal(store.column("jets", "jet_pt"), padded)
