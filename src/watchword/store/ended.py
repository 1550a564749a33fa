"""Entries of the revocation feed: what has ended, kept until no token can depend on it any more.

Theory of operation. An audit event that ends something (`ENDS` names them) adds an entry here in the same transaction. Entries are
numbered afterwards by whoever reads the feed first, one reader at a time, under a lock that serves nothing else. So no two
revocations wait for each other, numbers become visible in order, and a reader that has everything up to a number has missed nothing
(a number assigned inside the transaction could become visible after a later one).

An entry holds a digest of what ended, and nothing else that identifies it.
"""

from watchword.jose.jwk import b64encode
from watchword.jose.jwt import AHEAD
from watchword.oauth import ended
from watchword.oauth.ended import AFTER_EXPIRY, LONGEST, Entry
from watchword.store.database import AuditEntry, Transaction

POSITION = "ended"
DATED_AHEAD = "dated ahead"
STEP = 500
# Audit events that end what they name, and what that is.
ENDS: dict[str, str] = {
    "access_token.revoked": "token",
    "token.revoked": "token",
    "token.compromised": "token",
    "grant.ended": "grant",
    "client.updated": "client",
    "client.deleted": "client",
    "user.disabled": "account",
    "user.deleted": "account",
    "trust.deleted": "trust",
    "key.revoked": "key",
}
# The end of these ends only what was issued before it: a token issued later is valid.
FOR_A_TIME = frozenset({"client", "account"})
# Seconds after such an end within which a node may still issue something: it may learn of the end a second late (MN-01), and
# timestamps are whole seconds.
LATE = 2


async def note(tx: Transaction, key: bytes, entry: AuditEntry) -> None:
    """Add an entry for what an audit event ends; `key` makes the digest of an account unguessable."""
    kind = ENDS.get(entry.name)
    if kind is None:
        return
    target, at, data = entry.target, entry.at, entry.data
    if entry.name == "client.updated" and not (data.get("disabled") or data.get("ended_tokens")):
        return
    identifier = ended.account_handle(key, target) if kind == "account" else target
    expires_at = data.get("expires_at")
    await _keep(
        tx,
        ended.digest(kind, identifier),
        await _limit(tx, at) if kind in FOR_A_TIME else None,
        expires_at + AFTER_EXPIRY if isinstance(expires_at, int) else at + LONGEST,
    )


async def note_everything(tx: Transaction, at: int) -> None:
    """Add an entry that ends every token issued up to a moment (Unix seconds), and begin the feed anew (after a restore)."""
    await tx.run("DELETE FROM facts WHERE name = $1", POSITION)
    await tx.run("UPDATE ended SET number = NULL")
    await _keep(tx, ended.digest(*ended.EVERYTHING), await _limit(tx, at), at + LONGEST)


async def _limit(tx: Transaction, at: int) -> int:
    """Return the time before which all has ended that was issued until a moment (Unix seconds), whatever it was dated."""
    row = await tx.one("SELECT value FROM facts WHERE name = $1", DATED_AHEAD)
    dated = int(row["value"]) if row else 0
    # One that is further ahead comes from a wrong clock: nobody accepts what that has dated.
    return max(at + LATE, dated + 1 if dated <= at + LATE + AHEAD else 0)


async def note_date(tx: Transaction, at: int) -> None:
    """Note that something is issued that is dated ahead (Unix seconds). Whoever can end it has to wait for this transaction or come first."""
    await tx.run(
        "INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = CASE "
        "WHEN CAST(facts.value AS BIGINT) BETWEEN $3 AND $4 THEN facts.value ELSE excluded.value END",
        DATED_AHEAD,
        str(at),
        at,
        at + AHEAD,
    )


async def ended_before(tx: Transaction, kind: str, identifier: str) -> int:
    """Return the time (Unix seconds) before which everything issued for a client, or for the handle of an account, has ended; 0 when there
    is none."""
    row = await tx.one(
        "SELECT MAX(before) AS before FROM ended WHERE digest IN ($1, $2)",
        ended.digest(kind, identifier),
        ended.digest(*ended.EVERYTHING),
    )
    return int(row["before"] or 0) if row else 0


async def _keep(tx: Transaction, digest: bytes, before: int | None, expires_at: int) -> None:
    # A limit never moves back, or what has ended would begin anew, except for one that a wrong clock has set.
    await tx.run(
        "INSERT INTO ended (digest, before, expires_at) VALUES ($1, $2, $3) "
        "ON CONFLICT (digest) DO UPDATE SET number = NULL, before = CASE "
        "WHEN ended.before BETWEEN excluded.before AND $4 THEN ended.before ELSE excluded.before END, "
        "expires_at = CASE WHEN excluded.expires_at > ended.expires_at THEN excluded.expires_at ELSE ended.expires_at END",
        digest,
        before,
        expires_at,
        None if before is None else before + AHEAD,
    )


async def has_unnumbered(tx: Transaction) -> bool:
    """Whether something ended that has no number yet."""
    return await tx.one("SELECT 1 AS found FROM ended WHERE number IS NULL LIMIT 1") is not None


async def number_next(tx: Transaction, name: str) -> int:
    """Number at most STEP new entries and return how many there were; a feed that has not begun is given the name `name`."""
    await tx.run(
        "INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING", POSITION, f"{name}.0"
    )
    # The write takes the lock; entries without a number are read only after that.
    row = await tx.one("UPDATE facts SET value = value WHERE name = $1 RETURNING value", POSITION)
    feed, _, last = str(row["value"] if row else f"{name}.0").partition(".")
    rows = await tx.all(
        f"SELECT digest FROM ended WHERE number IS NULL ORDER BY expires_at, digest LIMIT {STEP}"  # noqa: S608 - a literal number
    )
    for number, found in enumerate(rows, int(last) + 1):
        await tx.run(
            "UPDATE ended SET number = $1 WHERE digest = $2 AND number IS NULL",
            number,
            bytes(found["digest"]),
        )
    await tx.run("UPDATE facts SET value = $1 WHERE name = $2", f"{feed}.{int(last) + len(rows)}", POSITION)
    return len(rows)


async def position(tx: Transaction) -> str:
    """Return how far the feed has come, "" when it has not begun."""
    row = await tx.one("SELECT value FROM facts WHERE name = $1", POSITION)
    return str(row["value"]) if row else ""


async def after(tx: Transaction, number: int, limit: int) -> list[tuple[int, Entry]]:
    """Return what ended after a number, in order, each with its number.

    Housekeeping decides what is of no interest any more: it does not go by a clock that has jumped, which this may.
    """
    rows = await tx.all(
        "SELECT number, digest, before, expires_at FROM ended WHERE number > $1 ORDER BY number LIMIT $2",
        number,
        limit,
    )
    return [
        (row["number"], Entry(b64encode(bytes(row["digest"])), row["expires_at"], row["before"]))
        for row in rows
    ]
