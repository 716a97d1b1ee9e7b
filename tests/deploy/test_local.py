"""Runs on this machine, with real processes: submitted, followed, cancelled, gathered, and killed at bad moments."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from deploy import runs
from deploy.backends.base import Batch
from deploy.backends.local import LocalBackend
from deploy.backends.process import state_of
from deploy.errors import DeployError, GatherError, RunNotFoundError
from deploy.gather import gather
from deploy.jobs import JobSpec
from deploy.runs import Run, look
from deploy.sites import LOCAL
from nntrainer.config import load_config

REPOSITORY = Path(__file__).parents[2]
CONFIG = REPOSITORY / "configs/minimal.yaml"
HOSTILE = "a b'c\"d$(touch owned)`id`;\\é\n*"
SLEEP = "import time; print('begun', flush=True); time.sleep(60)"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A directory of runs; what still runs in it is ended."""
    root = tmp_path / "runs"
    yield root
    for run in runs.list_runs(root):
        with suppress(DeployError):
            runs.cancel(run, grace_s=0)


def made(root: Path, command: tuple[str, ...], name: str | None = None) -> Run:
    """Make a run of this command in place of ``nntrainer run``."""
    config = load_config(CONFIG)
    path = runs.directory_of(config, root, name)
    root.mkdir(parents=True, exist_ok=True)
    job = JobSpec("run", "run", command, root, {"DIRECTORY": str(path)})
    rendered = LocalBackend().render(Batch(path.resolve(), LOCAL, (job,)))
    return runs.create(path, config, LOCAL, [job], rendered)


def start(root: Path, code: str, *arguments: str, name: str | None = None) -> Run:
    """Submit a few lines of Python in place of ``nntrainer run``."""
    run = made(root, (sys.executable, "-u", "-c", textwrap.dedent(code), *arguments), name)
    runs.submit(run)
    return run


def command(*arguments: object, root: Path | None = None) -> list[str]:
    where = ["--runs", str(root)] if root else []
    return [sys.executable, "-m", "deploy", *(str(each) for each in arguments), *where]


def deploy(*arguments: object, root: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, root=root), capture_output=True, text=True, check=False, cwd=REPOSITORY, timeout=60
    )


def until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return value


def ended(run: Run) -> str:
    return until(lambda: (state := look(run).state) in runs.FINISHED and state)


def log(run: Run) -> str:
    return (run.path / "logs/run.log").read_text(encoding="utf-8")


def processes_of(run: Run) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            marked = f"DEPLOY_RUN={run.path.resolve()}".encode() in path.read_bytes().split(b"\0")
        except OSError:
            continue
        if marked:
            found.append(int(path.parent.name))
    return found


# The state, from records alone


@pytest.mark.parametrize(
    ("cancelled", "run_json", "exit_json", "alive", "state"),
    [
        (None, {}, {}, None, "queued"),
        (None, {}, {}, True, "running"),
        (None, {"state": "running"}, {}, True, "running"),
        (None, {"state": "running"}, {}, None, "running"),
        (None, {"state": "running"}, {}, False, "lost"),
        (None, {}, {}, False, "lost"),
        (None, {"state": "done"}, {}, True, "running"),  # it is about to end
        (None, {"state": "done"}, {}, False, "done"),  # the supervisor was killed, not the job
        (None, {"state": "failed"}, {}, False, "failed"),
        (None, {"state": "done"}, {}, None, "done"),  # another machine
        (None, {"state": "done"}, {"exit_code": 0}, False, "done"),
        (None, {}, {"exit_code": 0}, False, "done"),
        (None, {"state": "running"}, {"exit_code": 0}, False, "failed"),  # no success that was not recorded
        (None, {"state": "running"}, {"exit_code": 1}, False, "failed"),
        (None, {"state": "interrupted"}, {"exit_code": 85}, False, "interrupted"),
        ("now", {"state": "interrupted"}, {"exit_code": 85}, False, "cancelled"),
        ("now", {"state": "running"}, {"exit_code": 137}, False, "cancelled"),
        ("now", {"state": "running"}, {}, False, "cancelled"),
        ("now", {"state": "running"}, {}, True, "running"),
        ("now", {"state": "done"}, {"exit_code": 0}, False, "done"),  # it was faster
    ],
)
def test_state(
    cancelled: str | None, run_json: dict[str, Any], exit_json: dict[str, Any], alive: bool | None, state: str
) -> None:
    assert state_of(cancelled, run_json, exit_json, alive) == state


