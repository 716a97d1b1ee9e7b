"""Site files and what jobs they make."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deploy import sites
from deploy.backends.local import LocalBackend
from deploy.errors import SiteError
from deploy.plan import plan
from deploy.sites import LOCAL, Site, find_sites, load_site

REPOSITORY = Path(__file__).parents[2]


def site_file(folder: Path, text: str, name: str = "mine") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_site_file_says_what_is_built_in() -> None:
    assert load_site("local", REPOSITORY / "configs/sites/local.yaml") == LOCAL


def test_local_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "DIRECTORIES", (tmp_path / "nothing",))
    assert find_sites() == {"local": None}
    assert load_site("local") == LOCAL


def test_users_sites_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".config/nntrainer/sites"
    folder.mkdir(parents=True)
    site_file(folder, "{name: local, backend: local, description: my own}", "local")
    assert load_site("local").description == "my own"


def test_unknown_site_names_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "DIRECTORIES", (tmp_path,))
    site_file(tmp_path, "{name: uchicago, backend: local}", "uchicago")
    with pytest.raises(
        SiteError, match=r"no site 'uchigaco'; sites are 'local', 'uchicago'. Did you mean 'uchicago'\?"
    ):
        load_site("uchigaco")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{name: mine, backend: locl}", "backend: Input should be 'local', not 'locl'"),
        ("{name: mine, backend: local, enviroment: {}}", "there is no such key.*Did you mean 'environment'"),
        ("{name: mine, backend: local, resources: {cpu: 2}}", r"resources\.cpu: .*Did you mean 'cpus'"),
        ("{name: mine, backend: local, resources: {cpus: 0}}", r"resources\.cpus: .*greater than or equal to 1, not 0"),
        ("{name: mine, backend: local, environment: {'A;rm': x}}", r"environment\.A;rm: .*pattern"),
        ("{name: '../x', backend: local}", "name: .*pattern"),
        ("{name: mine}", "backend: this key is required"),
        ("{name: other, backend: local}", "describes the site 'other', not 'mine'"),
        ("[1, 2]", "the file: "),
        ("{name: mine", "this is not YAML"),
    ],
)
def test_wrong_site_files(tmp_path: Path, text: str, message: str) -> None:
    path = site_file(tmp_path, text)
    with pytest.raises(SiteError, match=message) as caught:
        load_site("mine", path)
    assert str(caught.value).startswith(f"{path}: ")


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    path = site_file(tmp_path, "{backend: x, resources: {cpus: many}}")
    with pytest.raises(SiteError, match=r"name: .*; backend: .*; resources\.cpus: "):
        load_site(None, path)


def test_unreadable_site_files(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="cannot be read: No such file"):
        load_site(None, tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(SiteError, match="not text in UTF-8"):
        load_site(None, tmp_path / "bytes.yaml")


def test_the_plan_follows_the_site(tmp_path: Path) -> None:
    site = Site(name="x", backend="local", resources={"cpus": 2}, environment={"OMP_NUM_THREADS": "1", "A": "b c"})
    (job,) = plan(tmp_path / "run", site, tmp_path)
    run = tmp_path / "run"
    assert job.command == (sys.executable, "-m", "nntrainer", "run", f"{run}/config.yaml", "--run-dir", str(run))
    assert job.environment["TF_NUM_INTRAOP_THREADS"] == "2"
    assert job.environment["OMP_NUM_THREADS"] == "1"  # what the site says itself wins
    assert job.environment["A"] == "b c"
    (job,) = plan(run, Site(name="x", backend="local", python="/opt/python"), tmp_path)
    assert job.command[0] == "/opt/python"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"python": "/nowhere/python"}, "python: there is no program '/nowhere/python'"),
        ({"resources": {"cpus": 10**6}}, r"resources\.cpus: 1000000 are asked for"),
        ({"resources": {"memory_mib": 10**12}}, r"resources\.memory_mib: .* this machine has \d+ MiB"),
    ],
)
def test_what_this_machine_has_not(options: dict[str, object], message: str) -> None:
    with pytest.raises(SiteError, match=message):
        LocalBackend().check(Site.model_validate({"name": "x", "backend": "local", **options}))
    LocalBackend().check(LOCAL)
