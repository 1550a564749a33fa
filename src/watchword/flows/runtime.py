"""What every flow needs at hand: settings, database, keys, clock, counters.

One value, made by the composition root and passed down; nothing here reaches for it globally.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from watchword.fetch import Names
from watchword.flows.keyring import Keyring
from watchword.flows.outbound import Outbound
from watchword.flows.revocation_feed import RevocationFeed
from watchword.flows.secret import Secret
from watchword.flows.signing import Signatures
from watchword.flows.statuses import StatusLists
from watchword.flows.usage import Usage
from watchword.oauth import token_format
from watchword.oauth.clients import Client
from watchword.ratelimit import LocalBuckets
from watchword.settings import Settings
from watchword.store.database import Database, Reader

MAX_CACHED = 20_000
Trust = Callable[[bytes], None]


@dataclass(slots=True)
class Runtime:
    """The running server as flows see it."""

    settings: Settings
    database: Database
    root: Secret
    keyring: Keyring
    clock: Callable[[], float] = time.time
    usage: Usage = field(default_factory=Usage)
    signatures: Signatures = field(default_factory=Signatures)
    outbound: Outbound = field(default_factory=Outbound)
    # For addresses that strangers name: whatever they keep waiting, what clients and issuers of ours need is still fetched.
    strangers: Outbound = field(default_factory=lambda: Outbound(Names()))
    # Makes the server's own handshake accept a certificate; None where it asks for none.
    trust_certificate: Trust | None = None
    # What answers lists: a copy that may be behind, or a thread of its own; None where the database does.
    listing: Reader | None = None
    # The folder where the workers of this server leave what they count; None where there is one process.
    shared: str | None = None
    # Decoded rows by kind and key, each with the database version that it was read at.
    cache: dict[Any, tuple[int, Any]] = field(default_factory=dict)

    # What other servers said of themselves, by address, until when it holds (Unix seconds).
    documents: dict[str, tuple[float, bytes]] = field(default_factory=dict)

    # Requests begun without any proof, by address.
    anonymous: LocalBuckets = field(init=False)
    feed: RevocationFeed = field(init=False)
    statuses: StatusLists = field(init=False)

    def __post_init__(self) -> None:
        per_minute = self.settings.anonymous_per_minute
        self.anonymous = LocalBuckets(per_minute, per_minute / 60)
        self.feed = RevocationFeed(self.settings, self.database, self.keyring, self.clock)
        self.statuses = StatusLists(self.settings, self.database, self.keyring, self.clock)

    def fetcher_for(self, client: Client) -> Outbound:
        """Return what fetches the addresses that a client named."""
        return self.outbound if client.origin == "registered" else self.strangers

    @property
    def lists(self) -> Reader:
        """What answers lists for administrators; never ask it about the life of a token (MN-08)."""
        return self.listing or self.database

    def now(self) -> int:
        """Return the time in Unix seconds."""
        return int(self.clock())

    def new_secret(self, kind: str) -> str:
        """Return a fresh credential of a kind of `token_format.KINDS`."""
        start = token_format.time_mark(self.clock()) if kind == "o" else ""
        return token_format.make(self.settings.brand, kind, os.urandom(token_format.ENTROPY_BYTES), start)

    def remember(self, key: Any, version: int, value: Any) -> None:
        """Keep a decoded row for as long as the database does not change; the cache is bounded."""
        if len(self.cache) >= MAX_CACHED:
            self.cache.clear()
        self.cache[key] = (version, value)
