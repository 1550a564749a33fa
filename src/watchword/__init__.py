"""Watchword: authentication for APIs. This module owns the version and imports nothing else."""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name in ("Guard", "Policy", "Principal"):  # imported here, they would be loaded by every command
        raise ImportError(f"write: from watchword.guard import {name}, or from your framework's module there")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
