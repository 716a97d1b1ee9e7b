"""What HTCondor sites are given, byte for byte, and what is found before they are given it.

``UPDATE_GOLDEN=1 pytest tests/deploy/test_htcondor.py`` writes tests/golden/htcondor anew.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.backends import condor_check, condor_holds, condor_submit
from deploy.backends.base import Batch
from deploy.backends.htcondor import DAG_LOG, HTCondorBackend
from deploy.errors import DeployError, PreflightError
from deploy.jobs import Finding, JobHandle
from deploy.plan import plan, plan_search
from deploy.preflight import preflight
from deploy.sandbox import sandboxed
from deploy.sites import Credential, GpuNeeds, HTCondorSite, Limits, load_site
from nntrainer.config import Config, load_config

REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests/golden/htcondor"
SITES = ("uchicago", "lxplus", "pool", "pool-shared")
STAGES = ("convert-ttH", "train-fold0", "evaluate", "inject-0of2")
XCACHE = "root://xcache.af.uchicago.edu:1094//root://eospublic.cern.ch//eos/atlas/ttbb.root"


@pytest.fixture(autouse=True)
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is rendered shall not depend on this machine: on its user, or on an image that lies here."""
    monkeypatch.setenv("HOME", "/home/user")
    monkeypatch.setattr(condor_submit, "image_digest", lambda image: "")


def config_with(*sets: str, local: bool = True) -> Config:
    changes = ["training.workers=2", "deploy.inject_jobs=2", "data.directory=/data/user/datasets", *sets]
    config = load_config(REPOSITORY / "configs/tth.yaml", changes, environment={})
    dump = config.dump()
    dump["data"]["samples"][0]["files"] = ["/data/user/ntuples/ttH.root"]
    dump["data"]["samples"][1]["files"] = ["/data/user/ntuples/ttbb.root" if local else XCACHE]
    return Config.model_validate(dump)


def site(name: str) -> HTCondorSite:
    found = load_site(name, REPOSITORY / f"configs/sites/{name}.yaml")
    assert isinstance(found, HTCondorSite)
    return found


def batch_of(
    where: HTCondorSite, *sets: str, run: str = "/data/user/runs/tth/first", local: bool = True
) -> tuple[Batch, Config]:
    config, sources = sandboxed(config_with(*sets, local=local), where)
    path = Path(run)
    return Batch(path, where, tuple(plan(config, where, path, path)), sources=sources), config


def rendered(where: HTCondorSite, *sets: str, **more: Any) -> dict[str, str]:
    return HTCondorBackend().render(batch_of(where, *sets, **more)[0])


def lines(text: str) -> dict[str, str]:
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}


@pytest.mark.parametrize("name", SITES)
def test_golden_files(name: str) -> None:
    files = rendered(site(name), local=name != "uchicago")
    assert set(files) == {"run.dag", *(f"{job.name}.sub" for job in batch_of(site(name))[0].jobs)}
    shown = {file: files[file] for file in ("run.dag", *(f"{stage}.sub" for stage in STAGES))}
    shown["run.sub"] = rendered(site(name), "deploy.jobs=single")["run.sub"]
    for file, text in shown.items():
        golden = GOLDEN / name / file
        if os.environ.get("UPDATE_GOLDEN"):
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_text(text, encoding="utf-8")
        assert golden.read_text(encoding="utf-8") == text, f"{golden} is not what is rendered; see this file's head"


SEARCH = (
    "tune.parameters={training.batch_size: {choices: [256, 512]}, model.dropout: {low: 0.0, high: 0.5}}",
    "tune.trials=8",
)


def search_of(name: str, jobs: int, *sets: str) -> Batch:
    where = site(name)
    config, sources = sandboxed(config_with(*SEARCH, *sets), where)
    path = Path("/data/user/runs/tth/search")
    return Batch(path, where, tuple(plan_search(config, where, path, path, jobs)), sources=sources)


@pytest.mark.parametrize("name", ["pool", "pool-shared"])
def test_golden_files_of_a_search(name: str) -> None:
    batch = search_of(name, 3)
    files = HTCondorBackend().render(batch)
    first = "tune-0of3" if name == "pool-shared" else "tune-share0of3"
    for file in ("run.dag", f"{first}.sub", "tune-best.sub"):
        golden = GOLDEN / name / "tune" / file
        if os.environ.get("UPDATE_GOLDEN"):
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_text(files[file], encoding="utf-8")
        assert golden.read_text(encoding="utf-8") == files[file], f"{golden} is not what is rendered"
    assert [job.name for job in batch.jobs][2:] == [
        first,
        *(first.replace("0of", f"{i}of") for i in (1, 2)),
        "tune-best",
    ]
    assert batch.jobs[-1].needs == tuple(job.name for job in batch.jobs[2:-1])


