"""Fills a database with live tokens by the million: API tokens, opaque access tokens, refresh families, a third each.

    python -m bench.population DATABASE COUNT

What is made is what the server would have made: the same tables, the same columns, every index. Only some of the secrets are known
to anybody, so that they can be presented; the others are random digests, because nobody will ask for them. Indexes that nothing
needs while rows are added are built afterwards. The database is one for measurements: while it is filled, it is not durable.
"""

import argparse
import asyncio
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from watchword.app import App
from watchword.flows.clients import client_registry
from watchword.flows.clients.client_metadata import ClientInput
from watchword.oauth import token_format
from watchword.settings import Settings
from watchword.store.copying.bulk import Bulk, Values
from watchword.store.copying.opening import open_bulk

CLIENT = "bench"
ISSUER = "http://127.0.0.1:8000"
KNOWN = 3000  # of each kind, secrets that can be presented
EXPIRED = 6000  # access tokens beside the living ones, for the purge
BATCH = 50_000
YEAR = 365 * 86_400
TABLES = ("users", "api_tokens", "api_token_secrets", "access_tokens", "grants")
FAMILIES_OF_ONE = 10  # how many API tokens and how many families a person has


@dataclass(slots=True)
class Known:
    """The secrets that can be presented, by kind."""

    api: list[str] = field(default_factory=list)
    access: list[str] = field(default_factory=list)
    refresh: list[str] = field(default_factory=list)


def settings_for(database: str) -> Settings:
    """Return the options of the server that is measured; its master key is as short-lived as the database."""
    os.environ.setdefault("WATCHWORD_MASTER_KEY", os.urandom(32).hex())
    return Settings(database=database, issuer=ISSUER, jobs=False)


async def prepare(database: str) -> None:
    """Make the schema and the one client, unless they are there."""
    app = App(settings_for(database))
    runtime = await app.open()
    given = ClientInput(
        name="bench",
        scope="orders:read introspect offline_access",
        grant_types=["client_credentials", "refresh_token"],
        access_token_format="opaque",
    )
    await client_registry.register(runtime, given, actor="bench", client_id=CLIENT)
    await app.close()


async def fill(database: str, count: int) -> Known:
    """Add live tokens, a third of each kind, and return the secrets that are known."""
    bulk = await open_bulk(database, os.urandom(32))
    known = Known()
    await _hurry(bulk, database)
    indexes = await _drop_indexes(bulk, database)
    third, now = count // 3, int(time.time())
    for start in range(0, third, BATCH):
        numbers = range(start, min(start + BATCH, third))
        await bulk.begin()
        for statement, rows in _batch(numbers, third, now, known):
            await bulk.many(statement, rows)
        await bulk.commit()
    await bulk.begin()
    await bulk.many(ACCESS_TOKEN, sorted(_expired(now)))
    for statement in indexes:
        await bulk.run(statement)
    await bulk.commit()
    await bulk.run("ANALYZE")
    await bulk.close()
    for secrets in (known.api, known.access, known.refresh):
        random.Random(0).shuffle(secrets)  # from all over the database, in no order
    return known


async def _hurry(bulk: Bulk, database: str) -> None:
    if database.startswith("postgresql://"):
        await bulk.run("SET synchronous_commit = off")
        return
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "foreign_keys=OFF", "cache_size=-1000000"):
        await bulk.all(f"PRAGMA {pragma}")


async def _drop_indexes(bulk: Bulk, database: str) -> list[str]:
    """Drop what only speeds reading up and return the statements that make it again."""
    names = ", ".join(f"'{name}'" for name in TABLES)
    if database.startswith("postgresql://"):
        found = await bulk.all(
            f"SELECT indexname AS name, indexdef AS sql FROM pg_indexes WHERE tablename IN ({names}) AND indexdef NOT LIKE '%UNIQUE%'"
        )
    else:
        found = await bulk.all(
            f"SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN ({names})"
        )
    for row in found:
        await bulk.run(f"DROP INDEX {row['name']}")
    return [row["sql"] for row in found]


Rows = Sequence[Values]


