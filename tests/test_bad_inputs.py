"""Bad input: one sentence that names the file and the key or branch, exit code 2, no traceback, nothing lost."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from nntrainer.cli import main

CONFIG = """\
name: bad
data:
  tree: events
  event_id: id
  selection: n > 0
  directory: {out}
  samples:
    - {{name: s, files: {folder}/s.root, label: s}}
    - {{name: b, files: {folder}/b.root, label: b}}
features:
  events: [x]
  objects: {{jets: {{max: 2, features: [jet_pt]}}}}
model: {{name: dense, layers: [4]}}
training: {{epochs: 1}}
"""


def write_ntuple(path: Path, n: int = 50, **change: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    branches = {
        "id": np.arange(n, dtype=np.uint64),
        "n": np.ones(n, np.int32),
        "x": rng.normal(size=n).astype(np.float32),
        "jet_pt": ak.unflatten(rng.random(2 * n).astype(np.float32), np.full(n, 2)),
    }
    branches |= change
    with uproot.recreate(path) as file:
        kinds = {name: "var * float32" if name == "jet_pt" else values.dtype for name, values in branches.items()}
        file.mktree("events", kinds).extend(branches)


class Place:
    """A folder with good ntuples, a good configuration and an existing output."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "datasets"
        self.text = CONFIG.format(folder=folder, out=self.out)
        for name in ("s", "b"):
            write_ntuple(folder / f"{name}.root")
        (folder / "scored").mkdir()
        (folder / "scored" / "precious.root").write_bytes(b"keep me")
        self.config()

    def config(self, old: str = "", new: str = "") -> str:
        if old:
            if old not in self.text:
                raise ValueError(old)
            self.text = self.text.replace(old, new)
        path = self.folder / "c.yaml"
        path.write_text(self.text)
        return str(path)

    def state(self) -> dict[str, str]:
        files = [p for p in self.folder.rglob("*") if p.is_file() and p.suffix != ".yaml"]
        return {str(p.relative_to(self.folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


Case = Callable[[Place], list[str]]


def check(old: str, new: str) -> Case:
    return lambda place: ["check", place.config(old, new)]


def convert(old: str = "", new: str = "") -> Case:
    return lambda place: ["convert", place.config(old, new)]


def after(change: Callable[[Place], object], verb: str = "convert") -> Case:
    def case(place: Place) -> list[str]:
        change(place)
        return [verb, place.config()]

    return case


def truncate(place: Place) -> None:
    path = place.folder / "b.root"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


CASES: list[tuple[str, Case, list[str]]] = [
    ("no such config", lambda p: ["check", str(p.folder / "cc.yaml")], ["cc.yaml", "Did you mean 'c.yaml'"]),
    ("not YAML", check("name: bad", "name: [bad"), ["c.yaml:", "not YAML"]),
    ("a list, not a mapping", lambda p: ["check", p.config(p.text, "- 1\n")], ["c.yaml", "mapping"]),
    ("duplicate key", check("name: bad", "name: bad\nname: worse"), ["c.yaml:2", "'name'", "twice"]),
    ("unknown key", check("epochs", "epoch"), ["c.yaml:14", "training.epoch", "'epochs'"]),
    ("missing block", check("model: {name: dense, layers: [4]}\n", ""), ["model", "required"]),
    ("unknown network", check("name: dense", "name: dence"), ["model.name", "dence", "Did you mean 'dense'"]),
    ("unknown network option", check("layers", "layer"), ["model.layer", "Did you mean 'layers'"]),
    ("wrong type", check("epochs: 1", "epochs: many"), ["training.epochs", "'many'"]),
    ("negative number", check("epochs: 1", "batch_size: -4"), ["training.batch_size", "-4"]),
    ("unknown schedule", check("epochs: 1", "schedule: {name: cosin}"), ["training.schedule", "'cosine'"]),
    (
        "folds and fractions",
        check("training:", "preparation: {folds: 2, fractions: {}}\ntraining:"),
        ["preparation", "folds", "fractions"],
    ),
    (
        "fractions that do not add up",
        check("training:", "preparation: {fractions: {train: 0.9}}\ntraining:"),
        ["preparation.fractions", "1.3"],
    ),
    ("signal that is no label", check("tree: events", "tree: events\n  signal: S"), ["data", "'S'"]),
    ("two samples of a name", check("name: b,", "name: s,"), ["data", "'s'"]),
    ("and in a selection", check("n > 0", "n > 0 and x > 0"), ["c.yaml:5", "data.selection", "&"]),
    ("code in a selection", check("n > 0", "__import__('os').getcwd()"), ["data.selection", "calling"]),
    ("unknown function", check("n > 0", "sqroot(n) > 0"), ["data.selection", "Did you mean 'sqrt'"]),
    (
        "unknown feature maker",
        check("training:", "preparation: {feature_makers: [{maker: magic}]}\ntraining:"),
        ["feature_makers[0]", "magic"],
    ),
    ("no feature of an object", check("[jet_pt]", "[]"), ["features.objects.jets.features", "at least 1"]),
    ("empty max", check("max: 2", "max: 0"), ["features.objects.jets.max", "0"]),
    ("--set without a value", lambda p: ["check", p.config(), "--set", "training.epochs"], ["--set", "="]),
    ("--set of an unknown key", lambda p: ["check", p.config(), "--set", "training.epoch=2"], ["'epochs'"]),
    ("no file", convert("s.root", "nothing*.root"), ["nothing*.root"]),
    ("not ROOT", after(lambda p: (p.folder / "b.root").write_bytes(b"hello" * 99)), ["b.root"]),
    ("empty file", after(lambda p: (p.folder / "b.root").write_bytes(b"")), ["b.root"]),
    ("truncated file", after(truncate), ["b.root"]),
    ("wrong tree", convert("tree: events", "tree: event"), ["s.root", "'event'", "'events'"]),
    ("missing branch", convert("events: [x]", "events: [xx, jet_ptt]"), ["s.root", "xx", "jet_ptt"]),
    (
        "missing branch, check",
        lambda p: ["check", "--data", p.config("[jet_pt]", "[jet_pr]")],
        ["jet_pr", "jet_pt"],
    ),
    ("jagged event feature", convert("events: [x]", "events: [jet_pt]"), ["jet_pt"]),
    ("flat object feature", convert("[jet_pt]", "[x]"), ["'x'"]),
    ("nothing selected", convert("n > 0", "n > 99"), ["n > 99"]),
    ("event id that is no integer", convert("event_id: id", "event_id: x"), ["event_id", "'x'"]),
    (
        "NaN in a feature",
        after(lambda p: write_ntuple(p.folder / "b.root", x=np.full(50, np.nan, np.float32))),
        ["x", "50"],
    ),
    (
        "one class",
        lambda p: ["train", p.config("label: b", "label: s"), "--runs", str(p.folder / "runs")],
        ["labels", "'s'"],
    ),
    ("one class, check", check("label: b", "label: s"), ["labels", "'s'"]),
    (
        "a fold that is not",
        lambda p: ["train", p.config(), "--fold", "7", "--runs", str(p.folder / "runs")],
        ["7"],
    ),
    (
        "unknown stage",
        lambda p: ["run", p.config(), "--stage", "trian", "--runs", str(p.folder)],
        ["'train'"],
    ),
    ("inspect nothing", lambda p: ["inspect", str(p.folder / "none.h5")], ["none.h5"]),
    ("inspect text", lambda p: ["inspect", p.config()], ["c.yaml"]),
    ("inspect a wrong field", lambda p: ["inspect", str(p.folder / "s.root"), "--field", "xyz"], ["xyz"]),
    ("inject without models", lambda p: ["inject", str(p.folder / "s.root")], ["model"]),
    (
        "inject a model that is none",
        lambda p: ["inject", str(p.folder / "s.root"), "--model", p.config(), "-o", str(p.folder / "scored")],
        ["c.yaml"],
    ),
    ("generate an unknown sample", lambda p: ["generate", str(p.folder), "--sample", "ttb"], ["ttb", "ttbb"]),
]


@pytest.mark.parametrize(("case", "words"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_one_sentence(
    case: Case,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = Place(tmp_path)
    arguments = case(place)
    before = place.state()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["nntrainer", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    said = capsys.readouterr().err
    assert exit_.value.code == 2, said
    assert "Traceback" not in said
    for word in words:
        assert word in said
    after_ = place.state()
    assert {name: after_.get(name) for name in before} == before
    assert not [name for name in after_ if name.endswith(".part")]


def test_one_class_is_said_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path)
    config, before = place.config("label: b", "label: s"), set(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["nntrainer", "run", config])
    with pytest.raises(SystemExit):
        main()
    assert "only the label 's'" in capsys.readouterr().err
    assert set(tmp_path.rglob("*")) == before
    monkeypatch.setattr(sys, "argv", ["nntrainer", "run", config, "--stage", "convert"])
    with pytest.raises(SystemExit) as done:
        main()
    assert not done.value.code  # a dataset of one class is one
    assert len(list(place.out.rglob("*.h5"))) == 2


def test_there_are_thirty() -> None:
    assert len(CASES) >= 30
