"""The JSON Schema of configurations and site files: valid itself, in step with the code, and it knows what is wrong."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploy.sites import schema as sites_schema
from nntrainer.config import schema as made
from nntrainer.config.registry import AUGMENTATIONS, MAKERS, NETWORKS

REPOSITORY = Path(__file__).parents[2]
CONFIGS = sorted((*(REPOSITORY / "configs").glob("*.yaml"), *(REPOSITORY / "configs/examples").glob("*.yaml")))
SITES = sorted((REPOSITORY / "configs/sites").glob("*.yaml"))
FILES = {"configs/schema.json": made.schema, "configs/sites/schema.json": sites_schema}


def _name(path: Path) -> str:
    return path.stem


@pytest.fixture(scope="module")
def configuration() -> Any:
    return jsonschema.Draft202012Validator(made.schema())


@pytest.fixture(scope="module")
def site() -> Any:
    return jsonschema.Draft202012Validator(sites_schema())


def wrong(validator: Any, data: Any) -> list[str]:
    return [f"{'.'.join(map(str, each.path))}: {each.message}" for each in validator.iter_errors(data)]


@pytest.mark.parametrize("file", FILES)
def test_the_file_is_up_to_date(file: str) -> None:
    jsonschema.Draft202012Validator.check_schema(FILES[file]())
    assert (REPOSITORY / file).read_text(encoding="utf-8") == made.page(FILES[file]()), "`make schema` writes it again"


@pytest.mark.parametrize(
    ("command", "file"), [("nntrainer", "configs/schema.json"), ("deploy", "configs/sites/schema.json")]
)
def test_the_command_prints_it(command: str, file: str) -> None:
    done = subprocess.run([sys.executable, "-m", command, "schema"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads((REPOSITORY / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", CONFIGS, ids=_name)
def test_configurations_are_valid(path: Path, configuration: Any) -> None:
    assert wrong(configuration, yaml.safe_load(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", SITES, ids=_name)
def test_site_files_are_valid(path: Path, site: Any) -> None:
    assert wrong(site, yaml.safe_load(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", [*CONFIGS, *SITES], ids=_name)
def test_the_first_line_names_the_schema(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    start = "# yaml-language-server: $schema="
    assert first.startswith(start), f"{path}: its first line names the schema for editors: {start}schema.json"
    assert (path.parent / first.removeprefix(start)).resolve() == (
        REPOSITORY / ("configs/sites" if path in SITES else "configs") / "schema.json"
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training", {"epoch": 3}),
        ("training", {"epochs": "many"}),
        ("training", {"optimizer": {"name": "adam", "momentum": 0.9}}),
        ("training", {"optimizer": {"learning_rate": 0.1}}),
        ("model", "dence"),
        ("model", {"name": "dense", "width": 64}),
        ("model", {"name": "dense", "dropout": 1.5}),
        ("model", {"layers": [64]}),
        ("preparation", {"augmentation": [{"name": "rotate_phy"}]}),
        ("preparation", {"feature_makers": [{"maker": "ht", "collections": "jets", "wide": True}]}),
        ("features", {"events": [{"name": "x", "units": "GeV"}]}),
    ],
)
def test_what_is_wrong_is_refused(key: str, value: Any, configuration: Any) -> None:
    data = yaml.safe_load((REPOSITORY / "configs/minimal.yaml").read_text(encoding="utf-8"))
    assert wrong(configuration, data) == []
    assert wrong(configuration, data | {key: value}) != []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", "dense"),
        ("model", {"name": "transformer", "heads": 2}),
        ("preparation", {"augmentation": ["rotate_phi", {"name": "drop_jets", "keep": 4}]}),
        ("preparation", {"class_balance": {"signal": 1, "background": 3}}),
        ("features", {"events": ["x", {"name": "y", "expression": 1}]}),
        ("inject", {"files": "a.root"}),
        ("inject", {"files": ["a.root", "b.root"]}),
    ],
)
def test_shorthands_are_allowed(key: str, value: Any, configuration: Any) -> None:
    data = yaml.safe_load((REPOSITORY / "configs/minimal.yaml").read_text(encoding="utf-8"))
    assert wrong(configuration, data | {key: value}) == []


def test_all_parts_are_alternatives_by_name() -> None:
    definitions = made.schema()["$defs"]
    for registry, base, word in (
        (NETWORKS, "NetworkOptions", "name"),
        (MAKERS, "MakerOptions", "maker"),
        (AUGMENTATIONS, "AugmentationOptions", "name"),
    ):
        parts = [definitions[each["$ref"].rsplit("/", 1)[1]] for each in definitions[base]["oneOf"] if "$ref" in each]
        assert sorted(part["properties"][word]["const"] for part in parts) == registry.names()
        assert all(word in part["required"] for part in parts)


def test_wrong_sites_are_refused(site: Any) -> None:
    data = yaml.safe_load((REPOSITORY / "configs/sites/uchicago.yaml").read_text(encoding="utf-8"))
    other = copy.deepcopy(data) | {"backend": "slurm"}
    assert (
        wrong(site, other)
        and wrong(site, data | {"imagee": "x"})
        and wrong(site, {"name": "x", "backend": "kubernetes"})
    )
