"""Keras layers of the networks; only imported where a network is built or loaded."""
