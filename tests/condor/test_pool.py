"""What the throw-away pool promises to the tests of the HTCondor backend."""

import hashlib
import io
import json
import tarfile
import time
from pathlib import Path

from tests.condor.conftest import EXACT

IDLE, RUNNING, HELD = 1, 2, 5


def test_the_pool_declares_cpus_gpus_and_sif(htcondor2):
    (slot,) = htcondor2.Collector().query(htcondor2.AdType.Startd, constraint="PartitionableSlot")
    assert (slot["TotalCpus"], slot["TotalMemory"], slot["TotalGPUs"]) == (32, 32768, 8)
    assert slot["HasSIF"]
    assert slot["GPUs_Capability"] == 7.0


def test_a_job_gets_the_gpus_it_asks_for(submit):
    job = submit(
        'echo "$CUDA_VISIBLE_DEVICES"; id -u',
        request_gpus="2",
        gpus_minimum_capability="7.0",
        gpus_minimum_memory="16000",
        require_gpus='!regexp("MIG", DeviceName)',
    )
    gpus, user = job.output().split()
    assert len(set(gpus.split(","))) == 2
    assert user != "0"


def test_a_gpu_that_does_not_exist_is_not_matched(submit):
    job = submit("true", request_gpus="1", gpus_minimum_capability="9.0")
    other = submit("true", request_gpus="1")
    other.output()  # negotiation has come by
    (ad,) = job.schedd.query(job.constraint)
    assert ad["JobStatus"] == IDLE


def docker_archive(path: Path, shell: bytes) -> None:
    """A docker archive of one layer with nothing but a static BusyBox."""

    def pack(target: io.BytesIO | Path, files: dict[str, bytes | None]) -> None:
        with tarfile.open(**({"name": target} if isinstance(target, Path) else {"fileobj": target}), mode="w") as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.mode = 0o755
                member.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
                member.size = len(content or b"")
                tar.addfile(member, io.BytesIO(content or b""))

    layer = io.BytesIO()
    folders = dict.fromkeys(["bin", "dev", "etc", "proc", "sys", "tmp", "var", "var/tmp"])
    pack(
        layer,
        folders | {"bin/sh": shell, "bin/cat": shell, "etc/passwd": b"", "etc/group": b"", "etc/image": b"tiny\n"},
    )
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}}
    manifest = [{"Config": "config.json", "RepoTags": ["tiny:latest"], "Layers": ["layer.tar"]}]
    pack(
        path,
        {
            "layer.tar": layer.getvalue(),
            "config.json": json.dumps(config | {"config": {"Env": ["PATH=/bin"]}}).encode(),
            "manifest.json": json.dumps(manifest).encode(),
        },
    )


def test_a_sif_runs_in_the_container_universe(submit, run_pool, tmp_path):
    docker_archive(tmp_path / "tiny.tar", run_pool("exec", "cat", "/usr/bin/busybox"))
    run_pool("sif", str(tmp_path / "tiny.tar"), str(tmp_path / "tiny.sif"))
    job = submit(
        'cat /etc/image; echo "$CUDA_VISIBLE_DEVICES"',
        universe="container",
        container_image=str(tmp_path / "tiny.sif"),
        request_gpus="1",
    )
    image, gpu = job.output().split()
    assert image == "tiny"
    assert gpu.startswith("GPU-")


def test_a_job_that_outgrows_its_memory_is_held(submit):
    job = submit(
        "python3 -c 'import time; x = b\"x\" * 300_000_000; time.sleep(300)'", request_cpus="7", requirements=EXACT
    )
    ad = job.wait(HELD)
    # The first where the kernel's cgroups tell, the second where HTCondor has only looked at the processes.
    assert (ad["HoldReasonCode"], ad["HoldReasonSubCode"]) in [(34, 0), (21, 102)]
    assert "memory" in ad["HoldReason"]


COUNT = """
mkdir -p run
n=$(cat run/n 2>/dev/null || echo 0)
echo start $n
[ $n = 0 ] || exit 0
trap 'echo $n > run/n; echo end $n; exit 85' TERM
while n=$((n + 1)); do sleep 0.2; [ $n != 2 ] || /usr/libexec/condor/condor_chirp set_job_attr Counting $n; done
"""


def test_a_vacated_job_resumes_from_its_checkpoint(submit):
    checkpoint = {"checkpoint_exit_code": "85", "transfer_checkpoint_files": "run", "transfer_output_files": "run"}
    job = submit(COUNT, **checkpoint, **{"My.WantIOProxy": "True"})
    while "Counting" not in job.wait(RUNNING):
        time.sleep(0.2)
    job.act("Vacate")
    first, end, second = (line.split() for line in job.output().splitlines())
    assert first == ["start", "0"]
    assert end[0] == "end" and second == ["start", end[1]] and int(end[1]) > 1
