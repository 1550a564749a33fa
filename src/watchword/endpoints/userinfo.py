"""OpenID Connect Core §5.3: the userinfo endpoint."""

from watchword.flows import caller
from watchword.http import Request, Response, json_response
from watchword.oauth.errors import OAuthError
from watchword.store import users


async def userinfo(request: Request) -> Response:
    """Answer what the granted scopes tell of the person (§5.4)."""
    runtime = request.runtime
    who = await caller.authenticate(runtime, request.credentials(), request.path, any_audience=True)
    if who.token_kind != "access_token":  # AP-06: an API token is no proof that a person agreed to anything
        raise OAuthError(
            "invalid_token", "This needs an OAuth access token.", challenge='Bearer error="invalid_token"'
        )
    if "openid" not in who.scope:
        raise OAuthError(
            "insufficient_scope",
            "This needs the scope openid.",
            challenge='Bearer error="insufficient_scope", scope="openid"',
        )
    user = await runtime.database.read(users.get_user, who.subject)
    if user is None:
        raise OAuthError("invalid_token", "The token is not valid.", challenge='Bearer error="invalid_token"')
    claims: dict[str, object] = {"sub": user.id}
    if "profile" in who.scope:
        claims |= {"preferred_username": user.username, "name": user.display_name or user.username}
    if "email" in who.scope and user.email is not None:
        claims |= {"email": user.email, "email_verified": user.email_verified_at is not None}
    return json_response(200, claims)
