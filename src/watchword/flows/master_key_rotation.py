"""Exchanging the master key: the root secret is sealed anew, and the key file follows without ever failing to open the database.

Theory of operation. The key that is newest where the keys come from, a file or a variable, becomes the master key; where there is one key
only, a new one is made and written behind it. Then the row is sealed under it, and then the file is left with it alone, the former
key beside it in a file of its own. So the file opens the database before the row changes and after; killed anywhere, the next call goes
on. Whoever rotates holds the lock of the row while it reads or writes the file: of two operators the second finds what the first did.
"""

import time
from pathlib import Path

import msgspec

from watchword.flows import key_file, master_key, root_secret
from watchword.flows.key_file import Keys
from watchword.flows.root_secret import NAME, Opened
from watchword.flows.runtime import Runtime
from watchword.flows.secret import Secret
from watchword.settings import Settings, SettingsError
from watchword.store import bulk as store
from watchword.store import keys
from watchword.store.bulk import Bulk
from watchword.store.database import StorageUnavailable

OUTSIDE = (
    "the master key is given from outside, and only whoever gives it can change it: put a new key behind the present one there "
    "(a second line), start every node again with both, then call this once more"
)


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """What was done: names of keys, and where they are. Without `former` it had been done before, and only the file was put in order.

    `was_root` says that the former key is the root itself, as in a database of an earlier release: it goes on opening copies.
    """

    master_key: str
    former: str | None
    was_root: bool
    key_file: Path | None
    kept: tuple[Path, ...] = ()


async def rotate(runtime: Runtime, *, actor: str) -> Rotated:
    """Exchange the master key of an open database; raise SettingsError with the remedy, StorageUnavailable when it fails."""
    bulk = await store.open_bulk(runtime.settings.database, runtime.root.derive("audit"))
    try:
        former, new = await _exchange(bulk, runtime.settings, actor)
        kept = await _settle(bulk, runtime.settings)
    finally:
        await bulk.close()
    path = master_key.writable_file(runtime.settings)
    return Rotated(
        master_key=new.name,
        former=former.name if former else None,
        was_root=former is not None and former.value == runtime.root.value,
        key_file=path,
        kept=kept,
    )


async def _exchange(bulk: Bulk, settings: Settings, actor: str) -> tuple[Secret | None, Secret]:
    """Seal the root under the newest key; return the former key, None where nothing was left to do, and that key."""
    await bulk.begin()
    known, masters = await _locked(bulk, settings)
    if len(masters) == 1:
        masters = _staged(settings, masters)
    new = masters[-1]
    if known.master.value == new.value:
        await bulk.rollback()
        return None, new
    sealed = root_secret.seal(known.root, new)
    names = {"former": known.master.name, "master_key": new.name}
    await keys.exchange_master(bulk, NAME, sealed, actor=actor, now=int(time.time()), **names)
    await bulk.commit()
    return known.master, new


async def _locked(bulk: Bulk, settings: Settings) -> tuple[Opened, Keys]:
    """Return the root and the keys as they are now, and stay so until the open transaction ends."""
    sealed = await keys.lock_secret(bulk, NAME)
    if sealed is None:
        raise StorageUnavailable("the root secret is missing from the database: restore a backup")
    masters = master_key.existing_master_keys(settings)
    return root_secret.open_row(sealed, masters), masters


def _staged(settings: Settings, masters: Keys) -> Keys:
    path = master_key.own_file(settings)
    if path is None:
        raise SettingsError(OUTSIDE)
    key_file.replace(path, (*masters, key_file.fresh()))
    return master_key.existing_master_keys(settings)  # what is on disk counts


async def _settle(bulk: Bulk, settings: Settings) -> tuple[Path, ...]:
    """See that the newest key opens what was committed, then leave it alone in its file; return where the others are."""
    await bulk.begin()
    known, masters = await _locked(bulk, settings)
    if known.master is not masters[-1]:
        raise StorageUnavailable("another call was interrupted meanwhile: call this once more")
    path = master_key.writable_file(settings)
    kept: tuple[Path, ...] = ()
    if path is not None and len(masters) > 1:
        kept = tuple(key_file.keep_aside(path, master) for master in masters[:-1])
        key_file.replace(path, masters[-1:])
    if path is not None:
        key_file.tidy(path)
    await bulk.rollback()
    return kept
