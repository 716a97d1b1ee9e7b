"""A network written in Python by whoever trains it."""

from __future__ import annotations

import ast
import functools
import importlib.abc
import importlib.util
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from nntrainer.config.registry import NETWORKS, NetworkOptions, NetworkType
from nntrainer.errors import ConfigError, nearest
from nntrainer.networks.inputs import Encoded, ModelInputs

FUNCTION = "build"


@NETWORKS.register("file")
class File(NetworkOptions):
    """What ``build(inputs, outputs, config)`` of a Python file makes.

    Paper: your own. Inputs: ``inputs`` is a ``nntrainer.networks.inputs.ModelInputs`` (scaled ``events``, ``objects``,
    ``masks``, ``four_vectors``, ``flat()``, ``tokens(width)``), ``outputs`` the number of logits, one for two classes,
    and ``config`` the configuration. It returns the (None, outputs) logits, made with Keras. The file's text becomes
    part of the configuration, so that a run and its jobs keep the network they began with; the file must import nothing
    that lies beside it.
    """

    network_types: ClassVar[tuple[NetworkType, ...]] = ("flat", "set", "graph")
    own: ClassVar[bool] = True

    name: Literal["file"] = "file"
    file: str = Field(description="The Python file; its path as seen from where the command is started.")
    code: str = Field("", description="Text of the file, put here when it is read: what a run keeps and builds.")

    @property
    def by_event(self) -> bool:
        """Whether what is computed of an event in training depends on it alone: nobody knows."""
        return False

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get("file"), str):
            return value
        code = value["code"] if value.get("code") else _text(Path(value["file"]))
        _check(value["file"], code)
        return {**value, "code": code}

    def prepare(self) -> None:
        """Make layers that the file defines known to Keras, before a saved model is loaded."""
        _module(self.file, self.code)

    def encode(self, inputs: ModelInputs) -> Encoded:
        """Return the logits that the file's function makes.

        Args:
            inputs: the scaled inputs.

        Returns:
            The logits.

        Raises:
            ConfigError: the function fails, or returns something else.
        """
        module = _module(self.file, self.code)
        try:
            logits = module.build(inputs, inputs.outputs, inputs.config)
        except Exception as error:  # whatever a person's code raises
            raise _failed(self.file, error) from error
        shape = getattr(logits, "shape", None)
        if shape is None or tuple(shape) != (None, inputs.outputs):
            given = f"a {type(logits).__name__}" if shape is None else f"shape {tuple(shape)}"
            raise ConfigError(
                f"{self.file}: {FUNCTION} returns {given} and must return the logits, a Keras tensor of shape "
                f"(None, {inputs.outputs})"
            )
        return Encoded(logits, logits=logits)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = nearest(path.name, (each.name for each in path.parent.glob("*.py"))) if path.parent.is_dir() else ""
        raise ValueError(f"file: there is no file {path}.{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ValueError(f"file: {path} cannot be read: {reason}") from None


def _check(file: str, code: str) -> None:
    """Raise a ValueError when the text is not Python with the function; nothing is run."""
    try:
        tree = ast.parse(code)
    except SyntaxError as error:
        raise ValueError(f"file: {file}:{error.lineno}: this is not Python: {error.msg}") from None
    functions = [each for each in tree.body if isinstance(each, ast.FunctionDef)]
    for function in functions:
        if function.name == FUNCTION:
            names = [each.arg for each in function.args.posonlyargs + function.args.args]
            if len(names) != 3:
                raise ValueError(
                    f"file: {file}:{function.lineno}: {FUNCTION} takes ({', '.join(names)}) and must take "
                    "(inputs, outputs, config)"
                )
            return
    raise ValueError(
        f"file: {file} has no function '{FUNCTION}'; define {FUNCTION}(inputs, outputs, config)."
        f"{nearest(FUNCTION, [each.name for each in functions])}"
    )


class _Code(importlib.abc.InspectLoader):
    """Loads a module from the text of a file."""

    def __init__(self, file: str, code: str) -> None:
        self.file, self.code = file, code

    def get_source(self, fullname: str) -> str:
        return self.code

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self.code, self.file)


@functools.lru_cache(maxsize=8)
def _module(file: str, code: str) -> ModuleType:
    """Return the module of a file, run once."""
    loader = _Code(file, code)
    spec = importlib.util.spec_from_loader(Path(file).stem, loader, origin=file)
    if spec is None:
        raise ConfigError(f"{file}: this is no Python module")
    module = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(module)
    except Exception as error:  # whatever a person's code raises
        raise _failed(file, error) from error
    return module


def _failed(file: str, error: Exception) -> ConfigError:
    lines = [each.lineno for each in traceback.extract_tb(error.__traceback__) if each.filename == file]
    where = f"{file}:{lines[-1]}" if lines else file
    reason = " ".join(str(error).split("\n\n")[0].split())[:300]
    return ConfigError(f"{where}: the network cannot be built: {type(error).__name__}: {reason}")