def test_rules_of_a_search() -> None:
    shared, alone = search_of("pool-shared", 9), search_of("pool", 9)
    assert len(shared.jobs) == len(alone.jobs) == 2 + 8 + 1  # never more jobs than trials
    assert [job.outputs for job in alone.jobs][2] == ("tune/share0", "parts/tune-share0of8.json")
    assert alone.jobs[-1].inputs == tuple(f"tune/share{i}" for i in range(8))
    assert shared.jobs[2].outputs == ("parts/tune-0of8.json",)  # what others write, too, is listed by the last
    assert {job.resources.gpus for job in shared.jobs if job.stage == "tune"} == {2}
    assert shared.jobs[-1].resources.gpus == 0
    asked = (
        search_of("pool", 2, "deploy.resources.train.memory_mib=3000", "deploy.resources.tune.walltime_s=777")
        .jobs[2]
        .resources
    )
    assert (asked.memory_mib, asked.walltime_s) == (3000, 777)
    with pytest.raises(PreflightError, match="hyperopt' keeps a search in one process"):
        search_of("pool", 2, "tune.engine=hyperopt")
    with pytest.raises(PreflightError, match="no tune block"):
        plan_search(config_with(), site("pool"), Path("/r"), Path("/r"), 2)


def test_rendering_is_repeatable() -> None:
    assert rendered(site("uchicago")) == rendered(site("uchicago"))


def test_rules_of_uchicago() -> None:
    files = rendered(site("uchicago"))
    short, train = lines(files["convert-ttH.sub"]), lines(files["train-fold0.sub"])
    assert short["universe"] == "vanilla" and short["executable"] == "/usr/bin/apptainer"
    assert short["+queue"] == '"short"'
    assert "--nv" not in short["arguments"] and "request_gpus" not in short
    assert " exec --nv " in f" {train['arguments']}".replace('"', " ") and train["request_gpus"] == "2"
    for folder in ("/data/user/runs/tth/first", "/data/user/ntuples", "/cvmfs"):
        assert f"-B {folder} " in short["arguments"]
    assert "ALLOW_MWT2" not in "".join(files.values()) and "+SingularityImage" not in "".join(files.values())
    long = lines(rendered(site("uchicago"), "deploy.resources.train.walltime_s=36000")["train-fold0.sub"])
    assert "+queue" not in long
    assert lines(rendered(site("uchicago"), "deploy.resources.train.walltime_s=14400")["train-fold0.sub"])["+queue"]
    remote = rendered(site("uchicago"), local=False)
    assert lines(remote["convert-ttbb.sub"])["use_x509userproxy"] == "True"
    assert "x509" not in remote["convert-ttH.sub"] and XCACHE in remote["convert-ttbb.sub"] + json.dumps(XCACHE)


def test_rules_of_lxplus() -> None:
    files = rendered(
        site("lxplus"), "deploy.resources.train.walltime_s=80000", "deploy.resources.convert.walltime_s=600"
    )
    assert lines(files["convert-ttH.sub"])["+JobFlavour"] == '"espresso"'
    train = lines(files["train-fold0.sub"])
    assert train["+JobFlavour"] == '"tomorrow"'
    assert train["MY.SingularityImage"].startswith('"/cvmfs/unpacked.cern.ch/')
    assert train["requirements"] == '!regexp("MIG", TARGET.GPUs_DeviceName)'
    assert int(train["max_retries"]) + 1 <= 10
    logs = {lines(text)["log"] for file, text in files.items() if file.endswith(".sub")}
    assert logs == {"logs/condor.log"}  # one for the submission, not one a job
    assert train["should_transfer_files"] == "YES" and train["transfer_checkpoint_files"].startswith("training/fold0")


def test_a_job_of_one_node_runs_all_workers() -> None:
    for name in SITES:
        assert "parallel" not in "".join(rendered(site(name)).values())


