"""OpenID Connect Core §2, §5 and RFC 9068: the claims of tokens and userinfo.

Owns the claims of ID tokens, access tokens and userinfo responses, and the names that custom claims may not use. Values about a
person come in as a mapping; signing is the business of `jose`, subjects of `subject`.
"""

import hashlib
from collections.abc import Collection, Mapping

import msgspec

from watchword.jose.jwk import b64encode
from watchword.oauth import groups
from watchword.oauth.claims_request import ClaimWish
from watchword.oauth.errors import OAuthError
from watchword.oauth.scopes import format_scope

# OpenID Connect Core §5.4
SCOPE_CLAIMS: dict[str, tuple[str, ...]] = {
    "profile": (
        "name",
        "family_name",
        "given_name",
        "middle_name",
        "nickname",
        "preferred_username",
        "profile",
        "picture",
        "website",
        "gender",
        "birthdate",
        "zoneinfo",
        "locale",
        "updated_at",
    ),
    "email": ("email", "email_verified"),
    "address": ("address",),
    "phone": ("phone_number", "phone_number_verified"),
    groups.SCOPE: ("groups",),  # of this server
}
# By which applications learn who somebody is (§3.1.2.1, §5.4, §11): the pages describe each in every language.
SIGN_IN_SCOPES = ("openid", *SCOPE_CLAIMS, "offline_access")
ScopeClaims = Mapping[str, Collection[str]]
STANDARD = frozenset(name for names in SCOPE_CLAIMS.values() for name in names)
# Taken from the account itself: a custom attribute of the same name would contradict it.
OF_THE_ACCOUNT = frozenset({"name", "preferred_username", "email", "email_verified", "updated_at", "groups"})

# Claims of the protocols: whoever could set one of these as a custom attribute could impersonate anybody (AD-06).
RESERVED = frozenset(
    {
        *("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "typ", "alg", "kid"),
        *("azp", "nonce", "auth_time", "acr", "amr", "at_hash", "c_hash", "s_hash", "sid", "sub_jwk"),
        *(
            "client_id",
            "scope",
            "scp",
            "cnf",
            "act",
            "may_act",
            "events",
            "toe",
            "txn",
            "active",
            "token_type",
        ),
        *("authorization_details", "status", "token_kind", "limited", "grant_id", "sid_grant", "username"),
        *("roles", "groups", "entitlements", "permissions", "email_verified", "phone_number_verified"),
        *("_claim_names", "_claim_sources", "_sd", "_sd_alg", "vct", "is_admin", "tenant", "organization"),
    }
)
MAX_NAME_LENGTH = 200

# §3.1.3.6: the hash that the signature algorithm uses; Ed25519 uses SHA-512.
_HASHES = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512, "DSA": hashlib.sha512}


def check_custom_name(name: str) -> str:
    """Return the name of a claim that an attribute or a mapping may set; raise `invalid_request` for any other."""
    if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isascii() or not name.isprintable() or " " in name:
        raise OAuthError(
            "invalid_request", "The name of a claim is printable ASCII without spaces.", field="claim"
        )
    if name in RESERVED or name in OF_THE_ACCOUNT:
        raise OAuthError(
            "invalid_request", "This claim belongs to the protocol: choose another name.", field="claim"
        )
    return name


