"""The command line of nntrainer: argument parsing only, one function a verb."""

from nntrainer.cli import data, training, results, validation, about  # isort: skip  # each registers its verbs, shown in this order
from nntrainer.cli.app import app, main

__all__ = ["about", "app", "data", "main", "results", "training", "validation"]
