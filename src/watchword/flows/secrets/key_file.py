"""The master key file: readable by its owner only, and replaced atomically, so that a crash never leaves half of it.

It holds one key, or several, one a line, newest last: during a rotation it holds both the former and the new key, and so opens the
database before and after.
"""

import glob
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from watchword.durable_files import UNFINISHED, name_new, replace_private, settle, write_beside
from watchword.flows.secrets.secret import LENGTH, Secret
from watchword.settings import SettingsError

_HEX = re.compile(r"[0-9a-fA-F]{64}")
Keys = tuple[Secret, ...]


def parse(text: str, where: str) -> Keys:
    """Return the keys in a text, oldest first; raise SettingsError, whose message shows nothing of the text."""
    words = dict.fromkeys(text.lower().split())
    if not words or not all(_HEX.fullmatch(word) for word in words):
        raise SettingsError(f"{where} must hold 64 hexadecimal digits, or several such keys, a line each")
    return tuple(Secret(bytes.fromhex(word)) for word in words)


def read(path: Path, *, is_credential: bool) -> Keys:
    """Return the keys of a file; raise SettingsError when it cannot be read, or others can read it."""
    try:
        mode = path.stat().st_mode
        text = path.read_text("utf-8-sig", "replace")
    except OSError as error:
        raise SettingsError(f"cannot read the key file {path}: {error.strerror}") from None
    # systemd gives the service's user access by an ACL, whose mask shows up as group read permission.
    if mode & (stat.S_IRWXO | (stat.S_IWGRP if is_credential else stat.S_IRWXG)):
        raise SettingsError(f"the key file {path} can be read by others: chmod 600 {path}")
    return parse(text, f"the key file {path}")


def make(path: Path) -> None:
    """Create the file with a fresh key, unless another process has created it first. Raise SettingsError."""
    try:
        temporary = write_beside(path, _text([fresh()]).encode())
        try:
            name_new(temporary, path)
        except FileExistsError:
            return
        finally:
            temporary.unlink(missing_ok=True)
        settle(path)
    except OSError as error:
        raise SettingsError(f"cannot make the key file {path}: {error.strerror}") from None


def fresh() -> Secret:
    """Return a new key."""
    return Secret(os.urandom(LENGTH))


def replace(path: Path, keys: Iterable[Secret]) -> None:
    """Replace the keys in a file, keeping its owner; durable when this returns. Raise SettingsError."""
    _put(Path(os.path.realpath(path)), keys, path)  # a symbolic link stays one


def keep_aside(path: Path, key: Secret) -> Path:
    """Store a former key in a file of its own, for backups that were made under it; return its path. Raise SettingsError."""
    if path.is_symlink():  # beside the target, where `tidy` looks
        path = Path(os.path.realpath(path))
    aside = path.with_name(f"{path.name}.old-{key.name}")
    _put(aside, [key], path)
    return aside


def tidy(path: Path) -> None:
    """Remove temporary files of interrupted writes, since they hold keys."""
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