# Submit, follow, end


def test_a_run_from_start_to_end(root: Path) -> None:
    run = start(root, "import os; print(os.getcwd(), os.getsid(0))")
    assert ended(run) == "done"
    directory, session = log(run).split()
    assert directory == str(root)
    assert int(session) != os.getsid(0)  # what ends this terminal's session does not reach the job
    assert run.path.parent == root / "minimal"
    assert load_config(run.path / "config.yaml") == load_config(CONFIG)
    (job,) = run.read("deploy.json")["jobs"]
    assert (job["name"], job["details"]["host"]) == ("run", socket.gethostname())
    assert job["id"] == str(job["details"]["pid"]) and job["details"]["command"][0] == sys.executable
    assert job["details"]["pid_start_time"] > 0
    assert run.read("logs/exit.json")["exit_code"] == 0
    assert not list(run.path.rglob("*.part"))


@pytest.mark.parametrize(
    ("code", "state", "exit_code"),
    [
        ("print('hm')", "done", 0),
        ("print('hm'); raise SystemExit(7)", "failed", 1),
        ("raise SystemExit(85)", "interrupted", 1),
    ],
)
def test_exit_codes_of_wait_and_status(root: Path, code: str, state: str, exit_code: int) -> None:
    run = start(root, code)
    waited = deploy("wait", "minimal", root=root)
    assert (waited.returncode, state in waited.stdout) == (exit_code, True), waited
    assert deploy("status", run.path).returncode == exit_code
    shown = deploy("status", "--json", root=root)  # the latest run
    assert json.loads(shown.stdout)["state"] == state


def test_a_running_job_is_exit_code_3(root: Path) -> None:
    run = start(root, SLEEP)
    assert deploy("status", run.path).returncode == 3
    assert deploy("wait", run.path, "--timeout", "0.2").returncode == 3
    gathered = deploy("gather", run.path)
    assert (gathered.returncode, gathered.stdout) == (3, "")
    assert "nothing gathered" in gathered.stderr


def test_status_shows_the_stages(root: Path) -> None:
    run = start(
        root,
        """
        import json, os, pathlib
        convert = {"state": "done", "seconds": 1.25, "detail": "[bold]5 events"}
        record = json.dumps({"state": "running", "stages": {"convert": convert, "train": {"state": "running"}}})
        pathlib.Path(os.environ["DIRECTORY"], "run.json").write_text(record)
        print("the reason"); raise SystemExit(1)
        """,
    )
    assert ended(run) == "failed"
    shown = deploy("status", run.path)
    convert, train = (line for line in shown.stdout.splitlines() if "│ convert" in line or "│ train " in line)
    assert "time: convert 1.2 s; 1.2 s together" in shown.stdout
    assert "1.2 s" in convert and "[bold]5 events" in convert
    assert "failed" in train  # the job had no time to say so
    assert "exit code 1" in shown.stdout and "the reason" in shown.stderr


def test_a_program_that_does_not_exist(root: Path) -> None:
    run = made(root, ("/nowhere/python",))
    runs.submit(run)
    assert ended(run) == "failed"
    assert run.read("logs/exit.json")["exit_code"] == 127
    assert "/nowhere/python cannot be started: No such file or directory" in log(run)


def test_a_signal_is_an_exit_code(root: Path) -> None:
    run = start(root, "import os; os.kill(os.getpid(), 9)")
    assert ended(run) == "failed"
    assert run.read("logs/exit.json")["exit_code"] == 137


def test_overrides_of_the_environment_reach_the_configuration_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # --set wins over the environment when the run is submitted; the job must not see the variable again.
    monkeypatch.setenv("NNTRAINER__TRAINING__EPOCHS", "5")
    run = start(root, "import os; print([key for key in os.environ if key.startswith('NNTRAINER__')])")
    assert ended(run) == "done"
    assert log(run) == "[]\n"


