"""The pipelines of the project's home: they parse, and call only what the Makefile has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[1]
GITLAB, GITHUB = ".gitlab-ci.yml", ".github/workflows/ci.yml"
TARGETS = set(re.findall(r"^([a-z0-9-]+(?: [a-z0-9-]+)*):(?!=)", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
TARGETS = {name for names in TARGETS for name in names.split()}
KEYWORDS = {"stages", "default", "variables", "include", "workflow"}
OF_A_JOB = {
    *("stage", "image", "services", "script", "before_script", "after_script", "rules", "artifacts", "cache", "needs"),
    *("extends", "variables", "parallel", "timeout", "release", "retry", "interruptible", "environment", "tags"),
}


def _read(name: str) -> dict[Any, Any]:
    data = yaml.safe_load((REPOSITORY / name).read_text(encoding="utf-8"))
    assert isinstance(data, dict)
    return data


def _scripts(value: Any) -> Iterator[str]:
    """Yield every shell command of a pipeline."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key in ("script", "before_script", "after_script", "run"):
                yield from [each] if isinstance(each, str) else each
            else:
                yield from _scripts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _scripts(each)


@pytest.mark.parametrize("name", [GITLAB, GITHUB])
def test_only_targets_of_the_makefile_are_called(name: str) -> None:
    called = [target for script in _scripts(_read(name)) for target in re.findall(r"\bmake ([a-z0-9-]+)", script)]
    assert {"lint", "test", "image", "docs", "wheel", "push"} <= set(called)
    assert set(called) <= TARGETS
    for script in _scripts(_read(name)):
        assert re.match(r"(make |apk add |test -z \"\$REGISTRY\" \|\| make |echo )", script), script


@pytest.mark.parametrize("name", [GITLAB, GITHUB])
def test_no_host_and_no_secret(name: str) -> None:
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    assert not re.search(r"https?://|[a-z0-9-]+\.(com|org|io|ch|net|de)\b", text)
    assert not re.search(r"secrets\.|password|_token", text, re.IGNORECASE)


def test_gitlab() -> None:
    data = _read(GITLAB)
    jobs = {name: job for name, job in data.items() if name not in KEYWORDS}
    for name, job in jobs.items():
        assert set(job) <= OF_A_JOB, name
        if not name.startswith("."):
            assert job["stage"] in data["stages"] and job["script"], name
        for other in [job["extends"]] if "extends" in job else []:
            assert other in jobs, name
        assert set(job.get("needs", [])) <= set(jobs), name
    assert jobs["pages"]["artifacts"] == {"paths": ["public"]} and "SITE=public" in jobs["pages"]["script"][0]
    assert {job.get("stage") for job in jobs.values()} - {None} == set(data["stages"])


def test_github() -> None:
    data = _read(GITHUB)
    assert set(data[True]) == {"push", "pull_request"}  # YAML 1.1 reads the key `on` as true
    for name, job in data["jobs"].items():
        assert {"runs-on", "steps"} <= set(job), name
        assert job["steps"][0]["uses"].startswith("actions/checkout@"), name
        assert all(("uses" in step) != ("run" in step) for step in job["steps"]), name
        needs = job.get("needs", [])
        assert {*([needs] if isinstance(needs, str) else needs)} <= set(data["jobs"]), name


def test_what_the_documents_say_of_them() -> None:
    page = (REPOSITORY / "docs/pipelines.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`make ([a-z-]+)`", page)) <= TARGETS
    for name in re.findall(r"^\| `([A-Z_`, ]+)` \|", page, re.MULTILINE):
        for variable in re.findall(r"[A-Z_]+", name):
            text = (REPOSITORY / GITLAB).read_text() + (REPOSITORY / GITHUB).read_text()
            assert variable in text, variable
