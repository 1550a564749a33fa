"""RFC 9101: authorization requests inside a signed object, and references to pushed ones (RFC 9126).

Owns the verification of a request object and its translation into parameters. Only what is inside counts (§6.3): anybody could have
added an outer parameter. `client_id` and, where it was sent, `response_type` must agree. Encrypted objects are refused unopened, and
so is a `request_uri` that would have to be fetched (§10.4).
"""

import re
from collections.abc import Collection, Mapping, Sequence

import msgspec

from watchword.jose import JoseError, jws, jwt
from watchword.jose.jwk import Key, own_name
from watchword.jose.strict_json import encode
from watchword.oauth.authorization import PARAMETERS
from watchword.oauth.clients import FAPI_ALGORITHMS, Client
from watchword.oauth.errors import OAuthError

MAX_LIFETIME = 3600
LEEWAY = 30
REQUEST_URI_PREFIX = "urn:ietf:params:oauth:request_uri:"

TYPES = ("oauth-authz-req+jwt", "JWT", "")
JSON_PARAMETERS = frozenset({"claims", "authorization_details", "registration"})

_REFERENCE = re.compile(re.escape(REQUEST_URI_PREFIX) + r"([A-Za-z0-9_-]{20,128})")


class Opened(msgspec.Struct, frozen=True):
    """The parameters of a verified request object, and the values of `resource`, which may be several."""

    parameters: Mapping[str, str]
    resources: tuple[str, ...]


def reference_of(request_uri: str) -> str:
    """Return the reference in the `request_uri` of a pushed request; raise `invalid_request_uri` for any other (PA-02, PA-04)."""
    match = _REFERENCE.fullmatch(request_uri) if len(request_uri) <= 200 else None
    if match is None:
        raise OAuthError(
            "invalid_request_uri", "The request_uri is not that of a pushed request.", field="request_uri"
        )
    return match[1]


def algorithms_of(client: Client) -> tuple[str, ...]:
    """Return the algorithms that a client may sign its requests with: the registered one, else all that its profile allows."""
    allowed = FAPI_ALGORITHMS if client.security_profile == "fapi2" else tuple(jws.ALGORITHMS)
    chosen = client.request_object_signing_alg
    return allowed if chosen is None else tuple(name for name in allowed if name == own_name(chosen))


def must_sign(algorithm: str | None, *, required: bool, fapi: bool, has_keys: bool) -> bool:
    """Check what a client registers about its request objects and return whether it must sign them; raise `invalid_client_metadata`.

    A FAPI 2.0 client that registers an algorithm must sign (FAPI 2.0 Message Signing §5.3.1).
    """
    allowed = FAPI_ALGORITHMS if fapi else tuple(jws.ALGORITHMS)
    if algorithm is not None and own_name(algorithm) not in allowed:
        raise _bad_metadata("request_object_signing_alg", f"The algorithm is one of {', '.join(allowed)}.")
    signs = required or (fapi and algorithm is not None)
    if signs and not has_keys:
        raise _bad_metadata(
            "jwks", "A client that signs its requests needs public keys: give jwks or jwks_uri."
        )
    return signs


def _bad_metadata(field: str, description: str) -> OAuthError:
    return OAuthError("invalid_client_metadata", description, field=field)


def check_form(token: str, algorithms: Collection[str], *, fapi: bool = False) -> None:
    """Refuse by its form alone what cannot be a request object, before keys are fetched and signatures verified (PA-50).

    Raises `invalid_request_object`, or `request_not_supported` when it is unsigned.
    """
    if token.count(".") == 4:
        raise _invalid("is encrypted: sign it, and send it over TLS")
    try:
        algorithm = jws.peek(token).alg
    except JoseError as error:
        raise _invalid("is not a signed JWT", detail=error.reason) from None
    if algorithm.lower() == "none":
        if fapi:
            raise _invalid("is not signed")
        raise OAuthError("request_not_supported", "Request objects must be signed.", field="request")
    if algorithm not in algorithms:
        raise _invalid("is signed with an algorithm that is not registered for this client")


def open_request_object(
    token: str,
    outer: Mapping[str, str],
    *,
    client_id: str,
    keys: Sequence[Key],
    issuer: str,
    algorithms: Collection[str],
    fapi: bool = False,
    now: int,
) -> Opened:
    """Verify a request object with the keys of its client; `outer` are the parameters beside it.

    With `fapi` it must have `nbf` and `exp` at most an hour apart, `nbf` at most an hour ago, and no `iat` more than a minute ahead.
    Raises `invalid_request_object`, or `request_not_supported` when it is unsigned.
    """
    check_form(token, algorithms, fapi=fapi)
    claims = _verified(token, keys, issuer, algorithms, now)
    if fapi:
        _check_window(claims, now)
    if claims.get("iss", client_id) != client_id or claims.get("client_id") != client_id:  # §5, §6.3
        raise _invalid("names another client")
    if "sub" in claims and claims["sub"] == client_id:  # §10.8: this would pass for a client assertion
        raise _invalid("has the client as its subject")
    if "request" in claims or "request_uri" in claims:  # §4
        raise _invalid("holds another request")
    for name in ("client_id", "response_type"):
        if outer.get(name) and outer[name] != claims.get(name):
            raise _invalid(f"has another {name} than the outer request")
    return _translate(claims)


def _verified(
    token: str, keys: Sequence[Key], issuer: str, algorithms: Collection[str], now: int
) -> Mapping[str, object]:
    try:
        # §4: `aud` names this server; several audiences are allowed, and the certification suite sends them.
        return jwt.decode(
            token,
            keys,
            algorithms=algorithms,
            typ=TYPES,
            audience=issuer,
            now=now,
            leeway=LEEWAY,
            required=("aud",),
        )
    except JoseError as error:
        raise _invalid("is not valid", detail=error.reason) from None


def _check_window(claims: Mapping[str, object], now: int) -> None:
    # FAPI 2.0 Message Signing §5.3.1, Security Profile §5.3.2.1
    exp, nbf = claims.get("exp"), claims.get("nbf")
    if not isinstance(exp, int | float) or not isinstance(nbf, int | float):
        raise _invalid("lacks exp or nbf")
    if exp - nbf > MAX_LIFETIME or nbf < now - MAX_LIFETIME - LEEWAY:
        raise _invalid("lives too long")
    iat = claims.get("iat", 0)
    if isinstance(iat, int | float) and iat > now + jwt.AHEAD:
        raise _invalid("was issued in the future")


def _translate(claims: Mapping[str, object]) -> Opened:
    parameters: dict[str, str] = {}
    resources: tuple[str, ...] = ()
    for name, value in claims.items():
        if name == "resource":
            resources = _resources(value)
        elif name in PARAMETERS and value is not None:  # RFC 6749 §3.1: unrecognized parameters are ignored
            parameters[name] = _text(name, value)
    return Opened(parameters, resources)


def _resources(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if any(not isinstance(one, str) for one in values):
        raise _invalid("has a resource that is not a string")
    return tuple(values)


def _text(name: str, value: object) -> str:
    # §4: "parameter names and string values … numeric values … as JSON numbers"
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if name in JSON_PARAMETERS and isinstance(value, dict | list):
        return encode(value).decode("utf-8")
    raise _invalid("has a parameter of the wrong type")


def _invalid(problem: str, *, detail: str | None = None) -> OAuthError:
    return OAuthError(
        "invalid_request_object", f"The request object {problem}.", detail=detail, field="request"
    )
