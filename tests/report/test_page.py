"""The page of a run: what is on it, what is not, and that it needs nothing beside it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from nntrainer.errors import RunError
from nntrainer.files import sha256
from nntrainer.report.page import comparison, page, report
from nntrainer.report.read import read_run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


class Parsed(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._skip = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self._skip = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._skip = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._skip else data + " "


@pytest.fixture(scope="module")
def parsed(rich_run: Path) -> Parsed:
    return Parsed((rich_run / "report.html").read_text())


def test_a_run_ends_with_its_page(finished_run: Path) -> None:
    record = json.loads((finished_run / "run.json").read_text())
    assert list(record["stages"])[-1] == "report" and record["stages"]["report"]["state"] == "done"
    files = {each["path"]: each for each in json.loads((finished_run / "manifest.json").read_text())["files"]}
    assert files["report.html"]["sha256"] == sha256(finished_run / "report.html")
    assert (finished_run / "report.html").stat().st_size < 3e6


def test_it_says_what_was_run_and_found(rich_run: Path, parsed: Parsed) -> None:
    metrics = json.loads((rich_run / "metrics.json").read_text())
    auc, text = metrics["auc"], " ".join(parsed.text.split())
    for word in (
        metrics["config_digest"],
        metrics["provenance"]["git_commit"],
        f"{auc['test']:.4f} ± {auc['test_error']:.4f}",
        f"{metrics['folds'][1]['auc']:.4f}",
        "ROC curves",
        "Confusion",
        "Discriminant of s",
        "(x > -9) & (y < 9)",
        metrics["samples"][0]["files"][0]["uuid"],
        "largest difference to Keras",
        "jets[0].pt",
        "validation: two sample",
        "the classifier tells them apart (AUC 0.61)",
        "two samples & <b>a classifier</b>",
        "class_balance",
    ):
        assert word in text, word
    assert "0.1, 0.1" not in text  # long lists are not read by anybody
    titles = re.findall(r"<h2>(.*?)</h2>", (rich_run / "report.html").read_text())
    assert titles == [
        *("Summary", "What was run", "Data and weights", "Inputs", "Training", "Evaluation", "Decisions"),
        *("What the network looks at", "Validation and robustness"),
    ]


def test_names_with_a_meaning_in_html_are_text(parsed: Parsed) -> None:
    assert parsed.tags.count("script") == 1 and "b" not in parsed.tags and parsed.tags.count("title") == 1
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert """<img src=x onerror="alert(1)"> & 'so'""" in parsed.text
    assert "<script>alert(2)</script>" in parsed.text and "</title><script>alert(3)</script>" in parsed.text


def test_it_needs_nothing_beside_it(parsed: Parsed) -> None:
    for name, value in parsed.attributes:
        if name in ("src", "href", "action", "srcset", "poster", "data"):
            assert value.startswith(("data:", "#")), value
    anchors = {value for name, value in parsed.attributes if name == "id"}
    assert {value[1:] for name, value in parsed.attributes if name == "href" and value[0] == "#"} <= anchors
    assert len(anchors) == len([1 for name, _ in parsed.attributes if name == "id"])
    assert not [name for name, _ in parsed.attributes if name == "style"]  # the policy would refuse them


def test_the_same_run_gives_the_same_page(rich_run: Path) -> None:
    assert page(read_run(rich_run)) == (rich_run / "report.html").read_text()


def test_it_is_made_without_anything_heavy(rich_run: Path, tmp_path: Path) -> None:
    heavy = {"tensorflow", "keras", "matplotlib", "h5py", "uproot", "awkward", "onnx", "onnxruntime", "scipy", "PIL"}
    code = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {heavy!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
sys.argv = ["nntrainer", "report", {str(rich_run)!r}, "-o", {str(tmp_path / "p.html")!r}]
from nntrainer.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "data:image/png;base64," in (tmp_path / "p.html").read_text()


def test_plots_that_do_not_fit_are_named(rich_run: Path) -> None:
    small = page(read_run(rich_run), largest=60_000)
    assert small.count("data:image/png") >= 1 and len(small) < 400_000
    assert "plots/Inputs/x.png" in small and "plots are only named here" in small


def test_a_run_that_has_only_begun(finished_run: Path, tmp_path: Path) -> None:
    shutil.copy(finished_run / "config.yaml", tmp_path)
    html = page(read_run(tmp_path))
    assert "What was run" in html and "<h2>Evaluation" not in html
    record = json.loads((finished_run / "run.json").read_text())
    record["stages"]["train"]["state"] = "failed"
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert "The stage train is failed" in page(read_run(tmp_path))


def test_the_page_made_again_is_still_what_the_manifest_says(finished_run: Path, tmp_path: Path) -> None:
    from nntrainer.rundir import RunDir

    path = tmp_path / "run"
    shutil.copytree(finished_run, path)
    (path / "parts").mkdir()
    files = json.loads((path / "manifest.json").read_text())["files"]
    (path / "parts" / "evaluate.json").write_text(json.dumps({"state": "done", "files": files}))
    (path / "plots" / "Evaluation" / "roc.png").unlink()
    RunDir(path).renew(report([path]).name)
    for name in ("manifest.json", "parts/evaluate.json"):
        (entry,) = [e for e in json.loads((path / name).read_text())["files"] if e["path"] == "report.html"]
        assert entry["sha256"] == sha256(path / "report.html") != sha256(finished_run / "report.html")


def test_what_is_wrong_is_said(rich_run: Path, finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="give --output"):
        report([rich_run, finished_run])
    with pytest.raises(RunError, match=r"not a run directory.*The latest run in it is"):
        report([rich_run.parent])
    with pytest.raises(RunError, match="not a run directory"):
        report([tmp_path / "nothing"])
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot be written: .*--output"):
        report([rich_run], tmp_path / "file" / "page.html")
    shutil.copy(finished_run / "config.yaml", tmp_path)
    (tmp_path / "metrics.json").write_text('{"auc": ')
    done = subprocess.run(
        [sys.executable, "-m", "nntrainer", "report", str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 2 and "metrics.json: the file is damaged" in done.stderr
    assert "Traceback" not in done.stderr


def test_runs_beside_one_another(rich_run: Path, finished_run: Path, tmp_path: Path) -> None:
    import yaml

    other = tmp_path / "other"
    shutil.copytree(finished_run, other)
    config: dict[str, Any] = yaml.safe_load((other / "config.yaml").read_text())
    config["training"]["batch_size"] = 4096
    config["data"]["samples"][2]["label"] = "<i>c"
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    metrics = json.loads((other / "metrics.json").read_text())
    metrics["auc"]["test"] = 0.4321
    (other / "metrics.json").write_text(json.dumps(metrics))
    html = comparison([read_run(rich_run), read_run(other)], largest=0)
    parsed = Parsed(html)
    assert "i" not in parsed.tags and "0.4321 ±" in parsed.text
    differ = html[html.index('id="configuration"') : html.index('id="metrics"')]
    assert re.findall(r"<td>(.*?)</td>", differ) == [
        *("data.samples.c.label", "c", "&lt;i&gt;c"),
        *("training.batch_size", "64", "4096"),
    ]
    assert parsed.text.count("A: ROC curves") == parsed.text.count("B: ROC curves") >= 1
    assert "A: a Explain plot" in parsed.text and "B: a Explain plot" not in parsed.text
    same = comparison([read_run(finished_run), read_run(finished_run)], largest=0)
    assert "All have the same configuration." in same


def test_configurations_are_compared_key_by_key() -> None:
    from nntrainer.report.compare import flattened

    config = {
        "name": "n",
        "features": {"events": [{"name": "x", "unit": "", "expression": None}, {"name": "y", "unit": "GeV"}]},
        "model": {"name": "dense", "layers": [4, 2]},
        "makers": [{"maker": "pairs", "max": 3}],
        "empty": [],
        "deploy": {},
    }
    assert dict(flattened(config)) == {
        "name": "n",
        "features.events.x": "yes",
        "features.events.y.unit": "GeV",
        "model.name": "dense",
        "model.layers": "[4, 2]",
        "makers.0.maker": "pairs",
        "makers.0.max": "3",
    }
