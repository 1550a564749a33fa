"""What a grant buys: an access token, an ID token where one was asked for, a refresh token where the client may have one."""

from collections.abc import Mapping

import msgspec

from watchword.flows import id_tokens, minting
from watchword.flows.binding import Binding
from watchword.flows.minting import AccessGrant, Minted
from watchword.flows.runtime import Runtime
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.store import sessions, users
from watchword.store.grants import Grant
from watchword.store.users import User

_decode_claims = msgspec.json.Decoder(dict[str, object]).decode


async def owner_of(runtime: Runtime, grant: Grant) -> User:
    """Return the person of a grant who may still be acted for; raise `invalid_grant` (AZ-51)."""
    user = await runtime.database.read(users.get_user, grant.user_id)
    if user is None or user.disabled_at is not None or grant.created_at < user.valid_from:
        raise OAuthError("invalid_grant", "The grant has ended.", detail="the person's account has ended")
    if "offline_access" not in grant.scope.split():
        session = await runtime.database.read(sessions.get_session, grant.session_id, runtime.now())
        if session is None:
            raise OAuthError("invalid_grant", "The grant has ended.", detail="the session has ended")
    return user


def access_token(
    runtime: Runtime,
    client: Client,
    grant: Grant,
    scope: tuple[str, ...],
    audience: tuple[str, ...],
    binding: Binding,
) -> Minted:
    """Make an access token of a grant; an opaque one works once its row is stored."""
    claims = _decode_claims(grant.claims)
    return minting.mint(
        runtime,
        AccessGrant(
            client=client,
            subject=grant.user_id,
            scope=scope,
            audience=audience,
            lifetime=minting.lifetime_of(runtime, client),
            grant_id=grant.id,
            claims={**claims, **binding.confirmation(client)},
        ),
        runtime.now(),
    )


def answer(
    runtime: Runtime,
    client: Client,
    grant: Grant,
    minted: Minted,
    *,
    scope: tuple[str, ...],
    nonce: str | None = None,
    refresh_token: str | None = None,
) -> Mapping[str, object]:
    """Return the members of the token response."""
    document = minting.token_response(minted, scope)
    if "openid" in scope:
        document["id_token"] = id_tokens.make(
            runtime,
            client,
            subject=grant.user_id,
            nonce=nonce,
            access_token=minted.token,
            claims=_decode_claims(grant.claims),
            session_id=grant.session_id,
        )
    if refresh_token is not None:
        document["refresh_token"] = refresh_token
    return document
