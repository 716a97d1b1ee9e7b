"""Site files: where jobs can go, and what is true there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from deploy.errors import SiteError
from deploy.jobs import Resources
from nntrainer.config.results import JobNeeds, StageName
from nntrainer.config.schema import Schema, schema_of
from nntrainer.errors import nearest, one_of

DIRECTORIES = (
    Path("~/.config/nntrainer/sites"),
    Path("configs/sites"),
    Path(__file__).parent / "templates/sites",  # a link to configs/sites, which an installed package carries
)
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Line = Annotated[str, Field(pattern=r"^[^\r\n]*$")]
"""Text that goes into one line of a submit file."""
Command = Annotated[str, Field(pattern=r"^(\+|[Mm][Yy]\.)?[A-Za-z_][A-Za-z0-9_]*$")]
"""What stands before ``=`` in a submit file."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


DEFAULTS: dict[str, Resources] = {
    "run": Resources(cpus=2, memory_mib=4096, disk_mib=8192, walltime_s=4 * 3600),
    "convert": Resources(cpus=1, memory_mib=2048, disk_mib=8192, walltime_s=2 * 3600),
    "train": Resources(cpus=2, memory_mib=4096, disk_mib=8192, walltime_s=4 * 3600),
    "tune": Resources(cpus=2, memory_mib=4096, disk_mib=8192, walltime_s=4 * 3600),
    "evaluate": Resources(cpus=1, memory_mib=4096, disk_mib=8192, walltime_s=3600),
    "inject": Resources(cpus=1, memory_mib=2048, disk_mib=8192, walltime_s=2 * 3600),
}


class Limits(_Closed):
    """What a site grants to one job at most; no limit where it is absent."""

    cpus: int | None = Field(None, ge=1, description="Processors.")
    gpus: int | None = Field(None, ge=0, description="GPUs.")
    memory_mib: int | None = Field(None, ge=1, description="Memory in MiB.")
    disk_mib: int | None = Field(None, ge=1, description="Scratch space in MiB.")
    walltime_s: int | None = Field(None, ge=1, description="Run time in seconds.")
    transfer_mib: int | None = Field(None, ge=1, description="What may be sent along with a submission, in MiB.")
    jobs: int | None = Field(None, ge=1, description="Jobs in one submission.")


class Gpu(_Closed):
    """A type of GPU that the site has."""

    name: str = Field(description="Name, such as A100-40G.")
    capability: float = Field(gt=0, description="CUDA compute capability, such as 8.0.")
    memory_mib: int = Field(gt=0, description="Memory in MiB.")


class Queue(_Closed):
    """A queue, flavour or class of jobs; the first that lasts long enough for a job is taken."""

    name: str = Field(description="What the site calls it.")
    walltime_s: int = Field(gt=0, description="Longest run time in seconds; jobs that overrun are held or removed.")
    submit: dict[Command, Line] = Field({}, description="Lines of the submit file that choose it.")


class Credential(_Closed):
    """What a job or the client needs to be let in; its content is never copied into a run."""

    kind: Literal["x509", "kerberos", "idtoken", "kubeconfig"] = Field(description="What it is.")
    path: Path | None = Field(None, description="Where it lies, where that is not the usual place.")
    renew: str = Field("", description="The command that renews it, for people.")


