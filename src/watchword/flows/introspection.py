"""RFC 7662: token introspection.

Owns the answer for every kind of access token: API tokens, opaque access tokens and self-contained ones. For a token that is not
active the answer is `{"active": false}` (§2.2); the reason is counted and logged, never sent. Two additions tell a guard more: `aud`
of an API token that is for another resource, and `retry_after` of one that is used too often.
"""

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from watchword.flows import lineage, subjects, token_verification
from watchword.flows.clients import client_answers, client_registry
from watchword.flows.runtime import Runtime
from watchword.flows.token_verification import FOREVER, Use
from watchword.jose import JoseError, jws, jwt
from watchword.oauth import bearer, token_format
from watchword.oauth import claims as token_claims
from watchword.oauth.clients import Client
from watchword.store import documents, grants, tokens, users
from watchword.store.api_tokens import ApiToken

INACTIVE: dict[str, object] = {"active": False}
INACTIVE_DOCUMENT = b'{"active":false}'
AT_JWT = ("at+jwt",)

_encode = msgspec.json.Encoder().encode
_decode = documents.reader(dict[str, object])


class Answer(msgspec.Struct, frozen=True):
    """What introspection found; `reason` is "active" or why not, for the operator only.

    `issued_at` and `expires_at` are in Unix seconds; `document` is the claims as JSON, if they were serialized before; `subject` is the
    server's own identifier (`sub` may be pairwise). `opens_in` is after how many seconds a rate-limited token may be used again.
    """

    reason: str
    claims: Mapping[str, object]
    client_id: str | None = None
    audience: tuple[str, ...] = ()
    secret_id: str = ""
    issued_at: int = 0
    expires_at: int = FOREVER
    document: bytes = b""
    grant_id: str | None = None
    parents: tuple[str, ...] = ()
    subject: str = ""
    opens_in: int | None = None

    @property
    def active(self) -> bool:
        """Whether the token may be used."""
        return self.reason == "active"

    def told(self) -> Mapping[str, object]:
        """Return the answer for the caller: of an inactive token at most when, or for which audience, it is active (§2.2)."""
        return self.claims if self.opens_in is None else {**INACTIVE, "retry_after": self.opens_in}

    def encoded(self) -> bytes:
        """Return the answer for the caller as JSON."""
        told = self.told()
        return INACTIVE_DOCUMENT if told is INACTIVE else self.document or _encode(told)


UNKNOWN = Answer("unknown", INACTIVE)
Resolve = Callable[[Runtime, str], Awaitable[Answer]]


async def introspect(runtime: Runtime, token: str, use: Use) -> Answer:
    """Introspect a token; each kind has its own look-up, so that no kind of credential passes for another (CO-08)."""
    if token.startswith(f"{runtime.settings.brand}a_"):
        return await _api_token(runtime, token, use)
    key = ("introspection", token_format.digest(token))
    cached = runtime.cache.get(key)
    if cached is not None and cached[0] == runtime.database.version():
        return _check_dates(cached[1], runtime.now())
    kind = token_format.kind_of(token, runtime.settings.brand) if len(token) < 64 else None
    if kind == "o":
        return await _resolved(runtime, token, key, _opaque)
    if kind is None and token.count(".") == 2:
        return await _resolved(runtime, token, key, _self_contained)
    return UNKNOWN


async def _api_token(runtime: Runtime, token: str, use: Use) -> Answer:
    verdict = await token_verification.verify(runtime, token, use)
    if verdict.token is not None and verdict.reason == "rate_limited":
        opens_in = token_verification.opens_in(runtime, verdict.token, runtime.now())
        return Answer(verdict.reason, INACTIVE, audience=(verdict.token.resource,), opens_in=opens_in)
    if verdict.token is not None and verdict.reason == "wrong_resource":
        meant_for = verdict.token.resource
        return Answer(verdict.reason, {**INACTIVE, "aud": meant_for}, audience=(meant_for,))
    if verdict.token is None or not verdict.active:
        return Answer(verdict.reason, INACTIVE)
    claims = _describe(runtime, verdict.token)
    return Answer(
        "active",
        claims,
        audience=(verdict.token.resource,),
        secret_id=verdict.secret_id,
        expires_at=verdict.until,
        subject=verdict.token.owner_id,
    )


def _describe(runtime: Runtime, token: ApiToken) -> dict[str, object]:
    claims: dict[str, object] = {
        "active": True,
        "iss": runtime.settings.issuer,
        "sub": token.owner_id,
        "aud": token.resource,
        "scope": token.scope,
        "jti": token.id,
        "iat": token.created_at,
        "token_type": "DPoP" if token.jkt else "Bearer",
        "token_kind": "api_token",
    }
    if token.owner_kind == "client":
        claims["client_id"] = token.owner_id
    if token.expires_at is not None:
        claims["exp"] = token.expires_at
    if token.jkt:
        claims["cnf"] = {"jkt": token.jkt}
    if token.addresses or token.path or token.rate_limit or token.quota:
        claims["limited"] = True  # the answer depends on the request, and must not be reused for another
    return claims


async def _resolved(runtime: Runtime, token: str, key: tuple[str, bytes], resolve: Resolve) -> Answer:
    version = runtime.database.version()
    answer = await resolve(runtime, token)
    if answer.reason == "unknown":
        return answer
    iat, exp = answer.claims.get("iat"), answer.claims.get("exp")
    answer = msgspec.structs.replace(
        answer,
        issued_at=iat if isinstance(iat, int) else 0,
        expires_at=exp if isinstance(exp, int) else FOREVER,
        document=_encode(answer.claims),
    )
    runtime.remember(key, version, answer)
    return _check_dates(answer, runtime.now())


