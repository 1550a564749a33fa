"""RFC 7009: token revocation, for every kind of token and regardless of `token_type_hint` (RV-03)."""

from collections.abc import Mapping

from watchword.flows import introspection, refresh_tokens
from watchword.flows.runtime import Runtime
from watchword.jose import JoseError, jwt
from watchword.oauth import ended, status_list, token_format
from watchword.oauth.clients import Client
from watchword.store import api_tokens, grants, tokens
from watchword.store.statuses import StatusMarks


async def revoke(runtime: Runtime, client: Client, token: str) -> None:
    """Revoke a token of the client; an unknown token, or one of another client, is no error (§2.2)."""
    kind = token_format.kind_of(token, runtime.settings.brand) if len(token) < 64 else None
    if kind == "o":
        await end_opaque(runtime, token, client.client_id, actor=client.client_id)
    elif kind == "r":
        await _refresh_token(runtime, client, token)
    elif kind == "a":
        await _api_token(runtime, client, token)
    elif kind is None and token.count(".") == 2:
        await _self_contained(runtime, client, token)


async def _refresh_token(runtime: Runtime, client: Client, token: str) -> None:
    # §2.1: the grant ends, and with it its access tokens
    presented = refresh_tokens.read(runtime, token)
    found = await refresh_tokens.find(runtime, presented) if presented is not None else None
    if found is not None and found.grant.client_id == client.client_id:
        await runtime.database.write(
            grants.end_grant, found.grant.id, reason="revoked", actor=client.client_id, now=runtime.now()
        )


async def _api_token(runtime: Runtime, client: Client, token: str) -> None:
    found = await runtime.database.read(api_tokens.find_token_by_digest, token_format.digest(token))
    if found is not None and (found.token.owner_kind, found.token.owner_id) == ("client", client.client_id):
        await runtime.database.write(
            api_tokens.revoke_token,
            found.token.id,
            reason="revoked",
            actor=client.client_id,
            now=runtime.now(),
        )


async def _self_contained(runtime: Runtime, client: Client, token: str) -> None:
    try:
        # Regardless of its dates: by the clock of another node it may be valid, or become so (F-10).
        claims = await introspection.decode(runtime, token, leeway=jwt.MAX_DATE)
    except JoseError:
        return
    if claims["client_id"] == client.client_id:
        await end_self_contained(runtime, claims, actor=client.client_id)


async def end_opaque(runtime: Runtime, token: str, client_id: str, *, actor: str) -> bool:
    """Revoke an opaque access token of a client, and return whether it was revoked now; another client's is left alone."""
    digest = token_format.ordered_digest(token)
    return await runtime.database.write(
        tokens.revoke_access_token, digest, client_id, actor=actor, now=runtime.now()
    )


async def end_self_contained(runtime: Runtime, claims: Mapping[str, object], *, actor: str) -> bool:
    """Revoke an access token by its verified claims, and return whether it was revoked now."""
    exp = claims["exp"]
    return isinstance(exp, int) and await runtime.database.write(
        tokens.revoke_jti,
        str(claims["jti"]),
        exp,
        client_id=str(claims["client_id"]),
        actor=actor,
        now=runtime.now(),
        status=_place_of(claims, exp),
    )


def _place_of(claims: Mapping[str, object], expires_at: int) -> StatusMarks | None:
    """Return the place of a token in its status list, None when it is in none."""
    reference, issued_at = status_list.read_reference(claims), claims["iat"]
    if reference is None or not isinstance(issued_at, int):
        return None
    list_id = reference[0].rpartition("/")[2]
    return StatusMarks(
        list_id, reference[1], issued_at, expires_at, (ended.digest("token", str(claims["jti"])),)
    )
