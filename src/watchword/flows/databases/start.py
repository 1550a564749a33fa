"""Opening the server: database, root secret, signing keys; and the link by which its owner makes the first account."""

import time
from collections.abc import Callable

from watchword.extras import POSTGRES, needing
from watchword.flows import membership, profiles
from watchword.flows.keyring import Keyring
from watchword.flows.runtime import Runtime
from watchword.flows.secrets import root_secret
from watchword.flows.secrets.key_file import Keys
from watchword.flows.secrets.master_key import lacking_file, load_master_keys
from watchword.flows.secrets.secret import Secret
from watchword.oauth import token_format
from watchword.settings import Settings, SettingsError, with_issuer
from watchword.store import keys, links, new_accounts, users
from watchword.store.database import StorageUnavailable, Unchained
from watchword.store.sqlite.database import SqliteDatabase
from watchword.store.sqlite.lists import Lists
from watchword.telemetry import log

ISSUER = "issuer"
SETUP = "setup"
SETUP_LIFETIME = 86_400


def make_database(settings: Settings, *, durable: bool = True, longest: int | None = None) -> Unchained:
    """Return the database that the settings name, not opened yet.

    `durable` may be False for throw-away databases in tests; `longest` is how long a statement may take on PostgreSQL, in seconds.
    """
    if settings.is_postgres:
        with needing(POSTGRES, "asyncpg"):  # the driver is an extra that only this choice needs
            from watchword.store.postgres.database import PostgresDatabase

        return PostgresDatabase(
            settings.database,
            timeout=settings.database_timeout,
            longest=longest,
            pool_size=settings.database_pool,
        )
    return SqliteDatabase(settings.database, timeout=settings.database_timeout, durable=durable)


async def _root(settings: Settings, database: Unchained, masters: Keys, now: int) -> Secret:
    try:
        return await root_secret.establish(database, masters, now)
    except SettingsError:
        # The master key was rotated between reading the keys and reading the row, or belongs to another database.
        return await root_secret.establish(database, load_master_keys(settings), now)


async def _first_keys(settings: Settings, database: Unchained) -> Keys:
    """Return the master key of an unused database, created now or by a parallel process; raise SettingsError if it was used before."""
    is_used = await database.read(root_secret.is_there)
    if is_used and (path := lacking_file(settings)):
        raise SettingsError(
            f"the database exists but {path} does not: put its key file there, or set key_file to its path"
        )
    return load_master_keys(settings)


async def open_runtime(
    settings: Settings,
    clock: Callable[[], float] = time.time,
    *,
    durable: bool = True,
    longest: int | None = None,
) -> Runtime:
    """Open everything, as `make_database` does; raise SettingsError or StorageUnavailable with what to do about it."""
    profiles.check(settings)
    membership.check(settings)
    # Whether a PostgreSQL database was used can only be asked once it is open; for SQLite `load_master_keys` sees it from the file.
    masters = None if settings.is_postgres and lacking_file(settings) else load_master_keys(settings)
    database = make_database(settings, durable=durable, longest=longest)
    await database.open()
    try:
        masters = masters or await _first_keys(settings, database)
        root = await _root(settings, database, masters, int(clock()))
        settings = with_issuer(settings, await database.read(keys.get_fact, ISSUER))
        keyring = Keyring(settings, database, root, clock)
        await keyring.open()
    except BaseException:
        await database.close()
        raise
    runtime = Runtime(settings, database, root, keyring, clock)
    if settings.database_replica:
        from watchword.store.postgres.replica import Replica

        runtime.listing = replica = Replica(settings.database_replica, database, settings.database_timeout)
        await replica.open()
    elif isinstance(database, SqliteDatabase):
        runtime.listing = Lists(database)
    return runtime


async def open_server(settings: Settings, clock: Callable[[], float], *, durable: bool = True) -> Runtime:
    """Open everything as `open_runtime` does, for a server: commands on its database are for its issuer from then on."""
    runtime = await open_runtime(settings, clock, durable=durable)
    try:
        known = await runtime.database.read(keys.get_fact, ISSUER)
        if known != settings.issuer:  # under `watchword serve` and `dev` it is known by now
            await runtime.database.write(keys.set_fact, ISSUER, settings.issuer)
    except BaseException:
        await close_runtime(runtime)
        raise
    if known not in (None, settings.issuer):
        log.warning("issuer.changed", former=known, issuer=settings.issuer)
    return runtime


async def remember_issuer(runtime: Runtime) -> str | None:
    """Store the issuer, so that commands without the option make tokens for the same issuer; return the one before, if it was another.

    Raises SettingsError in development mode for a database that is served in public: this would change its issuer, and print a token
    with power over it on the screen.
    """
    known = await runtime.database.read(keys.get_fact, ISSUER)
    if runtime.settings.mode == "development" and known and known.startswith("https:"):
        raise SettingsError(
            f"this database belongs to {known}: use `watchword serve`, or give dev a database of its own"
        )
    await runtime.database.write(keys.set_fact, ISSUER, runtime.settings.issuer)
    return known if known != runtime.settings.issuer else None


async def knows_issuer(runtime: Runtime) -> bool:
    """Whether a server has stored its issuer in this database."""
    return await runtime.database.read(keys.get_fact, ISSUER) is not None


async def close_runtime(runtime: Runtime) -> None:
    """Write the pending counters, then close the database."""
    try:
        await runtime.feed.close()
        await runtime.usage.flush(runtime.database)
    except StorageUnavailable as error:  # losing counters is better than failing to stop
        log.warning("usage.lost", reason=error.reason)
    finally:
        try:
            if runtime.listing is not None:
                await runtime.listing.close()
        finally:
            await runtime.database.close()


async def setup_link(runtime: Runtime) -> str | None:
    """Return a fresh one-time link for the first owner, or None when there is an owner; older links end."""
    if await runtime.database.read(users.count_admins):
        return None
    secret, now = runtime.new_secret("u"), runtime.now()
    await runtime.database.write(
        links.create_link,
        token_format.digest(secret),
        purpose=SETUP,
        subject="owner",
        data={},
        expires_at=now + SETUP_LIFETIME,
        now=now,
    )
    return f"{runtime.settings.issuer}/setup?link={secret}"


async def peek_setup(runtime: Runtime, link: str) -> bool:
    """Whether a link makes the first owner: it is live, and nobody became the owner in another way since it was shown (LG-24)."""
    if not token_format.is_well_formed(link, runtime.settings.brand, "u"):
        return False
    digest, now = token_format.digest(link), runtime.now()
    return await runtime.database.read(new_accounts.peek_owner_link, digest, now) is not None
