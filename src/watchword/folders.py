"""Files and folders, as far as a power cut is concerned: a file that was synced is there afterwards only if its folder was synced, too."""

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path

UNFINISHED = ".unfinished"
KEPT_OUT = {errno.EACCES, errno.EPERM, errno.EBUSY, errno.EROFS}


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


def replace(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Put data in the place of a file, whole or not at all, for whoever may read the one before, a new one by `mode` and umask; on disk when
    it returns. Raise OSError.

    A file whose place cannot be taken, since its folder is not to be written to or it is mounted alone, is written over where it is.
    """
    try:
        before = path.stat()  # before the link is read: what the system says of links that others left in a folder like /tmp holds
    except FileNotFoundError:
        before = None
    # A pipe, a terminal: nothing can take their place.
    if before is not None and not stat.S_ISREG(before.st_mode):
        path.write_bytes(data)
        return
    if before is not None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    path = Path(os.path.realpath(path))  # a link stays one
    try:
        # Only root can make a file for somebody else; of a folder that several share, who wrote it last owns it.
        temporary = write_beside(path, data, before if os.geteuid() == 0 else None, 0o600 if before else mode)
        if before is not None:
            _let(temporary, before)
        _take_over(path, temporary)
    except OSError as error:
        if before is None or error.errno not in KEPT_OUT:
            raise
        path.write_bytes(data)


def _let(temporary: Path, before: os.stat_result) -> None:
    allowed = stat.S_IMODE(before.st_mode)
    try:
        os.chown(temporary, -1, before.st_gid)
    except PermissionError:  # not of that group ourselves: what it might do no other one may
        allowed &= ~stat.S_IRWXG
    temporary.chmod(allowed)


def _take_over(path: Path, temporary: Path) -> None:
    try:
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    settle(path)
