"""The local site: this machine, without a container."""

from __future__ import annotations

import importlib.util
import os
import shutil

from deploy.backends.base import Batch
from deploy.backends.process import ProcessBackend
from deploy.jobs import Finding
from deploy.sites import LocalSite
from nntrainer.config import Config
from nntrainer.errors import HOROVOD


class LocalBackend(ProcessBackend):
    """Runs the job with the interpreter that the site names."""

    def check(self, batch: Batch, config: Config) -> list[Finding]:
        """Return what this machine has not: interpreter, Horovod, processors or memory that are asked for."""
        site, found = batch.site, []
        if isinstance(site, LocalSite) and site.python and shutil.which(site.python.expanduser()) is None:
            found.append(
                Finding("error", "python", f"there is no program '{site.python}'", "give a full path in the site file")
            )
        workers, own = config.training.workers, isinstance(site, LocalSite) and site.python is None
        if workers > 1 and own and importlib.util.find_spec("horovod") is None:
            what = f"{workers} need Horovod, and it is not installed"
            found.append(Finding("error", "training.workers", what, HOROVOD))
        needs, asked = site.resources.get("run"), config.deploy.resources.get("run")
        there = {"cpus": os.cpu_count() or 1, "memory_mib": memory_mib()}
        for key, most in there.items():
            wanted = (asked and getattr(asked, key)) or (needs and getattr(needs, key)) or 0
            if wanted > most:
                what = f"{wanted} are asked for, this machine has {most}"
                found.append(Finding("error", f"resources.run.{key}", what, "ask for less, or run elsewhere"))
        return found


def memory_mib() -> int:
    """Return the memory of this machine in MiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
