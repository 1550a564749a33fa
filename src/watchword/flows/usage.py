"""Who used which token, when, from where and with what outcome: counted in memory, written once a second.

Verification never waits for a write. A crash loses the counts of the last second and nothing else.
"""

import ipaddress
import threading
from dataclasses import dataclass

from watchword.store import clients, token_usage
from watchword.store.database import Database

MAX_PENDING = 10_000


@dataclass(slots=True)
class _Count:
    token_id: str
    count: int
    first_at: int
    last_at: int
    address: str


class Usage:
    """The counts that are yet to be written."""

    def __init__(self) -> None:
        self._tokens: dict[tuple[str, str], _Count] = {}
        self._accepted: dict[str, int] = {}  # the accepted uses among them, by token
        # How often each token with limits has been accepted in total, as of its last use: since the last write began, and before.
        self._totals: dict[str, int] = {}
        self._former_totals: dict[str, int] = {}
        # When the present minute of each token with a rate limit began, and how often it had been used by then; in order of use.
        self._windows: dict[str, tuple[int, int]] = {}
        self._secrets: dict[str, tuple[int, str]] = {}
        self._clients: dict[str, int] = {}
        self._issues: dict[str, int] = {}
        # Guards in this process count from threads and event loops of their own.
        self._lock = threading.Lock()

    def count(self, secret_id: str, token_id: str, outcome: str, now: int, address: str) -> None:
        """Count one verification of an API token; any thread may."""
        with self._lock:
            found = self._tokens.get((secret_id, outcome))
            if found is not None:
                found.count += 1
                found.last_at = now
                found.address = address
            elif len(self._tokens) < MAX_PENDING or token_id in self._totals:  # limits hold in any crowd
                self._tokens[secret_id, outcome] = _Count(token_id, 1, now, now, address)
            else:
                return
            if outcome == "active":
                self._accepted[token_id] = self._accepted.get(token_id, 0) + 1
                if token_id in self._totals:
                    self._totals[token_id] += 1

    def total(self, token_id: str, written: int) -> int:
        """Return how often a token with limits was accepted so far, by any of its secrets, where the database says `written`.

        What is being written just now may or may not be among these, so the total is no less than it was for the use before.
        """
        with self._lock:
            known = max(self._totals.get(token_id, 0), self._former_totals.get(token_id, 0))
            total = self._totals[token_id] = max(written + self._accepted.get(token_id, 0), known)
            return total

    def window(self, token_id: str) -> tuple[int, int]:
        """Return the window of a token with a rate limit as it was noted last: its beginning (Unix seconds), and the total by then."""
        with self._lock:  # while one is noted again, it is not there for a moment
            return self._windows.get(token_id, (0, 0))

    def note_window(self, token_id: str, window: tuple[int, int]) -> None:
        """Keep the window of a token that is used now; of too many, that of the token which has not been used for longest is forgotten."""
        with self._lock:
            self._windows.pop(token_id, None)
            if len(self._windows) >= MAX_PENDING:
                del self._windows[next(iter(self._windows))]
            self._windows[token_id] = window

    def note_client(self, client_id: str, secret_id: str | None, now: int, address: str) -> None:
        """Note that a client authenticated, and with which of its secrets."""
        if len(self._clients) < MAX_PENDING:
            self._clients[client_id] = now
            if secret_id is not None:
                self._secrets[secret_id] = (now, address)

    def note_issue(self, client_id: str) -> None:
        """Count that a client was issued tokens; this is logged in batches, never written synchronously."""
        if len(self._issues) < MAX_PENDING:
            self._issues[client_id] = self._issues.get(client_id, 0) + 1

    def take_issues(self) -> dict[str, int]:
        """Return how often tokens were issued to each client since the last time."""
        issues, self._issues = self._issues, {}
        return issues

    async def flush(self, database: Database) -> None:
        """Write everything collected so far; what cannot be written is kept for the next time."""
        await self._flush_tokens(database)
        await self._flush_clients(database)

    async def _flush_tokens(self, database: Database) -> None:
        with self._lock:
            tokens, self._tokens, self._accepted = self._tokens, {}, {}
            self._former_totals, self._totals = self._totals, {}
        if not tokens:
            return
        uses = [
            (secret, use.token_id, outcome, use.count, use.first_at, use.last_at, _address(use.address))
            for (secret, outcome), use in tokens.items()
        ]
        try:
            await database.write(token_usage.flush_usage, uses)
        except Exception:
            self._keep(tokens)
            raise

    async def _flush_clients(self, database: Database) -> None:
        secrets, self._secrets = self._secrets, {}
        used, self._clients = self._clients, {}
        if not used:
            return
        noted = [(key, *value) for key, value in secrets.items()]
        try:
            await database.write(clients.flush_client_usage, noted, list(used.items()))
        except Exception:
            self._secrets, self._clients = secrets | self._secrets, used | self._clients
            raise

    def _keep(self, tokens: dict[tuple[str, str], _Count]) -> None:
        with self._lock:
            for key, use in tokens.items():
                if key[1] == "active":
                    self._accepted[use.token_id] = self._accepted.get(use.token_id, 0) + use.count
                newer = self._tokens.get(key)
                if newer is None:
                    self._tokens[key] = use
                else:
                    newer.count += use.count
                    newer.first_at = use.first_at


def _address(told: str) -> str:
    """Return the IP address that a use is said to come from, without its zone; "" for any other text: whoever holds a token may ask
    about it, from wherever they say, and an operator's terminal shows the answer."""
    plain = told.partition("%")[0]  # a zone may be any text
    try:
        ipaddress.ip_address(plain)
    except ValueError:
        return ""
    return plain
