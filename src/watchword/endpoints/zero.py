"""docs/zero.md §12: challenges for zero-knowledge identities, their renewal and revocation, for programs."""

import msgspec

from watchword.credentials.zkproof import ZeroError
from watchword.flows import identities
from watchword.flows.mail import Origin
from watchword.http import Request, Response, json_response
from watchword.oauth.errors import OAuthError
from watchword.zero.records import Identity, Revocation, from_json, to_json


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The purpose of a requested challenge."""

    purpose: str


async def challenge(request: Request) -> Response:
    """Answer with a challenge for a purpose; it can be used once, within two minutes."""
    try:
        wanted = msgspec.convert(request.json(), Wanted)
    except msgspec.ValidationError:
        raise OAuthError(
            "invalid_request", "Send an object with the member purpose.", field="purpose"
        ) from None
    if wanted.purpose not in identities.PURPOSES:
        purposes = ", ".join(identities.PURPOSES)
        raise OAuthError("invalid_request", f"The purposes are {purposes}.", field="purpose")
    return json_response(200, to_json(identities.make_challenge(request.runtime, wanted.purpose)))


async def renew(request: Request) -> Response:
    """Accept the renewal of a registered identity."""
    try:
        renewed = from_json(request.json(), Identity)
        registered = await identities.renew(request.runtime, renewed)
    except ZeroError as error:
        await identities.throttle(request.runtime, request.address)
        raise OAuthError(
            "invalid_request", "This is not a valid renewal of an identity here.", detail=error.reason
        ) from None
    return json_response(200, {"id": registered.id, "expires": renewed.expires})


async def revoke(request: Request) -> Response:
    """Accept the revocation of a registered identity by its holder."""
    try:
        statement = from_json(request.json(), Revocation)
        await identities.revoke(request.runtime, statement, Origin(request.address, ""))
    except ZeroError as error:
        await identities.throttle(request.runtime, request.address)
        raise OAuthError(
            "invalid_request", "This is not a valid revocation of an identity here.", detail=error.reason
        ) from None
    return Response(204)
