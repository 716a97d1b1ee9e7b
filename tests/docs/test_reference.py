"""The pages that are written from the code say everything that the code has."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
from pydantic import BaseModel, Field

from deploy.sites import Site
from nntrainer.config.models import Config
from nntrainer.config.registry import AUGMENTATIONS, MAKERS, NETWORKS, OBSERVABLES

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / f"scripts/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return _module("reference")


@pytest.fixture(scope="module")
def pages(reference: ModuleType) -> dict[str, str]:
    made: dict[str, str] = reference.pages()
    return made


def test_every_key_is_described(reference: ModuleType) -> None:
    assert reference.undescribed(Config, *map(NETWORKS.get, NETWORKS.names()), *map(MAKERS.get, MAKERS.names())) == []
    assert reference.undescribed(*get_args(Site)) == []


class Silent(BaseModel):
    """A block whose author forgot something."""

    told: int = Field(1, description="A number.")
    untold: int = 2


class Holder(BaseModel):
    """A configuration with it."""

    blocks: dict[str, tuple[Silent, ...] | None] = Field({}, description="The blocks.")


def test_a_key_without_description_fails(reference: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reference.undescribed(Holder) == ["Silent.untold"]
    monkeypatch.setattr(reference, "Config", Holder)
    with pytest.raises(ValueError, match=r"these keys have no description.*Silent\.untold"):
        reference.configuration()


def test_a_key_without_description_fails_the_build(monkeypatch: pytest.MonkeyPatch, reference: ModuleType) -> None:
    exceptions = pytest.importorskip("mkdocs.exceptions")
    website = _module("website")

    def pages() -> dict[str, str]:
        raise ValueError("these keys have no description, which the reference needs: Data.new")

    monkeypatch.setattr(website.reference, "pages", pages)
    with pytest.raises(exceptions.PluginError, match=r"Data\.new"):
        website.on_files([], None)


def _keys(model: Any, prefix: str = "") -> list[str]:
    return [f"{prefix}{name}" for name in model.model_fields]


def test_all_keys_of_all_blocks_are_on_the_page(pages: dict[str, str]) -> None:
    page = pages["reference/configuration.md"]
    for key in [*_keys(Config), *_keys(Config.model_fields["training"].annotation, "training.")]:
        assert f'id="{key}"' in page or f"{{ #{key} }}" in page, key
    for key in ("training.optimizer.adamw.weight_decay", "data.samples.label", "features.objects.NAME.four_vector.pt"):
        assert f'id="{key}"' in page, key
    assert "`1024`" in page and "Events in a batch of one worker." in page


def test_all_verbs_and_options_are_on_the_pages(pages: dict[str, str]) -> None:
    for command, words in (
        ("nntrainer", ["`run`", "`--set`", "KEY=VALUE", "`--part`", "`schema`"]),
        ("deploy", ["`submit`", "`--site`"]),
    ):
        for word in words:
            assert word in pages[f"reference/{command}.md"], word


def test_all_parts_are_told(pages: dict[str, str]) -> None:
    catalogue = (REPOSITORY / "docs/catalogue.md").read_text(encoding="utf-8")
    assert all(f"### `{name}`" in catalogue for name in [*NETWORKS.names(), *MAKERS.names()])
    assert all(f"## `{name}`" in pages["reference/augmentations.md"] for name in AUGMENTATIONS.names())
    assert all(f"| `{name}` |" in pages["reference/observables.md"] for name in OBSERVABLES.names())


def test_codes(pages: dict[str, str]) -> None:
    page = pages["reference/codes.md"]
    for text in (
        "| `nntrainer` | 85 |",
        "| `deploy` | 3 |",
        "`ConfigError`",
        "34, 21/102",
        "`ImagePullBackOff`",
        "`SiteError`",
    ):
        assert text in page, text


def test_all_configurations_are_shown(pages: dict[str, str], reference: ModuleType) -> None:
    for path in (REPOSITORY / "configs").rglob("*.yaml"):
        assert reference.example_anchor(path.relative_to(REPOSITORY).as_posix()) in pages["reference/examples.md"]
