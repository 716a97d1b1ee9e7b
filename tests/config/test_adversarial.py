"""What the adversarial blocks refuse, in one sentence, and that a configuration without them stays what it was."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nntrainer.cli import main
from nntrainer.config import load_config
from nntrainer.config.adversarial import places
from nntrainer.errors import ConfigError

GOOD = """\
name: x
data:
  samples:
    - {name: a, files: a.root, label: s}
    - {name: b, files: b.root, label: b}
  targets: {q: {kind: regression, expression: x}}
features:
  events: [nJets, met]
  objects: {jets: {max: 2, features: [pt, eta]}, muons: {max: 1, features: [pt]}}
  spectators: [Mbb, pileup]
preparation: {feature_makers: [{maker: MAKER}]}
model: {name: dense, layers: [8]}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(GOOD.replace("preparation: {feature_makers: [{maker: MAKER}]}\n", ""))
    return path


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["training.decorrelation={nuisance: Mbbb}"],
            r"training\.decorrelation\.nuisance: there is no spectator and no event feature 'Mbbb'.*'pileup'.*add it "
            r"to features\.spectators\. Did you mean 'Mbb'\?$",
        ),
        (["evaluation.dependence=[Mbb, pile_up]"], r"evaluation\.dependence: .*'pile_up'.*Did you mean 'pileup'\?$"),
        (
            ["training.decorrelation={nuisance: Mbb}", "training.tasks={q: 1.0}"],
            r"training\.decorrelation: its adversary looks at the score.*tasks has no 'class'; add class: 1\.0",
        ),
        (["evaluation.robustness={}", "training.tasks={q: 1.0}"], r"evaluation\.robustness: .* has no 'class'"),
        (["evaluation.dependence=Mbb", "training.tasks={q: 1.0}"], r"evaluation\.dependence: .* has no 'class'"),
        (
            ["training.robustness={features: [jets.ptt]}"],
            r"training\.robustness\.features: there is no feature 'jets\.ptt'; .*'met'.*Did you mean 'jets\.pt'\?$",
        ),
        (["evaluation.robustness={features: Mbb}"], r"evaluation\.robustness\.features: there is no feature 'Mbb'"),
        (["training.decorrelation.strength=2"], r"training\.decorrelation\.nuisance: this key is required"),
        (["training.decorrelation={nuisance: Mbb, strengh: 1}"], r"no key 'strengh'.*Did you mean 'strength'\?"),
        (["training.robustness={attack: pdg}"], r"'pdg' is not allowed; allowed are fgsm, pgd\. Did you mean 'pgd'\?"),
    ],
)
def test_refused_in_one_sentence(path: Path, overrides: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        load_config(path, overrides, {})
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "the configuration has no block training.decorrelation; name a nuisance"),
        (["--set", "training.decorrelation.nuisance=Mbb", "--strengths", "0,x"], "--strengths '0,x': write numbers"),
        (["--set", "training.decorrelation.nuisance=Mbb", "--strengths=-1"], "--strengths '-1': write numbers from 0"),
    ],
)
def test_trade_off_refuses(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(path.parent)
    monkeypatch.setattr(sys, "argv", ["nntrainer", "trade-off", str(path), *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {says}") and len(said.splitlines()) == 1
    assert sorted(each.name for each in path.parent.iterdir()) == ["c.yaml"]


def test_without_them_no_word_of_them(path: Path) -> None:
    plain = load_config(path, environment={})
    for key in ("decorrelation", "robustness", "dependence"):
        assert key not in str(plain.dump())
    for override in (
        "training.decorrelation.nuisance=Mbb",
        "training.robustness={}",
        "evaluation.dependence=[Mbb]",
        "evaluation.robustness={}",
    ):
        other = load_config(path, [override], {})
        assert other.digest() != plain.digest() and other.data_digest() == plain.data_digest()
        again = path.parent / "again.yaml"
        import yaml

        again.write_text(yaml.safe_dump(other.dump()))
        assert load_config(again, environment={}) == other


def test_a_refused_feature_maker_is_all_that_is_said(path: Path) -> None:
    path.write_text(GOOD)
    with pytest.raises(ConfigError, match="there is no feature maker 'MAKER'") as caught:
        load_config(path, ["training.decorrelation.nuisance=Mbb"], {})
    assert len(str(caught.value).splitlines()) == 1


def test_which_features_may_change() -> None:
    inputs = {"events": ("x", "y"), "jets": ("pt", "eta"), "muons": ("pt",)}
    assert places("k", None, inputs) == {"events": [True] * 2, "jets": [True] * 2, "muons": [True]}
    assert places("k", ("y", "jets.eta", "muons"), inputs) == {
        "events": [False, True],
        "jets": [False, True],
        "muons": [True],
    }
