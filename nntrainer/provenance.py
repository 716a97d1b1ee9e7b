"""What made an output: versions, commit, machine, image."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from nntrainer import __version__

PACKAGES: tuple[str, ...] = (
    "numpy",
    "uproot",
    "awkward",
    "h5py",
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "horovod",
    "onnx",
)
PACKAGES += ("onnxruntime", "tf2onnx", "scikit-learn", "shap", "lime")


@cache
def git_commit() -> str:
    """Return the commit of the checkout this package runs from (``-dirty`` appended), or ``unknown``."""
    if (given := os.environ.get("NNTRAINER_GIT_COMMIT")) is not None:  # set inside images, which have no checkout
        return given
    root = Path(__file__).resolve().parent.parent
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return "unknown"
    command = [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"


def provenance() -> dict[str, Any]:
    """Return plain data: version, commit, Python, host, package versions, image digest (None outside an image)."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "version": __version__,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "host": platform.node(),
        "platform": platform.platform(),
        "packages": versions,
        "image_digest": os.environ.get("NNTRAINER_IMAGE_DIGEST"),
    }
