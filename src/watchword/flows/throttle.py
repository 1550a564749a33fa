"""Throttling of attempts: buckets in the database, so that they hold over all processes; they slow and never lock out for ever.

Theory of operation. An attempt takes from the bucket of its source and from that of its account. A browser that the person was
signed in with before has a bucket of its own: whoever uses up the account's from outside keeps only other strangers away from it
(LG-02). Refused attempts take from one bucket for the whole deployment as well; while that is empty, somebody tries many names
from many places, and every source is held short. A proof that was right gives back what it took from source and account, and
nothing more (LG-03): a crowd behind one address can sign in in the morning, and whoever signs in often is not slowed.
"""

import ipaddress
from functools import lru_cache

import msgspec

from watchword.flows.runtime import Runtime
from watchword.store import attempts, browsers, limits
from watchword.store.attempts import Bucket
from watchword.telemetry import count, log

# By account, and by each browser that an account is known with: ten at once, then one a minute.
ACCOUNT = (10.0, 1 / 60)
# By source: fifty at once, then one every two seconds; five and one a minute while the whole deployment is under attack.
SOURCE, SOURCE_HELD = (50.0, 0.5), (5.0, 1 / 60)
# Refusals of the whole deployment: three hundred at once, then five a second.
OVERALL = Bucket("sign-in refusals", 300.0, 5.0)


class Throttled(Exception):
    """Too many attempts; `wait` is in seconds."""

    def __init__(self, wait: float) -> None:
        super().__init__("throttled")
        self.wait = max(1, int(wait))


class Source(msgspec.Struct, frozen=True):
    """From where an attempt comes: the address, and the digest of the browser's own value."""

    address: str
    browser: bytes = b""


async def throttle(runtime: Runtime, name: str, capacity: float, per_second: float) -> None:
    """Take one attempt from a bucket; raise Throttled with the seconds to wait when it is empty."""
    wait = await runtime.database.write(
        limits.take, name, capacity=capacity, per_second=per_second, now=runtime.clock()
    )
    if wait:
        raise Throttled(wait)


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """Return under what an address is counted: a network of IPv6 is one source, because its owner has 2^64 addresses."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


async def admit(runtime: Runtime, source: Source, account: str | None = None) -> tuple[Bucket, ...]:
    """Take one sign-in from a source and, if named, an account; return from where. Raise Throttled."""
    known = account is not None and await runtime.database.read(browsers.is_known, account, source.browser)
    now = runtime.clock()
    held = not known and await runtime.database.read(limits.is_drained, OVERALL.name, OVERALL.per_second, now)
    buckets = [_source_bucket(source, held=held)]
    if account is not None:
        buckets.append(_account_bucket("sign-in", account, source, known=known))
    wait = await runtime.database.write(attempts.admit, tuple(buckets), now)
    if wait:
        count("sign_ins", "password" if account else "passkey", "throttled")
        raise Throttled(wait)
    return tuple(buckets)


def _source_bucket(source: Source, *, held: bool) -> Bucket:
    name = f"sign-in {'held ' if held else ''}address {network(source.address)}"
    return Bucket(name, *(SOURCE_HELD if held else SOURCE))


def _account_bucket(what: str, account: str, source: Source, *, known: bool) -> Bucket:
    return Bucket(f"{what} account {account}{f' {source.browser.hex()[:32]}' if known else ''}", *ACCOUNT)


async def refused(runtime: Runtime, source: Source, user_id: str | None) -> None:
    """Note a proof that was not accepted: in the deployment's bucket, and in the audit trail when it concerns an account."""
    count("sign_ins", "password", "refused")
    log.info("sign_in.refused", user=user_id, address=source.address)
    await runtime.database.write(attempts.note_refused, OVERALL, user_id, source.address, now=runtime.clock())


async def accepted(runtime: Runtime, method: str, taken: tuple[Bucket, ...]) -> None:
    """Give back what a right proof took, a "password" or a "passkey"."""
    count("sign_ins", method, "accepted")
    for bucket in taken:
        await runtime.database.write(attempts.give_back, bucket)
