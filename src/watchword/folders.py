"""Folders, as far as a power cut is concerned: a file that was synced is there afterwards only if its folder was synced, too."""

import contextlib
import os


def settle(path: str | os.PathLike[str]) -> None:
    """Make a file's name last."""
    descriptor = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Some network file systems settle no folder: what was written is in place there all the same.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
