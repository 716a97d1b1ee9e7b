r"""Texts of users in places with rules of their own: a shell, HTCondor's submit files, Kubernetes' names and labels.

>>> shell(["echo", "it's", "$HOME"])
'echo \'it\'"\'"\'s\' \'$HOME\''
>>> condor_arguments(["run", "a b", "it's", 'say "hi"', "$(HOME)"])
'"run \'a b\' \'it\'\'s\' \'say ""hi""\' $(DOLLAR)(HOME)"'
>>> condor_environment({"A": "b c", "Q": "it's"})
'"A=\'b c\' Q=\'it\'\'s\'"'
>>> kubernetes_name("tth", "Run_1", "train-fold0")
'tth-run-1-train-fold0-caf272'
>>> kubernetes_label("ttH (bb)")
'ttH-bb'
>>> kubernetes_text("$(HOME)/a$")
'$$(HOME)/a$$'
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence

from deploy.errors import DeployError

NAME_LENGTH = 52
"""Longest name of an object: pods add a dash and five letters to it, and a label of theirs holds it."""


def shell(command: Sequence[str]) -> str:
    """Return a command as one line of a POSIX shell."""
    return shlex.join(command)


def condor_text(text: str) -> str:
    """Return a text as the value of a submit command: nothing in it is expanded.

    Args:
        text: any text of one line.

    Returns:
        The text with ``$`` as a macro that stands for it; ``$$`` has one of its own, looked at when the job starts.

    Raises:
        DeployError: the text has a line break, which a submit file cannot hold.
    """
    if re.search(r"[\r\n\0]", text):
        raise DeployError(f"{text[:60]!r} has a line break, which cannot be written into a submit file; leave it out")
    return "$$(DOLLARDOLLAR)".join(each.replace("$", "$(DOLLAR)") for each in text.split("$$"))


def condor_path(path: str) -> str:
    """Return a path for a list of files in a submit file.

    Args:
        path: the path.

    Returns:
        The path as `condor_text`.

    Raises:
        DeployError: it has a comma or a line break, or blanks at its ends, which a list cannot hold.
    """
    if "," in path or path != path.strip():
        raise DeployError(f"{path!r} has a comma, or a blank at its end, which HTCondor cannot transfer; rename it")
    return condor_text(path)


def condor_arguments(arguments: Iterable[str]) -> str:
    """Return the value of ``arguments`` in the new syntax: in double quotes, blanks and quotes protected.

    Args:
        arguments: texts of one line.

    Returns:
        The value.

    Raises:
        DeployError: an argument has a line break.
    """
    return '"' + " ".join(_condor_word(each) for each in arguments) + '"'


def condor_environment(variables: Mapping[str, str]) -> str:
    """Return the value of ``environment`` in the new syntax.

    Args:
        variables: texts of one line by name.

    Returns:
        The value.

    Raises:
        DeployError: a value has a line break.
    """
    words = (f"{name}={_condor_word(value, always=True)}" for name, value in variables.items())
    return '"' + " ".join(words) + '"'


def _condor_word(text: str, always: bool = False) -> str:
    text = condor_text(text).replace('"', '""')
    plain = text and not re.search(r"[\s']", text)
    return (
        text if plain and not (always and re.search(r"[^\w./:=,@%+-]", text)) else "'" + text.replace("'", "''") + "'"
    )


def kubernetes_name(*parts: str, length: int = NAME_LENGTH) -> str:
    """Return a name that Kubernetes takes for an object (RFC 1123): short, and different for different parts.

    Args:
        *parts: what the object is called by people; any text.
        length: how long it may be.

    Returns:
        At most that many lower-case letters, digits and dashes.
    """
    given = "/".join(parts)
    text = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-") or "x"
    text = text if text[0].isalpha() else f"x{text}"
    tail = hashlib.sha256(given.encode()).hexdigest()[:6]
    return f"{text[: length - 7].rstrip('-')}-{tail}"


def kubernetes_text(text: str) -> str:
    """Return a text as an argument or the value of a variable of a container, where ``$(NAME)`` would be replaced."""
    return text.replace("$", "$$")


def kubernetes_label(text: str) -> str:
    """Return a text as the value of a label: at most 63 letters, digits, ``-_.``, letters or digits at the ends."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-_.")[:63].rstrip("-_.")
