"""Verification of API tokens against the circumstances of their use, with the reason for a refusal.

Never writes: uses are counted in memory. The reason is for the operator; the caller gets the protocol's plain answer.
"""

import ipaddress
import re
from urllib.parse import unquote

import msgspec

from watchword.flows import membership
from watchword.flows.runtime import Runtime
from watchword.networks import read_address
from watchword.oauth import token_format
from watchword.store import api_tokens as store
from watchword.store.api_tokens import ApiToken, FoundToken

WINDOW = 60
# RFC 3986 §3.3: the segments "." and "..", also separated by backslashes (Windows), and with parameters, which Java servers strip.
_UP = re.compile(r"(?:^|[/\\])\.\.?(?:;[^/\\]*)?(?:[/\\]|$)")
FOREVER = 2**62
# Why a secret opens nothing any more, whatever the circumstances; of a rotated one, the token may have a newer one that does.
SPENT = ("revoked", "expired", "rotated")


class Use(msgspec.Struct, frozen=True):
    """The circumstances in which a token is presented; None means unknown. The token must be for one of `resources`, if given."""

    address: str | None = None
    path: str | None = None
    resources: tuple[str, ...] | None = None
    scope: tuple[str, ...] = ()
    jkt: str | None = None
    any_path: bool = False


class Verdict(msgspec.Struct, frozen=True):
    """Whether a token may be used; `reason` is for the operator, never for the caller.

    `until` is when the presented secret expires, with the token or before it (Unix seconds).
    """

    reason: str
    token: ApiToken | None = None
    secret_id: str = ""
    until: int = FOREVER

    @property
    def active(self) -> bool:
        """Whether the token is accepted."""
        return self.reason == "active"


def is_below(path: str, prefix: str) -> bool:
    """Whether a path is the prefix or lies below it, by whole segments; a path with dot segments is below nothing.

    Application servers leave dot segments in place, but file servers resolve them, and would serve files outside the prefix. The path
    is checked both as it is and decoded (RFC 3986 §6.2.2.2): proxies pass on the one, frameworks the other.
    """
    if _UP.search(path) or _UP.search(unquote(path)):
        return False
    return path == prefix or path.startswith(prefix if prefix.endswith("/") else prefix + "/")


async def lookup(runtime: Runtime, secret: str) -> FoundToken | None:
    """Return the token of a secret, whether or not it is still valid, without what is closed to the person who owns it; a malformed
    secret is refused without a look-up."""
    if not token_format.is_well_formed(secret, runtime.settings.brand, "a"):
        return None
    version = runtime.database.version()
    key = ("token", token_format.digest(secret))
    cached = runtime.cache.get(key)
    if cached is not None and cached[0] == version:
        remembered: FoundToken = cached[1]
        return remembered
    found = await runtime.database.read(store.find_token_by_digest, key[1])
    if found is None:
        return None
    found = _open_to_owner(runtime, found)
    if found.token.quota is None and found.token.rate_limit is None:
        runtime.remember(key, version, found)
    return found


def _open_to_owner(runtime: Runtime, found: FoundToken) -> FoundToken:
    """Leave out the scopes that are for members of groups which the owner is not in: a scope may have got groups since (TK-08)."""
    if found.token.owner_kind != "user":
        return found
    scope = found.token.scope.split()
    left = " ".join(one for one in scope if membership.is_open(runtime.settings, one, found.owner_groups))
    return msgspec.structs.replace(found, token=msgspec.structs.replace(found.token, scope=left))


async def verify(runtime: Runtime, secret: str, use: Use) -> Verdict:
    """Decide whether a token may be used in these circumstances, and count the outcome."""
    found = await lookup(runtime, secret)
    if found is None:
        return Verdict("unknown")
    now = runtime.now()
    ends = [end for end in (found.token.expires_at, found.secret_expires_at) if end is not None]
    reason = decide(runtime, found, use, now)
    if found.token.rate_limit is not None and reason == "active":
        runtime.usage.note_window(found.token.id, _window(runtime, found, now))
    verdict = Verdict(reason, found.token, found.secret_id, min(ends, default=FOREVER))
    runtime.usage.count(found.secret_id, found.token.id, verdict.reason, now, use.address or "")
    return verdict


def decide(runtime: Runtime, found: FoundToken, use: Use, now: int) -> str:
    """Return "active" or why a token is refused, without counting it as a use."""
    token = found.token
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at is not None and now >= token.expires_at:
        return "expired"
    if found.secret_expires_at is not None and now >= found.secret_expires_at:
        return "rotated"
    if found.owner_disabled:
        return "owner_disabled"
    if token.addresses and not _is_allowed(use.address, token.addresses):
        return "wrong_address"
    if (
        token.path is not None
        and not use.any_path
        and (use.path is None or not is_below(use.path, token.path))
    ):
        return "wrong_path"
    if use.resources is not None and token.resource not in use.resources:
        return "wrong_resource"
    if token.jkt is not None and use.jkt is not None and use.jkt != token.jkt:
        return "unbound"
    if use.scope and not set(use.scope) <= set(token.scope.split()):
        return "wrong_scope"
    return _within_limits(runtime, found, now)


def _is_allowed(address: str | None, networks: tuple[str, ...]) -> bool:
    if address is None:
        return False
    try:
        parsed = read_address(address)
        allowed = [ipaddress.ip_network(network) for network in networks]
    except ValueError:  # a network that cannot be read any more allows nobody
        return False
    return any(parsed in network for network in allowed)


def _within_limits(runtime: Runtime, found: FoundToken, now: int) -> str:
    token = found.token
    if token.quota is None and token.rate_limit is None:
        return "active"
    total = runtime.usage.total(token.id, found.used)
    if token.quota is not None and total >= token.quota:
        return "quota_exhausted"
    if token.rate_limit is not None and total - _window(runtime, found, now)[1] >= token.rate_limit:
        return "rate_limited"
    return "active"


def opens_in(runtime: Runtime, token: ApiToken, now: int) -> int:
    """Return after how many seconds a rate-limited token may be used again."""
    started, _ = runtime.usage.window(token.id)
    return max(1, started + WINDOW - now)


def _window(runtime: Runtime, found: FoundToken, now: int) -> tuple[int, int]:
    """Return when the window of a rate-limited token began, and how often it had been used by then."""
    # A window starts at the total of its first use; uses in other processes appear in the total once those have flushed them.
    started, base = runtime.usage.window(found.token.id)
    if started <= now < started + WINDOW:  # a clock that was set back makes no window longer
        return started, base
    return now, runtime.usage.total(found.token.id, found.used)
