"""Durable and atomic file writes: a synced file survives a power cut only if its folder was synced, too."""

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path

UNFINISHED = ".unfinished"
KEPT_OUT = {errno.EACCES, errno.EPERM, errno.EBUSY, errno.EROFS}


def settle(path: str | os.PathLike[str]) -> None:
    """Sync the folder of a file, so that its name survives a power cut."""
    descriptor = os.open(os.path.dirname(os.path.realpath(path)), os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Some network file systems cannot sync a folder; the file is in place there all the same.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_beside(path: Path, data: bytes, like: os.stat_result | None = None, mode: int = 0o600) -> Path:
    """Write data to a new file with a temporary name beside `path`, sync it, and return its path; it is owned like the file `like`."""
    # Not named after the process: in a container that is always number 1, and a leftover of a power cut must not be in the way.
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


def name_new(temporary: Path, path: Path) -> None:
    """Give a complete file its name; raise FileExistsError where a file has that name already. The temporary name may remain."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        # This file system has no hard links (a USB stick, a network drive): the name is taken first, by a file that is empty for a moment.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            os.replace(temporary, path)
        except BaseException:
            path.unlink()
            raise


def replace_private(path: Path, text: str, like: os.stat_result | None = None) -> None:
    """Atomically replace a file that only its owner can read; on disk when it returns. Raise OSError."""
    _take_over(path, write_beside(path, text.encode(), like))


def replace(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Atomically replace a file, keeping its permissions; a new one gets `mode` and the umask. On disk when it returns. Raise OSError.

    Where it cannot be replaced, because its folder is not writable or the file is itself a mount point, it is overwritten in place.
    """
    try:
        before = path.stat()  # before the link is resolved, so that the kernel's protection of links in folders like /tmp applies
    except FileNotFoundError:
        before = None
    # A pipe or a terminal cannot be replaced.
    if before is not None and not stat.S_ISREG(before.st_mode):
        path.write_bytes(data)
        return
    if before is not None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    path = Path(os.path.realpath(path))  # a link stays one
    try:
        # Only root can create a file for another user; in a shared folder, whoever wrote last owns it.
        temporary = write_beside(path, data, before if os.geteuid() == 0 else None, 0o600 if before else mode)
        if before is not None:
            _copy_permissions(temporary, before)
        _take_over(path, temporary)
    except OSError as error:
        if before is None or error.errno not in KEPT_OUT:
            raise
        path.write_bytes(data)


def _copy_permissions(temporary: Path, before: os.stat_result) -> None:
    allowed = stat.S_IMODE(before.st_mode)
    try:
        os.chown(temporary, -1, before.st_gid)
    except PermissionError:  # we are not in that group: its rights must not go to another one
        allowed &= ~stat.S_IRWXG
    temporary.chmod(allowed)


def _take_over(path: Path, temporary: Path) -> None:
    try:
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    settle(path)
