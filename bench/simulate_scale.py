"""`python -m bench.simulate_scale`: whether what docs/scale.md says of keys, the revocation feed and status lists holds.

Simulated time and a seeded generator: the same answer on every machine, within seconds. The intervals are the product's own
constants, the sizes those of documents that its own code makes; only network delays and the costs in `bench.capacity` are assumed.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from bench.report import number, table
from watchword.flows import keyring, revocation_feed, statuses
from watchword.guard import ended as guard_ended
from watchword.guard import keys as guard_keys
from watchword.jose import jwk, jwt
from watchword.oauth import ended, status_list
from watchword.oauth.ended import Entry, Page
from watchword.settings import Settings
from watchword.store.postgres import changes

NOW = 1_800_000_000
NETWORK = (0.005, 0.08)  # seconds one way, between a node and a guard
NOTIFIED = 0.002  # seconds until a node hears of another's commit
SEND = 25e-6  # CPU seconds to send one page to one follower
SIGN = 150e-6  # CPU seconds to read and sign a page
TLS_RECORD = 90  # bytes around a page on its way
SHARES = (0.0001, 0.001, 0.01, 0.05)
LIST_SIZE = statuses.SIZE
BILLION = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Rotation:
    """One rotation as guards saw it: tokens refused wrongly, fetches that a token had to wait for, and fetches a second in all."""

    checked: int
    refused: int
    waited: int
    fetches_a_second: float


def rotate(nodes: int, guards: int, *, early: float = 0.0, seed: int = 1) -> Rotation:
    """Rotate once while guards verify tokens; the key that takes over was published one `max-age` before, or `early` seconds later.

    A guard fetches when its copy is `max-age` old, from any node; a node may have heard of the new key late. What counts as refused
    is a token whose key a guard does not know although it asked, or may not ask again yet.
    """
    chance = random.Random(seed)
    lateness = [chance.uniform(0, changes.MAX_AGE) for _ in range(nodes)]
    published, takes_over = 0.0, keyring.JWKS_MAX_AGE - early
    refused = waited = checked = 0
    for _ in range(guards):
        fetched = chance.uniform(-keyring.JWKS_MAX_AGE, 0.0)
        knows, asked = False, -math.inf
        moments = sorted(takes_over + chance.expovariate(1 / 20) for _ in range(5))
        for moment in moments:
            while fetched + keyring.JWKS_MAX_AGE <= moment:
                fetched += keyring.JWKS_MAX_AGE
                knows = knows or fetched >= published + chance.choice(lateness)
            checked += 1
            if not knows and moment - asked >= guard_keys.UNKNOWN_KEY_INTERVAL:
                fetched, asked, waited = moment, moment, waited + 1
                knows = moment >= published + chance.choice(lateness)
            refused += not knows
    return Rotation(checked, refused, waited, guards / keyring.JWKS_MAX_AGE)


@dataclass(frozen=True, slots=True)
class Feed:
    """The feed under load: how late revocations are at guards (seconds), and what a node spends on it."""

    latest: float
    median: float
    cpu: float
    bytes_a_second: float


def follow(nodes: int, guards: int, revocations: float, *, cut_off: bool = False, seed: int = 1) -> Feed:
    """Let guards follow the feed while so many things end each second; `cut_off` nodes hear of nothing and look by themselves."""
    chance = random.Random(seed)
    followers = guards / nodes
    delays = []
    for _ in range(20_000):
        heard = chance.uniform(0, changes.MAX_AGE) if cut_off else NOTIFIED
        looks = chance.uniform(0, revocation_feed.LOOK)
        behind = chance.uniform(0, followers) * SEND  # whose turn it is
        delays.append(heard + looks + SIGN + behind + chance.uniform(*NETWORK))
    delays.sort()
    beats = min(1 / revocation_feed.LOOK, revocations) + 1 / revocation_feed.HEARTBEAT
    entries = revocations / beats
    size = page_bytes(0) + entries * (page_bytes(100) - page_bytes(0)) / 100 + TLS_RECORD
    cpu = beats * (SIGN + followers * SEND)
    return Feed(delays[-1], delays[len(delays) // 2], cpu, beats * followers * size)


@cache
def page_bytes(entries: int) -> int:
    """Return the bytes of a signed page with so many entries."""
    marks = tuple(Entry(ended.mark("token", str(index)), NOW + 600) for index in range(entries))
    page = Page("f3a1c2d4e5b6.1000000", "f3a1c2d4e5b6.1000100", False, marks, NOW)
    claims = ended.page_claims("https://auth.example.com", page)
    return len(jwt.encode(jwk.generate("ES256", "k" * 43), claims, typ=ended.TOKEN_TYPE))


@dataclass(frozen=True, slots=True)
class Lists:
    """Status lists for a billion tokens: how many, bytes of one and of all as they are fetched."""

    share: float
    lists: int
    one: int
    all: int


def billion(share: float, *, seed: int = 1) -> Lists:
    """Make a list of which a share is revoked, and count what a billion tokens take."""
    chance = random.Random(seed)
    revoked = chance.sample(range(LIST_SIZE), int(LIST_SIZE * share))
    made = status_list.build(LIST_SIZE, ((index, status_list.INVALID) for index in revoked))
    claims = status_list.token_claims(
        "https://auth.example.com/statuses/1", made, now=NOW, lifetime=3600, ttl=60
    )
    size = len(jwt.encode(jwk.generate("ES256", "k" * 43), claims, typ=status_list.TOKEN_TYPE))
    lists = -(-BILLION // LIST_SIZE)
    return Lists(share, lists, size, size * lists)


def feed_holds(settings: Settings) -> float:
    """Return how many revocations a second a guard can remember for as long as the longest-lived token."""
    return guard_ended.MAX_ENTRIES / max(ended.LONGEST, settings.access_token_lifetime)


def rotation_table() -> str:
    """Return what a rotation does to guards."""
    rows = []
    for nodes, guards in ((1, 100), (10, 1_000), (100, 100_000)):
        found = rotate(nodes, guards)
        cells = [f"{nodes:,}", f"{guards:,}", f"{found.checked:,}", f"{found.refused:,}"]
        rows.append([*cells, f"{found.waited:,}", number(found.fetches_a_second)])
    head = ("nodes", "guards", "tokens checked", "refused", "waited for a fetch", "key sets served a second")
    return table(head, rows)


def feed_table() -> str:
    """Return how late revocations are, and what a node spends."""
    rows = []
    for nodes, guards, rate in ((1, 500, 1), (10, 5_000, 100), (100, 50_000, 1_000), (100, 100_000, 1_000)):
        found, alone = follow(nodes, guards, rate), follow(nodes, guards, rate, cut_off=True)
        cells = [f"{nodes:,}", f"{guards:,}", f"{rate:,}", f"{found.median * 1e3:.0f} ms"]
        cells += [f"{found.latest * 1e3:.0f} ms", f"{alone.latest * 1e3:.0f} ms"]
        rows.append([*cells, f"{found.cpu:.0%}", f"{found.bytes_a_second * 8 / 1e6:,.1f} Mbit/s"])
    head = (
        "nodes",
        "guards",
        "ended a second",
        "median",
        "latest",
        "latest, node cut off",
        "a node's core",
        "a node sends",
    )
    return table(head, rows)


def list_table(found: Sequence[Lists]) -> str:
    """Return what a billion tokens take."""
    rows = [
        [f"{one.share:.2%}", f"{one.lists:,}", f"{one.one:,} B", f"{one.all / 1e6:,.0f} MB"] for one in found
    ]
    return table(("revoked", "lists", "one list", "all lists"), rows)


def main() -> None:
    """Print every table."""
    print(rotation_table(), feed_table(), list_table([billion(share) for share in SHARES]), sep="\n")
    print(
        f"A guard remembers {feed_holds(Settings(issuer='https://auth.example.com')):.1f} endings a second."
    )


if __name__ == "__main__":
    main()
