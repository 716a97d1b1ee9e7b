"""From a run directory to tables and plots: every method on every kind of network, and what goes wrong."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from time import monotonic

import h5py
import numpy as np
import pytest

from nntrainer.cli import main
from nntrainer.explain.explain import explain
from nntrainer.files import sha256
from nntrainer.rundir import RunDir
from tests.explain.conftest import SMALL
from tests.explain.test_methods import METHODS

pytestmark = pytest.mark.slow

EVENTS = 24


@pytest.mark.parametrize("network", SMALL)
def test_every_method_on_every_network(
    network: str, make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, drawn = make_run(network), network in ("dense", "spanet")
    if not drawn:  # for speed: the plots are the same
        monkeypatch.setattr("nntrainer.explain.figures.save", lambda figure, path: [])
    done = explain(path, METHODS, events=EVENTS)
    assert [each.method for each in done.methods] == list(METHODS) and not done.refused
    assert done.title == ("ln P(choice for higgs)" if network == "spanet" else "logit of P(ttH)")
    features = {"nJets", "HT_all", "jets.jet_pt", "jets.jet_eta", "jets.jet_phi", "jets.jet_e", "jets.tag"}
    for each in done.methods:
        assert each.events == each.asked == EVENTS
        assert set(each.levels["features"].names) == features | {"met.met_met", "met.met_phi"}
        assert all(np.isfinite(table.value).all() for table in each.levels.values())
        known = json.loads((path / f"explain/{each.method}.json").read_text())
        assert all((path / plot).stat().st_size > 1000 for plot in known["plots"])
        values = [part["value"] for part in known["importances"]["features"]["parts"]]
        assert values == sorted(values, reverse=True) and len(values) == 9
        if each.method != "permutation":
            sums = {level: sum(table.value) for level, table in each.levels.items()}
            assert sums["features"] == pytest.approx(sums["collections"])
            assert "slots" in sums and drawn == (f"plots/Explain/{each.method}_contributions.png" in known["plots"])
    with h5py.File(path / "explain/shap.h5") as file:
        assert file["values/jets"].shape == file["inputs/jets"].shape == (EVENTS, 7, 5)
        assert file["values/jets"].dtype == np.float32 and set(file["fold"][:]) == (
            {0, 1} if network == "dense" else {0}
        )
        total = sum(file[f"values/{name}"][:].reshape(EVENTS, -1).sum(axis=1) for name in ("events", "jets", "met"))
        np.testing.assert_allclose(total, file["output"][:] - file["base"][:], atol=1e-4)
    assert (path / "plots/Explain/agreement.png").exists()


def test_what_is_up_to_date_is_left(known: Path) -> None:
    RunDir(known).write_manifest()
    first = explain(known, ["integrated_gradients"], events=40)
    assert not first.methods[0].skipped
    table = known / "explain/integrated_gradients.json"
    before = sha256(table)
    again = explain(known, ["integrated_gradients", "permutation"], events=40)
    assert [each.skipped for each in again.methods] == [True, False] and sha256(table) == before
    tables = [each.methods[0].levels["features"] for each in (first, again)]
    one, other = (dict(zip(table.names, table.value, strict=True)) for table in tables)
    assert one == other
    # Methods of both calls are compared.
    assert json.loads((known / "explain/agreement.json").read_text())["methods"] == [
        "integrated_gradients",
        "permutation",
    ]
    for options in ({"events": 40, "force": True}, {"events": 42}, {"events": 42, "seed": 7}):
        assert not explain(known, ["integrated_gradients"], **options).methods[0].skipped  # type: ignore[arg-type]
    assert json.loads((known / "explain/agreement.json").read_text())["methods"] == ["integrated_gradients"]
    # The manifest of a finished run lists what is there now, and nothing else.
    listed = {each["path"]: each["sha256"] for each in json.loads((known / "manifest.json").read_text())["files"]}
    assert listed["explain/integrated_gradients.json"] == sha256(table)
    assert set(listed) == {each["path"] for each in RunDir(known).results()}
    assert "plots/Explain/integrated_gradients_importance.png" in listed


def test_copies_share_and_the_terminal_says_so(
    twice: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["nntrainer", "explain", str(twice), "--events", "100"]
    for method in METHODS:
        argv += ["--method", method]
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setenv("COLUMNS", "160")
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    out = capsys.readouterr().out
    assert "strong and copy tell (nearly) the same, correlation 1.000: they share their importance" in out
    assert "Rank by importance of features" in out and "shap.PermutationExplainer" in out
    found = json.loads((twice / "explain/agreement.json").read_text())
    assert found["shared"] == [{"features": ["strong", "copy"], "correlation": pytest.approx(1.0)}]
    assert found["methods"] == sorted(METHODS) and np.shape(found["spearman"]) == (4, 4)
    assert not (twice / "manifest.json").exists()  # the run is not finished: it has none


def test_a_method_without_enough_time_stops_early(
    known: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nntrainer.explain.batches.monotonic", count(monotonic(), 10).__next__)
    argv = ["nntrainer", "explain", str(known), "--events", "60", "--time", "10", "--method", "shap", "--seed", "9"]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit):
        main()
    assert "shap: time was up after 16 of 60 events; --time gives it more" in capsys.readouterr().out
    found = json.loads((known / "explain/shap.json").read_text())
    assert (found["events"], found["asked"], found["time_limit_s"]) == (16, 60, 10)
    monkeypatch.undo()
    assert explain(known, ["shap"], events=60, seconds=5, seed=9).methods[0].skipped
    assert explain(known, ["shap"], events=60, seconds=100, seed=9).methods[0].events == 60


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["nowhere"], "nowhere is not a run directory: it does not exist; give the directory of a run"),
        (["{empty}"], "is not a run directory: it has no config.yaml"),
        (["{run}/config.yaml"], "is not a run directory: it is a file"),
        (["{untrained}"], "fold 0 is not trained, there is no training/fold0/model.keras; run `nntrainer train"),
        (["{run}", "--method", "shpa"], "there is no method 'shpa'; allowed are"),
        (["{run}", "--method", "shpa"], "Did you mean 'shap'?"),
        (["{run}", "--class", "signl"], "there is no class 'signl'; classes are 's', 'b'."),
    ],
)  # fmt: skip
def test_errors_are_one_sentence(
    given: list[str], said: str, known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "empty").mkdir()
    (tmp_path / "untrained").mkdir()
    shutil.copyfile(known / "config.yaml", tmp_path / "untrained/config.yaml")
    places = {"run": known, "empty": tmp_path / "empty", "untrained": tmp_path / "untrained"}
    monkeypatch.setattr(sys, "argv", ["nntrainer", "explain", *(each.format(**places) for each in given)])
    with pytest.raises(SystemExit) as stop:
        main()
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.startswith("error: ") and said in error and "Traceback" not in error
    assert not list((tmp_path / "empty").iterdir())


def test_a_method_that_does_not_fit(known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nntrainer.errors import ExplainError, MissingDependencyError
    from nntrainer.explain.methods.lime import Lime
    from nntrainer.explain.methods.permutation import Permutation

    def refuse(self: Permutation, config: object) -> None:
        raise ExplainError("permutation fits no network of this kind")

    monkeypatch.setattr(Permutation, "check", refuse)
    with pytest.raises(ExplainError, match="fits no network of this kind"):
        explain(known, ["permutation"], events=20)
    monkeypatch.setattr("nntrainer.errors.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"'lime' needs the package 'lime'.*nntrainer\[explain\]"):
        Lime(name="lime").check(None)
    done = explain(known, events=20)  # of all that are quick, those that fit
    assert "permutation" in done.refused and "integrated_gradients" in [each.method for each in done.methods]