def test_no_secret_in_what_is_rendered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = "c2VjcmV0LXByb3h5"
    (tmp_path / "proxy").write_text(secret)
    monkeypatch.setenv("X509_USER_PROXY", str(tmp_path / "proxy"))
    monkeypatch.setenv("MY_TOKEN", secret)
    assert secret not in json.dumps(rendered(site("uchicago"), local=False))


def test_a_failed_job_has_not_ended_before_its_run(tmp_path: Path) -> None:
    """What DAGMan may try again is queued, whatever its last attempt was: never queued with an exit code."""
    pytest.importorskip("htcondor2", reason="needs the HTCondor client: pip install 'nntrainer[condor]'")
    made = replace(batch_of(site("pool-shared"))[0], run=tmp_path, handles=(JobHandle("run", "761", "", {}),))
    jobs = [replace(made.jobs[0], name=name) for name in ("convert-mistake", "convert-crash", "convert-killed")]
    made = replace(made, jobs=(*jobs, replace(made.jobs[-1], name="inject", needs=tuple(job.name for job in jobs))))
    for folder in ("logs", "rendered"):
        (tmp_path / folder).mkdir()
    text = (GOLDEN / "events.log").read_text(encoding="utf-8")
    (tmp_path / condor_submit.LOG).write_text(text, encoding="utf-8")
    # DAGMan's own log: another job's, as its submission and its end look the same.
    submitted, ended = re.findall(
        r"^00[05] \(761.*?^\.\.\.\n", text.replace("(765.", "(761."), re.DOTALL | re.MULTILINE
    )
    (tmp_path / DAG_LOG).write_text(submitted, encoding="utf-8")
    seen = HTCondorBackend().look(made)
    assert {(job.state, job.exit_code) for job in seen} == {("queued", None), ("waiting", None)}
    assert "exit code 2" in seen[0].why and "DAGMan" in seen[0].why
    (tmp_path / DAG_LOG).write_text(submitted + ended, encoding="utf-8")
    seen = HTCondorBackend().look(made)
    states = [("failed", 2), ("failed", 1), ("failed", 137), ("waiting", None)]
    assert [(job.state, job.exit_code) for job in seen] == states
    assert seen[-1].why == "what it needs has failed"


