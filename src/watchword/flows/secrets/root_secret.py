"""The root secret: the key behind everything that is encrypted, chained or derived, stored in the database under the master key.

Theory of operation. The root secret is generated with the database and never changes. One row holds it, encrypted under the master
key. So rotating the master key rewrites one row: running nodes hold the root secret and go on, and a starting node decrypts the row
with the key that it is given. Nobody without a master key can plant another root secret, since the row would not decrypt. A database of
an earlier release has no such row: there the master key itself is the root secret, and the row is added at the next start, so that
nodes of that release can go on beside newer ones.
"""

import contextlib
import os
from typing import NamedTuple

from watchword.flows.secrets.key_file import Keys
from watchword.flows.secrets.secret import LENGTH, NotSealed, Secret
from watchword.settings import SettingsError
from watchword.store import keys as store
from watchword.store.copying.bulk import Bulk
from watchword.store.database import Transaction, Unchained

PURPOSE, NAME = "root secret", "root"
SIGNING = "signing keys"


class Opened(NamedTuple):
    """The root secret, and the master key that opened it; `is_kept` says that the database has a row for it."""

    root: Secret
    master: Secret
    is_kept: bool


def seal(root: Secret, master: Secret) -> bytes:
    """Return the root secret as it is stored."""
    return master.seal(PURPOSE, NAME, root.value)


def open_row(sealed: bytes, masters: Keys) -> Opened:
    """Decrypt the row; raise SettingsError when none of the keys does."""
    master, value = _open_with(masters, PURPOSE, NAME, sealed)
    return Opened(Secret(value), master, True)


def _open_with(masters: Keys, purpose: str, context: str, sealed: bytes) -> tuple[Secret, bytes]:
    """Return the key that decrypts a value, trying the newest first, and the plaintext; raise SettingsError when none does."""
    for master in reversed(masters):
        with contextlib.suppress(NotSealed):
            return master, master.open(purpose, context, sealed)
    raise SettingsError(
        "the master key does not belong to this database: give the key file that was made with it (key_file), "
        "or the one that has replaced it since"
    )


async def find(tx: Transaction, masters: Keys) -> Opened | None:
    """Return the root secret of a database, None in an unused one; raise SettingsError when none of the keys opens it."""
    sealed = await store.find_secret(tx, NAME)
    return open_row(sealed, masters) if sealed is not None else await _of_earlier_release(tx, masters)


async def is_there(tx: Transaction) -> bool:
    """Whether a database has a root secret already, so that only its own master key will do."""
    return await store.find_secret(tx, NAME) is not None or await store.oldest_key(tx) is not None


async def _of_earlier_release(tx: Transaction, masters: Keys) -> Opened | None:
    oldest = await store.oldest_key(tx)
    if oldest is None:
        return None
    master, _ = _open_with(masters, SIGNING, oldest.kid, oldest.sealed_private)
    return Opened(master, master, False)


async def existing(bulk: Bulk, masters: Keys) -> Opened:
    """Return the root secret of a database that is to be copied, of any release; in an unused one, the newest master key."""
    found = None
    if await bulk.has_table("secrets"):
        found = await find(bulk, masters)
    elif await bulk.has_table("signing_keys"):
        found = await _of_earlier_release(bulk, masters)
    return found or Opened(masters[-1], masters[-1], False)


async def establish(database: Unchained, masters: Keys, now: int) -> Secret:
    """Return the root secret of an open database, created with its row if missing, and key the audit trail's chain with it."""
    while True:
        found = await database.read(find, masters)
        known = found or Opened(Secret(os.urandom(LENGTH)), masters[-1], False)
        database.record_under(known.root.derive("audit"))
        if known.is_kept:
            return known.root
        # If another node was first, its root secret counts, which the next round finds.
        await database.write(store.keep_root, NAME, seal(known.root, known.master), now, is_new=found is None)
