"""OpenID Connect Back-Channel Logout 1.0 §2.6, as a relying party: a provider reports that somebody has signed out there.

The sessions here that came from that session end, with everything that a sign-out ends; our own clients are notified in turn. A token
counts once, over all nodes: its use is recorded in the transaction that ends the sessions.
"""

import hashlib

from watchword.credentials.upstream import Provider, UpstreamRefused
from watchword.flows.runtime import Runtime
from watchword.flows.upstream import provider_sign_in
from watchword.jose.jwk import Key
from watchword.oauth import logout
from watchword.oauth.errors import OAuthError
from watchword.oauth.logout import LogoutToken
from watchword.ratelimit import Limit
from watchword.store import sessions
from watchword.telemetry import count

# Anybody can send a token with an unknown `kid`: the provider's keys are fetched again at most twice a minute.
FRESH_KEYS = Limit("keys of providers", capacity=2, per_second=1 / 30)


async def receive(runtime: Runtime, name: str, token: str) -> None:
    """End the sessions that a provider's logout token names.

    Raises `invalid_request`, `not_found` for no such provider, or `temporarily_unavailable` when its keys cannot be read.
    """
    settings = provider_sign_in.configured(runtime, name)
    if settings.kind == "github" or settings.issuer is None:
        raise OAuthError("not_found", "This provider sends no logout tokens.")
    try:
        provider = await provider_sign_in.provider_of(runtime, settings)
        checked = await _check(runtime, name, provider, token)
    except UpstreamRefused as refused:
        raise OAuthError(
            "temporarily_unavailable",
            "The provider's keys cannot be read: try again.",
            detail=f"{refused.reason} {refused.detail}",
            retry_after=30,
        ) from None
    ended = await runtime.database.write(
        sessions.end_sessions_from,
        provider.issuer,
        used=(_mark(provider.issuer, checked.jti), checked.expires_at, checked.earliest),
        subject=checked.subject or "",
        sid=checked.sid or "",
        now=runtime.now(),
    )
    if ended is None:  # §2.6 (8)
        raise OAuthError("invalid_request", "The logout token was used before.", field="logout_token")
    count("upstream_logouts", name)


def _mark(issuer: str, jti: str) -> bytes:
    return hashlib.sha256(f"logout token\n{issuer}\n{jti}".encode()).digest()


async def _check(runtime: Runtime, name: str, provider: Provider, token: str) -> LogoutToken:
    try:
        return _read(runtime, provider, token, await provider_sign_in.keys_of(runtime, provider))
    except OAuthError as error:
        unknown_key = error.detail in ("logout token: key", "logout token: signature")
        if not unknown_key or runtime.take(FRESH_KEYS, name):
            raise
    return _read(runtime, provider, token, await provider_sign_in.keys_of(runtime, provider, fresh=True))


def _read(runtime: Runtime, provider: Provider, token: str, keys: list[Key]) -> LogoutToken:
    return logout.check_logout_token(
        token,
        keys=keys,
        issuer=provider.issuer,
        client_id=provider.client_id,
        algorithms=provider.algorithms,
        now=runtime.now(),
    )
