"""The one table of GPUs: the rule of compute capabilities, names, and the page made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nntrainer.config import gpus
from nntrainer.errors import NNTrainerError


@pytest.mark.parametrize("capability", ["5.2", "6.0", "6.1", "7.0", "7.5", "8.0", "8.6", "8.9"])
def test_served_with_compiled_kernels(capability: str) -> None:
    verdict = gpus.serves(capability)
    assert verdict.served and verdict.native
    assert all(verdict.kernels.values())


def test_hopper_leaves_something_to_the_driver() -> None:
    verdict = gpus.serves((9, 0))
    assert verdict.served and not verdict.native
    assert [name for name, used in verdict.kernels.items() if used == "PTX 9.0"] == ["TensorFlow's generated kernels"]


@pytest.mark.parametrize(
    ("capability", "lacking"),
    [("3.7", "TensorFlow 2.16"), ("5.0", "Horovod 0.28"), ("10.0", "generated kernels"), ("12.0", "generated kernels")],
)
def test_not_served_says_why(capability: str, lacking: str) -> None:
    verdict = gpus.serves(capability)
    assert not verdict.served
    assert lacking in verdict.sentence
    assert "served are 5.2 to 9.0" in verdict.sentence


def test_compiled_kernels_run_on_later_minors_only() -> None:
    library = gpus.Library("x", ((7, 0), (7, 5), (8, 6)), ptx=None)
    assert [library.kernels(each) for each in ((6, 1), (7, 0), (7, 2), (7, 5), (8, 0), (8, 9), (9, 0))] == [
        *("", "7.0", "7.0", "7.5", "", "8.6", ""),
    ]


def test_portable_ptx_runs_on_anything_later() -> None:
    library = gpus.Library("x", (), ptx=(8, 0))
    assert [library.kernels(each) for each in ((7, 5), (8, 0), (12, 0))] == ["", "PTX 8.0", "PTX 8.0"]


def test_all_between_the_limits_is_served() -> None:
    listed = [each for each in gpus.GPUS if gpus.LOWEST <= each <= gpus.HIGHEST]
    assert {each for each in gpus.GPUS if gpus.serves(each).served} == set(listed)


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("NVIDIA GeForce GTX 970", (5, 2)),
        ("NVIDIA GeForce GTX 1080 Ti", (6, 1)),
        ("Tesla V100-PCIE-16GB", (7, 0)),
        ("NVIDIA-GeForce-RTX-2080-Ti", (7, 5)),
        ("Tesla T4", (7, 5)),
        ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", (8, 0)),
        ("NVIDIA A10", (8, 6)),
        ("NVIDIA L40S", (8, 9)),
        ("NVIDIA RTX 6000 Ada Generation", (8, 9)),
        ("Quadro RTX 6000", (7, 5)),
        ("NVIDIA H100 80GB HBM3", (9, 0)),
        ("NVIDIA B200", (10, 0)),
        ("CUDA0", None),
        ("", None),
    ],
)
def test_names_as_clusters_write_them(name: str, capability: gpus.Capability | None) -> None:
    assert gpus.capability_of(name) == capability


@pytest.mark.parametrize("given", ["", "8", "eight", "8.0.1", "-1.0", "sm_80"])
def test_bad_capability(given: str) -> None:
    with pytest.raises(NNTrainerError, match=r"not a compute capability; give it as in 5\.2"):
        gpus.serves(given)


def test_page_is_up_to_date() -> None:
    written = Path(__file__).parents[2] / "docs/gpus.md"
    assert written.read_text(encoding="utf-8") == gpus.page(), "`make gpus` writes it again"


def test_versions_are_those_of_the_lock() -> None:
    lock = (Path(__file__).parents[2] / "requirements/gpu.txt").read_text(encoding="utf-8")
    for package in (
        "tensorflow==2.16.",
        "nvidia-cudnn-cu12==8.9.",
        "nvidia-cublas-cu12==12.3.",
        "nvidia-nccl-cu12==2.19.",
    ):
        assert f"\n{package}" in lock, "measure the kernels again with scripts/gpu_kernels.py and change gpus.py"
