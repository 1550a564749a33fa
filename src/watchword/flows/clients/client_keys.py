"""A client's public keys: registered by value, or fetched from its `jwks_uri` and kept for five minutes (CL-07, CL-08).

An unknown `kid` causes a fetch at once, but at most every half minute: a client that rotates its keys need not wait, and a flood of
invented `kid`s fetches nothing (OpenID Connect Core §10.1.1). While a client's address cannot be reached, its last keys are used for a
day. A client whose address answers with something else, or with "not found", has no keys, even if it cannot be reached after that.
"""

from typing import NamedTuple

from watchword.fetch import FetchError
from watchword.flows.runtime import Runtime
from watchword.jose import JoseError, jwe, jwk
from watchword.jose.jwk import Key
from watchword.jose.jws import Header
from watchword.jose.strict_json import StrictJSONError, loads
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.mtls import Documents

MAX_AGE = 300
RECHECK = 30
STALE = 86_400  # seconds after that for which they are used while the address cannot be reached
UNREAD = "The client's keys cannot be read."
MAX_BYTES = 64 * 1024
MAX_KEYS = 20  # all may have to be tried for an unauthenticated assertion without a `kid`
# In all keys of a client together: strangers register keys, and nested lists take twenty times the memory of their text.
MAX_VALUES = 500
MAX_KEPT = 1000
# Of fetched text: parsed, it may take twenty times as much, and strangers name the addresses.
MAX_KEPT_BYTES = 4 * 1024 * 1024


class _Known(NamedTuple):
    until: int
    keys: list[Key]
    documents: Documents
    size: int


def registered(jwks: dict[str, object] | None, *, signs: bool) -> tuple[dict[str, object], ...] | None:
    """Return keys that a client registers by value; raise `invalid_client_metadata` unless they are public and usable.

    With `signs`, the client authenticates by its key, so one must verify signatures; otherwise one to encrypt to is enough.
    """
    if jwks is None:
        return None
    try:
        parsed = jwk.parse_set(jwks)
    except JoseError as error:
        raise _bad(f"jwks is not a set of public keys ({error.reason}).") from None
    listed = jwks["keys"]
    documents = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    if len(documents) > MAX_KEYS:
        raise _bad(f"jwks holds more than {MAX_KEYS} keys.")
    if _count(documents) > MAX_VALUES:
        raise _bad(f"jwks holds more than {MAX_VALUES} values.")
    if any(jwk.tells_secret(document) for document in documents):
        raise _bad("jwks holds a private key: register public keys only, and replace that key.")
    if not parsed and (signs or not any(jwe.find_key(documents, alg) for alg in jwe.ALGORITHMS)):
        raise _bad("jwks holds no key that can verify a signature.")
    return tuple(documents)


def _count(value: object) -> int:
    within = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_count, within))


def _bad(description: str) -> OAuthError:
    return OAuthError("invalid_client_metadata", description, field="jwks")


async def keys_of(runtime: Runtime, client: Client, signed: Header) -> list[Key]:
    """Return a client's public keys, fetched again if the `kid` of `signed` is not among those known; an RSA key without `alg` is for its
    algorithm. Raise `invalid_client` when they cannot be read, and `temporarily_unavailable` when they could until recently."""
    documents = await documents_of(runtime, client, signed.kid)
    return jwk.parse_set({"keys": list(documents)}, signed.alg)


async def documents_of(runtime: Runtime, client: Client, kid: str | None = None) -> Documents:
    """Return a client's public keys as JWKs, certificates included; raise as `keys_of`."""
    if client.jwks is not None:
        return client.jwks
    return (await _known(runtime, client, client.jwks_uri, kid)).documents if client.jwks_uri else ()


async def _known(runtime: Runtime, client: Client, jwks_uri: str, kid: str | None = None) -> _Known:
    fetched: dict[str, _Known] = runtime.client_keys
    cached = fetched.get(jwks_uri)
    is_there = cached is not None and (kid is None or any(key.kid == kid for key in cached.keys))
    left = cached.until - runtime.now() if cached is not None else -STALE
    # A clock that was set back makes nothing last longer.
    if cached is not None and 0 < left <= MAX_AGE and (is_there or left > MAX_AGE - RECHECK):
        return cached
    try:
        known = await _fetch(runtime, client, jwks_uri)
    except FetchError as error:
        is_known = error.is_outage and abs(left) < STALE
        if cached is not None and is_there and is_known:
            return cached
        if not error.is_outage:
            fetched.pop(jwks_uri, None)
        raise _unread(client, error, is_known=is_known) from None
    _keep(fetched, jwks_uri, known)
    return known


def _keep(fetched: dict[str, _Known], jwks_uri: str, known: _Known) -> None:
    """Keep a set of keys; where there are too many, those that were not fetched for longest go."""
    fetched.pop(jwks_uri, None)
    size = known.size + sum(one.size for one in fetched.values())
    while fetched and (len(fetched) >= MAX_KEPT or size > MAX_KEPT_BYTES):
        size -= fetched.pop(next(iter(fetched))).size
    fetched[jwks_uri] = known


def _unread(client: Client, error: FetchError, *, is_known: bool) -> OAuthError:
    """Return the error when a client's keys cannot be read: a temporary one if it had keys until recently, for its signature may be good."""
    detail = f"keys of {client.client_id}: {error}"
    if is_known:
        return OAuthError("temporarily_unavailable", UNREAD, detail=detail, retry_after=30)
    return OAuthError("invalid_client", UNREAD, detail=detail)


async def _fetch(runtime: Runtime, client: Client, jwks_uri: str) -> _Known:
    loopback, now, outbound = (
        runtime.settings.fetch_allow_loopback,
        runtime.clock(),
        runtime.fetcher_for(client),
    )
    try:
        answer = await outbound.get(jwks_uri, max_bytes=MAX_BYTES, allow_loopback=loopback, now=now)
        read = loads(answer.body)
        keys = jwk.parse_set(read)
        if len(keys) > MAX_KEYS:
            raise JoseError("more keys than a client needs")
    except (JoseError, StrictJSONError) as error:
        outbound.fail(jwks_uri, "not a set of keys", now)
        runtime.client_keys.pop(jwks_uri, None)
        raise OAuthError("invalid_client", UNREAD, detail=str(error)) from None
    listed = read.get("keys") if isinstance(read, dict) else None
    documents = tuple(one for one in listed if isinstance(one, dict)) if isinstance(listed, list) else ()
    return _Known(runtime.now() + MAX_AGE, keys, documents, len(answer.body))
