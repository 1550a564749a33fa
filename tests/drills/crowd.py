"""A person with very many sessions, grants and tokens, put into the database at once; no sign-in could make so many (LG-19)."""

from tests.drills.world import World

NAMES = {
    "sessions": "id, digest, user_id, created_at, authenticated_at, last_seen_at, idle_expires_at, expires_at, remembered, acr, amr, "
    "user_agent, address, confirmed_at",
    "grants": "id, client_id, user_id, session_id, scope, audience, claims, created_at, started_at, last_used_at, expires_at",
    "access_tokens": "digest, client_id, subject, scope, audience, issued_at, expires_at, grant_id",
}


def gather(
    world: World, number: int, now: int, *, tokens: int = 2, lives: int = 3600, name: str = "s"
) -> str:
    """Give the last person so many sessions with a grant and `tokens` tokens each, which live so many seconds; return who it is."""
    postgres = world.database.startswith("postgres")
    digest = "sha256(convert_to({}, 'UTF8'))" if postgres else "CAST({} AS BLOB)"
    numbers = (
        f"SELECT n FROM generate_series(1, {number}) AS g(n)"
        if postgres
        else (
            f"WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < {number}) SELECT n FROM g"
        )
    )
    person = f"(SELECT id FROM users WHERE username = '{world.people[-1]}')"
    session, grant, client = f"'{name}' || n", f"'{name}g' || n", f"'{world.client_id}'"
    values = {
        "sessions": f"{session}, {digest.format(session)}, {person}, {now}, {now}, {now}, {now + lives}, {now + lives}, 0, 'urn:x', '[]', "
        f"'a browser', '127.0.0.1', {now}",
        "grants": f"{grant}, {client}, {person}, {session}, 'openid', 'x', '{{}}', {now}, {now}, {now}, {now + lives}",
    }
    for table, row in values.items():
        world.sql(f"INSERT INTO {table} ({NAMES[table]}) SELECT {row} FROM ({numbers}) AS numbers")
    for token in range(tokens):
        made = digest.format(f"{grant} || 't{token}'")
        row = f"{made}, {client}, {person}, 'openid', 'x', {now}, {now + lives}, {grant}"
        world.sql(
            f"INSERT INTO access_tokens ({NAMES['access_tokens']}) SELECT {row} FROM ({numbers}) AS numbers"
        )
    return world.people[-1]
