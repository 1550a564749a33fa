"""RFC 9126 and RFC 9101: how an authorization request comes in: as plain parameters, pushed before, or in a signed request object.

Owns the way from decoded parameters to a checked request. The rules are pure functions in `oauth.authorization` and
`oauth.request_object`; nothing is fetched but clients' keys, through `clients.client_keys`.
"""

from collections.abc import Mapping

import msgspec

from watchword.flows import detail_types
from watchword.flows.clients import client_documents, client_keys
from watchword.flows.runtime import Runtime
from watchword.flows.users import sign_up
from watchword.jose import jws
from watchword.jose.jwk import Key
from watchword.oauth import authorization, redirect_uri, request_object, token_format
from watchword.oauth.authorization import AuthorizationRequest, Rules
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.request_object import REQUEST_URI_PREFIX
from watchword.store import documents, interactions


class Pushed(msgspec.Struct, frozen=True, array_like=True):
    """A request with its origin, as a pushed one is stored: the parameters, the key that was proven with it, whether it was signed."""

    parameters: Mapping[str, str]
    resources: tuple[str, ...]
    jkt: str | None = None
    signed: bool = False


class Reference(msgspec.Struct, frozen=True):
    """The digest of the `request_uri` of a pushed request that is not used up yet."""

    digest: bytes


def used_up() -> OAuthError:
    """Return the error for a `request_uri` that leads to nothing (any more)."""
    return OAuthError(
        "invalid_request_uri",
        "The request_uri is unknown, used, expired, or another client's.",
        field="request_uri",
    )


_encode = msgspec.json.Encoder().encode
_decode = documents.reader(Pushed)


async def client_of(runtime: Runtime, client_id: str | None) -> Client:
    """Return the client of a request; raise `invalid_request` or `unauthorized_client`, to be shown and never sent (RFC 6749 §4.1.2.1)."""
    client = await client_documents.find(runtime, client_id) if client_id else None
    if client is None or client.disabled_at is not None:
        raise OAuthError("invalid_request", "This client_id is not known here.", field="client_id")
    if not client.may("authorization_code"):
        raise OAuthError("unauthorized_client", "The client is not registered for this.", field="client_id")
    return client


async def still_of(runtime: Runtime, request: AuthorizationRequest) -> Client:
    """Return the client of a pending request, checked again: it may have been disabled or changed since. Raise as `client_of`."""
    client = await client_of(runtime, request.client_id)
    redirect_uri.check_requested(request.redirect_uri, client.redirect_uris)
    return client


async def read(
    runtime: Runtime, parameters: Mapping[str, str], resources: tuple[str, ...]
) -> tuple[AuthorizationRequest, Client, Reference | None]:
    """Check a request that the browser carries, or refers to; raise OAuthError (to be shown) or RedirectError (to be sent).

    A pushed one is returned with its reference, and used up with what comes of it.
    """
    client = await client_of(runtime, parameters.get("client_id"))
    if parameters.get("request_uri"):
        return await _pushed(runtime, parameters, client)
    return _decide(runtime, client, await _asked(runtime, parameters, resources, client)), client, None


async def _pushed(
    runtime: Runtime, parameters: Mapping[str, str], client: Client
) -> tuple[AuthorizationRequest, Client, Reference]:
    if parameters.get("request"):  # RFC 9101 §5
        raise OAuthError("invalid_request", "Send request or request_uri, not both.", field="request")
    request_uri = parameters["request_uri"]
    request_object.reference_of(request_uri)
    reference = Reference(token_format.digest(request_uri))
    stored = await runtime.database.read(
        interactions.find_pushed_request, reference.digest, client.client_id, runtime.now()
    )
    if stored is None:
        raise used_up()
    return _decide(runtime, client, _decode(stored), pushed=True), client, reference


async def push(
    runtime: Runtime,
    client: Client,
    parameters: Mapping[str, str],
    resources: tuple[str, ...],
    jkt: str | None,
) -> str:
    """Check and store a pushed request; return its `request_uri` (RFC 9126 §2.2). Raise OAuthError: whoever pushes gets the answer (§2.3)."""
    if parameters.get("request_uri"):  # §2.1
        raise OAuthError("invalid_request", "A pushed request cannot refer to another.", field="request_uri")
    asked = await _asked(runtime, parameters, resources, client)
    kept = {name: value for name, value in asked.parameters.items() if name in authorization.PARAMETERS}
    pushed = msgspec.structs.replace(asked, parameters=kept, jkt=jkt)
    _decide(runtime, client, pushed, pushed=True)
    request_uri = REQUEST_URI_PREFIX + runtime.new_secret("p")
    expires_at = runtime.now() + runtime.settings.pushed_request_lifetime
    await runtime.database.write(
        interactions.push_request,
        token_format.digest(request_uri),
        client.client_id,
        _encode(pushed).decode(),
        expires_at,
    )
    return request_uri


def _decide(runtime: Runtime, client: Client, asked: Pushed, *, pushed: bool = False) -> AuthorizationRequest:
    return authorization.decide(
        asked.parameters,
        client,
        Rules(runtime.settings.resource, detail_types.of(runtime.settings), sign_up.is_open(runtime)),
        resources=asked.resources,
        pushed=pushed,
        signed=asked.signed,
        proven_jkt=asked.jkt,
    )


async def _asked(
    runtime: Runtime, parameters: Mapping[str, str], resources: tuple[str, ...], client: Client
) -> Pushed:
    """Return what a client asks for: by plain parameters, or by a signed request object, of which nothing beside it counts (RFC 9101)."""
    token = parameters.get("request")
    if not token:
        return Pushed(parameters, resources)
    fapi = client.security_profile == "fapi2"
    algorithms = request_object.algorithms_of(client)
    try:
        request_object.check_form(token, algorithms, fapi=fapi)
        opened = request_object.open_request_object(
            token,
            parameters,
            client_id=client.client_id,
            keys=await _keys(runtime, client, token),
            issuer=runtime.settings.issuer,
            algorithms=algorithms,
            fapi=fapi,
            now=runtime.now(),
        )
    except OAuthError as error:
        raise authorization.answerable(error, parameters, client) from None
    return Pushed(opened.parameters, opened.resources, signed=True)


async def _keys(runtime: Runtime, client: Client, token: str) -> list[Key]:
    try:
        return await client_keys.keys_of(runtime, client, jws.peek(token))
    except OAuthError as error:
        is_outage = error.code == "temporarily_unavailable"  # then the signature may be good
        raise OAuthError(
            error.code if is_outage else "invalid_request_object",
            "The keys that would verify the request object cannot be read.",
            detail=error.detail,
            field="request",
            retry_after=error.retry_after,
        ) from None
