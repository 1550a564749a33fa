"""The master key: the one secret that lives outside the database.

Everything at rest that must be read back is sealed under a key derived from it, and the audit trail is chained under
another. It comes from `WATCHWORD_MASTER_KEY` (64 hexadecimal digits) or from a file that only its owner can read. A file in
systemd's credentials directory counts as given from outside, like the variable: it is never made here, and may be there before the
database is.
"""

import os
import re
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from watchword.folders import settle
from watchword.settings import Settings, SettingsError
from watchword.store import sqlite_file

_HEX = re.compile(r"[0-9a-fA-F]{64}")


class MasterKey:
    """Thirty-two secret bytes, and what is derived from them."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise ValueError("a master key has 32 bytes")
        self._secret = secret
        self._derived: dict[str, bytes] = {}

    def derive(self, purpose: str) -> bytes:
        """Return the 32-byte key for one purpose (RFC 5869)."""
        key = self._derived.get(purpose)
        if key is None:
            kdf = HKDF(SHA256(), 32, salt=None, info=f"watchword {purpose}".encode())
            key = self._derived[purpose] = kdf.derive(self._secret)
        return key

    def seal(self, purpose: str, context: str, plaintext: bytes, nonce: bytes) -> bytes:
        """Encrypt under the purpose's key; `context` must be the same when it is opened; `nonce` is 12 fresh random bytes."""
        return nonce + AESGCM(self.derive(purpose)).encrypt(nonce, plaintext, context.encode())

    def open(self, purpose: str, context: str, sealed: bytes) -> bytes:
        """Decrypt; raise SettingsError when this is not the key that sealed it."""
        try:
            return AESGCM(self.derive(purpose)).decrypt(sealed[:12], sealed[12:], context.encode())
        except (InvalidTag, ValueError):
            raise SettingsError(
                "the master key does not belong to this database: give the key file that was made with it (key_file)"
            ) from None


def key_path(settings: Settings) -> Path:
    """Return where the key file is, or is to be made."""
    if settings.key_file:
        return Path(settings.key_file)
    return Path("watchword.key" if settings.is_postgres else f"{settings.database}.key")


def existing_master_key(settings: Settings) -> MasterKey:
    """Return the master key that is there already, whether the database is or not; raise SettingsError with the remedy."""
    if os.environ.get("WATCHWORD_MASTER_KEY") is not None:
        return load_master_key(settings)
    path = key_path(settings)
    if not path.exists():
        raise SettingsError(
            f"the master key {path} is not there, and it is not part of a backup: put the key file in its place first"
        )
    return _read(path)


def load_master_key(settings: Settings) -> MasterKey:
    """Return the master key, making its file at the first start; raise SettingsError with the remedy."""
    given = os.environ.get("WATCHWORD_MASTER_KEY")
    if given is not None:
        given = given.strip()  # a secret of a container engine ends with the line that it was read from
        if not _HEX.fullmatch(given):
            raise SettingsError("WATCHWORD_MASTER_KEY must be 64 hexadecimal digits")
        return MasterKey(bytes.fromhex(given))
    path = key_path(settings)
    if _is_credential(path):
        return _read(path)
    if not settings.is_postgres:
        _match(path, Path(settings.database))
    return _read(path) if path.exists() else _make(path)


def _match(path: Path, database: Path) -> None:
    """Make the database where neither is there; raise SettingsError when one of the two was lost."""
    missing = None
    if path.exists():
        missing, present = database, path
    else:
        # First the database: a key that is alone would have to be taken for that of one which was lost.
        sqlite_file.prepare(str(database))
        if not sqlite_file.is_unused(str(database)):
            missing, present = path, database
    if missing is not None and not missing.exists():  # another process may have made it meanwhile
        raise SettingsError(
            f"{present} exists but {missing} does not: restore {missing.name} from the backup, or move {present.name} away to start anew"
        )


def _is_credential(path: Path) -> bool:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(folder) and path.parent == Path(folder or "")


def _read(path: Path) -> MasterKey:
    try:
        mode = path.stat().st_mode
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"cannot read the key file {path}") from None
    # systemd lets the service's user in by an access list, whose mask shows as the right of a group to read.
    if mode & (stat.S_IRWXO | (stat.S_IWGRP if _is_credential(path) else stat.S_IRWXG)):
        raise SettingsError(f"the key file {path} can be read by others: chmod 600 {path}")
    if not _HEX.fullmatch(text):
        raise SettingsError(f"the key file {path} must hold 64 hexadecimal digits")
    return MasterKey(bytes.fromhex(text))


def _make(path: Path) -> MasterKey:
    secret = os.urandom(32)
    # Not named by the process: a container's is always number one, and what a power cut left of it must not be in the way.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secret.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            # Linking fails when another process was first; its key is the one that counts.
            os.link(temporary, path)
        except FileExistsError:
            return _read(path)
        finally:
            temporary.unlink()
        settle(path)
    except OSError as error:
        raise SettingsError(f"cannot make the key file {path}: {error.strerror}") from None
    return MasterKey(secret)
