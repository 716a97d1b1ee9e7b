"""The command line of nntrainer: argument parsing only, one function a verb."""

# Each registers its verbs, which are shown in this order.
from nntrainer.cli import data, training, results, explain, validation, report, about  # isort: skip
from nntrainer.cli.app import app, main

__all__ = ["about", "app", "data", "explain", "main", "report", "results", "training", "validation"]
