"""What every backend knows of images: their digest, and which GPUs they serve."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from deploy.jobs import Finding
from nntrainer.config.gpus import serves
from nntrainer.files import sha256

DIGEST = "NNTRAINER_IMAGE_DIGEST"
"""Variable that tells a job its image, which a container cannot find out itself."""


def file_digest(path: Path) -> str:
    """Return what tells the image in a file from others."""
    return f"sha256:{_sha256(path, path.stat().st_mtime_ns)}"


@cache
def _sha256(path: Path, changed: int) -> str:
    return sha256(path)


def unserved(capabilities: Mapping[str, str], fix: str) -> list[Finding]:
    """Return which GPUs the image has no kernels for: a warning each, or errors where it serves none.

    Args:
        capabilities: compute capability of each GPU by its name.
        fix: what to do.

    Returns:
        What was found.
    """
    verdicts = {name: serves(capability) for name, capability in capabilities.items()}
    bad = {name: verdict for name, verdict in verdicts.items() if not verdict.served}
    level = "error" if len(bad) == len(verdicts) else "warning"
    return [
        Finding(level, "gpus", f"the image does not serve {name}: {verdict.sentence}", fix)
        for name, verdict in bad.items()
    ]