# Hostile texts


def test_hostile_arguments_stay_arguments(tmp_path: Path) -> None:
    root = tmp_path / HOSTILE.replace("\n", "")
    root.mkdir()
    code = "import sys, os; print(ascii([sys.argv[1], os.environ['DIRECTORY'], os.getcwd()]))"
    run = start(root, code, HOSTILE)
    assert ended(run) == "done"
    expected = ascii([HOSTILE, str(run.path), str(root)]) + "\n"
    assert log(run) == expected
    rendered = subprocess.run(["sh", run.path / "rendered/run.sh"], capture_output=True, text=True, check=True)
    assert rendered.stdout == expected
    assert not list(tmp_path.rglob("owned"))


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", ".hidden", "-x", "x\n", "é", "$(id)", "x" * 101])
def test_hostile_names_are_refused(root: Path, name: str) -> None:
    with pytest.raises(DeployError, match=r"--name .*beginning with a letter or digit"):
        runs.directory_of(load_config(CONFIG), root, name)
    assert not root.exists()


def test_hostile_values_are_refused_or_kept(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = deploy("submit", CONFIG, "--set", f"name={HOSTILE}", root=root)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--set name" in refused.stderr and "Traceback" not in refused.stderr
    assert not root.exists()
    # The real `nntrainer run`, in a directory without good inputs; --set wins over the environment there, too.
    ntuples = tmp_path / "demo/ntuples"
    ntuples.mkdir(parents=True)
    for name in ("ttH", "ttbb"):
        (ntuples / f"{name}.root").write_bytes(b"hello" * 99)
    monkeypatch.setenv("NNTRAINER__TRAINING__EPOCHS", "5")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.chdir(tmp_path)
    tree = "$(touch owned)`touch owned`;'x"
    options = ["--name", "real", "--set", "training.epochs=3", "--set", f"data.tree={tree}"]
    submitted = subprocess.run(
        command("submit", CONFIG, *options, root=root), capture_output=True, text=True, check=False
    )
    assert (submitted.returncode, submitted.stderr) == (0, "")
    run = Run(Path(submitted.stdout.rstrip("\n")))
    assert run.path == root / "minimal" / "real"
    config = load_config(run.path / "config.yaml", environment={})
    assert (config.data.tree, config.training.epochs) == (tree, 3)
    waited = deploy("wait", run.path)
    assert waited.returncode == 1
    assert "ttH.root: not a ROOT file" in waited.stderr and "another configuration" not in log(run)
    assert not list(tmp_path.rglob("owned"))


# Names of runs


def test_a_name_is_used_once(root: Path) -> None:
    run = start(root, "print('first')", name="mine")
    assert ended(run) == "done"
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    again = deploy("submit", CONFIG, "--name", "mine", root=root)
    assert again.returncode == 2
    assert again.stderr == (
        f"error: {run.path}: this run exists already; follow it with `deploy status {run.path}`, "
        "or give another --name\n"
    )
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_runs_are_found_by_directory_and_names(root: Path) -> None:
    old, new = start(root, "pass", name="old"), start(root, "pass", name="new")
    assert runs.find(str(old.path), root) == old
    assert runs.find("minimal/old", root) == old
    assert runs.find("old", root) == old
    assert runs.find("minimal", root) == new
    assert runs.find(None, root) == new
    with pytest.raises(RunNotFoundError, match="Did you mean 'minimal'"):
        runs.find("minimla", root)
    with pytest.raises(RunNotFoundError, match="holds none"):
        runs.find("minimal", root / "elsewhere")
    for run in (old, new):
        assert ended(run) == "done"
    (old.path / "deploy.json").write_text("{")
    listed = json.loads(deploy("list", "--json", root=root).stdout)
    assert [(row["run"], row["state"].split(":")[0]) for row in listed] == [
        (str(old.path), "damaged"),
        (str(new.path), "done"),
    ]
    broken = deploy("status", old.path)
    assert broken.returncode == 2 and "the record is damaged" in broken.stderr and "Traceback" not in broken.stderr


# Cancel


def test_cancel_lets_the_job_save_its_state(root: Path) -> None:
    run = start(
        root,
        """
        import signal, sys, time
        def stop(*_):
            print("saved"); sys.exit(85)
        signal.signal(signal.SIGTERM, stop)
        print("begun"); time.sleep(60)
        """,
    )
    until(lambda: "begun" in log(run))
    cancelled = deploy("cancel", run.path)
    assert (cancelled.returncode, cancelled.stdout) == (0, f"{run.path}: cancelled\n")
    assert log(run) == "begun\nsaved\n"  # once: the signal came once
    assert run.read("logs/exit.json")["exit_code"] == 85
    assert deploy("wait", run.path).returncode == 1
    assert "cancelled already" in deploy("cancel", run.path).stdout


def test_cancel_kills_what_does_not_listen(root: Path) -> None:
    # The grandchild has a session of its own, as Horovod's workers have.
    run = start(
        root,
        """
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
        print("begun"); time.sleep(60)
        """,
    )
    until(lambda: "begun" in log(run) and len(processes_of(run)) == 3)
    begin = time.monotonic()
    assert runs.cancel(run, grace_s=0.5) == "cancelled"
    assert time.monotonic() - begin < 6
    assert processes_of(run) == []
    assert run.read("logs/exit.json")["exit_code"] == 137


def test_cancel_ends_what_a_killed_supervisor_left(root: Path) -> None:
    run = start(root, SLEEP)
    until(lambda: "begun" in log(run))
    os.kill(int(run.read("deploy.json")["jobs"][0]["id"]), signal.SIGKILL)
    assert ended(run) == "lost"
    assert len(processes_of(run)) == 1
    assert runs.cancel(run, grace_s=1) == "cancelled"
    assert processes_of(run) == []


def test_another_process_of_the_same_number_is_left_alone(root: Path) -> None:
    run = start(root, "pass")
    assert ended(run) == "done"
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        (job,) = run.read("deploy.json")["jobs"]
        run.update(jobs=[job | {"details": job["details"] | {"pid": bystander.pid}}])
        (run.path / "logs/exit.json").unlink()
        assert look(run).state == "lost"
        assert runs.cancel(run, grace_s=0) == "cancelled"
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_on_another_machine_only_records_are_seen(root: Path) -> None:
    run = start(root, SLEEP)
    (job,) = run.read("deploy.json")["jobs"]
    run.update(jobs=[job | {"details": job["details"] | {"host": "elsewhere.example"}}])
    seen = look(run)
    assert (seen.state, "runs on elsewhere.example" in seen.note) == ("queued", True)
    with pytest.raises(DeployError, match=r"runs on elsewhere\.example; cancel it there"):
        runs.cancel(run, grace_s=0)
    assert run.read("deploy.json")["cancelled"] is None
    assert len(processes_of(run)) == 2


def test_cancel_of_a_run_that_deploy_did_not_start(tmp_path: Path) -> None:
    run = Run(tmp_path)
    (tmp_path / "config.yaml").write_text("")
    (tmp_path / "run.json").write_text(
        json.dumps({"state": "running", "host": socket.gethostname(), "pid": os.getpid()})
    )
    assert look(run).state == "running"
    with pytest.raises(DeployError, match="deploy submitted no job"):
        runs.cancel(run, grace_s=0)
    # One whose process is gone
    (tmp_path / "run.json").write_text(json.dumps({"state": "running", "host": socket.gethostname(), "pid": 2**22 + 1}))
    assert look(run).state == "lost"


# Killing deploy


def test_logs_follow_until_the_job_ends(root: Path) -> None:
    run = start(
        root, "import time\nfor i in range(8):\n    print('line é', i)\n    time.sleep(0.1)\nraise SystemExit(3)"
    )
    followed = deploy("logs", "-f", run.path)
    assert followed.returncode == 0
    assert followed.stdout == "".join(f"line é {i}\n" for i in range(8)) == log(run)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGHUP])
