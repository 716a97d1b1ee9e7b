"""Site files: where jobs can go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.errors import SiteError
from nntrainer.errors import nearest, one_of

DIRECTORIES = (
    Path("~/.config/nntrainer/sites"),
    Path("configs/sites"),
    Path(__file__).parent.parent / "configs/sites",
)
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Resources(_Closed):
    """What a job may use and what it needs."""

    cpus: int | None = Field(None, ge=1, description="Threads that the job computes with; all CPUs if absent.")
    memory_mib: int | None = Field(None, ge=1, description="Memory the machine must have for the job, in MiB.")


class Site(_Closed):
    """A place that runs jobs."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$", description="Name of the site; its file's name.")
    backend: Literal["local"] = Field(description="What runs the jobs.")
    description: str = Field("", description="What it is, for people.")
    python: Path | None = Field(None, description="Interpreter that has nntrainer; the one that runs deploy if absent.")
    resources: Resources = Field(Resources(), description="What a job may use and what it needs.")
    environment: dict[Variable, str] = Field({}, description="Variables set for the job.")


LOCAL = Site(name="local", backend="local", description="this machine, in the background")
"""What ``local`` is where no site files are installed."""


def find_sites() -> dict[str, Path | None]:
    """Return the known sites and their files; users' own come first, ``local`` needs none."""
    found: dict[str, Path | None] = {}
    for directory in DIRECTORIES:
        for path in sorted(directory.expanduser().glob("*.yaml")):
            found.setdefault(path.stem, path)
    found.setdefault("local", None)
    return dict(sorted(found.items()))


def load_site(name: str | None, file: Path | None = None) -> Site:
    """Read a site.

    Args:
        name: its name; may be absent where a file is given.
        file: its file; looked for by the name if absent.

    Returns:
        The site.

    Raises:
        SiteError: there is no such site, or its file is wrong.
    """
    if file is None:
        sites, name = find_sites(), name or "local"
        if name not in sites:
            raise SiteError(f"there is no site '{name}'; sites are {one_of(sites)}.{nearest(name, sites)}")
        file = sites[name]
        if file is None:
            return LOCAL
    site = _read(file)
    if name is not None and site.name != name:
        raise SiteError(f"{file}: name: the file describes the site '{site.name}', not '{name}'; make them the same")
    return site


def _read(file: Path) -> Site:
    try:
        return Site.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise SiteError(f"{file}: the site file cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise SiteError(f"{file}: this is not YAML: {getattr(error, 'problem', None) or error}") from None
    except ValidationError as error:
        raise SiteError(f"{file}: {_sentence(error)}") from None
    except UnicodeDecodeError:
        raise SiteError(f"{file}: this is not text in UTF-8") from None


def _sentence(error: ValidationError) -> str:
    """Return everything that is wrong with a site file, an unknown key with its nearest valid one."""
    found = []
    for each in error.errors():
        path = [str(part) for part in each["loc"] if part != "[key]"]
        allowed = Resources.model_fields if path[:-1] == ["resources"] else Site.model_fields
        if each["type"] == "extra_forbidden":
            found.append(
                f"{'.'.join(path)}: there is no such key; keys are {one_of(allowed)}.{nearest(path[-1], allowed)}"
            )
        elif each["type"] == "missing":
            found.append(f"{'.'.join(path)}: this key is required")
        else:
            given = "" if isinstance(each["input"], dict) else f", not {each['input']!r:.80}"
            found.append(f"{'.'.join(path) or 'the file'}: {each['msg']}{given}")
    return "; ".join(found)
