"""Networks that people write themselves: a list of layers, a Python file; and one more file in the package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nntrainer.config import Config, load_config
from nntrainer.config.registry import NETWORKS
from nntrainer.errors import ConfigError
from nntrainer.export.onnx_export import to_onnx
from nntrainer.export.parity import largest_difference
from nntrainer.networks.inputs import fit_scaling
from nntrainer.networks.model import build_model, check_model, load_model
from nntrainer.networks.user_layers import LAYERS

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
JETS = [
    {"layer": "Dense", "units": 8, "activation": "gelu", "name": "jet", "from": "jets"},
    {"layer": "MaskedPool", "kind": "mean", "name": "mean", "from": ["jet", "jets_valid"]},
    {"layer": "Concatenate", "name": "both", "from": ["mean", "events"]},
    {"layer": "Dense", "units": 8, "activation": "relu"},
    {"layer": "Dropout", "rate": 0.1},
]
CODE = """\
import keras

@keras.saving.register_keras_serializable("mine")
class Double(keras.layers.Layer):
    def call(self, x):
        return 2 * x

def build(inputs, outputs, config):
    x = keras.layers.Dense(8, activation="gelu")(inputs.flat())
    return keras.layers.Dense(outputs)(Double()(x))
"""


def given(model: dict[str, Any], labels: int = 2, events: bool = True) -> dict[str, Any]:
    samples = [{"name": f"s{i}", "files": ["a.root"], "label": f"s{i}"} for i in range(labels)]
    features = {"events": ["x", "y"] if events else [], "objects": {"jets": {"max": 4, "features": ["pt", "eta"]}}}
    return {"name": "toy", "data": {"samples": samples}, "features": features, "network_type": "set", "model": model}


def config_of(model: dict[str, Any], labels: int = 2, events: bool = True) -> Config:
    return Config.model_validate(given(model, labels, events))


def inputs_of(n: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    valid = (np.arange(4) < random.integers(0, 5, n)[:, None]).astype(np.float32)
    jets = random.normal(size=(n, 4, 2)).astype(np.float32) * valid[..., None]
    return {"events": random.normal(size=(n, 2)).astype(np.float32), "jets": jets, "jets_valid": valid}


def built(config: Config) -> tuple[Any, dict[str, np.ndarray]]:
    inputs = inputs_of(1024)
    if not config.features.events:
        del inputs["events"]
    return build_model(config, fit_scaling("standard", inputs, np.arange(200)), 7), inputs


def written(folder: Path, text: str, name: str = "my_net.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.mark.parametrize("labels", [2, 3])
def test_a_list_of_layers_is_a_network(labels: int, tmp_path: Path) -> None:
    config = config_of({"name": "layers", "layers": JETS}, labels)
    model, inputs = built(config)
    scores = model.predict_on_batch(inputs)
    assert scores.shape == (1024, 1 if labels == 2 else labels) and scores.std() > 1e-3
    rubbish = dict(inputs, jets=np.where(inputs["jets_valid"][..., None] > 0, inputs["jets"], np.nan))
    np.testing.assert_array_equal(model.predict_on_batch(rubbish), scores)
    (tmp_path / "m.onnx").write_bytes(to_onnx(model).SerializeToString())
    assert largest_difference(model, tmp_path / "m.onnx", inputs, (1, 7, 1024)) <= 1e-5
    again = Config.model_validate(config.dump())
    assert again.digest() == config.digest()


def test_every_layer_that_may_be_named_is_written_as_onnx(tmp_path: Path) -> None:
    pairs = {"from": ["a", "b"]}
    special: dict[str, dict[str, Any]] = {
        "Activation": {"activation": "silu"},
        "AveragePooling1D": {"pool_size": 2},
        "Conv1D": {"filters": 4, "kernel_size": 2, "padding": "same"},
        "Dense": {"units": 4},
        "Dot": {"axes": 2},
        "Dropout": {"rate": 0.1},
        "GaussianDropout": {"rate": 0.1},
        "GaussianNoise": {"stddev": 0.1},
        "Masked": {"from": ["a", "jets_valid"]},
        "MaskedAttention": {"heads": 2, "from": ["a", "a", "b", "jets_valid"]},
        "MaskedPool": {"kind": "max", "from": ["a", "jets_valid"]},
        "Permute": {"dims": [2, 1]},
        "RepeatVector": {"n": 3, "from": "events"},
        "Reshape": {"target_shape": [8, 2]},
        "SpatialDropout1D": {"rate": 0.1},
    }
    layers: list[dict[str, Any]] = [{"layer": "Dense", "units": 4, "name": n, "from": "jets"} for n in ("a", "b")]
    ends = []
    for index, name in enumerate(LAYERS):
        merges = name in ("Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract")
        layers.append(
            {"layer": name, "name": f"l{index}", **(pairs if merges else {"from": "a"}), **special.get(name, {})}
        )
        layers.append({"layer": "Flatten", "name": f"f{index}"})
        ends.append(f"f{index}")
    layers += [{"layer": "Concatenate", "from": ends}, {"layer": "Dense", "units": 4}]
    config = config_of({"name": "layers", "layers": layers})
    assert not config.model.by_event  # batch normalisation is among them
    model, inputs = built(config)
    (tmp_path / "m.onnx").write_bytes(to_onnx(model).SerializeToString())
    assert largest_difference(model, tmp_path / "m.onnx", inputs, (1, 7, 1024)) <= 1e-5


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([{"layer": "Dens", "units": 3}], r"entry 0: there is no layer 'Dens'.*Did you mean 'Dense'"),
        ([{"units": 3}], "entry 0: the key 'layer' is missing"),
        ([{"layer": "Lambda"}], "there is no layer 'Lambda'"),
        (
            [{"layer": "Dense", "units": 3, "name": "a", "from": "jet"}, {"layer": "Flatten"}],
            r"entry 0 \(Dense 'a'\): from names 'jet', and nothing is called so.*Did you mean 'jets'",
        ),
        (
            [{"layer": "Dense", "units": 3, "from": "a"}, {"layer": "Dense", "units": 3, "name": "a"}],
            r"entry 0 \(Dense\): from names 'a', which is not an earlier entry",
        ),
        ([{"layer": "Dense", "units": 3, "name": "a"}] * 2, r"entry 1 \(Dense 'a'\): another entry is called 'a'"),
        ([{"layer": "Dense", "units": 3, "name": "jets"}], "'jets' is an input; take another name"),
        ([{"layer": "Dense", "units": 3, "name": "a b"}], "'name' is made of letters, digits and underscores"),
        ([{"layer": "Dense", "units": 3, "from": 3}], "'from' is a name or a list of names, not 3"),
        ([{"layer": "Dense", "units": {"a": 1}}], "'units' is a number, a word or a list of them, not a mapping"),
    ],
)
def test_a_wrong_list_is_refused_with_the_configuration(entries: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config_of({"name": "layers", "layers": entries})


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([{"layer": "Dense", "unit": 3}], r"entry 0 \(Dense\): Dense has no argument 'unit'.*Did you mean 'units'"),
        ([{"layer": "Dense", "units": "many"}], r"entry 0 \(Dense\) cannot be applied to 'flat' \(None, 14\): .*many"),
        ([{"layer": "Dense"}], r"entry 0 \(Dense\) cannot be applied .*units"),
        (
            [{"layer": "Add", "name": "sum", "from": ["events", "flat"]}],
            r"'sum'\) cannot be applied to 'events' \(None, 2\)",
        ),
        ([{"layer": "Add"}], "Add is applied to several tensors, and 'from' names 1: 'flat'"),
        (
            [{"layer": "Dense", "units": 2, "from": ["events", "flat"]}],
            "Dense is applied to one tensor, and 'from' names 2",
        ),
        ([{"layer": "Dense", "units": 2, "from": "jets"}], r"the last one, gives \(None, 4, 2\) and must give one row"),
        ([{"layer": "MaskedAttention", "heads": 3, "from": ["jets", "jets", "jets", "jets_valid"]}], "into 3 heads"),
    ],
)
def test_what_only_building_shows_is_one_sentence(entries: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        check_model(config_of({"name": "layers", "layers": entries}))
    assert str(caught.value).startswith("model.layers: entry 0") and "\n" not in str(caught.value)


@pytest.mark.parametrize("labels", [2, 3])
def test_a_file_is_a_network(labels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path, CODE)
    config = config_of({"name": "file", "file": file}, labels)
    check_model(config)
    model, inputs = built(config)
    scores = model.predict_on_batch(inputs)
    assert scores.shape == (1024, 1 if labels == 2 else labels) and scores.std() > 1e-3
    (tmp_path / "m.onnx").write_bytes(to_onnx(model).SerializeToString())
    assert largest_difference(model, tmp_path / "m.onnx", inputs, (1, 7, 1024)) <= 1e-5
    # A run keeps the text: what becomes of the file changes nothing there, and gives new runs another digest.
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config.dump()))
    written(tmp_path, CODE.replace("Dense(8", "Dense(9"))
    assert load_config(tmp_path / "run.yaml", environment={}).digest() == config.digest()
    assert config_of({"name": "file", "file": file}, labels).digest() != config.digest()
    Path(file).unlink()
    check_model(load_config(tmp_path / "run.yaml", environment={}))


def test_a_saved_model_with_a_layer_of_its_own_is_loaded_elsewhere(tmp_path: Path) -> None:
    config = config_of({"name": "file", "file": written(tmp_path, CODE)})
    model, inputs = built(config)
    model.save(tmp_path / "model.keras")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config.dump()))
    np.savez(tmp_path / "inputs.npz", **inputs)
    code = (
        "import sys, numpy as np; from pathlib import Path; from nntrainer.config import load_config\n"
        "from nntrainer.networks.model import load_model; here = Path(sys.argv[1])\n"
        "model = load_model(here / 'model.keras', load_config(here / 'run.yaml').model)\n"
        "np.save(here / 'scores.npy', model.predict_on_batch(dict(np.load(here / 'inputs.npz'))))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=REPOSITORY)
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), model.predict_on_batch(inputs), rtol=1e-5)
    np.testing.assert_array_equal(
        load_model(tmp_path / "model.keras", config.model).predict_on_batch(inputs), model.predict_on_batch(inputs)
    )


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (None, r"model: file: there is no file .*my_ent\.py\. Did you mean 'my_net\.py'"),
        ("def build(inputs:\n", r"my_net\.py:1: this is not Python"),
        ("def biuld(inputs, outputs, config): ...", r"has no function 'build'.*Did you mean 'biuld'"),
        ("def build(inputs): ...", r"my_net\.py:1: build takes \(inputs\) and must take \(inputs, outputs, config\)"),
    ],
)
def test_a_wrong_file_is_refused_with_the_configuration(code: str | None, said: str, tmp_path: Path) -> None:
    file = written(tmp_path, code or CODE)
    path = tmp_path / "c.yaml"
    model = {"name": "file", "file": file if code else file.replace("net", "ent")}
    path.write_text(yaml.safe_dump(given(model)))
    with pytest.raises(ConfigError, match=said) as caught:
        load_config(path, environment={})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_thing\n", r"my_net\.py:1: the network cannot be built: ModuleNotFoundError"),
        ("", r"my_net\.py: build returns a NoneType and must return the logits"),
        ("    return inputs.flat()", r"build returns shape \(None, 14\) and .* of shape \(None, 1\)"),
        ("    return inputs.event", r"my_net\.py:2: the network cannot be built: AttributeError: .*event"),
    ],
)
def test_what_a_file_does_wrong_is_one_sentence(code: str, said: str, tmp_path: Path) -> None:
    function = "def build(inputs, outputs, config):\n" + (code if code.startswith(" ") else "    pass")
    text = function if code.startswith(" ") or not code else code + function
    with pytest.raises(ConfigError, match=said) as caught:
        check_model(config_of({"name": "file", "file": written(tmp_path, text)}))
    assert "\n" not in str(caught.value)


def test_the_check_verb_builds_what_people_wrote(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(given({"name": "layers", "layers": [{"layer": "Dense", "unit": 3}]})))
    command = [sys.executable, "-m", "nntrainer", "check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 2
    (sentence,) = done.stderr.strip().splitlines()  # and nothing of TensorFlow's
    assert sentence.startswith(f"error: {path}: model.layers: entry 0 (Dense): Dense has no argument")


def test_adding_a_network_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of docs/networks.md, in another folder of the package's path, so that the repository stays as it is."""
    import nntrainer.networks as package
    from nntrainer.config import catalogue

    (code,) = re.findall(
        r"```python\n(\"\"\"A network of .*?)```", (REPOSITORY / "docs/networks.md").read_text(), re.DOTALL
    )
    written(tmp_path, code, "shallow.py")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    monkeypatch.setattr(NETWORKS, "_loaded", False)
    monkeypatch.setattr(NETWORKS, "_parts", dict(NETWORKS._parts))
    config = Config.model_validate({**given({"name": "shallow", "units": 5}), "network_type": "flat"})
    model, inputs = built(config)
    assert model.predict_on_batch(inputs).std() > 1e-3
    assert [weight.shape for weight in model.trainable_weights] == [(14, 5), (5,), (5, 1), (1,)]
    assert "### `shallow`\nOne hidden layer on all features in one row." in catalogue.page()
    with pytest.raises(ConfigError, match="Did you mean 'shallow'"):
        config_of({"name": "shalow"})
    sys.modules.pop("nntrainer.networks.shallow", None)
