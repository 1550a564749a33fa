"""What every flow needs: settings, database, keys, clock, counters.

One value, made by the composition root and passed down; it is never global.
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
from watchword.flows.secrets.secret import Secret
from watchword.flows.signing import Signatures
from watchword.flows.statuses import StatusLists
from watchword.flows.usage import Usage
from watchword.jose import jwt
from watchword.oauth import token_format
from watchword.oauth.clients import Client
from watchword.ratelimit import Limit, LocalBuckets
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
    # For addresses that strangers name: if they block it, the addresses of registered clients and issuers are still fetched.
    strangers: Outbound = field(default_factory=lambda: Outbound(Names()))
    # Adds a certificate to the trust store of the server's own TLS handshake; None where that requests no certificates.
    trust_certificate: Trust | None = None
    # Answers lists: a replica that may lag behind, or a separate thread; None where the database itself does.
    listing: Reader | None = None
    # The folder in which the workers of this server share their counters; None with a single process.
    shared: str | None = None
    # Decoded rows by kind and key, each with the database version at which it was read.
    cache: dict[Any, tuple[int, Any]] = field(default_factory=dict)
    # Metadata of other servers by address, each with its expiry (Unix seconds).
    documents: dict[str, tuple[float, bytes]] = field(default_factory=dict)
    # Keys that clients and other issuers publish, by address, as `client_keys` and `foreign_keys` read them.
    client_keys: dict[str, Any] = field(default_factory=dict)
    foreign_keys: dict[Any, Any] = field(default_factory=dict)
    # What is limited within this process.
    buckets: dict[Limit, LocalBuckets] = field(default_factory=dict)
    feed: RevocationFeed = field(init=False)
    statuses: StatusLists = field(init=False)

    def __post_init__(self) -> None:
        self.feed = RevocationFeed(self.settings, self.database, self.keyring, self.clock)
        self.statuses = StatusLists(self.settings, self.database, self.keyring, self.clock)

    def fetcher_for(self, client: Client) -> Outbound:
        """Return the fetcher for addresses that a client named."""
        return self.outbound if client.origin == "registered" else self.strangers

    @property
    def lists(self) -> Reader:
        """The reader for administrators' lists; it may lag behind, so never use it to decide about a token (MN-08)."""
        return self.listing or self.database

    def now(self) -> int:
        """Return the time in Unix seconds."""
        return int(self.clock())

    def is_young(self, made_at: int, lifetime: int) -> bool:
        """Whether it is less than `lifetime` seconds ago that a node made something; its clock may be ahead of ours (CK-02)."""
        return -jwt.AHEAD <= self.now() - made_at < lifetime

    def take(self, limit: Limit, name: str) -> int:
        """Take one of what a limit allows to a name in this process; return 0 when there was one, else the whole seconds to wait."""
        if limit not in self.buckets:
            self.buckets[limit] = LocalBuckets(limit.capacity, limit.per_second)
        return self.buckets[limit].take(name, self.clock())

    def new_secret(self, kind: str) -> str:
        """Return a fresh credential of a kind of `token_format.KINDS`."""
        start = token_format.time_mark(self.clock()) if kind == "o" else ""
        return token_format.make(self.settings.brand, kind, os.urandom(token_format.ENTROPY_BYTES), start)

    def remember(self, key: Any, version: int, value: Any) -> None:
        """Keep a decoded row for as long as the database does not change; the cache is bounded."""
        if len(self.cache) >= MAX_CACHED:
            self.cache.clear()
        self.cache[key] = (version, value)
