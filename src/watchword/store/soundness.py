"""Consistency checks over the database: one live refresh token per family, nothing orphaned or revived, no secret in the clear.

Owns the checks and reports the rows that fail one; it repairs nothing. A check reads a whole table, so an operator runs it after a
restore, after a fault or now and then; no server runs it by itself.
"""

import re
from collections.abc import Iterator

import msgspec

from watchword.oauth import ended, token_format
from watchword.store import kinds, schema, unreadable
from watchword.store.audit import recorded
from watchword.store.database import Transaction
from watchword.store.schema import Table
from watchword.store.tokens import token_id

SHOWN = 20
CHECKS: dict[str, str] = {
    "two families share a refresh token": (
        "SELECT MIN(id) AS place FROM grants WHERE refresh_digest IS NOT NULL GROUP BY refresh_digest HAVING COUNT(*) > 1"
    ),
    "a family has moved on without its superseded token": (
        "SELECT id AS place FROM grants WHERE generation > 0 AND family IS NOT NULL AND superseded_digest IS NULL"
    ),
    "the newest refresh token of a family is missing": (
        "SELECT id AS place FROM grants WHERE (family IS NULL) <> (refresh_digest IS NULL) OR superseded_digest = refresh_digest"
    ),
    "a code that was never used has given a refresh token": (
        "SELECT id AS place FROM grants WHERE code_digest IS NOT NULL AND code_used_at IS NULL AND family IS NOT NULL"
    ),
    "an access token has lost its grant": (
        "SELECT t.client_id AS place FROM access_tokens t WHERE t.grant_id IS NOT NULL AND t.revoked_at IS NULL "
        "AND NOT EXISTS (SELECT 1 FROM grants g WHERE g.id = t.grant_id)"
    ),
    "a session has lost its person": (
        "SELECT id AS place FROM sessions s WHERE NOT EXISTS (SELECT 1 FROM users u WHERE u.id = s.user_id)"
    ),
    "an API token outlives the token that it was narrowed from": (
        "SELECT t.id AS place FROM api_tokens t JOIN api_tokens p ON p.id = t.parent_id "
        "WHERE t.revoked_at IS NULL AND p.revoked_at IS NOT NULL"
    ),
    "a live API token has no secret": (
        "SELECT t.id AS place FROM api_tokens t WHERE t.revoked_at IS NULL AND t.expires_at IS NULL "
        "AND NOT EXISTS (SELECT 1 FROM api_token_secrets s WHERE s.token_id = t.id)"
    ),
    "an access token lives longer than any setting allows": (
        f"SELECT client_id AS place FROM access_tokens WHERE expires_at - issued_at NOT BETWEEN 0 AND {ended.LONGEST}"  # noqa: S608 - a number
    ),
    "a signing key is stored in the clear": (
        "SELECT kid AS place FROM signing_keys WHERE public_jwk LIKE '%\"d\"%' OR LENGTH(sealed_private) < 60"
    ),
    "a password is not hashed": (
        "SELECT id AS place FROM users WHERE password_hash IS NOT NULL AND password_hash NOT LIKE '_argon2%' "
        "AND password_hash NOT LIKE '_2__%' AND password_hash NOT LIKE 'bcrypt!_sha256_%' ESCAPE '!' "
        "AND password_hash NOT LIKE '_pbkdf2-%' AND password_hash NOT LIKE '_scrypt_ln=%'"
    ),
}
# Live rows, and the kind of entry in `ended` that their end would have left.
ALIVE: dict[str, tuple[str, str]] = {
    "an API token lives although it was revoked": (
        "token",
        "SELECT id AS place, id AS name FROM api_tokens WHERE revoked_at IS NULL",
    ),
    "an access token lives although it was revoked": (
        "token",
        "SELECT client_id AS place, digest AS name FROM access_tokens WHERE revoked_at IS NULL",
    ),
    "a grant lives although it was ended": (
        "grant",
        "SELECT id AS place, id AS name FROM grants WHERE ended_at IS NULL",
    ),
}
BEYOND_GRANT = (
    "SELECT t.client_id AS place, t.scope AS scope, g.scope AS granted FROM access_tokens t "
    "JOIN grants g ON g.id = t.grant_id WHERE t.revoked_at IS NULL AND t.scope <> g.scope"
)
# Columns that hold the SHA-256 of a credential, or an HMAC of the same length.
DIGESTS = (
    "client_secrets.digest", "api_token_secrets.digest", "access_tokens.digest", "used_identifiers.digest", "one_time_links.digest",
    "sessions.digest", "grants.code_digest", "grants.refresh_digest", "grants.superseded_digest", "pushed_requests.digest",
    "device_codes.digest", "recovery_codes.digest", "email_codes.digest", "clients.registration_digest",
)  # fmt: skip