def _check_dates(answer: Answer, now: int) -> Answer:
    """Check expiry, and that the token was not issued in the future: by a clock that was ahead, it would live too long (F-10)."""
    if answer.issued_at - jwt.AHEAD <= now < answer.expires_at:
        return answer
    reason = "expired" if now >= answer.expires_at else "issued in the future"
    return Answer(reason, INACTIVE, answer.client_id, answer.audience, subject=answer.subject)


async def _opaque(runtime: Runtime, token: str) -> Answer:
    digest = token_format.ordered_digest(token)
    row = await runtime.database.read(tokens.find_access_token, digest)
    if row is None:
        return UNKNOWN
    audience = tuple(row.audience.split())
    if row.revoked_at is not None:
        return Answer("revoked", INACTIVE, row.client_id, audience, subject=row.subject)
    extra = _decode(row.claims)
    reason, client = await _still_stands(
        runtime, row.client_id, row.subject, row.issued_at, row.grant_id, extra
    )
    if client is None:
        return Answer(reason, INACTIVE, row.client_id, audience, subject=row.subject)
    parents = lineage.parents_of(extra)
    extra.pop("parents", None)
    claims: dict[str, object] = {
        "active": True,
        "iss": runtime.settings.issuer,
        "sub": subjects.shown(runtime, client, row.subject, extra),
        "aud": audience[0] if len(audience) == 1 else list(audience),
        "client_id": row.client_id,
        "scope": row.scope,
        "jti": tokens.token_id(digest),
        "iat": row.issued_at,
        "exp": row.expires_at,
        "token_type": bearer.token_type(extra),
        "token_kind": "access_token",
        **extra,
    }
    return Answer(
        "active",
        claims,
        row.client_id,
        audience,
        grant_id=row.grant_id,
        parents=parents,
        subject=row.subject,
    )


async def _self_contained(runtime: Runtime, token: str) -> Answer:
    try:
        claims = await decode(runtime, token)
    except JoseError:
        return UNKNOWN
    client_id, jti = str(claims["client_id"]), str(claims["jti"])
    subject = subjects.person_of(runtime, str(claims["sub"]))
    aud = claims["aud"]
    audience = (aud,) if isinstance(aud, str) else tuple(aud) if isinstance(aud, list) else ()
    if await runtime.database.read(tokens.is_jti_revoked, jti):
        return Answer("revoked", INACTIVE, client_id, audience, subject=subject)
    issued_at = claims["iat"]
    grant_id = claims.pop("grant_id", None)
    moment = issued_at if isinstance(issued_at, int) else 0
    grant = str(grant_id) if grant_id else None
    reason, client = await _still_stands(runtime, client_id, subject, moment, grant, claims)
    parents = lineage.parents_of(claims)
    claims.pop("parents", None)
    if client is None:
        return Answer(reason, INACTIVE, client_id, audience, subject=subject)
    answer = {"active": True, **claims, "token_type": bearer.token_type(claims), "token_kind": "access_token"}
    return Answer("active", answer, client_id, audience, grant_id=grant, parents=parents, subject=subject)


async def decode(runtime: Runtime, token: str, leeway: int = 0) -> dict[str, object]:
    """Verify a self-contained access token of this issuer (RFC 9068 §4), with a leeway in seconds; raise JoseError."""
    return jwt.decode(
        token,
        await runtime.keyring.verification_keys(),
        algorithms=jws.ALGORITHMS,  # of its own key: `signing_algorithms` says what signs from now on
        typ=AT_JWT,
        issuer=runtime.settings.issuer,
        now=runtime.now(),
        leeway=leeway,
        required=("aud", "exp", "iat", "jti", "sub", "client_id"),
    )


async def _still_stands(
    runtime: Runtime,
    client_id: str,
    subject: str,
    issued_at: int,
    grant_id: str | None,
    claims: Mapping[str, object],
) -> tuple[str, Client | None]:
    """Return "active" with the client of a token, or why it has ended and None."""
    facts = await client_registry.find_facts(runtime, client_id)
    if facts is None or facts.client.disabled_at is not None or issued_at < facts.valid_from:
        return "client_ended", None
    # Only people have accounts that can end; clients and applications end with the token's client or parents, others are not ours.
    if subjects.is_person(subject, client_id, claims):
        user = await runtime.database.read(users.get_user, subject)
        if user is None or user.disabled_at is not None:
            return "subject_ended", None
        # A token with a grant ends with that; one without may have been in the making while the account was disabled.
        since = await lineage.account_valid_since(runtime, user) if grant_id is None else user.valid_from
        if issued_at < since:
            return "subject_ended", None
    if grant_id is not None and not await runtime.database.read(grants.is_grant_alive, grant_id):
        return "grant_ended", None
    if not await lineage.stand(runtime, lineage.parents_of(claims), issued_at):
        return "parent_ended", None
    return "active", facts.client


async def signed(runtime: Runtime, client: Client, answer: Answer) -> str:
    """Return an answer as a JWT for the client that asked (RFC 9701 §5); raise `invalid_request` when it cannot be encrypted."""
    said = token_claims.introspection_claims(
        answer.claims if answer.active else INACTIVE,
        issuer=runtime.settings.issuer,
        client_id=client.client_id,
        now=runtime.now(),
    )
    return await client_answers.signed(runtime, client, "introspection", said, "token-introspection+jwt")


def may_see(answer: Answer, *, resources: tuple[str, ...], client_id: str | None) -> bool:
    """Whether a caller may learn about a token: one that is for its resources, or was issued to itself (§4)."""
    return bool(set(answer.audience) & set(resources)) or (
        client_id is not None and answer.client_id == client_id
    )
