#!/usr/bin/env python3
"""Writes a docker archive of a one-program image, as `docker save` would, for machines that can pull nothing.

k8s/cluster/image.py OUT.tar NAME:TAG /path/in/image=program
The program is the entry point. Busybox also gets a link for each of its commands.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **attributes: object) -> None:
    """Put one member into the archive, the same way each time."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in attributes.items():
        setattr(member, key, value)
    archive.addfile(member, io.BytesIO(content))


def layer(target: str, program: Path) -> bytes:
    """Return the file system of the image: the program and an open /tmp."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        add(archive, "tmp", type=tarfile.DIRTYPE, mode=0o1777)
        add(archive, target.lstrip("/"), program.read_bytes(), mode=0o755)
        if program.name == "busybox":
            for command in subprocess.run(
                [program, "--list"], capture_output=True, text=True, check=True
            ).stdout.split():
                if command != "busybox":
                    add(archive, f"bin/{command}", type=tarfile.SYMTYPE, linkname="busybox")
    return buffer.getvalue()


def main(out: str, name: str, placement: str) -> None:
    """Write the archive."""
    target, program = placement.split("=", 1)
    files = layer(target, Path(program))
    machine = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout.strip()
    digest = f"sha256:{hashlib.sha256(files).hexdigest()}"
    config = json.dumps(
        {
            "architecture": GO_NAMES.get(machine, machine),
            "os": "linux",
            "config": {"Entrypoint": [target], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [digest]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(out, "w") as archive:
        for member, content in ((config_name, config), ("layer.tar", files), ("manifest.json", manifest)):
            add(archive, member, content, mode=0o644)


if __name__ == "__main__":
    main(*sys.argv[1:])
