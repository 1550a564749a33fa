"""The public keys of other issuers that an administrator trusts: given by value, or fetched and kept for ten minutes.

Only addresses that a trust rule names are ever fetched, through `flows.outbound`. An unknown `kid` causes at most one fetch a minute, so
that a rotation is noticed and a flood of invented `kid`s fetches nothing. While an issuer cannot be reached, its last keys are used for a
day; once it answers with something else they are dropped.
"""

from watchword.fetch import FetchError
from watchword.flows.runtime import Runtime
from watchword.jose import JoseError, jwk
from watchword.jose.jwk import Key
from watchword.jose.strict_json import StrictJSONError, loads
from watchword.oauth.errors import OAuthError
from watchword.store.trust import Rule

MAX_AGE = 600
RECHECK = 60
STALE = 86_400
MAX_BYTES = 128 * 1024
MAX_KEPT = 500
DISCOVERY = "/.well-known/openid-configuration"

# When keys were read (Unix seconds), by address, and by what may be reached for it.
Fetched = dict[tuple[str, tuple[str, ...]], tuple[int, list[Key]]]


async def keys_of(runtime: Runtime, rule: Rule, kid: str | None) -> list[Key]:
    """Return the keys of a rule's issuer; raise `temporarily_unavailable` when they cannot be read."""
    if rule.jwks is not None:
        return jwk.parse_published(rule.jwks)
    source = (rule.jwks_uri or rule.issuer.rstrip("/") + DISCOVERY, rule.networks)
    fetched: Fetched = runtime.foreign_keys
    at, keys = fetched.get(source, (0, []))
    age = abs(runtime.now() - at)  # a clock that was set back makes nothing last longer
    known = kid is None or any(key.kid == kid for key in keys)
    if age < RECHECK or (age < MAX_AGE and known):
        return keys
    try:
        keys = await _read(runtime, rule)
    except (FetchError, JoseError, StrictJSONError) as error:
        # While the issuer does not answer, an unknown key may be a new one of its own: the assertion must not be called invalid.
        is_outage = isinstance(error, FetchError) and error.is_outage
        if keys and known and age < STALE and is_outage:
            return keys
        if not is_outage:
            fetched.pop(source, None)
        raise OAuthError(
            "temporarily_unavailable",
            "The keys of the assertion's issuer cannot be read.",
            detail=f"keys of {rule.issuer}: {error}",
            retry_after=30,
        ) from None
    if len(fetched) >= MAX_KEPT:
        fetched.clear()
    fetched[source] = (runtime.now(), keys)
    return keys


async def _read(runtime: Runtime, rule: Rule) -> list[Key]:
    address = rule.jwks_uri
    if address is None:
        found = await _document(runtime, rule, rule.issuer.rstrip("/") + DISCOVERY)
        address = found.get("jwks_uri") if isinstance(found, dict) else None
        # RFC 8414 §3.3: the issuer in the metadata must be identical.
        if not isinstance(found, dict) or found.get("issuer") != rule.issuer or not isinstance(address, str):
            raise JoseError("metadata of another issuer")
    return jwk.parse_published(await _document(runtime, rule, address))


async def _document(runtime: Runtime, rule: Rule, url: str) -> object:
    answer = await runtime.outbound.get(
        url,
        max_bytes=MAX_BYTES,
        allow_loopback=runtime.settings.fetch_allow_loopback,
        networks=rule.networks,
        now=runtime.clock(),
    )
    return loads(answer.body, max_bytes=MAX_BYTES)
