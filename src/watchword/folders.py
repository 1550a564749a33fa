"""Files and folders, as far as a power cut is concerned: a file that was synced is there afterwards only if its folder was synced, too."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

UNFINISHED = ".unfinished"


def settle(path: str | os.PathLike[str]) -> None:
    """Make a file's name last."""
    descriptor = os.open(os.path.dirname(os.path.realpath(path)), os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Some network file systems settle no folder: what was written is in place there all the same.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_beside(path: Path, data: bytes, like: os.stat_result | None = None, mode: int = 0o600) -> Path:
    """Write data into a file beside `path` that its owner alone reads, or whom `mode` lets, of the owner of the file that it is like; it is
    on disk, and has no lasting name yet."""
    # Not named by the process: a container's is always number one, and what a power cut left of it must not be in the way.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if like is not None and like.st_uid != os.geteuid():  # called by root for the server's own user
                os.fchown(file.fileno(), like.st_uid, like.st_gid)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink()
        raise
    return temporary


def replace_private(path: Path, text: str, like: os.stat_result | None = None) -> None:
    """Put a text in the place of a file that its owner alone reads, whole or not at all; on disk when it returns. Raise OSError."""
    _take_over(path, write_beside(path, text.encode(), like))


def replace(path: Path, data: bytes) -> None:
    """Put data in the place of a file, whole or not at all, for whoever may read the one before; on disk when it returns. Raise OSError."""
    path = Path(os.path.realpath(path))  # a link stays one
    if path.exists() and not path.is_file():  # a pipe, a terminal: what nothing can take the place of
        path.write_bytes(data)
        return
    before = path.stat() if path.exists() else None
    # Only root can make a file for somebody else; of a folder that several share, who wrote it last owns it.
    temporary = write_beside(path, data, before if os.geteuid() == 0 else None, 0o600 if before else 0o666)
    if before is not None:
        temporary.chmod(stat.S_IMODE(before.st_mode))
    _take_over(path, temporary)


def _take_over(path: Path, temporary: Path) -> None:
    try:
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    settle(path)