def _batch(numbers: range, third: int, now: int, known: Known) -> Iterator[tuple[str, Rows]]:
    """Return the rows of every table for some numbers, each in the order of its key."""
    chosen = range(0, third, max(1, third // KNOWN))
    yield USER, [_user(number, now) for number in numbers if number % FAMILIES_OF_ONE == 0]
    yield API_TOKEN, [_api_token(number, now) for number in numbers]
    yield SECRET, sorted(_secrets(numbers, chosen, now, known.api))
    yield ACCESS_TOKEN, sorted(_access_tokens(numbers, chosen, third, now, known.access))
    yield GRANT, [_grant(number, number in chosen, now, known.refresh) for number in numbers]


USER = (
    "INSERT INTO users (id, username, canonical_username, skeleton, created_at) VALUES ($1, $2, $3, $4, $5)"
)
API_TOKEN = (
    "INSERT INTO api_tokens (id, name, owner_kind, owner_id, scope, resource, created_at, created_by, expires_at) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
)
SECRET = "INSERT INTO api_token_secrets (digest, id, token_id, hint, created_at) VALUES ($1, $2, $3, $4, $5)"
ACCESS_TOKEN = (
    "INSERT INTO access_tokens (digest, client_id, subject, scope, audience, issued_at, expires_at, grant_id) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
)
GRANT = (
    "INSERT INTO grants (id, client_id, user_id, session_id, scope, audience, claims, created_at, started_at, last_used_at, "
    "expires_at, code_digest, code_expires_at, code_used_at, family, refresh_digest) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
)


def _user_id(number: int) -> str:
    return f"user_{number // FAMILIES_OF_ONE:026d}"


def _user(number: int, now: int) -> Values:
    name = f"person{number // FAMILIES_OF_ONE}"
    return _user_id(number), name, name, name, now - YEAR


def _api_token(number: int, now: int) -> Values:
    owner = _user_id(number)
    return (
        f"token_{number:026d}",
        f"report {number}",
        "user",
        owner,
        "orders:read",
        ISSUER,
        now - 86_400,
        owner,
        now + YEAR,
    )


def _secrets(numbers: range, chosen: range, now: int, known: list[str]) -> Iterator[Values]:
    for number in numbers:
        digest = _digest(number in chosen, "a", known)
        yield digest, f"secret_{number:026d}", f"token_{number:026d}", "wwa_…", now - 86_400


def _access_tokens(numbers: range, chosen: range, third: int, now: int, known: list[str]) -> Iterator[Values]:
    # As many as were issued in the last ten minutes, in the order of their issue; they live on while they are measured.
    for number in numbers:
        mark = token_format.time_mark(now - 600 + 600 * number / third)
        if number in chosen:
            token = token_format.make("ww", "o", os.urandom(token_format.ENTROPY_BYTES), mark)
            known.append(token)
            digest = token_format.ordered_digest(token)
        else:
            digest = mark.encode() + os.urandom(27)
        yield digest, CLIENT, CLIENT, "orders:read", ISSUER, now - 600, now + YEAR, None


def _expired(now: int) -> Iterator[Values]:
    for number in range(EXPIRED):
        mark = token_format.time_mark(now - 3600 + number / 100)
        yield (
            mark.encode() + os.urandom(27),
            CLIENT,
            CLIENT,
            "orders:read",
            ISSUER,
            now - 3600,
            now - 3000 + number % 2000,
            None,
        )


def _grant(number: int, is_known: bool, now: int, known: list[str]) -> Values:
    began = now - 86_400
    token = token_format.make("ww", "r", os.urandom(token_format.ENTROPY_BYTES))
    if is_known:
        known.append(token)
    return (
        f"grant_{number:026d}",
        CLIENT,
        _user_id(number),
        f"session_{number:026d}",
        "orders:read offline_access",
        ISSUER,
        "{}",
        *(began, began, began, now + YEAR),
        *(os.urandom(32), began + 60, began),
        token_format.family_mark(token).encode(),
        token_format.digest(token),
    )


def _digest(is_known: bool, kind: str, known: list[str]) -> bytes:
    if not is_known:
        return os.urandom(32)
    token = token_format.make("ww", kind, os.urandom(token_format.ENTROPY_BYTES))
    known.append(token)
    return token_format.digest(token)


def main() -> None:
    """Fill a fresh database and say how long it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("database")
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    started = time.perf_counter()
    asyncio.run(prepare(options.database))
    asyncio.run(fill(options.database, options.count))
    print(f"{options.count:,} live tokens in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
