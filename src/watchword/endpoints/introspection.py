"""RFC 7662 and RFC 9701: the introspection endpoint, for resource servers and their guards."""

import msgspec

from watchword.flows import client_auth, introspection
from watchword.flows.introspection import Answer
from watchword.flows.token_verification import Use
from watchword.http import JSON_NO_STORE, NO_STORE, Request, Response, wanted_types
from watchword.http.forms import Form
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.telemetry import count

SCOPE = "introspect"
SIGNED = "application/token-introspection+jwt"


class Caller(msgspec.Struct, frozen=True):
    """The authenticated caller: the resources whose tokens it may see, and the client if it is one."""

    resources: tuple[str, ...]
    sees_all: bool = False
    client: Client | None = None


async def introspect(request: Request) -> Response:
    """Introspect a token for an authenticated caller (§2.1)."""
    form = request.form()
    token = form.require("token")
    caller = await _caller(request, form, token)
    answer = await introspection.introspect(request.runtime, token, _use(form, caller))
    if answer.told() is not introspection.INACTIVE and not _may_see(caller, answer):
        answer = introspection.UNKNOWN
    count("introspections", outcome=answer.reason)
    if caller.client is not None and _wants_jwt(request):
        signed = await introspection.signed(request.runtime, caller.client, answer)
        return Response(200, signed.encode(), ((b"content-type", SIGNED.encode()), *NO_STORE))
    return Response(200, answer.encoded(), JSON_NO_STORE)


def _wants_jwt(request: Request) -> bool:
    # RFC 9701 §4: the JWT must be accepted by name; for a wildcard, JSON will do
    accepted = request.header(b"accept") or ""
    if "+jwt" not in accepted.lower():
        return False
    wanted = wanted_types(accepted)
    wish = wanted.get(SIGNED, 0.0)
    return wish > 0 and wish >= wanted.get("application/json", 0.0)


def _use(form: Form, caller: Caller) -> Use:
    asking = None if caller.sees_all else caller.resources
    if named := form.get("resource"):
        asking = (named,) if asking is None or named in asking else ()
    return Use(
        address=form.get("address"),
        path=form.get("path"),
        resources=asking,
    )


def _may_see(caller: Caller, answer: Answer) -> bool:
    return caller.sees_all or introspection.may_see(
        answer, resources=caller.resources, client_id=caller.client.client_id if caller.client else None
    )


async def _caller(request: Request, form: Form, token: str) -> Caller:
    authorization = request.credentials().authorization
    if authorization is not None and authorization[:7].lower() == "bearer ":
        return await _bearer(request, authorization[7:].strip(), token)
    client = await client_auth.authenticate(request.runtime, request.credentials(), form.single())
    if client.is_public:  # §4: the endpoint must not be open to whoever can guess
        raise client_auth.refused("a public client cannot introspect", basic=False)
    if SCOPE not in client.scope:
        return Caller((), client=client)
    return Caller(client.resources or (request.runtime.settings.resource,), client=client)


async def _bearer(request: Request, credential: str, token: str) -> Caller:
    if credential == token:
        # The holder of a token may ask about it. It is introspected only once, so that its use is counted once.
        return Caller((), sees_all=True)
    answer = await introspection.introspect(request.runtime, credential, Use(address=request.address))
    if answer.opens_in is not None:  # not a 401: the caller would throw a good token away
        raise OAuthError("too_many_requests", "This token is used too often.", retry_after=answer.opens_in)
    if not answer.active or "cnf" in answer.claims:  # no proof of a key is read here
        raise OAuthError(
            "invalid_client",  # RFC 7662 §2.3: the caller is not authenticated; with the challenge of RFC 6750 §3
            "The credential of the caller is not valid.",
            challenge='Bearer error="invalid_token"',
        )
    if SCOPE not in str(answer.claims.get("scope", "")).split():
        raise OAuthError(
            "insufficient_scope",
            "The caller's token lacks the scope introspect.",
            challenge=f'Bearer error="insufficient_scope", scope="{SCOPE}"',
        )
    return Caller(answer.audience)
