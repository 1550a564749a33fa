"""Watchword: authentication for APIs. This module owns the version and imports nothing else."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if not TYPE_CHECKING:  # type checkers would take every name for one that is there

    def __getattr__(name: str) -> object:
        if name in ("Guard", "Policy", "Principal"):  # imported here, they would be loaded by every command
            raise ImportError(
                f"write: from watchword.guard import {name}, or from your framework's module there"
            )
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
