"""Site files and what jobs they make."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deploy import sites
from deploy.backends.base import Batch
from deploy.backends.local import LocalBackend
from deploy.errors import PreflightError, SiteError
from deploy.jobs import Finding, JobSpec
from deploy.plan import plan, resolved
from deploy.preflight import preflight, refuse_errors
from deploy.sites import LOCAL, LocalSite, Site, find_sites, load_site, site_of
from nntrainer.config import Config, load_config
from nntrainer.errors import ConfigError

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
        ("{name: mine, backend: locl}", r"backend: 'locl' is not known; .*Did you mean 'local'\?"),
        ("{name: mine, backend: local, enviroment: {}}", "there is no such key.*Did you mean 'environment'"),
        ("{name: mine, backend: local, resources: {run: {cpu: 2}}}", r"resources\.run\.cpu: .*Did you mean 'cpus'"),
        ("{name: mine, backend: local, resources: {run: {cpus: 0}}}", r"resources\.run\.cpus: .*greater than 0, not 0"),
        (
            "{name: mine, backend: htcondor, queues: [{name: short, walltime: 1}]}",
            r"queues\.0\.walltime: .*'walltime_s'",
        ),
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
    path = site_file(tmp_path, "{backend: local, jobs: both, resources: {run: {cpus: many}}}")
    with pytest.raises(SiteError, match=r"name: .*; jobs: .*; resources\.run\.cpus: "):
        load_site(None, path)


def test_unreadable_site_files(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="cannot be read: No such file"):
        load_site(None, tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(SiteError, match="not text in UTF-8"):
        load_site(None, tmp_path / "bytes.yaml")


def config_of(*overrides: str) -> Config:
    files = [f"data.samples.{i}.files={__file__}" for i in (0, 1)]
    return load_config(REPOSITORY / "configs/minimal.yaml", [*files, *overrides], {})


def test_the_plan_follows_the_site(tmp_path: Path) -> None:
    run = tmp_path / "run"
    site = site_of(
        {
            "name": "x",
            "backend": "local",
            "resources": {"run": {"cpus": 2}},
            "environment": {"OMP_NUM_THREADS": "1", "A": "b c"},
        },
        "test",
    )
    (job,) = plan(config_of(), site, run, tmp_path)
    assert job.command == (sys.executable, "-m", "nntrainer", "run", f"{run}/config.yaml", "--run-dir", str(run))
    assert job.environment["TF_NUM_INTRAOP_THREADS"] == "2"
    assert job.environment["OMP_NUM_THREADS"] == "1"  # what the site says itself wins
    assert job.environment["A"] == "b c"
    (job,) = plan(config_of(), LocalSite(name="x", backend="local", python="/opt/python"), run, tmp_path)
    assert job.command[0] == "/opt/python"
    (job,) = plan(config_of("deploy.jobs=parts"), LOCAL, run, tmp_path)  # one machine needs no parts
    assert job.name == "run" and "OMP_NUM_THREADS" not in job.environment


POOL = {"name": "x", "backend": "htcondor", "jobs": "parts", "image": "/images/nntrainer.sif"}


def test_the_plan_of_parts(tmp_path: Path) -> None:
    run = tmp_path / "run"
    site = site_of({**POOL, "gpus": [{"name": "V100", "capability": 7.0, "memory_mib": 16384}]}, "test")
    config = config_of("training.workers=2", "deploy.resources.train.memory_mib=9000", "deploy.inject_jobs=5")
    jobs = {job.name: job for job in plan(resolved(config, site, tmp_path), site, run, tmp_path)}
    assert list(jobs) == ["convert-ttH", "convert-ttbb", "train-fold0", "train-fold1", "evaluate", "inject-0of1"]
    train = jobs["train-fold1"]
    assert train.command == ("nntrainer", "run", "config.yaml", "--run-dir", ".", "--part", "train-fold1")
    assert (train.resources.gpus, train.resources.cpus, train.resources.memory_mib) == (2, 2, 9000)
    assert (train.directory, train.needs) == (run, ("convert-ttH", "convert-ttbb"))
    assert jobs["convert-ttH"].resources.gpus == 0
    for job in jobs.values():
        assert JobSpec.from_dict(json.loads(json.dumps(job.as_dict()))) == job
    (job,) = plan(config_of("deploy.jobs=single"), site, run, tmp_path)
    assert job.name == "run" and job.resources.gpus == 1


def test_paths_do_not_depend_on_where_it_was_submitted(tmp_path: Path) -> None:
    (tmp_path / "n").mkdir()
    for name in ("a1", "a2", "b"):
        (tmp_path / f"n/{name}.root").touch()
    config = config_of("data.samples.0.files=n/a*.root", "data.samples.1.files=[n/../n/b.root,root://host//c.root]")
    found = resolved(config, LOCAL, tmp_path)
    assert found.data.samples[0].files == (f"{tmp_path}/n/a1.root", f"{tmp_path}/n/a2.root")
    assert found.data.samples[1].files == (f"{tmp_path}/n/b.root", "root://host//c.root")
    assert found.data.directory == tmp_path / "datasets"
    volume = {"claim": "work", "path": "/volume"}
    cluster = {"name": "x", "backend": "kubernetes", "image": "i", "namespace": "n", "work": volume}
    there = resolved(config, site_of(cluster, "test"), Path("/nowhere"))  # as pods see them
    assert there.data.samples[0].files == ("/volume/n/a*.root",)
    assert there.data.samples[1].files == ("/volume/n/b.root", "root://host//c.root")
    assert there.data.directory == Path("/volume/datasets")


@pytest.mark.parametrize(
    ("options", "where", "what"),
    [
        ({"python": "/nowhere/python"}, "python", "there is no program '/nowhere/python'"),
        ({"resources": {"run": {"cpus": 10**6}}}, "resources.run.cpus", "1000000 are asked for"),
        ({"resources": {"run": {"memory_mib": 10**12}}}, "resources.run.memory_mib", "this machine has"),
    ],
)
def test_what_this_machine_has_not(tmp_path: Path, options: dict[str, object], where: str, what: str) -> None:
    def findings(site: Site) -> list[Finding]:
        jobs = tuple(plan(config_of(), site, tmp_path, tmp_path))
        return LocalBackend().check(Batch(tmp_path, site, jobs), config_of())

    (found,) = findings(site_of({"name": "x", "backend": "local", **options}, "test"))
    assert (found.level, found.where) == ("error", where) and what in found.what
    assert findings(LOCAL) == []


def test_several_workers_need_horovod_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of("training.workers=2", "deploy.resources.run.cpus=1")
    batch = Batch(tmp_path, LOCAL, tuple(plan(config, LOCAL, tmp_path, tmp_path)))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (found,) = LocalBackend().check(batch, config)
    assert (found.level, found.where, found.what) == (
        "error",
        "training.workers",
        "2 need Horovod, and it is not installed",
    )
    assert "make horovod" in found.fix
    elsewhere = replace(batch, site=site_of({"name": "x", "backend": "local", "python": sys.executable}, "test"))
    assert LocalBackend().check(elsewhere, config) == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"limits": {"memory_mib": 1000}}, r"deploy\.resources\.run\.memory_mib: 4096 MiB of memory .* grants 1000"),
        ({"refused_directories": ["/"]}, r"--runs: the run would lie in .*, and site 'x' takes no jobs from /"),
    ],
)
def test_limits_stop_a_submission(tmp_path: Path, options: dict[str, object], sentence: str) -> None:
    site = site_of({"name": "x", "backend": "local", **options}, "test")
    batch = Batch(tmp_path, site, tuple(plan(config_of(), site, tmp_path, tmp_path)))
    with pytest.raises(PreflightError, match=sentence):
        refuse_errors(preflight(batch, config_of()))


def test_one_class_alone_is_not_submitted(tmp_path: Path) -> None:
    config = config_of("data.samples.1.label=signal")
    with pytest.raises(ConfigError, match="only the label 'signal'"):
        preflight(Batch(tmp_path, LOCAL, tuple(plan(config, LOCAL, tmp_path, tmp_path))), config)
    target = "data.targets.met={kind: regression, expression: met_met}"
    alone = config_of("data.samples.1.label=signal", target, "training.tasks={met: 1.0}")
    assert preflight(Batch(tmp_path, LOCAL, tuple(plan(alone, LOCAL, tmp_path, tmp_path))), alone) == []


def test_inputs_are_looked_for(tmp_path: Path) -> None:
    config = config_of("data.samples.1.files=/nowhere/b.root")
    found = preflight(Batch(tmp_path, LOCAL, tuple(plan(config, LOCAL, tmp_path, tmp_path))), config)
    assert [each.what for each in found] == [
        "no file matches '/nowhere/b.root'; the directory /nowhere does not exist."
    ]
