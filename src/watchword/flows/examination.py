"""What a credential is, whose it is, and whether it would be accepted, for those who run the service.

Owns the answer to "somebody sent me this: what is it?". Nothing is written and no use is counted; strangers learn none of it, they have
introspection (RFC 7662).
"""

from collections.abc import Mapping

import msgspec

from watchword.flows import introspection, issuing, refresh_tokens, subjects, token_verification
from watchword.flows.clients import client_registry
from watchword.flows.runtime import Runtime
from watchword.flows.token_verification import Use
from watchword.jose import JoseError, jws, jwt
from watchword.oauth import refresh, token_format
from watchword.oauth.errors import OAuthError
from watchword.store import redemption
from watchword.store.api_tokens import ApiToken
from watchword.store.grants import Standing

MAX_LENGTH = 65_536
# Why a token of this server's issuer is refused, by `JoseError` or by introspection's own word.
_REFUSALS: Mapping[str, str] = {
    "signature": "signature",
    "algorithm": "signature",
    "type": "other_type",
    "expired": "expired",
    "not yet valid": "too_early",
    "issued in the future": "too_early",
}
# What may be copied along with a credential: quotes, and invisible characters
_AROUND = "\"'`,;<>\u200b\u2060\ufeff"
# JWTs of which nothing shows that they are access tokens of this server
_NO_ACCESS_TOKEN = ("foreign", "other_type", "malformed", "signature")
# Kinds that are not looked up here, because they work once, or at one endpoint.
_ELSEWHERE = "elsewhere"
_FAMILY: Mapping[refresh.Outcome, str] = {
    "rotate": "active",
    "replay": "replaced",
    "burn": "replaced",
    "abandoned": "replaced",
    "burned": "grant_ended",
    "idle": "expired",
    "ended": "expired",
}


class Finding(msgspec.Struct, frozen=True):
    """What is known of a credential.

    `kind` is a letter of `token_format.KINDS`, "jwt", or "" for a text that is nothing of the sort; `reason` is "active" or why it is
    refused. `claims` and `header` are what a JWT says, whether or not it is true, or what introspection would; all else is this server's
    own knowledge. A `bound` one is accepted with a proof of its key alone. `grant_id` is that of a refresh token.
    """

    kind: str
    reason: str
    token: ApiToken | None = None
    client_id: str | None = None
    subject: str | None = None
    scope: str | None = None
    bound: bool = False
    grant_id: str | None = None
    claims: Mapping[str, object] = {}
    header: Mapping[str, object] = {}

    @property
    def active(self) -> bool:
        """Whether an API would accept it now."""
        return self.reason == "active"

    @property
    def name(self) -> str:
        """Its kind as the texts of the pages name it; of a JWT that is no access token of this server, no more than that it is one."""
        if self.kind == "jwt" and self.reason not in _NO_ACCESS_TOKEN:
            return "access_jwt"
        return self.kind or "nothing"


async def examine(runtime: Runtime, text: str) -> Finding:
    """Find out what a text is; spaces and line breaks around it, and the name of a scheme before it, are not part of it."""
    credential = bare(text)
    if len(credential) > MAX_LENGTH:
        return Finding("", "nothing")
    kind = token_format.kind_of(credential, runtime.settings.brand)
    if kind == "a":
        return await _api_token(runtime, credential)
    if kind == "o":
        return await _opaque(runtime, credential)
    if kind == "r":
        return await _refresh_token(runtime, credential)
    if kind is not None:
        return Finding(kind, _ELSEWHERE)
    if credential.count(".") == 2:
        return await _jwt(runtime, credential)
    return _mistyped(runtime, credential)


def bare(text: str) -> str:
    """Return a credential without what was copied around it."""
    words = text.split()
    if words and words[0].rstrip(":").lower() == "authorization":
        words = words[1:]
    if len(words) > 1 and words[0].lower() in ("bearer", "dpop"):
        words = words[1:]
    return words[0].strip(_AROUND) if len(words) == 1 else " ".join(words)