# ---- checks


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only whether a schedd answers is left out, which the tests on the pool look at."""
    monkeypatch.setattr(condor_check, "_reach", lambda site: [])


def found(where: HTCondorSite, *sets: str, **more: Any) -> list[Finding]:
    batch, config = batch_of(where, *sets, **more)
    return [each for each in preflight(batch, config) if each.where not in ("data.samples", "credentials", "image")]


def sentence(findings: list[Finding], where: str) -> str:
    (one,) = {each for each in findings if each.where == where}
    assert one.fix
    return f"{one.level}: {one.what}; {one.fix}"


@pytest.mark.usefixtures("reachable")
@pytest.mark.parametrize(
    ("name", "sets", "where", "message"),
    [
        (
            "uchicago",
            ["deploy.resources.train.walltime_s=300000"],
            "deploy.resources.train.walltime_s",
            "grants 259200",
        ),
        (
            "uchicago",
            ["deploy.resources.train.memory_mib=81920"],
            "deploy.resources.train.memory_mib",
            "81920 MiB.*65536",
        ),
        ("uchicago", ["deploy.resources.train.cpus=32"], "deploy.resources.train.cpus", "32 .*grants 16"),
        ("pool", ["training.workers=3"], "deploy.resources.train.gpus", "3 gpus.*grants 2"),
        ("lxplus", ["deploy.resources.train.walltime_s=700000"], "deploy.resources.train.walltime_s", "700000"),
        ("lxplus", ["deploy.inject_jobs=2"], "deploy.jobs", "these are 7 jobs, and .* takes 6 in one submission"),
    ],
)
def test_what_a_site_would_not_take_is_found(name: str, sets: list[str], where: str, message: str) -> None:
    given = site(name)
    if where == "deploy.jobs":
        given = given.model_copy(update={"limits": Limits(jobs=6)})
    assert re.search(message, next(f"{each.what}; {each.fix}" for each in found(given, *sets) if each.where == where))
    assert not [each for each in found(site(name)) if each.level == "error"]


@pytest.mark.usefixtures("reachable")
def test_a_queue_that_is_too_short_is_found() -> None:
    short = site("uchicago").model_copy(update={"queues": site("uchicago").queues[:1]})
    text = sentence(found(short, "deploy.resources.train.walltime_s=36000"), "deploy.resources.train.walltime_s")
    assert text == (
        "error: 36000 s of run time are asked for, and the longest queue of site 'uchicago', short, "
        "ends jobs after 14400; ask for at most 14400; a training that is cut off goes on from its checkpoint"
    )


@pytest.mark.usefixtures("reachable")
@pytest.mark.parametrize("name", ["uchicago", "lxplus"])
def test_runs_on_eos_are_refused(name: str) -> None:
    text = sentence(found(site(name), run="/eos/user/u/user/runs/tth/first"), "--runs")
    assert f"site '{name}' takes no jobs from /eos" in text


@pytest.mark.usefixtures("reachable")
def test_too_much_to_send_is_found(tmp_path: Path) -> None:
    big = tmp_path / "big.root"
    with big.open("wb") as file:
        file.truncate(2 << 30)
    batch, config = batch_of(site("lxplus").model_copy(update={"transfer": "spool"}))
    (name,) = {path for job in batch.jobs for path in job.ntuples if path.endswith("ttH.root")}
    batch = replace(batch, sources={**batch.sources, name: str(big)})
    texts = [each.what for each in condor_check.findings(batch, config) if each.where == "data.samples"]
    assert texts == ["2048 MiB of ntuples would be sent along, and site 'lxplus' takes 1024"]


@pytest.mark.usefixtures("reachable")
def test_gpus_that_the_image_does_not_serve_are_found() -> None:
    where = site("pool")
    old = where.gpus[0].model_copy(update={"name": "Tesla K80", "capability": 3.7})
    only = where.model_copy(update={"gpus": (old,), "gpu": GpuNeeds()})
    assert "error: the image does not serve Tesla K80: compute capability 3.7" in sentence(found(only), "gpus")
    both = where.model_copy(update={"gpus": (old, *where.gpus), "gpu": GpuNeeds()})
    assert sentence(found(both), "gpus").startswith("warning: ")
    excluded = both.model_copy(update={"gpu": where.gpu})
    assert not [each for each in found(excluded) if each.where == "gpus"]
    none = where.model_copy(update={"gpu": GpuNeeds(minimum_memory_mib=99999)})
    assert "no GPU of site 'pool' (Tesla V100-PCIE-16GB)" in sentence(found(none), "deploy.resources.train.gpus")


@pytest.mark.usefixtures("reachable")
def test_images_are_looked_for(tmp_path: Path) -> None:
    def image(**changes: Any) -> list[Finding]:
        batch, config = batch_of(site("pool-shared").model_copy(update=changes))
        return [each for each in condor_check.findings(batch, config) if each.where == "image"]

    assert "there is no image /nowhere/x.sif" in image(image="/nowhere/x.sif")[0].what
    assert "names no image" in image(image=None)[0].what
    assert image(image=str(tmp_path)) == image(image="docker://nntrainer:gpu") == image(container="none") == []
    if not Path("/cvmfs").is_dir():
        assert image(image="/cvmfs/unpacked.cern.ch/x")[0].level == "warning"


def token(folder: Path, **claims: Any) -> Path:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    path = folder / "token"
    path.write_text(f"{part({'alg': 'HS256'})}.{part(claims)}.c2lnbmF0dXJl\n")
    return path


def proxy(folder: Path, days: int) -> Path:
    path = folder / "proxy"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a user", "-days", str(days)]
    subprocess.run([*command, "-keyout", folder / "key", "-out", path], check=True, capture_output=True)
    return path


@pytest.mark.usefixtures("reachable")
@pytest.mark.parametrize("kind", ["x509", "idtoken", "kerberos"])
def test_credentials_must_outlive_the_jobs(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(path: Path, walltime_s: int) -> list[str]:
        credential = Credential(kind=kind, path=path, renew="renew it")
        where = site("uchicago").model_copy(update={"credentials": (credential,)})
        batch, config = batch_of(where, f"deploy.resources.train.walltime_s={walltime_s}", local=False)
        return [each.what for each in condor_check.findings(batch, config) if each.where == "credentials"]

    monkeypatch.setattr(condor_check, "token_directories", lambda site: [])
    (missing,) = check(tmp_path / "nothing", 60)
    assert missing.endswith("is missing or cannot be read")
    if kind == "kerberos":
        return
    made = proxy(tmp_path, 1) if kind == "x509" else token(tmp_path, exp=time.time() + 86400)
    assert check(made, 3600) == []
    (short,) = check(made, 86400)
    assert re.search(r"lasts for another (23\.\d|24\.0) h, and the jobs may run for (29\.0|28\.\d|\d\d\.\d) h", short)
    if kind == "idtoken":
        assert check(token(tmp_path), 86400) == []  # no end
        (expired,) = check(token(tmp_path, exp=time.time() - 7200), 60)
        assert expired == "HTCondor's token expired 2.0 h ago"


def test_kerberos_tickets_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.strftime("%m/%d/%y %H:%M:%S", time.localtime(time.time() + 36000))
    script = tmp_path / "klist"
    script.write_text(
        "#!/bin/sh\ncat <<EOF\nTicket cache: FILE:/tmp/krb5cc\nDefault principal: user@CERN.CH\n\n"
        "Valid starting     Expires            Service principal\n"
        f"01/01/26 00:00:00  {later}  krbtgt/CERN.CH@CERN.CH\nEOF\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    from deploy.credentials import check_credential

    assert check_credential(Credential(kind="kerberos"), 3600) == []
    (finding,) = check_credential(Credential(kind="kerberos"), 86400)
    assert "the Kerberos ticket lasts for another 10.0 h" in finding.what and "`kinit` renews it" in finding.fix


def test_the_bindings_are_missed_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "htcondor2", None)
    (finding,) = condor_check._reach(site("pool"))
    assert "pip install 'nntrainer[condor]'" in finding.what
    assert rendered(site("pool"))  # rendering needs none


# ---- names


@pytest.mark.usefixtures("reachable")
def test_hostile_names_are_kept_or_refused() -> None:
    run = '/data/user/my runs/it\'s "a" $run é/first'
    files = rendered(site("uchicago"), run=run)
    assert lines(files["convert-ttH.sub"])["initialdir"] == run.replace("$", "$(DOLLAR)")
    for bad, where, message in [
        ("/data/a:b/c/d", "names", "colon or comma"),
        ("/data/a$(b)/c/d", "--runs", "DAGMan"),
        ("/data/a\nb/c/d", "names", "line break"),
    ]:
        assert any(message in each.what for each in found(site("uchicago"), run=bad) if each.where == where), bad


def test_ntuples_with_commas_are_refused_where_they_are_sent() -> None:
    batch, _ = batch_of(site("lxplus"))
    job = replace(batch.jobs[0], ntuples=("ntuples/a,b.root",))
    with pytest.raises(DeployError, match="comma"):
        HTCondorBackend().render(replace(batch, jobs=(job,)))


def test_ntuples_of_one_name_do_not_meet_in_a_sandbox() -> None:
    dump = config_with().dump()
    dump["data"]["samples"][1]["files"] = ["/data/other/ttH.root", XCACHE]
    config, sources = sandboxed(Config.model_validate(dump), site("lxplus"))
    assert sorted(sources.values()) == ["/data/other/ttH.root", "/data/user/ntuples/ttH.root"]
    assert len(sources) == 2 and all(re.fullmatch(r"ntuples/[0-9a-f]{8}/ttH\.root", name) for name in sources)
    assert config.data.samples[1].files[1] == XCACHE
    assert str(config.data.directory) == "datasets"


def test_scored_files_stay_in_the_sandbox() -> None:
    with pytest.raises(PreflightError, match=r"inject\.directory: jobs at site 'lxplus' do not see /data/scored"):
        sandboxed(config_with("inject.directory=/data/scored"), site("lxplus"))


# ---- holds


def test_every_hold_says_what_to_do() -> None:
    for hold in [*condor_holds.HOLDS.values(), condor_holds.UNKNOWN]:
        assert hold.meaning and hold.fix
    assert condor_holds.hold_of(34, 0) is condor_holds.hold_of(34, 102) is condor_holds.hold_of(21, 102)
    assert condor_holds.hold_of(34).mend == "automatic" and condor_holds.hold_of(12).mend == "person"
    text = condor_holds.explain(13, 2, "Transfer input files failure: reading from file /x: (errno 2) No such file.")
    assert text.startswith("a file could not be sent with the job (Transfer input") and "code 13/2" in text
    assert "code 999/1" in condor_holds.explain(999, 1, "")


def test_the_documentation_has_the_table() -> None:
    assert condor_holds.table() in (REPOSITORY / "docs/htcondor.md").read_text(encoding="utf-8")
