"""The migrations that a database has, and applying the missing ones by command instead of at the next start."""

import shlex
from pathlib import Path

import msgspec

from watchword.flows.databases import start
from watchword.oauth.errors import OAuthError
from watchword.settings import Settings
from watchword.store import migrate
from watchword.store.copying import bulk as store
from watchword.store.copying import opening


class SchemaState(msgspec.Struct, frozen=True):
    """The schema version of a database and the migrations that it lacks."""

    version: int
    pending: tuple[str, ...] = ()


async def status(settings: Settings) -> SchemaState:
    """Return what `apply` would do; changes nothing, and makes no database."""
    bulk = await opening.open_bulk(settings.database)
    try:
        version = await store.schema_version(bulk)
    finally:
        await bulk.close()
    known = migrate.migrations()
    return SchemaState(version, tuple(f"{n:04}_{name}" for n, name, _ in known if n > version))


async def require(settings: Settings) -> None:
    """Raise `not_found` where there is no database yet, with the command that makes one; whether this release knows its schema, opening says."""
    if settings.is_postgres:
        if await _is_empty(settings.database):
            raise OAuthError(
                "not_found",
                "The database has no Watchword tables yet: create them with `watchword migrate`.",
            )
    elif _is_missing(settings.database):
        make = f"watchword migrate --database {shlex.quote(settings.database)}"
        raise OAuthError(
            "not_found",
            f"There is no database {settings.database}: name another with --database, or create it with `{make}`.",
        )


async def _is_empty(address: str) -> bool:
    bulk = await opening.open_bulk(address)
    try:
        return not await store.version(bulk)
    finally:
        await bulk.close()


def _is_missing(file: str) -> bool:
    return not Path(file).exists()


async def apply(settings: Settings) -> SchemaState:
    """Bring the schema up to date, as the start of a server does; the master key is made when there is no database yet."""
    runtime = await start.open_runtime(settings)
    try:
        return SchemaState(await runtime.database.read(migrate.schema_version))
    finally:
        await start.close_runtime(runtime)
