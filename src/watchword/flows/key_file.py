"""The file of the master key: its owner's alone, and whole at every moment, whoever is killed while it is written.

It holds one key, or several, a line each, the newest last: while a key is exchanged the former and the new one are both there, so that
the file opens the database before and after.
"""

import glob
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from watchword.flows.secret import LENGTH, Secret
from watchword.folders import UNFINISHED, replace_private, settle, write_beside
from watchword.settings import SettingsError

_HEX = re.compile(r"[0-9a-fA-F]{64}")
Keys = tuple[Secret, ...]


def parse(text: str, where: str) -> Keys:
    """Return the keys of a text, oldest first; raise SettingsError, which shows nothing of it."""
    words = dict.fromkeys(text.lower().split())
    if not words or not all(_HEX.fullmatch(word) for word in words):
        raise SettingsError(f"{where} must hold 64 hexadecimal digits, or several such keys, a line each")
    return tuple(Secret(bytes.fromhex(word)) for word in words)


def read(path: Path, *, is_credential: bool) -> Keys:
    """Return the keys of a file that nobody else can read."""
    try:
        mode = path.stat().st_mode
        text = path.read_text("utf-8-sig", "replace")
    except OSError as error:
        raise SettingsError(f"cannot read the key file {path}: {error.strerror}") from None
    # systemd lets the service's user in by an access list, whose mask shows as the right of a group to read.
    if mode & (stat.S_IRWXO | (stat.S_IWGRP if is_credential else stat.S_IRWXG)):
        raise SettingsError(f"the key file {path} can be read by others: chmod 600 {path}")
    return parse(text, f"the key file {path}")


def make(path: Path) -> None:
    """Make a file with a fresh key unless another process was first; its key is the one that counts."""
    try:
        temporary = write_beside(path, _text([fresh()]).encode())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
        finally:
            temporary.unlink()
        settle(path)
    except OSError as error:
        raise SettingsError(f"cannot make the key file {path}: {error.strerror}") from None


def fresh() -> Secret:
    """Return a new key."""
    return Secret(os.urandom(LENGTH))


def replace(path: Path, keys: Iterable[Secret]) -> None:
    """Put keys in the place of those that a file holds, for the same owner; on disk when it returns."""
    _put(Path(os.path.realpath(path)), keys, path)  # a link stays one


def keep_aside(path: Path, key: Secret) -> Path:
    """Keep a key that is in use no more in a file of its own, for the backups that were made under it; return where."""
    if path.is_symlink():  # beside the link `tidy` would not look
        path = Path(os.path.realpath(path))
    aside = path.with_name(f"{path.name}.old-{key.name}")
    _put(aside, [key], path)
    return aside


def tidy(path: Path) -> None:
    """Remove what was left of writes that were interrupted: there are keys in it."""
    path = Path(os.path.realpath(path))
    for left in path.parent.glob(f"{glob.escape(path.name)}*{UNFINISHED}"):
        left.unlink(missing_ok=True)


def _put(path: Path, keys: Iterable[Secret], like: Path) -> None:
    try:
        replace_private(path, _text(keys), like.stat())
    except OSError as error:
        raise SettingsError(f"cannot write the key file {path}: {error.strerror}") from None


def _text(keys: Iterable[Secret]) -> str:
    return "".join(f"{key.value.hex()}\n" for key in keys)
