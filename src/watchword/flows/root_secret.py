"""The root secret: what everything that is sealed, chained or derived hangs on, kept in the database under the master key.

Theory of operation. The root is made with the database, at random, and stays for its life. One row keeps it sealed under the master
key. So exchanging the master key writes one row: nodes that run hold the root and go on, and a node that starts opens the row with the
key that it is given. Nobody without a master key can put another root in its place, for the row would not open. A database of an earlier
release has no such row: its master key is its root, and gets the row at its next start, so that nodes of that release go on beside.
"""

import os
from typing import NamedTuple

from watchword.flows.key_file import Keys
from watchword.flows.secret import LENGTH, Secret
from watchword.settings import SettingsError
from watchword.store import keys as store
from watchword.store.bulk import Bulk
from watchword.store.database import Transaction, Unchained

PURPOSE, NAME = "root secret", "root"
SIGNING = "signing keys"


class Opened(NamedTuple):
    """The root, and the master key by which it is known; `is_kept` says that there is a row."""

    root: Secret
    master: Secret
    is_kept: bool


def seal(root: Secret, master: Secret) -> bytes:
    """Return the root as it is kept."""
    return master.seal(PURPOSE, NAME, root.value, os.urandom(12))


def open_row(sealed: bytes, masters: Keys) -> Opened:
    """Open the row; raise SettingsError when no key belongs to it."""
    master, value = _belonging(masters, PURPOSE, NAME, sealed)
    return Opened(Secret(value), master, True)


def _belonging(masters: Keys, purpose: str, context: str, sealed: bytes) -> tuple[Secret, bytes]:
    """Return the key that opens what is sealed, the newest first, and what it opened."""
    for master in reversed(masters):
        try:
            return master, master.open(purpose, context, sealed)
        except SettingsError as error:
            refusal = error
    raise refusal


async def find(tx: Transaction, masters: Keys) -> Opened | None:
    """Return the root of a database, None where nothing hangs on one yet; raise SettingsError when no key belongs to it."""
    sealed = await store.find_secret(tx, NAME)
    return open_row(sealed, masters) if sealed is not None else await _of_earlier_release(tx, masters)


async def is_there(tx: Transaction) -> bool:
    """Whether a database hangs on a root already, which only its own master key opens."""
    return await store.find_secret(tx, NAME) is not None or await store.oldest_key(tx) is not None


async def _of_earlier_release(tx: Transaction, masters: Keys) -> Opened | None:
    oldest = await store.oldest_key(tx)
    if oldest is None:
        return None
    master, _ = _belonging(masters, SIGNING, oldest.kid, oldest.sealed_private)
    return Opened(master, master, False)


async def existing(bulk: Bulk, masters: Keys) -> Opened:
    """Return the root of a database that is copied, of whatever release it is; where nothing hangs on one yet any is right."""
    found = None
    if await bulk.has_table("secrets"):
        found = await find(bulk, masters)
    elif await bulk.has_table("signing_keys"):
        found = await _of_earlier_release(bulk, masters)
    return found or Opened(masters[-1], masters[-1], False)


async def establish(database: Unchained, masters: Keys, now: int) -> Secret:
    """Return the root of an open database, making it or its row where there is none, and chain the audit trail under it."""
    while True:
        found = await database.read(find, masters)
        known = found or Opened(Secret(os.urandom(LENGTH)), masters[-1], False)
        database.record_under(known.root.derive("audit"))
        if known.is_kept:
            return known.root
        # Where another node was first it is that node's root which counts, and is found now.
        await database.write(store.keep_root, NAME, seal(known.root, known.master), now, is_new=found is None)
