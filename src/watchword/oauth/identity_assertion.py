"""Identity Assertion JWT Authorization Grant (draft-ietf-oauth-identity-assertion-authz-grant, "ID-JAG").

Owns both sides: the checks of an assertion by which an enterprise's identity provider authorizes one client to act for one person at
this server (as in the Model Context Protocol's enterprise-managed authorization), and the claims of an assertion that we issue as
such a provider. Which provider is trusted for which organization, its keys, the single use of the `jti`, and whom we issue assertions
for are the caller's business.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from watchword.jose import JoseError, jwt
from watchword.jose.jwk import Key
from watchword.oauth import dpop
from watchword.oauth.errors import OAuthError
from watchword.oauth.scopes import parse_scope

TYPE = "oauth-id-jag+jwt"
TOKEN_TYPE = "urn:ietf:params:oauth:token-type:id-jag"
ISSUED_LIFETIME = 300
MAX_LIFETIME = 600
LEEWAY = 30
MAX_TEXT = 256


class IdentityAssertion(msgspec.Struct, frozen=True):
    """A person as a trusted provider knows them: (`issuer`, `subject`) is the key, `email` only a hint; times in Unix seconds."""

    issuer: str
    subject: str
    jti: str
    scope: tuple[str, ...]
    resources: tuple[str, ...]
    expires_at: int
    earliest: int  # cannot have been used before
    auth_time: int | None = None
    acr: str | None = None
    email: str | None = None


def check(
    assertion: str,
    *,
    keys: Sequence[Key],
    provider: str,
    issuer: str,
    client_id: str,
    algorithms: Collection[str],
    jkt: str | None = None,
    now: int,
) -> IdentityAssertion:
    """Check an assertion of a trusted `provider` for this server, the `issuer`; raise `invalid_grant`, or `invalid_scope` for a malformed one.

    `client_id` is the authenticated client, `jkt` the key that it proved, if any.
    """
    try:
        claims = jwt.decode(
            assertion,
            keys,
            algorithms=algorithms,
            typ=TYPE,
            issuer=provider,
            now=now,
            leeway=LEEWAY,
            required=("iss", "sub", "aud", "client_id", "jti", "exp", "iat"),
        )
    except JoseError as error:
        raise _refused(error.reason) from None
    if claims["aud"] not in (issuer, [issuer]):
        raise _refused("not meant for this server")
    if claims["client_id"] != client_id:  # the authenticated client, nobody else
        raise _refused("made for another client")
    if "cnf" in claims and not dpop.is_held(claims["cnf"], jkt):
        raise _refused("bound to a key that was not proven")
    if claims["exp"] > now + MAX_LIFETIME + LEEWAY:
        raise _refused("lives too long")
    if not 0 < len(claims["jti"]) <= MAX_TEXT or not 0 < len(claims["sub"]) <= MAX_TEXT:
        raise _refused("jti or sub out of bounds")
    return IdentityAssertion(
        issuer=provider,
        subject=claims["sub"],
        jti=claims["jti"],
        scope=_scope(claims.get("scope", "")),
        resources=_resources(claims.get("resource", [])),
        expires_at=int(claims["exp"]) + LEEWAY,
        earliest=jwt.earliest(claims, longest=MAX_LIFETIME, leeway=LEEWAY),
        auth_time=_auth_time(claims.get("auth_time"), now),
        acr=_text(claims.get("acr")),
        # An address that the provider says it has not verified identifies nobody.
        email=_text(claims.get("email")) if claims.get("email_verified", True) is True else None,
    )


class Statement(msgspec.Struct, frozen=True):
    """What an assertion of ours says about a person; `sign_in` holds `auth_time`, `acr` and `amr` as in an ID token."""

    audience: str
    client_id: str
    subject: str
    scope: tuple[str, ...]
    resources: tuple[str, ...]
    sign_in: Mapping[str, object]
    email: str | None = None


def make_claims(said: Statement, *, issuer: str, jti: str, now: int) -> dict[str, object]:
    """Return the claims of an assertion that we issue; `said.client_id` is the client's identifier at the other server."""
    claims: dict[str, object] = {
        **said.sign_in,
        "iss": issuer,
        "sub": said.subject,
        "aud": said.audience,
        "client_id": said.client_id,
        "jti": jti,
        "iat": now,
        "exp": now + ISSUED_LIFETIME,
    }
    if said.scope:
        claims["scope"] = " ".join(said.scope)
    if said.resources:
        claims["resource"] = said.resources[0] if len(said.resources) == 1 else list(said.resources)
    if said.email is not None:
        claims["email"] = said.email
    return claims


def _scope(value: object) -> tuple[str, ...]:
    if not isinstance(value, str):
        raise _refused("a scope that is not a string")
    return parse_scope(value)


def _resources(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if len(values) > 10 or any(not isinstance(one, str) for one in values):
        raise _refused("a malformed resource")
    return tuple(values)


def _auth_time(value: object, now: int) -> int | None:
    # The provider's clock may be ahead of ours, or the value made up: nobody has signed in later than now.
    return min(value, now) if type(value) is int and value >= 0 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= MAX_TEXT else None


def _refused(reason: str) -> OAuthError:
    return OAuthError(
        "invalid_grant", "The assertion is not accepted.", detail=f"identity assertion: {reason}"
    )
