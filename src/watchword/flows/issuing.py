"""What a grant buys: an access token, an ID token where one was asked for, a refresh token where the client may have one."""

from collections.abc import Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Issued:
    """What a grant is about to buy: nothing of it holds or leaves before the store has said so."""

    access_token: Minted
    id_token: str | None


async def make(
    runtime: Runtime,
    client: Client,
    grant: Grant,
    *,
    scope: tuple[str, ...],
    audience: tuple[str, ...],
    binding: Binding,
    nonce: str | None = None,
) -> Issued:
    """Make the tokens of a grant, before it is redeemed: what fails here costs nobody a code; raise OAuthError."""
    user = await _owner_of(runtime, grant)
    minted = _access_token(runtime, client, grant, scope, audience, binding)
    if "openid" not in scope:
        return Issued(minted, None)
    id_token = id_tokens.make(
        runtime, client, grant, user, scope=scope, nonce=nonce, access_token=minted.token
    )
    return Issued(minted, id_token)


async def _owner_of(runtime: Runtime, grant: Grant) -> User:
    """Return the person of a grant who may still be acted for; raise `invalid_grant` (AZ-51)."""
    user = await runtime.database.read(users.get_user, grant.user_id)
    if user is None or user.disabled_at is not None or grant.created_at < user.valid_from:
        raise OAuthError("invalid_grant", "The grant has ended.", detail="the person's account has ended")
    if "offline_access" not in grant.scope.split():
        session = await runtime.database.read(sessions.get_session, grant.session_id, runtime.now())
        if session is None:
            raise OAuthError("invalid_grant", "The grant has ended.", detail="the session has ended")
    return user


def _access_token(
    runtime: Runtime,
    client: Client,
    grant: Grant,
    scope: tuple[str, ...],
    audience: tuple[str, ...],
    binding: Binding,
) -> Minted:
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


def answer(issued: Issued, scope: tuple[str, ...], refresh_token: str | None) -> Mapping[str, object]:
    """Return the members of the token response (OpenID Connect Core §3.1.3.3)."""
    document = minting.token_response(issued.access_token, scope)
    if issued.id_token is not None:
        document["id_token"] = issued.id_token
    if refresh_token is not None:
        document["refresh_token"] = refresh_token
    return document
