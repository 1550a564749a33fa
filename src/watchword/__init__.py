"""Watchword: authentication for APIs. This module owns the version and imports nothing else."""

__version__ = "0.1.0"