def test_killing_deploy_while_it_follows_loses_nothing(root: Path, number: int) -> None:
    run = start(
        root,
        """
        import os, pathlib, time
        go = pathlib.Path(os.environ["DIRECTORY"], "go")
        print("begun")
        while not go.exists():
            time.sleep(0.05)
        print("ended")
        """,
    )

    def hear() -> None:
        """A shell's & and nohup let their children ignore these."""
        for each in (signal.SIGINT, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)

    line = command("logs", "-f", run.path)
    with subprocess.Popen(line, cwd=REPOSITORY, stdout=subprocess.PIPE, preexec_fn=hear) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == b"begun\n"
        follower.send_signal(number)
        assert follower.wait(20) == (130 if number == signal.SIGINT else -number)
    assert look(run).state == "running"
    (run.path / "go").touch()
    assert deploy("wait", run.path).returncode == 0
    assert log(run) == "begun\nended\n"


def test_a_job_that_deploy_could_not_note_is_found(root: Path) -> None:
    # As when deploy is killed between starting the job and noting it.
    run = start(root, SLEEP)
    run.update(jobs=[])
    assert look(run).state == "running"
    assert runs.cancel(run, grace_s=5) == "cancelled"


def test_a_submission_that_was_cut_off_does_not_wait_forever(root: Path) -> None:
    run = made(root, ("true",), "cut")
    assert look(run).state == "queued"
    run.update(submitted="2020-01-01T00:00:00+00:00")
    assert look(run).state == "lost"
    (run.path / "config.yaml").unlink()
    with pytest.raises(DeployError, match="as when a submission was cut off; remove it"):
        made(root, ("true",), "cut")