class Flaw(msgspec.Struct, frozen=True):
    """A check that some rows fail, with at most SHOWN of their identifiers."""

    check: str
    places: tuple[str, ...]


def checks() -> Iterator[tuple[str, str]]:
    """Return every check that is one query, as its name and SQL."""
    yield from CHECKS.items()
    for name in DIGESTS:
        table, _, column = name.partition(".")
        yield (
            f"what is kept of a secret in {name} is no digest",
            f"SELECT '{name}' AS place FROM {table} WHERE LENGTH({column}) <> 32",  # noqa: S608 - a literal of the table above
        )


async def find_flaws(tx: Transaction, brand: str) -> list[Flaw]:
    """Return every check that fails; empty when all is well."""
    flaws = []
    for name, sql in checks():
        rows = await tx.all_as_kept(f"{sql} LIMIT {SHOWN}")
        if rows:
            flaws.append(Flaw(name, tuple(unreadable.text(row["place"]) for row in rows)))
    flaws += await _revived(tx)
    flaws += await _widened(tx)
    for table in schema.tables(schema.newest()):
        flaws += await _in_the_clear(tx, table, brand)
    return flaws


async def find_damage(tx: Transaction) -> list[str]:
    """Return the damage in an SQLite file: corrupt pages, indexes that do not match their tables, and values of another type than their
    column's."""
    rows = await tx.all(f"PRAGMA integrity_check({SHOWN})")
    damage = [str(row["integrity_check"]) for row in rows if row["integrity_check"] != "ok"]
    return damage or await kinds.find_misfits(tx, SHOWN)


async def _revived(tx: Transaction) -> list[Flaw]:
    """Compare live rows with the entries that their end would have left in another table, which a fault would have to hit as well."""
    noted = {row["digest"] for row in await tx.all_as_kept("SELECT digest FROM ended")}
    flaws = []
    for name, (kind, sql) in ALIVE.items():
        places = [
            unreadable.text(row["place"])
            for row in await tx.all_as_kept(sql)
            if ended.digest(kind, _noted_as(row["name"])) in noted
        ]
        if places:
            flaws.append(Flaw(name, tuple(places[:SHOWN])))
    return flaws


async def _widened(tx: Transaction) -> list[Flaw]:
    """Compare rights with what was recorded when they were granted, and tokens with the grants that they came from."""
    wrong: dict[str, list[str]] = {}
    for check, place in await recorded.find_changed(tx):
        wrong.setdefault(check, []).append(place)
    for row in await tx.all_as_kept(BEYOND_GRANT):
        if not set(str(row["scope"]).split()) <= set(str(row["granted"]).split()):
            wrong.setdefault("an access token may do more than its grant", []).append(
                unreadable.text(row["place"])
            )
    return [Flaw(check, tuple(places[:SHOWN])) for check, places in wrong.items()]


def _noted_as(name: object) -> str:
    return token_id(name) if isinstance(name, bytes) else unreadable.text(name)


async def _in_the_clear(tx: Transaction, table: Table, brand: str) -> list[Flaw]:
    """Search every text column of a table for well-formed credentials of this service."""
    texts = [name for n, name in enumerate(table.columns) if n not in table.binary | table.whole]
    credential = re.compile(token_format.pattern(brand))
    flaws = []
    for column in texts:
        sql = f"SELECT {column} AS found FROM {table.name} WHERE CAST({column} AS TEXT) LIKE $1 ESCAPE '!' LIMIT 10000"  # noqa: S608 - names of the schema
        rows = await tx.all_as_kept(sql, f"%{brand}_!_%")
        if any(_holds_credential(str(row["found"]), credential, brand) for row in rows):
            flaws.append(Flaw("a credential is stored in the clear", (f"{table.name}.{column}",)))
    return flaws


def _holds_credential(text: str, credential: re.Pattern[str], brand: str) -> bool:
    return any(token_format.kind_of(found, brand) for found in credential.findall(text))
