"""A person's tokens in the key ring of their operating system; needs the package `keyring`."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from watchword.client.errors import NoKeyring
from watchword.client.store import Record, file_lock
from watchword.extras import needing

with needing("keyring", "keyring"):
    import keyring
    from keyring.errors import KeyringError, PasswordDeleteError

SERVICE = "watchword"


class KeyringStore:
    """A record in the key ring under a name; `lock` is a file, because key rings have no locks."""

    def __init__(self, name: str, lock: Path) -> None:
        self._name = name
        self._lock = lock

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Lock out other threads and processes."""
        return file_lock(self._lock)

    def load(self) -> Record | None:
        """Return the record; raise NoKeyring."""
        with _opened():
            text = keyring.get_password(SERVICE, self._name)
        try:
            return msgspec.json.decode(text, type=Record) if text else None
        except msgspec.DecodeError:
            return None

    def save(self, record: Record | None) -> None:
        """Replace the record; raise NoKeyring."""
        with _opened():
            if record is not None:
                keyring.set_password(SERVICE, self._name, msgspec.json.encode(record).decode())
                return
            with contextlib.suppress(PasswordDeleteError):  # there was none
                keyring.delete_password(SERVICE, self._name)


@contextlib.contextmanager
def _opened() -> Iterator[None]:
    try:
        yield
    except KeyringError as error:
        raise NoKeyring(f"the key ring cannot be used ({type(error).__name__})") from None
