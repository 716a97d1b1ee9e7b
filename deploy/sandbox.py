"""A run directory of which every job gets only a part: no path leads out of it."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

from deploy.errors import PreflightError
from deploy.sites import HTCondorSite, Site
from nntrainer.config import Config
from nntrainer.files import is_remote


def sandboxed(config: Config, site: Site) -> tuple[Config, dict[str, str]]:
    """Return a configuration as jobs read it that see only what is sent with them.

    Args:
        config: the configuration with absolute paths, globs expanded.
        site: where it is to run.

    Returns:
        The configuration with paths in the run directory, and where the ntuples lie by these paths. Addresses stay.
        Where jobs see the file system, the configuration as it is, and nothing.

    Raises:
        PreflightError: scored files are to go to a directory that the jobs do not see.
    """
    if not isinstance(site, HTCondorSite) or not site.sandboxes:
        return config, {}
    if config.inject.directory is not None:
        raise PreflightError(
            f"inject.directory: jobs at site '{site.name}' do not see {config.inject.directory}; leave the key out: "
            "the scored files come back into the run directory, and `deploy gather --to` copies them"
        )
    sources: dict[str, str] = {}

    def inside(files: tuple[str, ...]) -> list[str]:
        names = {path: path if is_remote(path) else _name(path) for path in files}
        sources.update({name: path for path, name in names.items() if not is_remote(path)})
        return list(names.values())

    dump = config.dump()
    dump["data"]["directory"] = "datasets"
    for sample, block in zip(config.data.samples, dump["data"]["samples"], strict=True):
        block["files"] = inside(sample.files)
    if config.inject.files is not None:
        dump["inject"]["files"] = inside(config.inject.files)
    return Config.model_validate(dump), sources


def _name(path: str) -> str:
    """Return where an ntuple lies in the run directory: files of the same name in different directories, too."""
    given = PurePosixPath(path)
    return f"ntuples/{hashlib.sha256(str(given.parent).encode()).hexdigest()[:8]}/{given.name}"