def _mistyped(runtime: Runtime, credential: str) -> Finding:
    """Tell a credential of this server that was garbled or cut off from any other text."""
    brand = runtime.settings.brand
    kind, mark = credential[len(brand) : len(brand) + 1], credential[len(brand) + 1 : len(brand) + 2]
    if credential.startswith(brand) and kind in token_format.KINDS and mark == "_":
        return Finding(kind, "mistyped")
    return Finding("", "nothing")


async def _api_token(runtime: Runtime, credential: str) -> Finding:
    found = await token_verification.lookup(runtime, credential)
    if found is None:
        return Finding("a", "unknown")
    # The question is whether the token works where it is meant to. Its limits are shown next to the answer.
    first = found.token.addresses[0].partition("/")[0] if found.token.addresses else None
    use = Use(address=first, any_path=True)
    reason = token_verification.decide(runtime, found, use, runtime.now())
    return Finding(
        "a",
        reason,
        found.token,
        subject=found.token.owner_id,
        scope=found.token.scope,
        bound=found.token.jkt is not None,
    )


async def _opaque(runtime: Runtime, credential: str) -> Finding:
    answer = await introspection.introspect(runtime, credential, Use())
    claims = answer.claims if answer.active else {}
    return Finding(
        "o",
        _REFUSALS.get(answer.reason, answer.reason),
        client_id=answer.client_id,
        subject=answer.subject or None,
        scope=_scope(claims),
        bound="cnf" in claims,
        claims=claims,
    )


async def _refresh_token(runtime: Runtime, credential: str) -> Finding:
    presented = refresh_tokens.read(runtime, credential)
    found = await refresh_tokens.find(runtime, presented) if presented is not None else None
    if presented is None or found is None:
        return Finding("r", "unknown")
    grant = found.grant
    return Finding(
        "r",
        await _standing(runtime, found, redemption.generation_of(found, presented.digest)),
        client_id=grant.client_id,
        subject=grant.user_id,
        scope=grant.scope,
        bound=(grant.jkt or grant.x5t) is not None,
        grant_id=grant.id,
    )


async def _standing(runtime: Runtime, found: Standing, generation: int) -> str:
    outcome = refresh.decide(
        redemption.family_of(found.grant), generation, refresh_tokens.limits(runtime), runtime.now()
    )
    if outcome == "rotate" and not await _can_refresh(runtime, found):
        return "grant_ended"
    return _FAMILY[outcome]


async def _can_refresh(runtime: Runtime, found: Standing) -> bool:
    """Whether all that a grant stands on is left: client and person may have lost what it needs, or they and the session may be gone."""
    client = await client_registry.find(runtime, found.grant.client_id)
    if client is None or client.disabled_at is not None or not client.may("refresh_token"):
        return False
    try:
        issuing.remaining(runtime, client, found.grant, issuing.owner_of(found))
    except OAuthError:
        return False
    return True


async def _jwt(runtime: Runtime, credential: str) -> Finding:
    try:
        header = jws.peek(credential)
        claims = jwt.peek(credential)
    except JoseError:
        return Finding("", "nothing")
    answer = await introspection.introspect(runtime, credential, Use())
    reason = answer.reason if answer.reason != "unknown" else await _refusal(runtime, credential, claims)
    finding = Finding("jwt", _REFUSALS.get(reason, reason), claims=claims, header=header.members)
    if finding.reason in _NO_ACCESS_TOKEN:
        return finding
    return msgspec.structs.replace(
        finding,
        client_id=str(claims["client_id"]),
        subject=subjects.person_of(runtime, str(claims["sub"])),
        scope=_scope(claims),
        bound="cnf" in claims,
    )


def _scope(claims: Mapping[str, object]) -> str | None:
    said = claims.get("scope")
    return said if isinstance(said, str) else None


async def _refusal(runtime: Runtime, credential: str, claims: Mapping[str, object]) -> str:
    """Return why introspection does not know a JWT."""
    if claims.get("iss") != runtime.settings.issuer:
        return "foreign"
    try:
        await introspection.decode(runtime, credential)
    except JoseError as error:
        # All but the signature was read before: if anything is malformed, it was cut off.
        return "signature" if str(error) == "malformed" else _REFUSALS.get(str(error), "malformed")
    return "unknown"
