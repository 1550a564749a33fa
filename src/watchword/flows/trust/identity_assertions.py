"""Identity assertions (ID-JAG) that this server issues as an enterprise's identity provider, for other authorization servers that an
administrator named.

A client exchanges its own ID token of this server for one, while the person's session is live.
"""

import os
from collections.abc import Mapping

from watchword.flows import membership, subjects
from watchword.flows.runtime import Runtime
from watchword.jose import JoseError, jws, jwt
from watchword.oauth import authorization_details, exchange, identity_assertion
from watchword.oauth.clients import AssertionTarget, Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.identity_assertion import Statement
from watchword.oauth.parameters import Parameters
from watchword.oauth.scopes import for_people, format_scope, narrow, parse_scope
from watchword.oauth.targets import names_among
from watchword.store import sessions, tokens, users
from watchword.store.users import User

SIGN_IN = ("auth_time", "acr", "amr")


async def issue(runtime: Runtime, client: Client, form: Parameters) -> Mapping[str, object]:
    """Return the response to an exchange of an ID token for an identity assertion.

    Raises `unauthorized_client`, `invalid_target`, `invalid_scope`, `invalid_request` or `invalid_authorization_details`.
    """
    target = _target(runtime, client, form)
    authorization_details.refuse(form.get("authorization_details"))
    claims = await _id_token(runtime, client, form)
    user = await _person(runtime, claims)
    allowed = membership.require_open(
        runtime.settings, client, user, target.scope or for_people(client.scope)
    )
    scope = narrow(parse_scope(form.get("scope") or ""), allowed)
    said = Statement(
        audience=target.issuer,
        client_id=target.client_id,
        subject=str(claims["sub"]),
        scope=scope,
        resources=_resources(client, target, form),
        sign_in={name: claims[name] for name in SIGN_IN if name in claims},
        email=user.email if target.tell_email and user.email_verified_at is not None else None,
    )
    return await _sign(runtime, client, user, said)


async def _sign(runtime: Runtime, client: Client, user: User, said: Statement) -> Mapping[str, object]:
    now, jti = runtime.now(), os.urandom(16).hex()
    members = identity_assertion.make_claims(said, issuer=runtime.settings.issuer, jti=jti, now=now)
    key = await runtime.keyring.signing_key(client.signing_algorithm(runtime.settings.signing_algorithms))
    details: dict[str, object] = {"audience": said.audience, "scope": format_scope(said.scope), "jti": jti}
    await runtime.database.write(
        tokens.record_assertion, client_id=client.client_id, user_id=user.id, details=details, now=now
    )
    return {
        "access_token": await runtime.signatures.sign(key, members, identity_assertion.TYPE),
        "issued_token_type": identity_assertion.TOKEN_TYPE,
        "token_type": "N_A",  # RFC 8693 §2.2.1: it is no access token
        "expires_in": identity_assertion.ISSUED_LIFETIME,
        "scope": format_scope(said.scope),
    }


def _target(runtime: Runtime, client: Client, form: Parameters) -> AssertionTarget:
    rules = client.token_exchange
    if client.is_public or rules is None or not rules.assertions:
        raise OAuthError("unauthorized_client", "This client may not get identity assertions.")
    named = form.all("audience")
    for target in rules.assertions:
        if named == (target.issuer,) and target.issuer != runtime.settings.issuer:
            return target
    raise OAuthError(
        "invalid_target", "This client may not get identity assertions for that server.", field="audience"
    )


async def _id_token(runtime: Runtime, client: Client, form: Parameters) -> Mapping[str, object]:
    if form.get("subject_token_type") != exchange.ID_TOKEN or form.get("actor_token") is not None:
        raise OAuthError(
            "invalid_request", "An identity assertion is issued for an ID token.", field="subject_token_type"
        )
    try:
        claims = jwt.decode(
            form.require("subject_token"),
            await runtime.keyring.verification_keys(),
            algorithms=jws.ALGORITHMS,
            typ="JWT",
            issuer=runtime.settings.issuer,
            now=runtime.now(),
            required=("sub", "aud", "exp", "sid"),
        )
    except JoseError as error:
        raise _not_valid(error.reason) from None
    if claims["aud"] != client.client_id:
        raise _not_valid("another client's")
    return claims


async def _person(runtime: Runtime, claims: Mapping[str, object]) -> User:
    sid = subjects.session_of(runtime, str(claims["sid"]))
    session = await runtime.database.read(sessions.get_session, sid, runtime.now())
    user = await runtime.database.read(users.get_user, session.user_id) if session else None
    if user is None or user.disabled_at is not None:
        raise _not_valid("session or account has ended")
    return user


def _resources(client: Client, target: AssertionTarget, form: Parameters) -> tuple[str, ...]:
    allowed = target.resources or client.resources
    wanted = names_among(form.all("resource"), allowed)
    if wanted is None:
        raise OAuthError("invalid_target", "The resource is not allowed for that server.", field="resource")
    return wanted or allowed


def _not_valid(detail: str) -> OAuthError:
    return OAuthError(
        "invalid_request",
        "The subject_token is not valid.",
        detail=f"ID token: {detail}",
        field="subject_token",
    )