def test_killing_submit_at_any_moment_loses_no_job(root: Path, tmp_path: Path) -> None:
    site = tmp_path / "quick.yaml"
    site.write_text(f"{{name: quick, backend: local, python: {shutil.which('true')}}}")
    names = [f"run{i}" for i in range(10)]
    files = [part for i in (0, 1) for part in ("--set", f"data.samples.{i}.files={site}")]
    for step, name in enumerate(names):
        line = command("submit", CONFIG, "--site-file", site, "--name", name, *files, root=root)
        with subprocess.Popen(line, cwd=REPOSITORY, stdout=subprocess.DEVNULL) as job:
            time.sleep(0.1 + 0.06 * step)
            job.kill()
    # What was started ends well, and is known; what was not started does not look as if it ran.
    time.sleep(1)
    for run in runs.list_runs(root):
        if (run.path / "logs/job.json").exists():
            assert ended(run) == "done"
        else:
            assert look(run).state == "queued"
    last = deploy("submit", CONFIG, "--site-file", site, "--name", "last", *files, root=root)
    assert deploy("wait", last.stdout.strip()).returncode == 0


# Gather


def finished(root: Path, files: dict[str, bytes], name: str | None = None) -> Run:
    """A run that is done, with outputs and their manifest."""
    run = start(root, "pass", name=name)
    assert ended(run) == "done"
    listed = []
    for name, content in files.items():
        path = run.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        listed.append({"path": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    (run.path / "manifest.json").write_text(json.dumps({"files": listed}))
    return run


FILES = {
    "metrics.json": b"{}",
    "plots/Inputs/HT all.png": b"png" * 1000,
    "models/fold0.onnx": b"\0" * 5000,
    "empty": b"",
}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_gather_verifies_in_place(root: Path) -> None:
    run = finished(root, FILES)
    shown = deploy("gather", run.path)
    assert shown.returncode == 0 and "4 files" in shown.stdout and "0 copied" in shown.stdout
    (run.path / "models/fold0.onnx").write_bytes(b"\0" * 4999 + b"\1")
    (run.path / "metrics.json").write_bytes(b"{")
    (run.path / "empty").unlink()
    shown = deploy("gather", run.path)
    assert (shown.returncode, shown.stdout) == (2, "")
    for message in ("empty is missing", "fold0.onnx has another SHA-256", "metrics.json has 1 bytes instead of 2"):
        assert message in shown.stderr


def test_gather_copies_once(root: Path, tmp_path: Path) -> None:
    run, to = finished(root, FILES), tmp_path / "my results"
    assert gather(run, to).copied == 4
    records = {"config.yaml", "deploy.json", "manifest.json"}
    assert {name: content for name, content in tree(to).items() if name not in records} == FILES
    assert gather(run, to).copied == 0
    (to / "metrics.json").write_bytes(b"[]")
    assert gather(run, to).copied == 1
    assert tree(to)["metrics.json"] == b"{}"


def test_gather_never_overwrites_something_else(root: Path, tmp_path: Path) -> None:
    run, to = finished(root, FILES), tmp_path / "mine"
    to.mkdir()
    (to / "metrics.json").write_text("my own")
    with pytest.raises(GatherError, match="holds something else"):
        gather(run, to)
    assert tree(to) == {"metrics.json": b"my own"}
    other = tmp_path / "other"
    gather(run, other)
    with pytest.raises(GatherError, match="holds something else"):
        gather(finished(root, {"metrics.json": b"[1]"}, name="second"), other)


def test_a_run_of_which_something_was_made_again_is_gathered_again(root: Path, tmp_path: Path) -> None:
    run, to = finished(root, FILES), tmp_path / "results"
    gather(run, to)
    (run.path / "report.html").write_text("the report")
    manifest = json.loads((run.path / "manifest.json").read_text())
    digest = hashlib.sha256(b"the report").hexdigest()
    manifest["files"].append({"path": "report.html", "size": 10, "sha256": digest})
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    assert gather(run, to).copied == 1
    assert tree(to)["report.html"] == b"the report"
    assert (to / "manifest.json").read_bytes() == (run.path / "manifest.json").read_bytes()
    assert not (to / ".gathering").exists()


def test_gather_of_a_damaged_run_is_no_success_and_goes_on_later(root: Path, tmp_path: Path) -> None:
    run, to = finished(root, FILES), tmp_path / "results"
    (run.path / "empty").unlink()
    with pytest.raises(GatherError, match="empty is missing"):
        gather(run, to)
    assert not (to / "manifest.json").exists()
    (run.path / "empty").touch()
    assert gather(run, to).copied == 1
    assert (to / "manifest.json").exists()
    assert not list(to.rglob("*.part")) and not (to / ".gathering").exists()


def test_gather_killed_at_any_moment_ends_with_the_same_tree(root: Path, tmp_path: Path) -> None:
    files = {f"data/{i}": os.urandom(200_000) for i in range(60)}
    run, to = finished(root, files), tmp_path / "results"
    killed = 0
    for step in range(8):
        with subprocess.Popen(
            command("gather", run.path, "--to", to), cwd=REPOSITORY, stdout=subprocess.DEVNULL
        ) as job:
            time.sleep(0.25 + 0.03 * step)
            job.kill()
            killed += job.wait() == -signal.SIGKILL
        assert not (to / "manifest.json").exists() or tree(to).items() >= files.items()
    assert killed
    assert deploy("gather", run.path, "--to", to).returncode == 0
    assert tree(to).items() >= files.items()
    assert not (to / ".gathering").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"files": [{"path": "x"}]}'])
def test_gather_of_a_damaged_manifest(root: Path, text: str) -> None:
    run = finished(root, {})
    (run.path / "manifest.json").write_text(text)
    with pytest.raises(GatherError, match="the manifest is damaged"):
        gather(run)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b"])
def test_gather_stays_in_the_run_directory(root: Path, tmp_path: Path, name: str) -> None:
    run = finished(root, {})
    entry = {"path": name, "size": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    (run.path / "manifest.json").write_text(json.dumps({"files": [entry]}))
    with pytest.raises(GatherError, match="does not lie in the run directory"):
        gather(run, tmp_path / "to")


def test_gather_before_the_manifest(root: Path) -> None:
    run = start(root, "pass")
    assert ended(run) == "done"
    assert deploy("gather", run.path).returncode == 2
    failed = start(root, "raise SystemExit(1)", name="failed")
    assert ended(failed) == "failed"
    assert deploy("gather", failed.path).returncode == 1
