"""YAML to closed, frozen models; errors carry file, line, key and the nearest valid key."""

from nntrainer.config.data import Sample
from nntrainer.config.load import load_config
from nntrainer.config.models import Config

__all__ = ["Config", "Sample", "load_config"]
