"""Which sessions and API tokens are live: the SQL conditions, for every statement that asks.

Each is one text: `now` is the placeholder of the present (Unix seconds), `of` the alias of the table with its dot, where the statement
has one. `{}` as placeholder makes a condition for `filters.where`.
"""


def unexpired(now: str, of: str = "") -> str:
    """Return the condition that something with an optional `expires_at` has not expired."""
    return f"({of}expires_at IS NULL OR {of}expires_at > {now})"


def live_token(now: str, of: str = "") -> str:
    """Return the condition that an API token is neither revoked nor expired."""
    return f"{of}revoked_at IS NULL AND {unexpired(now, of)}"


def live_session(now: str, of: str = "") -> str:
    """Return the condition that a session has not ended and has passed neither of its limits; it names `now` twice."""
    return f"{of}ended_at IS NULL AND {of}expires_at > {now} AND {of}idle_expires_at > {now}"
