"""The tokens of a grant: an access token, an ID token with the scope `openid`, a refresh token if the client may have one."""

from collections.abc import Awaitable, Mapping

import msgspec

from watchword.flows import detail_types, id_tokens, membership, minting, refresh_tokens
from watchword.flows.minting import AccessGrant, Minted
from watchword.flows.runtime import Runtime
from watchword.flows.token_request import TokenRequest
from watchword.oauth import authorization_details, refresh, token_format
from watchword.oauth.authorization_details import Detail
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.scopes import for_people, parse_scope
from watchword.oauth.targets import names_among
from watchword.store import documents, tokens
from watchword.store.grants import Grant, Standing
from watchword.store.redemption import Bought
from watchword.store.users import User


class Extent(msgspec.Struct, frozen=True):
    """What a token is good for: scope, audience and authorization details (RFC 9396)."""

    scope: tuple[str, ...]
    audience: tuple[str, ...]
    details: tuple[Detail, ...] = ()


_decode_claims = documents.reader(dict[str, object])


class Issued(msgspec.Struct, frozen=True):
    """Tokens that were made for a grant; they must not be sent before the redemption is stored."""

    extent: Extent
    access_token: Minted
    id_token: str | None


async def make(
    runtime: Runtime,
    request: TokenRequest,
    standing: Standing,
    *,
    scope: str | None = None,
    nonce: str | None = None,
) -> Issued:
    """Make the tokens of a grant before it is redeemed, so that a failure does not use up the code.

    `request` may ask for less than was granted; `scope` is that of a refresh request. Raises `invalid_grant`, `invalid_scope`,
    `invalid_target`, `invalid_authorization_details`, or as `minting.mint` and `id_tokens.make`.
    """
    client, grant, user = request.client, standing.grant, owner_of(standing)
    extent = _narrowed(runtime, request, remaining(runtime, client, grant, user), scope)
    minted = await _access_token(runtime, request, grant, user, extent)
    if "openid" not in extent.scope:
        return Issued(extent, minted, None)
    id_token = await id_tokens.make(
        runtime, client, grant, user, scope=extent.scope, nonce=nonce, access_token=minted.token
    )
    return Issued(extent, minted, id_token)


def owner_of(standing: Standing) -> User:
    """Return the person of a grant; raise `invalid_grant` when the account or the session has ended (AZ-51)."""
    grant, user = standing.grant, standing.user
    if user is None or user.disabled_at is not None or grant.created_at < user.valid_from:
        raise OAuthError("invalid_grant", "The grant has ended.", detail="the person's account has ended")
    if not standing.in_session and "offline_access" not in grant.scope.split():
        raise OAuthError("invalid_grant", "The grant has ended.", detail="the session has ended")
    return user


def remaining(runtime: Runtime, client: Client, grant: Grant, user: User) -> Extent:
    """Return what is left of a grant; raise `invalid_grant` when nothing useful is left (TK-03).

    The client may have lost scopes, resources and details types since, the person scopes that a group opened (TK-08), and the server's
    settings may have dropped types.
    """
    granted = tuple(grant.scope.split())
    scope = for_people(tuple(one for one in granted if one in client.scope))
    scope = membership.open_to(runtime.settings, user, scope)
    if not membership.lets_in(client, user):
        raise OAuthError(
            "invalid_grant", "The grant has ended.", detail="the client is no longer for this person"
        )
    stored = detail_types.read(grant.authorization_details)
    details = authorization_details.remaining(
        stored, detail_types.of(runtime.settings), client.authorization_details_types
    )
    resources = client.resources or (runtime.settings.resource,)
    audience = tuple(one for one in grant.audience.split() if one in resources)
    lost = {"openid", "offline_access"} & (set(granted) - set(scope))
    if lost or not audience or (not scope and not details and (granted or stored)):
        raise OAuthError(
            "invalid_grant", "The grant has ended.", detail="the client or the person may no longer have it"
        )
    return Extent(scope, audience, details)


def _narrowed(runtime: Runtime, request: TokenRequest, left: Extent, scope: str | None) -> Extent:
    """Return the part of a grant that a token request asks for; raise `invalid_scope`, `invalid_target` (RFC 8707 §2.2) or
    `invalid_authorization_details` (RFC 9396 §6) for more. Only a refresh may name a `scope` (RFC 6749 §6)."""
    resources = names_among(request.form.all("resource"), left.audience)
    if resources is None:
        raise OAuthError("invalid_target", "The resource was not granted.", field="resource")
    details = authorization_details.narrow(
        request.form.get("authorization_details"),
        left.details,
        detail_types.of(runtime.settings),
        request.client.authorization_details_types,
    )
    narrower = refresh.narrow_scope(parse_scope(scope or ""), left.scope)
    return Extent(narrower, resources or left.audience, details)


async def _access_token(
    runtime: Runtime, request: TokenRequest, grant: Grant, user: User, extent: Extent
) -> Minted:
    claims = {**_decode_claims(grant.claims), **membership.claims(user, extent.scope)}
    if extent.details:  # RFC 9396 §9
        claims["authorization_details"] = extent.details
    return await minting.mint(
        runtime,
        AccessGrant(
            client=request.client,
            subject=grant.user_id,
            scope=extent.scope,
            audience=extent.audience,
            lifetime=minting.lifetime_of(runtime, request.client),
            grant_id=grant.id,
            claims={**claims, **request.confirmation()},
        ),
        runtime.now(),
    )


class Stored:
    """The pending write of an access token's row, around the redemption that it belongs to; durable when the block ends.

    If the redemption fails the row was stored for nothing, which is harmless: nobody gets to know the token.
    """

    __slots__ = ("_storing",)

    def __init__(self, storing: Awaitable[object] | None) -> None:
        self._storing = storing

    async def __aenter__(self) -> Awaitable[object] | None:
        return self._storing

    async def __aexit__(self, *_: object) -> None:
        if self._storing is not None:
            await self._storing


def stored(runtime: Runtime, issued: Issued) -> Stored:
    """Start storing the row of an access token, if it has one."""
    row = issued.access_token.row
    return Stored(tokens.append_token(runtime.database, row) if row is not None else None)


def buy(runtime: Runtime, request: TokenRequest, grant: Grant) -> tuple[str | None, Bought]:
    """Return the first refresh token of a grant, None if the client may have none, and what is stored when the grant is redeemed."""
    client, binding = request.client, request.binding
    token = refresh_tokens.first(runtime) if client.may("refresh_token") else None
    lasts = runtime.settings.refresh_token_lifetime if token else minting.lifetime_of(runtime, client)
    bought = Bought(
        mark=token_format.family_mark(token).encode() if token else None,
        refresh_digest=token_format.digest(token) if token else None,
        expires_at=max(grant.started_at, runtime.now()) + lasts,
        # RFC 9449 §5 and RFC 8705 §4: refresh tokens of public clients are bound
        jkt=binding.jkt if client.is_public else None,
        x5t=binding.x5t if client.is_public else None,
    )
    return token, bought


def answer(issued: Issued, refresh_token: str | None) -> Mapping[str, object]:
    """Return the members of the token response (OpenID Connect Core §3.1.3.3)."""
    document = minting.token_response(issued.access_token, issued.extent.scope, issued.extent.details)
    if issued.id_token is not None:
        document["id_token"] = issued.id_token
    if refresh_token is not None:
        document["refresh_token"] = refresh_token
    return document
