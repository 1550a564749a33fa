"""OpenID Connect Core §5.3: the userinfo response for an access token."""

from watchword.flows import profiles
from watchword.flows.caller import Caller
from watchword.flows.clients import client_answers, client_registry
from watchword.flows.runtime import Runtime
from watchword.oauth import answers, claims, claims_request
from watchword.oauth.clients import Client
from watchword.store import grants, users

JWT = "application/jwt"


async def claims_for(runtime: Runtime, who: Caller) -> tuple[Client, dict[str, object]]:
    """Return the client of a token and the claims for it; raise `invalid_token` or `insufficient_scope`."""
    if who.token_kind != "access_token":  # AP-06: an API token is no proof that a person agreed to anything
        raise who.refusal("invalid_token", "This needs an OAuth access token.")
    if "openid" not in who.scope:  # §5.3.1
        raise who.refusal("insufficient_scope", "The access token lacks the scope openid.", scope="openid")
    client = await client_registry.find(runtime, who.client_id or "")
    user = await runtime.database.read(users.get_user, who.subject)
    if client is None or user is None:
        raise who.refusal("invalid_token", "The token is not valid.")
    now, grant_id = runtime.now(), who.grant_id
    standing = await runtime.database.read(grants.get_standing, grant_id, now) if grant_id else None
    told = claims.userinfo_claims(
        who.sub,
        profiles.of(user),
        who.scope,
        claims_request.read(standing.grant.wishes).userinfo if standing else {},
        profiles.permitted(client, who.scope),
        profiles.scope_claims(runtime.settings),
    )
    return client, told


async def encode(runtime: Runtime, client: Client, told: dict[str, object]) -> tuple[bytes, str]:
    """Return a response in the form that its client registered (§5.3.2), and its media type; raise `invalid_request`."""
    protection = answers.protection_of(client, "userinfo")
    if protection.signed is not None:
        members = claims.for_client(told, issuer=runtime.settings.issuer, client_id=client.client_id)
        return (await client_answers.signed(runtime, client, "userinfo", members, "JWT")).encode(), JWT
    if protection.alg is not None:
        plain = client_answers.json(told)
        return (await client_answers.encrypted(runtime, client, "userinfo", plain, None)).encode(), JWT
    return client_answers.json(told), "application/json"
