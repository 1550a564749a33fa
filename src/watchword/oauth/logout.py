"""OpenID Connect RP-Initiated and Back-Channel Logout: who may end which session, and where the browser goes then.

Owns the decision about a logout request, the reading of `id_token_hint`, and the claims of logout tokens. Ending sessions and
notifying clients is done elsewhere.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from watchword.jose import JoseError, jws, jwt
from watchword.jose.jwk import Key
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError

EVENT = "http://schemas.openid.net/event/backchannel-logout"
LOGOUT_TOKEN_TYPE = "logout+jwt"
LOGOUT_TOKEN_LIFETIME = 120
MAX_HINT = 16_384
MAX_STATE = 2048
LEEWAY = 30
MAX_LIFETIME = 3600

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Hint(msgspec.Struct, frozen=True):
    """The contents of a verified ID token of ours; `sid` is the session's name for the client, `client_id` its audience."""

    client_id: str
    subject: str
    sid: str | None


def read_hint(token: str, *, keys: Sequence[Key], issuer: str, algorithms: Collection[str]) -> Hint | None:
    """Return the contents of an ID token of ours, expired or not (§2), None for anything else."""
    if len(token) > MAX_HINT:
        return None
    try:
        header, payload = jws.verify(token, keys, algorithms)
        claims = jwt.read_claims(payload)
    except JoseError:
        return None
    typ = (header.typ or "JWT").lower().removeprefix("application/")
    if typ != "jwt" or claims.get("iss") != issuer or "events" in claims:  # neither at+jwt nor logout+jwt
        return None
    if "exp" not in claims:  # a signed userinfo response, which is no ID token (RFC 8725 §3.11)
        return None
    aud, sub, sid = claims.get("aud"), claims.get("sub"), claims.get("sid")
    if not isinstance(aud, str) or not isinstance(sub, str):
        return None
    return Hint(aud, sub, sid if isinstance(sid, str) else None)


def client_of(client_id: str | None, hint: Hint | None) -> str | None:
    """Return which client asks for the logout; raise `invalid_request` when parameter and hint disagree (§2)."""
    if client_id is not None and hint is not None and client_id != hint.client_id:
        raise OAuthError(
            "invalid_request", "client_id and id_token_hint name different clients.", field="client_id"
        )
    return client_id or (hint.client_id if hint else None)


class LogoutDecision(msgspec.Struct, frozen=True):
    """`confirm` asks the person first, `other` says that the hint names somebody else; `location` is where to go afterwards,
    None for our own page."""

    confirm: bool
    location: str | None
    other: bool = False


def decide(
    parameters: Mapping[str, str],
    client: Client | None,
    hint: Hint | None,
    *,
    session_sids: Collection[str],
    session_subject: str | None,
    names_session: bool = True,
) -> LogoutDecision:
    """Decide a logout request.

    `client` is the one that `client_of` named, if it exists and is enabled; `session_sids` are the names of the browser's
    session to that client and `session_subject` its person as that client knows it, None when nobody is signed in.
    `names_session` is False when a `logout_hint` names somebody else: anybody can guess a hint, so it can only add a question.
    Nothing here is an error: what cannot be verified leads to a page instead of a redirect (LO-02).
    """
    matches = (
        hint is not None
        and session_subject is not None
        and (hint.sid in session_sids if hint.sid is not None else hint.subject == session_subject)
    )
    other = session_subject is not None and not names_session
    confirm = other or (session_subject is not None and not matches)  # §2, §6: a link alone ends no session
    return LogoutDecision(confirm, _location(parameters, client), other)


def _location(parameters: Mapping[str, str], client: Client | None) -> str | None:
    wanted, state = parameters.get("post_logout_redirect_uri"), parameters.get("state")
    if client is None or not wanted or wanted not in client.post_logout_redirect_uris:  # §3: exactly
        return None
    if not state:
        return wanted
    if len(state) > MAX_STATE or _CONTROL.search(state):
        return None
    return f"{wanted}{'&' if '?' in wanted else '?'}state={quote(state, safe='')}"


def logout_token_claims(
    *, issuer: str, client_id: str, subject: str | None, sid: str | None, jti: str, now: int
) -> dict[str, object]:
    """Return the claims of a logout token (Back-Channel Logout §2.4): with `sub`, `sid` or both, never with `nonce`."""
    if subject is None and sid is None:
        raise ValueError("a logout token names a person or a session")
    claims: dict[str, object] = {
        "iss": issuer,
        "aud": client_id,
        "iat": now,
        "exp": now + LOGOUT_TOKEN_LIFETIME,
        "jti": jti,
        "events": {EVENT: {}},
    }
    return {**claims, **({"sub": subject} if subject else {}), **({"sid": sid} if sid else {})}


class LogoutToken(msgspec.Struct, frozen=True):
    """A valid logout token of an upstream provider, whose `jti` is yet to be recorded as used. Times are Unix seconds."""

    jti: str
    subject: str | None
    sid: str | None
    expires_at: int
    earliest: int  # cannot have been used before


def check_logout_token(
    token: str, *, keys: Sequence[Key], issuer: str, client_id: str, algorithms: Collection[str], now: int
) -> LogoutToken:
    """Check a logout token that an upstream provider sent to us (Back-Channel Logout §2.6); raise `invalid_request`."""
    try:
        claims = jwt.decode(
            token,
            keys,
            algorithms=algorithms,
            typ=(LOGOUT_TOKEN_TYPE, "JWT", ""),
            issuer=issuer,
            audience=client_id,
            now=now,
            leeway=LEEWAY,
            required=("iss", "aud", "iat", "exp", "jti", "events"),
        )
    except JoseError as error:
        raise _invalid(error.reason) from None
    _check_logout_claims(claims, now)
    return LogoutToken(
        claims["jti"],
        claims.get("sub"),
        claims.get("sid"),
        int(claims["exp"]) + LEEWAY,
        jwt.earliest(claims, longest=MAX_LIFETIME, leeway=LEEWAY),
    )


def _check_logout_claims(claims: Mapping[str, Any], now: int) -> None:
    events = claims["events"]
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):  # §2.6 (6)
        raise _invalid("no logout event")
    if "nonce" in claims:  # §2.6 (7): an ID token must not pass for this
        raise _invalid("a nonce")
    if not isinstance(claims.get("sid", ""), str) or not (claims.get("sub") or claims.get("sid")):  # §2.6 (5)
        raise _invalid("neither sub nor sid")
    if not 0 < len(claims["jti"]) <= 256 or claims["exp"] > now + MAX_LIFETIME:
        raise _invalid("jti or exp out of bounds")


def _invalid(reason: str) -> OAuthError:
    return OAuthError("invalid_request", "The logout token is not valid.", detail=f"logout token: {reason}")
