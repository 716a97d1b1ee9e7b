"""Reading configurations: overrides, and errors that say where and what."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from nntrainer.config import Config, load_config
from nntrainer.errors import ConfigError

ROOT = Path(__file__).parents[2]
GOOD = """\
name: x
data:
  samples:
    - {name: a, files: a.root, label: s}
    - {name: b, files: [b*.root], label: b}
features:
  events: [nJets, {name: q, expression: "met / 1000", unit: GeV}]
model: {name: dense, layers: [8]}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def test_reads_and_fills_defaults(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD), environment={})
    assert config.data.labels == ("s", "b")
    assert config.data.signal_label == "s"
    assert config.preparation.k == 2
    assert config.features.events[1].formula == "met / 1000"
    assert config.model.dump() if hasattr(config.model, "dump") else config.dump()["model"]["layers"] == [8]


def test_resolved_config_reads_back_the_same(tmp_path: Path) -> None:
    import yaml

    config = load_config(ROOT / "configs/tth.yaml", environment={})
    again = load_config(write(tmp_path, yaml.safe_dump(config.dump())), environment={})
    assert again == config
    assert again.digest() == config.digest()


def test_frozen(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD), environment={})
    with pytest.raises(ValidationError, match="frozen"):
        config.training.epochs = 3  # type: ignore[misc]


def test_set_wins_over_environment_wins_over_file(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + "training: {epochs: 1}\n")
    environment = {"NNTRAINER__TRAINING__EPOCHS": "2", "NNTRAINER__TRAINING__BATCH_SIZE": "7"}
    assert load_config(path, environment=environment).training.epochs == 2
    config = load_config(path, ["training.epochs=3", "data.samples.0.files=z.root"], environment)
    assert (config.training.epochs, config.training.batch_size) == (3, 7)
    assert config.data.samples[0].files == ("z.root",)


def test_digest_ignores_where_it_runs(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    base = load_config(path, environment={})
    assert load_config(path, ["deploy.site=elsewhere"], {}).digest() == base.digest()
    assert load_config(path, ["seed=1"], {}).digest() != base.digest()
    assert load_config(path, ["training.epochs=1"], {}).data_digest() == base.data_digest()
    assert load_config(path, ["data.selection=n > 1"], {}).data_digest() != base.data_digest()


def test_all_errors_at_once_with_line_key_and_nearest(tmp_path: Path) -> None:
    text = GOOD.replace("label: s}", "lable: s}").replace("layers", "layer")
    path = write(tmp_path, text + "training:\n  epoch: 3\n  schedule: {name: cosin}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["training.batch_size=0"], {})
    lines = str(caught.value).splitlines()
    assert any(line.startswith(f"{path}:4: data.samples[0].lable") and "'label'?" in line for line in lines)
    assert any(f"{path}:8: model.layer:" in line and "Did you mean 'layers'?" in line for line in lines)
    assert any(f"{path}:10: training.epoch:" in line and "Did you mean 'epochs'?" in line for line in lines)
    assert any(f"{path}:11: training.schedule" in line and "Did you mean 'cosine'?" in line for line in lines)
    assert any(line.startswith("--set training.batch_size:") and "not 0" in line for line in lines)


@pytest.mark.parametrize("name", ["tth.yaml", "minimal.yaml"])
def test_configs_of_the_repository_are_valid(name: str) -> None:
    assert load_config(ROOT / "configs" / name, environment={}).name


def described(model: type, path: str, seen: set[type]) -> list[str]:
    from pydantic import BaseModel

    from nntrainer.config.load import _parts

    missing = []
    for name, field in model.model_fields.items():
        if not field.description and name not in ("name", "maker"):
            missing.append(f"{path}.{name}")
        for part in _parts(field.annotation):
            for each in (part, *getattr(part, "__args__", ())):
                if isinstance(each, type) and issubclass(each, BaseModel) and each not in seen:
                    seen.add(each)
                    missing += described(each, f"{path}.{name}", seen)
    return missing


def test_every_key_has_a_description() -> None:
    seen: set[type] = set()
    assert described(Config, "config", seen) == []
    assert len(seen) > 12
