"""The verbs about the tool: models, schema, doctor."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from nntrainer.cli.app import app
from nntrainer.console import print_table, starting


def _networks(incomplete: str) -> list[tuple[str, str]]:
    from nntrainer.config import catalogue
    from nntrainer.config.registry import NETWORKS

    return starting(((name, catalogue.summary(NETWORKS.get(name))) for name in NETWORKS.names()), incomplete)


def _said(docstring: str) -> str:
    """Return a docstring without its marks of code, which a terminal does not draw."""
    return docstring.replace("``", "")


@app.command()
def models(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Only this network, in full.", autocompletion=_networks),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Papers, inputs, options and defaults, too.")
    ] = False,
) -> None:
    """List the networks that model.name may ask for, with their options."""
    from nntrainer.config import catalogue
    from nntrainer.config.registry import NETWORKS

    chosen = {each: NETWORKS.get(each) for each in ([name] if name else NETWORKS.names())}
    if not name and not verbose:
        rows = [[each, catalogue.network_types(part), _said(catalogue.summary(part))] for each, part in chosen.items()]
        print_table("Networks", ["model.name", "network_type", "what it is"], rows)
        return
    for each, part in chosen.items():
        print(f"{each} (network_type {catalogue.network_types(part)})\n{_said(catalogue.description(part))}")
        rows = [list(option) for option in catalogue.options(part)]
        print_table("", ["option", "type", "default", "what it does"], rows)
        print()


@app.command()
def schema() -> None:
    """Print the JSON Schema of a configuration, for editors: configs/schema.json is this."""
    from nntrainer.config import schema as made

    print(made.page(made.schema()), end="")


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what works here: packages, GPUs, memory, disk. Exit code 0 if all that is installed does, 1 if not."""
    from nntrainer.doctor import examine

    report = examine()
    if as_json:
        print(json.dumps(report.as_dict(), indent=1))
    else:
        print_table("nntrainer doctor", ["", "", "found"], [[row.state, row.name, row.text] for row in report.rows])
    if not report.usable:
        sys.exit(1)