class _Site(_Closed):
    """What every site has."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$", description="Name of the site; its file's name.")
    description: str = Field("", description="What it is, for people.")
    jobs: Literal["single", "parts"] = Field(
        "single", description="One job for everything, or one for each sample, fold and group of ntuples."
    )
    resources: dict[StageName, JobNeeds] = Field({}, description="What the jobs of a stage ask for.")
    limits: Limits = Field(Limits(), description="What one job may ask for at most.")
    gpus: tuple[Gpu, ...] = Field((), description="The GPUs that the site has.")
    environment: dict[Variable, str] = Field({}, description="Variables set for the jobs.")
    refused_directories: tuple[Path, ...] = Field((), description="Where runs may not lie.")
    credentials: tuple[Credential, ...] = Field((), description="What must be valid while jobs run.")


class LocalSite(_Site):
    """This machine, in the background."""

    backend: Literal["local"]
    python: Path | None = Field(None, description="Interpreter that has nntrainer; the one that runs deploy if absent.")


class ContainerSite(_Site):
    """This machine, in a container, in the background."""

    backend: Literal["container"]
    image: str = Field(description="A .sif file, or an image of the engine.")
    engine: Literal["auto", "docker", "podman", "apptainer"] = Field("auto", description="What runs the container.")
    gpu: bool | Literal["auto"] = Field("auto", description="Give the container the GPUs; auto: if there are any.")
    binds: tuple[Path, ...] = Field((), description="Directories that the container sees besides the run's and inputs.")


class GpuNeeds(_Closed):
    """What a GPU must have for a job to run on it."""

    minimum_capability: float | None = Field(None, description="CUDA compute capability.")
    minimum_memory_mib: int | None = Field(None, description="Memory in MiB.")
    exclude_mig: bool = Field(False, description="Leave out slices of GPUs (MIG).")
    require: Line | None = Field(None, description="Further ClassAd expression over a GPU's properties.")


class HTCondorSite(_Site):
    """An HTCondor pool."""

    backend: Literal["htcondor"]
    image: str | None = Field(None, description="Container image: .sif, directory, docker:// or /cvmfs path.")
    container: Literal["universe", "apptainer", "attribute", "none"] = Field(
        "apptainer",
        description="The container universe, a vanilla job that calls apptainer, MY.SingularityImage, or no container.",
    )
    apptainer: Path = Field(Path("/usr/bin/apptainer"), description="Apptainer on the execute machines.")
    python: Path | None = Field(None, description="Interpreter on the execute machines where there is no container.")
    binds: tuple[Path, ...] = Field((), description="Directories that the container sees.")
    transfer: Literal["shared", "files", "spool"] = Field(
        "shared", description="A shared file system, file transfer from a local schedd, or spooled to a remote one."
    )
    client: Path | None = Field(
        None, description="Configuration of HTCondor's client, used where CONDOR_CONFIG does not name another."
    )
    pool: str | None = Field(None, description="Collector of a remote pool.")
    schedd: str | None = Field(None, description="Name of a remote schedd.")
    dagman: Path = Field(Path("/usr/bin/condor_dagman"), description="DAGMan on the schedd's machine.")
    queues: tuple[Queue, ...] = Field((), description="Queues, the shortest first.")
    gpu: GpuNeeds = Field(GpuNeeds(), description="What a GPU must have.")
    submit: dict[Command, Line] = Field({}, description="Further lines of every submit file.")
    max_retries: int = Field(2, ge=0, description="How often a failed or held job is started again by itself.")

    @property
    def sandboxes(self) -> bool:
        """Whether jobs see only what is sent with them."""
        return self.transfer != "shared"


class Volume(_Closed):
    """A persistent volume claim and where pods see it."""

    claim: str = Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$", description="Name of the claim.")
    path: Path = Field(description="Where pods see it.")
    sub_path: str | None = Field(None, description="Directory of the volume that is mounted.")
    read_only: bool = Field(False, description="Mount it read-only.")


class KubernetesSite(_Site):
    """A Kubernetes cluster."""

    backend: Literal["kubernetes"]
    image: str = Field(description="Image that pods run.")
    context: str | None = Field(None, description="Context of the kubeconfig; the current one if absent.")
    namespace: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="Namespace of the jobs.")
    service_account: str | None = Field(None, description="ServiceAccount of the pods; its token is never mounted.")
    work: Volume = Field(description="Where runs and datasets lie.")
    inputs: tuple[Volume, ...] = Field((), description="Where the ntuples lie, as the configuration names them.")
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field("IfNotPresent", description="When to pull.")
    pull_secret: str | None = Field(None, description="Name of the secret that lets the cluster pull.")
    node_selector: dict[str, str] = Field({}, description="Labels of nodes that training may run on.")
    tolerations: tuple[dict[str, Any], ...] = Field((), description="Taints that training tolerates.")
    priority_class: str | None = Field(None, description="PriorityClass of the pods.")
    run_as_user: int = Field(1000, ge=1, description="User id in the pods; never root.")
    run_as_group: int = Field(1000, ge=1, description="Group id in the pods, and of files on the volumes.")
    shm_mib: int = Field(2048, ge=64, description="Memory-backed /dev/shm; 64 MiB, the default elsewhere, starve NCCL.")
    ttl_s: int = Field(7 * 86400, ge=0, description="How long a finished job stays to be looked at.")
    max_retries: int = Field(2, ge=0, description="How often a failed pod is started again.")
    jobset: bool = Field(False, description="The cluster has JobSet, which orders the stages.")
    failure_policy: bool = Field(True, description="The cluster knows podFailurePolicy (1.26 and later).")
    nodes: int = Field(1, ge=1, description="Machines for one training; more than one needs Kubeflow's MPI operator.")

    @model_validator(mode="after")
    def _one_kind_of_jobs(self) -> KubernetesSite:
        if self.jobset and self.nodes > 1:
            raise ValueError("jobset: true and nodes above 1 exclude each other; leave one of them out")
        return self

    def on_volume(self, run: Path) -> Path:
        """Return where pods see a run directory of this machine, which they call by its name and its parent's."""
        return self.work.path / "runs" / run.parent.name / run.name


