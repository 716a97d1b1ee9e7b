"""Sections to one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from nntrainer import __version__
from nntrainer.errors import RunError
from nntrainer.files import write_text
from nntrainer.report import about, compare, generic, results
from nntrainer.report.blocks import Section, Text
from nntrainer.report.figures import LARGEST, Album
from nntrainer.report.findings import check
from nntrainer.report.read import Run, read_run

FILE = "report.html"
TEMPLATES = Path(__file__).parent / "templates"


def report(paths: Sequence[Path], output: Path | None = None) -> Path:
    """Write the page of a run, or of several beside one another.

    Args:
        paths: run directories.
        output: the page; ``report.html`` in the run directory of a single run if absent.

    Returns:
        The page.

    Raises:
        RunError: a path is no run directory, a file in it is damaged, or there are several runs and no output.
    """
    if len(paths) > compare.MOST:
        raise RunError(f"a page shows {compare.MOST} runs at most, and {len(paths)} are given")
    runs = [read_run(path) for path in paths]
    if output is None and len(runs) > 1:
        raise RunError("a page of several runs lies in none of them; give --output compare.html")
    path = output or runs[0].path / FILE
    text = page(runs[0]) if len(runs) == 1 else comparison(runs)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise RunError(f"{path}: the page cannot be written: {error.strerror}; give --output FILE.html") from None
    return path


def page(run: Run, largest: int = LARGEST) -> str:
    """Return the page of a run.

    Args:
        run: the run.
        largest: bytes of all images together.

    Returns:
        HTML.
    """
    album, rules = Album(largest), check(run)
    # Images are given out in order of what people look at most: the inputs, which may be hundreds, come last.
    training, evaluation = results.training(run, album), results.evaluation(run, album)
    decisions, reconstruction = results.decisions(run, album), results.reconstruction(run, album)
    explanations, validations = generic.explanations(run, album), generic.validations(run, album)
    inputs = results.inputs(run, album)
    sections = [
        about.summary(run, rules),
        about.provenance(run),
        about.data(run),
        inputs,
        training,
        evaluation,
        reconstruction,
        decisions,
        explanations,
        validations,
    ]
    return render(run.name, _with_rest(sections, album, run.path.name))


def comparison(runs: Sequence[Run], largest: int = LARGEST) -> str:
    """Return the page of several runs.

    Args:
        runs: the runs.
        largest: bytes of all images together.

    Returns:
        HTML.
    """
    album = Album(largest)
    sections = compare.sections(runs, album)
    return render(f"Compare {len(runs)} runs", _with_rest(sections, album, "their run directories"))


def _with_rest(sections: Sequence[Section], album: Album, where: str) -> list[Section]:
    """Say in the first section how many plots did not fit."""
    kept = [each for each in sections if each.blocks]
    if album.left_out and kept:
        word = Text(
            f"{album.left_out} plots are only named here, or the page would be too large: see {where}.", "small"
        )
        kept[0] = Section(kept[0].anchor, kept[0].title, (*kept[0].blocks, word))
    return kept


def render(title: str, sections: Sequence[Section]) -> str:
    """Return the HTML of sections.

    All texts are escaped. The page forbids itself, by its content security policy, to load anything and to run any
    script but its own; where a stricter policy forbids that one, too, only sorting and enlarging are missing.

    Args:
        title: heading of the page.
        sections: what is on it.

    Returns:
        HTML.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}"
    template = environment.get_template("page.html.j2")
    return template.render(
        title=title, sections=sections, style=style, script=script, policy=policy, version=__version__
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
