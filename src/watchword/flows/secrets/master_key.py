"""The master key: the one secret that lives outside the database. It decrypts the root secret there (`root_secret`).

It comes from `WATCHWORD_MASTER_KEY` or from a file that only its owner can read. A file in systemd's credentials directory counts as
provided from outside, like the variable: it is never created or changed here, and may exist before the database does. Either holds one
key (64 hexadecimal digits) or, during a rotation, several, newest last; the one that opens the database counts.
"""

import os
from pathlib import Path

from watchword.flows.secrets import key_file
from watchword.flows.secrets.key_file import Keys
from watchword.settings import Settings, SettingsError
from watchword.store.sqlite import file

VARIABLE = "WATCHWORD_MASTER_KEY"


def key_path(settings: Settings) -> Path:
    """Return the path of the key file, which may not exist yet."""
    if settings.key_file:
        return Path(settings.key_file)
    return Path("watchword.key" if settings.is_postgres else f"{settings.database}.key")


def own_file(settings: Settings) -> Path | None:
    """Return the key file, None where the master key is provided from outside and not ours to change."""
    path = key_path(settings)
    return None if VARIABLE in os.environ or _is_credential(path) else path


def writable_file(settings: Settings) -> Path | None:
    """Return the key file if this process may replace it, else None: then whoever provides it has to."""
    path = own_file(settings)
    return path if path and os.access(os.path.dirname(os.path.realpath(path)), os.W_OK | os.X_OK) else None


def existing_master_keys(settings: Settings, of_backup: str = "") -> Keys:
    """Return the existing master keys, whether or not the database exists; raise SettingsError with the remedy, which names the key
    `of_backup` where that is what it is for."""
    path = key_path(settings)
    if VARIABLE not in os.environ and not path.exists():
        which = f" of the database that was backed up (its master key is {of_backup})" if of_backup else ""
        raise SettingsError(
            f"the master key {path} does not exist, and it is not part of a backup: copy the key file{which} to {path} first, "
            "or set key_file to its path (WATCHWORD_KEY_FILE=…)"
        )
    return _read(path)


def lacking_file(settings: Settings) -> Path | None:
    """Return the key file that a first start would create, None when there is a master key."""
    path = own_file(settings)
    return path if path and not path.exists() else None


def load_master_keys(settings: Settings) -> Keys:
    """Return the master keys, creating their file at the first start; raise SettingsError with the remedy."""
    path = own_file(settings)
    if path is None:
        return _read(key_path(settings))
    if not settings.is_postgres:
        _match(path, Path(settings.database))
    if not path.exists():
        key_file.make(path)
    return _read(path)


def _read(path: Path) -> Keys:
    given = os.environ.get(VARIABLE)
    if given is not None:
        return key_file.parse(given, VARIABLE)
    return key_file.read(path, is_credential=_is_credential(path))


def _match(path: Path, database: Path) -> None:
    """Create the database file when neither exists; raise SettingsError when one of the two was lost."""
    missing = None
    if path.exists():
        missing, present = database, path
    else:
        # The database first: a key file alone would look as if its database had been lost.
        file.prepare(str(database))
        if not file.is_unused(str(database)):
            missing, present = path, database
    if missing is not None and not missing.exists():  # another process may have made it meanwhile
        # A backup has the database in it and never the key.
        mend = (
            f"restore {missing} from the backup"
            if missing == database
            else f"put {missing} back, or set key_file to its path"
        )
        raise SettingsError(
            f"{present} exists but {missing} does not: {mend}, or move {present} away to start anew"
        )


def _is_credential(path: Path) -> bool:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(folder) and path.parent == Path(folder or "")