def half_hash(value: str, alg: str) -> str:
    """Return the `at_hash` of an access token for a signature algorithm (§3.1.3.6)."""
    digest = _HASHES[alg[-3:]](value.encode("ascii")).digest()
    return b64encode(digest[: len(digest) // 2])


class Authentication(msgspec.Struct, frozen=True):
    """How and when a person was authenticated, None where that is unknown; `auth_time` in Unix seconds, `sid` as this client knows it."""

    subject: str
    auth_time: int | None
    acr: str | None = None
    amr: tuple[str, ...] = ()
    sid: str | None = None


def id_token_claims(
    authentication: Authentication,
    *,
    issuer: str,
    client_id: str,
    nonce: str | None,
    now: int,
    lifetime: int,
    alg: str,
    access_token: str | None = None,
    person: Mapping[str, object] | None = None,
    wishes: Mapping[str, ClaimWish] | None = None,
    permitted: Collection[str] = (),
    known: ScopeClaims = SCOPE_CLAIMS,
) -> dict[str, object]:
    """Return the claims of an ID token (§2); `person`, `wishes`, `permitted` and `known` as in `person_claims`.

    `access_token` is issued together with it, and becomes `at_hash` for the signature `alg`.
    """
    claims: dict[str, object] = {
        "iss": issuer,
        "sub": authentication.subject,
        "aud": client_id,
        "exp": now + lifetime,
        "iat": now,
        "auth_time": authentication.auth_time,
        "nonce": nonce,
        "acr": authentication.acr,
        "amr": list(authentication.amr) or None,
        "sid": authentication.sid,
        "at_hash": half_hash(access_token, alg) if access_token is not None else None,
    }
    # §5.4: in the code flow, scopes request claims of userinfo; the ID token has only those requested by name.
    # Groups are in it too, where those who know no userinfo endpoint look for them.
    by_scope = (groups.SCOPE,) if groups.SCOPE in permitted else ()
    by_name = person_claims(person or {}, by_scope, wishes or {}, permitted, known)
    return {**by_name, **{name: value for name, value in claims.items() if value is not None}}


def userinfo_claims(
    subject: str,
    person: Mapping[str, object],
    scope: Collection[str],
    wishes: Mapping[str, ClaimWish],
    permitted: Collection[str],
    known: ScopeClaims = SCOPE_CLAIMS,
) -> dict[str, object]:
    """Return the claims of a userinfo answer (§5.3.2); the scope holds `openid`."""
    return {**person_claims(person, scope, wishes, permitted, known), "sub": subject}


def for_client(claims: Mapping[str, object], *, issuer: str, client_id: str) -> dict[str, object]:
    """Return the claims of a signed userinfo response (§5.3.2), which also has `iss` and `aud`."""
    return {**claims, "iss": issuer, "aud": client_id}


def introspection_claims(
    answer: Mapping[str, object], *, issuer: str, client_id: str, now: int
) -> dict[str, object]:
    """Return the claims of a signed introspection response (RFC 9701 §5): without `sub` and `exp`, so that it cannot pass for a token."""
    return {"iss": issuer, "aud": client_id, "iat": now, "token_introspection": dict(answer)}


def person_claims(
    person: Mapping[str, object],
    scope: Collection[str],
    wishes: Mapping[str, ClaimWish],
    permitted: Collection[str],
    known: ScopeClaims = SCOPE_CLAIMS,
) -> dict[str, object]:
    """Return the claims about a person that were requested by scope (§5.4) or by name (§5.5).

    `person` holds standard and custom claims; `wishes` were requested by name, which is granted for claims of the `permitted` scopes
    only; `known` says which claims belong to which scope. A claim without a value is left out, never null (§5.3.2).
    """
    by_scope = {name for granted in scope for name in known.get(granted, ())}
    permitted_names = {name for one in permitted for name in known.get(one, ())}
    requested = by_scope | (wishes.keys() & permitted_names)
    return {
        name: value
        for name, value in person.items()
        if name in requested and (name in STANDARD or name not in RESERVED) and value not in (None, "", {})
    }


def check_audience(audience: Collection[str], client_id: str) -> None:
    """Raise `invalid_target` for an audience that is empty or has the client in it: ID token and access token must differ (RFC 9068 §4)."""
    if not audience or client_id in audience:
        raise OAuthError(
            "invalid_target", "The audience of an access token cannot be its own client.", field="resource"
        )


def access_token_claims(
    *,
    issuer: str,
    subject: str,
    audience: tuple[str, ...],
    client_id: str,
    scope: tuple[str, ...],
    jti: str,
    now: int,
    lifetime: int,
    extra: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Return the claims of a self-contained access token (RFC 9068 §2.2); `extra` holds `cnf`, `act`, `acr` and the like.

    Raise as `check_audience`.
    """
    check_audience(audience, client_id)
    own: dict[str, object] = {
        "iss": issuer,
        "sub": subject,
        "aud": audience[0] if len(audience) == 1 else list(audience),
        "exp": now + lifetime,
        "iat": now,
        "jti": jti,
        "client_id": client_id,
        "scope": format_scope(scope),
    }
    return {**extra, **own} if extra else own
