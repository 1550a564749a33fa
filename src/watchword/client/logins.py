"""The sign-ins of the user of this machine: a file without secrets for each, and the secrets in the key ring.

Owns the folder `watchword` in the user's state directory (XDG_STATE_HOME, or ~/.local/state).
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from watchword.client.errors import ClientError
from watchword.client.grants import RefreshToken
from watchword.client.identity import PublicClient
from watchword.client.source import TokenSource
from watchword.client.store import FileStore, Record, Store
from watchword.extras import NotInstalled


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in; no secret is in it."""

    name: str
    issuer: str
    client_id: str
    scope: str = ""
    resource: str = ""
    dpop: bool = False
    kept_in: Literal["keyring", "file"] = "keyring"
    since: int = 0


class NotSignedIn(ClientError):
    """There is no such sign-in."""


class NoFolder(ClientError):
    """There is no place for sign-ins."""


def folder() -> Path:
    """Return the folder of the sign-ins; raise NoFolder where the environment names none."""
    state = os.environ.get("XDG_STATE_HOME")
    try:
        return (Path(state) if state else Path.home() / ".local" / "state") / "watchword"
    except RuntimeError:  # no HOME, and a user whom the system does not know, as in some containers
        raise NoFolder("this user has no home folder: set XDG_STATE_HOME to a folder for sign-ins") from None


def _path(name: str, suffix: str) -> Path:
    return folder() / (hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:24] + suffix)


def store_of(login: Login) -> Store:
    """Return the store of a sign-in's secrets."""
    if login.kept_in == "file":
        return FileStore(_path(login.name, ".secret"))
    from watchword.client.keyring_store import KeyringStore  # its package is not in the base install

    return KeyringStore(login.name, _path(login.name, ".lock"))


def source_of(login: Login) -> TokenSource:
    """Return a token source for a sign-in."""
    grant = RefreshToken(resource=login.resource)
    return TokenSource(
        login.issuer,
        PublicClient(login.client_id),
        grant,
        api=login.issuer,
        dpop=login.dpop,
        store=store_of(login),
    )


def save(login: Login) -> None:
    """Store a sign-in, replacing one of the same name; secrets that the old one kept elsewhere are removed."""
    path = _path(login.name, ".json")
    former = _read(path)
    if former is not None and former.kept_in != login.kept_in:
        # A key ring that cannot be opened, or whose package is gone, must not prevent a sign-in.
        with contextlib.suppress(ClientError, NotInstalled, OSError):
            _clear(former)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(msgspec.json.encode(login))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def everyone() -> list[Login]:
    """Return every sign-in, the latest first."""
    found = (_read(path) for path in folder().glob("*.json"))
    return sorted((login for login in found if login), key=lambda login: (-login.since, login.name))


def _read(path: Path) -> Login | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Login)
    except (OSError, ValueError, RecursionError):  # ValueError: not JSON, not a sign-in, or not UTF-8
        return None


def find(name: str | None) -> Login:
    """Return a sign-in by its name or its issuer, the latest without one; raise NotSignedIn."""
    for login in everyone():
        if name in (None, login.name, login.issuer):
            return login
    where = "" if name is None else f" at {name!r}"
    raise NotSignedIn(f"you are not signed in{where}: use watchword login ISSUER --client-id CLIENT_ID")


@contextlib.contextmanager
def forgetting(login: Login) -> Iterator[Record | None]:
    """Yield a sign-in's record, under the lock of its store, and remove the sign-in with its secrets afterwards."""
    store = store_of(login)
    with store.lock():
        yield store.load()
        store.save(None)
    _path(login.name, ".json").unlink(missing_ok=True)


def _clear(login: Login) -> None:
    store = store_of(login)
    with store.lock():
        store.save(None)
