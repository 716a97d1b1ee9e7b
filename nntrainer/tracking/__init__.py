"""Finished runs to a tracking server."""
