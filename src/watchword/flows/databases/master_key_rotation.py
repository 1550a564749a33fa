"""Rotating the master key: the root secret is encrypted under a new one, and the key file opens the database at every moment.

Theory of operation. The newest key in the file or variable becomes the master key; if there is only one, a new one is generated and
appended to the file. Then the root secret is encrypted under it. Then the file is reduced to it, and the former key is moved to a file
of its own beside it. So the file opens the database before and after the row changes; if the process is killed, the next call goes on
where it stopped. The row stays locked while the file is read or written: of two operators the second sees what the first did.
"""

import time
from pathlib import Path

import msgspec

from watchword.flows.runtime import Runtime
from watchword.flows.secrets import key_file, master_key, root_secret
from watchword.flows.secrets.key_file import Keys
from watchword.flows.secrets.root_secret import NAME, Opened
from watchword.flows.secrets.secret import Secret
from watchword.settings import Settings, SettingsError
from watchword.store import keys
from watchword.store.copying import opening
from watchword.store.copying.bulk import Bulk
from watchword.store.database import StorageUnavailable

OUTSIDE = (
    "the master key is provided from outside, so it has to be changed there: add a new key after the present one "
    "(a second line), restart every node with both, then run this again"
)


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """What was done: names of keys, and their files. Without `former` the rotation had been done before, and only the file was tidied.

    `was_root` says that the former key is the root secret itself, as in databases of earlier releases: it still opens their copies.
    """

    master_key: str
    former: str | None
    was_root: bool
    key_file: Path | None
    kept: tuple[Path, ...] = ()


async def rotate(runtime: Runtime, *, actor: str) -> Rotated:
    """Rotate the master key of an open database; raise SettingsError with the remedy, StorageUnavailable when it fails."""
    bulk = await opening.open_bulk(runtime.settings.database, runtime.root.derive("audit"))
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
    """Encrypt the root secret under the newest key; return the former key (None if nothing was left to do) and the newest."""
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
    """Return the root secret and the master keys, locked until the open transaction ends."""
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
    """Check that the newest key opens what was committed, then reduce the file to it; return where the others were moved to."""
    await bulk.begin()
    known, masters = await _locked(bulk, settings)
    if known.master is not masters[-1]:
        raise StorageUnavailable("another rotation was interrupted meanwhile: run this again")
    path = master_key.writable_file(settings)
    kept: tuple[Path, ...] = ()
    if path is not None and len(masters) > 1:
        kept = tuple(key_file.keep_aside(path, master) for master in masters[:-1])
        key_file.replace(path, masters[-1:])
    if path is not None:
        key_file.tidy(path)
    await bulk.rollback()
    return kept
