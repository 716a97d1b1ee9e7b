"""The pages of the website that are written from the code: `pages`, which website.py calls when MkDocs builds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from deploy import cli as deploy_cli
from deploy.backends import condor_holds, kubernetes_words
from deploy.sites import Site
from deploy.sites import schema as sites_schema
from nntrainer import cli as nntrainer_cli
from nntrainer import errors
from nntrainer.config import catalogue
from nntrainer.config.models import Config
from nntrainer.config.registry import (
    AUGMENTATIONS,
    MAKERS,
    NETWORKS,
    OBSERVABLES,
    AugmentationOptions,
    MakerOptions,
    NetworkOptions,
    Registry,
)
from nntrainer.config.schema import Schema
from nntrainer.config.schema import schema as config_schema

REPOSITORY = Path(__file__).parents[1]
PARTS = {
    "NetworkOptions": "[a network](../catalogue.md#networks)",
    "MakerOptions": "[feature maker](../catalogue.md#feature-makers)",
    "AugmentationOptions": "[augmentation](augmentations.md)",
}
"""Definitions that are told elsewhere: what stands for each of them."""
WORDS = {"str": "TEXT", "int": "NUMBER", "float": "NUMBER"}
"""What stands for the value of an option."""
API = {
    "Configuration": ["nntrainer.config.load_config", "nntrainer.config.schema.schema"],
    "Datasets": [
        "nntrainer.dataset.conversion.convert",
        "nntrainer.dataset.dataset.open_dataset",
        "nntrainer.dataset.dataset.Dataset",
        "nntrainer.dataset.inspect.inspect",
    ],
    "Runs": ["nntrainer.pipeline.run", "nntrainer.training.train.train"],
    "Ntuples": [
        "nntrainer.ntuples.inplace.add_branches",
        "nntrainer.ntuples.toy.generate",
        "nntrainer.inject.inject.inject",
    ],
    "Observables": ["nntrainer.observables.compute.compute", "nntrainer.observables.momenta.four_vectors"],
    "Metrics": ["nntrainer.evaluation.significance", "nntrainer.evaluation.weighted"],
    "Plots": [
        "nntrainer.plots.evaluation",
        "nntrainer.plots.decision",
        "nntrainer.plots.inputs",
        "nntrainer.plots.reconstruction",
        "nntrainer.plots.save",
    ],
}
"""What notebooks call, by the headings of the page."""


def pages() -> dict[str, str]:
    """Return the Markdown of every generated page by its path below docs/."""
    made: dict[str, Callable[[], str]] = {
        "reference/configuration.md": configuration,
        "reference/sites.md": sites,
        "reference/nntrainer.md": nntrainer_commands,
        "reference/deploy.md": deploy_commands,
        "reference/augmentations.md": augmentations,
        "reference/observables.md": observables,
        "reference/codes.md": codes,
        "reference/examples.md": examples,
        "reference/api.md": api,
    }
    return {path: make() for path, make in made.items()}


def undescribed(*models: type[BaseModel]) -> list[str]:
    """Return the keys that nobody described, as ``Block.key``, of these blocks and of all that they are made of.

    A key with one allowed value, such as the name of an optimizer, needs no words.
    """
    found, seen = list(models), set(models)
    for model in found:  # which grows meanwhile
        for field in model.model_fields.values():
            new = dict.fromkeys(each for each in _models(field.annotation) if each not in seen)
            seen.update(new)
            found += new
    return [
        f"{model.__name__}.{key}"
        for model in found
        for key, field in model.model_fields.items()
        if not field.description and get_origin(field.annotation) is not Literal
        if model not in (NetworkOptions, MakerOptions, AugmentationOptions)
    ]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from _models(each)


def _refuse_undescribed(*models: type[BaseModel]) -> None:
    if missing := undescribed(*models):
        raise ValueError(f"these keys have no description, which the reference needs: {', '.join(missing)}")


class Blocks:
    """The blocks of a schema as sections of a page, each at the first place where it is met.

    Args:
        schema: the schema.
        parts: what stands for definitions that are told elsewhere.
        top: block of the schema at which the page begins, whose keys have no prefix.
    """

    def __init__(self, schema: Schema, parts: dict[str, str], top: Schema) -> None:
        self._definitions, self._parts = schema["$defs"], parts
        self._places: dict[str, str] = {}
        self._sections: list[tuple[str, str, Schema]] = []
        self._find("", top)

    def _find(self, path: str, block: Schema) -> None:
        """Give every block below this one its place."""
        for key, value in block.get("properties", {}).items():
            for name, step in self._blocks(value):
                kind = self._definitions[name]
                tag = _tag(kind)
                place = f"{path}{key}{step}" + (f".{tag}" if tag and len(list(self._blocks(value))) > 1 else "")
                if name in self._places:
                    continue
                self._places[name] = place
                self._sections.append((name, place, kind))
                self._find(f"{path}{key}{step}.", kind)

    def _blocks(self, value: Schema) -> Iterator[tuple[str, str]]:
        """Yield the blocks that a value may be, and what stands between the key and theirs: of lists, of mappings."""
        name = value.get("$ref", "").rsplit("/", 1)[-1]
        if name and name not in self._parts and "properties" in self._definitions[name]:
            yield name, ""
        for each in (*value.get("anyOf", ()), *value.get("oneOf", ())):
            yield from self._blocks(each)
        if isinstance(value.get("items"), dict):
            yield from ((name, f"[]{step}") for name, step in self._blocks(value["items"]))
        for inner in (value.get("additionalProperties"), *value.get("patternProperties", {}).values()):
            if isinstance(inner, dict):
                yield from ((name, f".NAME{step}") for name, step in self._blocks(inner))

    def table(self, block: Schema, path: str) -> list[str]:
        """Return the table of a block's keys; each row can be linked to by the key's whole name."""
        lines = ["| key | type | default | what it does |", "|---|---|---|---|"]
        for key, value in block["properties"].items():
            default = "required" if key in block.get("required", ()) else _code(value.get("default"))
            if isinstance(value.get("default"), dict) and next(self._blocks(value), None):
                default = ""  # its section has the defaults
            if "const" in value:
                default = _code(value["const"])
            # Where a key's words are those of its block, the schema has them once.
            of = self._definitions.get(value.get("$ref", "").rsplit("/", 1)[-1], {})
            text = value.get("description") or of.get("description") or "Chooses this one."
            place = _anchor(f"{path}{key}")
            # A key with a section of its own is found there.
            here = "" if place in map(_anchor, self._places.values()) else f'id="{place}" '
            name = f'<a {here}href="#{place}"><code>{key}</code></a>'
            lines.append(f"| {name} | {self.kind(value)} | {default} | {_cell(text)} |")
        return [*lines, ""]

    def kind(self, value: Schema) -> str:
        """Return what a value may be, in words, with links to blocks."""
        if "$ref" in value:
            name = value["$ref"].rsplit("/", 1)[-1]
            if name in self._parts:
                return self._parts[name]
            if name in self._places:
                place = _anchor(self._places[name])
                steps = [step for step in place.split(".") if step != "NAME"]
                return f"[{_tag(self._definitions[name]) or steps[-1]}](#{place})"
            return self.kind(self._definitions[name])
        if either := value.get("anyOf") or value.get("oneOf"):
            words = dict.fromkeys(self.kind(each) for each in either if each.get("type") != "null")
            if set(words) == {"text", "integer", "number"}:
                return "expression"
            return " or ".join(words)
        if value.get("type") == "array":
            return f"list of {self.kind(value['items'])}" if value.get("items") else "list"
        patterns = list(value.get("patternProperties", {}).values())
        inner = value.get("additionalProperties") or (patterns[0] if patterns else None)
        if value.get("type") == "object" and isinstance(inner, dict):
            return f"mapping of names to {self.kind(inner)}"
        if "enum" in value or "const" in value:
            return ", ".join(_code(each) for each in value.get("enum", [value.get("const")]))
        return _cell(catalogue.kind(value, self._definitions)) if value.get("type") else "anything"

    def sections(self) -> list[str]:
        """Return the sections of all blocks below the top."""
        lines = []
        for _, place, block in self._sections:
            level = "##" if place.count(".") == 0 else "###"
            lines += [f"{level} `{place}` {{ #{_anchor(place)} }}", _text(block.get("description", "")), ""]
            tag = _tag(block)
            of = place.removesuffix(f".{tag}") if tag else place
            lines += self.table(block, f"{of}." if not tag else f"{place}.")
        return lines


def configuration() -> str:
    """Return the reference of the configuration."""
    registries: list[Registry[Any]] = [NETWORKS, MAKERS, AUGMENTATIONS]
    _refuse_undescribed(Config, *(registry.get(name) for registry in registries for name in registry.names()))
    schema = config_schema()
    blocks = Blocks(schema, PARTS, schema)
    return _page(
        "Configuration",
        "Every key of a configuration, written from the code. Unknown keys are refused, with the nearest one named. "
        "Each key can be given on the command line, too (`--set training.epochs=3`), and in the environment "
        "(`NNTRAINER__TRAINING__EPOCHS=3`). `NAME` stands for a name of your own, `[]` for each entry of a list. "
        "[Whole configurations](examples.md) show them together; `nntrainer schema` prints the same for "
        "[editors](../shell.md#editors).",
        *blocks.table(schema, ""),
        *blocks.sections(),
    )


def sites() -> str:
    """Return the reference of site files: what all have, and what each backend adds."""
    _refuse_undescribed(*get_args(Site))
    schema = sites_schema()
    kinds = [schema["$defs"][each["$ref"].rsplit("/", 1)[1]] for each in schema["oneOf"]]
    common = [
        key for key in kinds[0]["properties"] if key != "backend" and all(key in each["properties"] for each in kinds)
    ]
    lines = []
    shared = {**kinds[0], "properties": {key: kinds[0]["properties"][key] for key in common}}
    blocks = Blocks(
        schema, {}, {"properties": {key: value for kind in kinds for key, value in kind["properties"].items()}}
    )
    lines += ["## Every site { #every-site }", *blocks.table(shared, "")]
    for kind in kinds:
        name = kind["properties"]["backend"]["const"]
        own = {**kind, "properties": {key: value for key, value in kind["properties"].items() if key not in common}}
        lines += [f"## `backend: {name}` {{ #{name} }}", _text(kind["description"]), "", *blocks.table(own, f"{name}.")]
    return _page(
        "Site files",
        "A site file says where jobs can go and what is true there. `deploy sites` lists those that are known, "
        "`deploy sites NAME` shows every key of one; your own lie in `~/.config/nntrainer/sites/NAME.yaml`. "
        "`deploy schema` prints this for [editors](../shell.md#editors).",
        *lines,
        *blocks.sections(),
    )


def nntrainer_commands() -> str:
    """Return the reference of the command nntrainer."""
    return _commands("nntrainer", nntrainer_cli.app, "All of it can be called from [Python](api.md), too.")


def deploy_commands() -> str:
    """Return the reference of the command deploy."""
    return _commands("deploy", deploy_cli.app, "What exit codes mean is said in [codes](codes.md).")


def _commands(name: str, app: Any, more: str) -> str:
    import typer.main

    group = typer.main.get_command(app)
    lines = ["| verb | what it does |", "|---|---|"]
    lines += [f"| [`{verb}`](#{verb}) | {_cell(_first(each.help))} |" for verb, each in group.commands.items()]
    for verb, command in group.commands.items():
        arguments = [each for each in command.params if each.param_type_name == "argument"]
        options = [each for each in command.params if each.param_type_name == "option" and each.name != "help"]
        usage = " ".join([name, verb, *(_metavar(each) for each in arguments), *(["[OPTIONS]"] if options else [])])
        lines += ["", f"## `{verb}` {{ #{verb} }}", _text(command.help), "", "```text", usage, "```", ""]
        if arguments:
            lines += ["| argument | what it is |", "|---|---|"]
            lines += [f"| `{_metavar(each)}` | {_cell(each.help or '')} |" for each in arguments] + [""]
        if options:
            lines += ["| option | value | default | what it does |", "|---|---|---|---|"]
            lines += [_option(each) for each in options]
    return _page(f"`{name}`", f"{group.help} {more}", *lines)


def _metavar(argument: Any) -> str:
    name = (argument.metavar or argument.name.upper()).strip("[]")
    name = f"{name}..." if argument.nargs == -1 else name
    return name if argument.required else f"[{name}]"


def _option(option: Any) -> str:
    flags = ", ".join(f"`{each}`" for each in sorted(option.opts, key=len, reverse=True))
    kind = option.bare_type().removeprefix("list[").removesuffix("]")
    value = "" if option.is_flag else f"`{option.metavar or WORDS.get(kind, kind.upper())}`"
    if option.multiple:
        value += ", may be repeated"
    plain = option.default is None or option.is_flag or option.default == [] or option.default == ()
    return f"| {flags} | {value} | {'' if plain else _code(option.default)} | {_cell(option.help or '')} |"


def augmentations() -> str:
    """Return the reference of the augmentations."""
    lines = ["| name | what it does |", "|---|---|"]
    parts = {name: AUGMENTATIONS.get(name) for name in AUGMENTATIONS.names()}
    lines += [f"| [`{name}`](#{name}) | {_cell(catalogue.summary(part))} |" for name, part in parts.items()]
    for name, part in parts.items():
        lines += ["", f"## `{name}`", _text(catalogue.description(part)), ""]
        if options := list(catalogue.options(part)):
            lines += ["| option | type | default | what it does |", "|---|---|---|---|"]
            lines += [f"| `{key}` | {_cell(of)} | `{value}` | {_cell(text)} |" for key, of, value, text in options]
    return _page(
        "Augmentations",
        "An entry of `preparation.augmentation`, chosen by `name`. When to use them is told in "
        "[augmentation](../augmentation.md).",
        *lines,
    )


def observables() -> str:
    """Return the reference of the CP observables."""
    lines = ["| name | formula | needs | what it is |", "|---|---|---|---|"]
    for name in OBSERVABLES.names():
        part = OBSERVABLES.get(name)
        text = _cell(" ".join(catalogue.description(part).split()))
        lines.append(f"| `{name}` | {_cell(part.formula)} | {', '.join(part.needs)} | {text} |")
    return _page(
        "Observables",
        "What `observables.compute` may name. How they are used and written: [CP observables](../observables.md).",
        *lines,
    )


def codes() -> str:
    """Return the exit codes, the classes of errors, and why batch systems hold or end jobs."""
    interrupted, user = errors.Interrupted.exit_code, errors.NNTrainerError.exit_code
    exits = [
        ("nntrainer", 0, "done"),
        ("nntrainer", 1, "`doctor` found something broken; anything else: an error of the program, please report it"),
        ("nntrainer", user, "an error that you can mend: one sentence says what, where, and what to do"),
        ("nntrainer", interrupted, "stopped with its state saved (SIGTERM); the same command goes on from there"),
        ("nntrainer", 130, "Ctrl-C"),
        ("deploy", deploy_cli.DONE, "done"),
        ("deploy", deploy_cli.FAILED, "a job failed, or the run is lost or was cancelled"),
        ("deploy", deploy_cli.USER_ERROR, "an error that you can mend; nothing was submitted"),
        ("deploy", deploy_cli.STILL_RUNNING, "the run goes on: queued, held or running"),
        ("deploy", 130, "Ctrl-C; the job goes on"),
    ]
    lines = ["## Exit codes", "| command | code | meaning |", "|---|---|---|"]
    lines += [f"| `{command}` | {code} | {text} |" for command, code, text in exits]
    lines += ["", "## Errors", "`--debug` before the verb shows where an error was raised.", ""]
    lines += ["| class | meaning |", "|---|---|"]
    lines += [f"| `{each.__name__}` | {_cell(_first(each.__doc__))} |" for each in _errors(errors.NNTrainerError)]
    lines += ["", "## Why HTCondor holds jobs", condor_holds.table()]
    lines += ["## Why Kubernetes keeps pods waiting", "| it says | what to do |", "|---|---|"]
    waiting = [*kubernetes_words.UNSCHEDULABLE, *kubernetes_words.STUCK.items()]
    lines += [f"| `{_cell(what)}` | {_cell(text.replace('{', '').replace('}', ''))} |" for what, text in waiting]
    lines += ["", "## Why Kubernetes ends pods", "| it says | meaning |", "|---|---|"]
    lines += [f"| `{what}` | {text} |" for what, text in kubernetes_words.ENDED.items()]
    return _page("Exit codes and hold codes", "Written from the code.", *lines)


def _errors(root: type[errors.NNTrainerError]) -> Iterator[type[errors.NNTrainerError]]:
    yield root
    for each in root.__subclasses__():
        yield from _errors(each)


def examples() -> str:
    """Return the configurations and site files of the repository as they are."""
    lines = []
    for title, pattern in (
        ("Configurations", "configs/*.yaml"),
        ("Examples", "configs/examples/*.*"),
        ("Site files", "configs/sites/*.yaml"),
    ):
        lines += [f"## {title}", ""]
        for path in sorted(REPOSITORY.glob(pattern)):
            name = path.relative_to(REPOSITORY).as_posix()
            text = path.read_text(encoding="utf-8").splitlines()
            shown = [line for line in text if not line.startswith("# yaml-language-server")]
            lines += [f"### {name} {{ #{example_anchor(name)} }}", "", f"```{path.suffix[1:]}", *shown, "```", ""]
    return _page("Whole configurations", "The files of `configs/`, which the tests run.", *lines)


def example_anchor(name: str) -> str:
    """Return where a file of the repository stands on the page of examples."""
    return name.removeprefix("configs/").removesuffix(".yaml").replace("/", "-")


def api() -> str:
    """Return the functions that notebooks call, from their docstrings (mkdocstrings fills them in)."""
    lines = []
    for title, names in API.items():
        lines += [f"## {title}", ""]
        lines += [line for name in names for line in (f"::: {name}", "")]
    return _page(
        "Python", "Arrays in, arrays, figures or files out. How they go together: [notebooks](../python.md).", *lines
    )


def _page(title: str, *lines: str) -> str:
    return "\n".join([f"# {title}", *lines[:1], "", *lines[1:]]).rstrip() + "\n"


def _anchor(place: str) -> str:
    return place.replace("[]", "")


def _tag(block: Schema) -> str:
    """Return the name by which a block is told from its alternatives, such as ``adam``."""
    constants = [each["const"] for each in block.get("properties", {}).values() if "const" in each]
    return str(constants[0]) if constants else ""


def _first(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())


def _text(text: str | None) -> str:
    """Return a docstring as Markdown."""
    return (text or "").replace("``", "`")


def _code(value: Any) -> str:
    if value is None:
        return ""
    import json

    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return f"`{text}`" if text else "`''`"


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")
