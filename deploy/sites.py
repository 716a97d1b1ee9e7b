"""Site files: where jobs can go."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.errors import SiteError
from nntrainer.errors import nearest, one_of

DIRECTORIES = (
    Path("~/.config/nntrainer/sites"),
    Path("configs/sites"),
    Path(__file__).parent.parent / "configs/sites",
)


class Site(BaseModel):
    """A place that runs jobs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$", description="Name of the site.")
    backend: Literal["local"] = Field(description="What runs the jobs.")
    description: str = Field("", description="What it is, for people.")
    environment: dict[str, str] = Field({}, description="Variables set for the job.")


LOCAL = Site(name="local", backend="local", description="this machine, in the background")


def find_sites() -> dict[str, Path | None]:
    """Return the known sites and their files; users' own come first, ``local`` needs none."""
    found: dict[str, Path | None] = {}
    for directory in DIRECTORIES:
        for path in sorted(directory.expanduser().glob("*.yaml")):
            found.setdefault(path.stem, path)
    found.setdefault("local", None)
    return dict(sorted(found.items()))


def load_site(name: str, file: Path | None = None) -> Site:
    """Read a site.

    Args:
        name: its name.
        file: its file; looked for if absent.

    Returns:
        The site.

    Raises:
        SiteError: there is no such site, or its file is wrong.
    """
    if file is None:
        sites = find_sites()
        if name not in sites:
            raise SiteError(f"there is no site '{name}'; sites are {one_of(sites)}.{nearest(name, sites)}")
        file = sites[name]
        if file is None:
            return LOCAL
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        return Site.model_validate(data)
    except OSError as error:
        raise SiteError(f"{file}: the site file cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise SiteError(f"{file}: this is not YAML: {getattr(error, 'problem', error)}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "site"
        hint = nearest(key, Site.model_fields) if first["type"] == "extra_forbidden" else ""
        raise SiteError(f"{file}: {key}: {first['msg']}.{hint}") from None