Site = LocalSite | ContainerSite | HTCondorSite | KubernetesSite
_SITE: TypeAdapter[Site] = TypeAdapter(Annotated[Site, Field(discriminator="backend")])
_MODELS: dict[str, type[_Site]] = {
    "local": LocalSite,
    "container": ContainerSite,
    "htcondor": HTCondorSite,
    "kubernetes": KubernetesSite,
}
LOCAL = LocalSite(name="local", backend="local", description="this machine, in the background")
"""What ``local`` is where no site files are installed."""


def schema() -> Schema:
    """Return the JSON Schema of a site file."""
    return schema_of("Site file of nntrainer's deploy", _SITE)


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


def site_of(data: Any, origin: str) -> Site:
    """Return a site from plain data.

    Args:
        data: what a site file or the record of a run holds.
        origin: where it is from, for the message.

    Returns:
        The site.

    Raises:
        SiteError: it is not a site.
    """
    try:
        return _SITE.validate_python(data)
    except ValidationError as error:
        raise SiteError(f"{origin}: {_sentence(error, data)}") from None


def _read(file: Path) -> Site:
    try:
        return site_of(yaml.safe_load(file.read_text(encoding="utf-8")), str(file))
    except OSError as error:
        raise SiteError(f"{file}: the site file cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise SiteError(f"{file}: this is not YAML: {getattr(error, 'problem', None) or error}") from None
    except UnicodeDecodeError:
        raise SiteError(f"{file}: this is not text in UTF-8") from None


def _sentence(error: ValidationError, data: Any) -> str:
    """Return everything that is wrong with a site file, an unknown key with its nearest valid one."""
    found = []
    backend = data.get("backend") if isinstance(data, dict) else None
    model = _MODELS.get(backend, _Site) if isinstance(backend, str) else _Site
    for each in error.errors():
        # The first element of a location is the backend, which the union was told apart by.
        path = [str(part) for part in each["loc"] if part != "[key]"]
        path = path[1:] if path[:1] == [backend] else path
        if each["type"] == "union_tag_not_found":
            found.append(f"backend: this key is required; allowed are {one_of(_MODELS)}")
        elif each["type"] == "union_tag_invalid":
            hint = nearest(str(backend), _MODELS)
            found.append(f"backend: '{backend}' is not known; allowed are {one_of(_MODELS)}.{hint}")
        elif each["type"] == "extra_forbidden":
            allowed = _keys(model, path[:-1])
            found.append(
                f"{'.'.join(path)}: there is no such key; keys are {one_of(allowed)}.{nearest(path[-1], allowed)}"
            )
        elif each["type"] == "missing":
            found.append(f"{'.'.join(path)}: this key is required")
        else:
            given = "" if isinstance(each["input"], dict) else f", not {each['input']!r:.80}"
            found.append(f"{'.'.join(path) or 'the file'}: {each['msg']}{given}")
    return "; ".join(found)


def _keys(model: type[BaseModel], path: list[str]) -> list[str]:
    """Return the keys that a block at a place of a site file may have."""
    blocks: dict[str, type[BaseModel]] = {
        "resources": JobNeeds,
        "limits": Limits,
        "gpus": Gpu,
        "queues": Queue,
        "credentials": Credential,
        "gpu": GpuNeeds,
        "work": Volume,
        "inputs": Volume,
    }
    return list((blocks.get(path[0], model) if path else model).model_fields)
