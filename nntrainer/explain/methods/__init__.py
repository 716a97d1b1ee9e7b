"""The methods, each a file that registers its options in ``config.registry.EXPLAINERS``."""
