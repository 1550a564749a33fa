"""docs/zero.md §12: challenges, sign-in, renewal and revocation with zero-knowledge identities, for programs."""

import msgspec

from watchword.credentials.methods import PROOF_OF_POSSESSION
from watchword.credentials.zkproof import ZeroError
from watchword.flows import identities, sessions
from watchword.http import Request, Response, json_response
from watchword.oauth.errors import OAuthError
from watchword.pages import browser
from watchword.pages.sign_in import SESSION_COOKIE
from watchword.store import limits, users
from watchword.zero.records import Identity, Proof, Revocation, from_json, to_json

CAPACITY, PER_SECOND = 120.0, 4.0


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For what a challenge is wanted."""

    purpose: str


async def challenge(request: Request) -> Response:
    """Answer a challenge for a purpose; it can be answered once, within two minutes."""
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


async def sign_in(request: Request) -> Response:
    """Begin a session for the person whose identity is proven; the session is the cookie of the answer."""
    _check_same_site(request)
    runtime = request.runtime
    await _throttle(request)
    try:
        given = from_json(request.json(), Proof)
        proven = await identities.check_proof(runtime, given, identities.SIGN_IN, None)
    except ZeroError as error:
        raise _refused(error.reason) from None
    user = await runtime.database.read(users.get_user, proven.identity.owner_id)
    if proven.identity.owner_kind != "user" or user is None or user.disabled_at is not None:
        raise _refused("owner is no active user")
    acr, amr = PROOF_OF_POSSESSION
    session, cookie = await sessions.begin(
        runtime,
        user.id,
        acr=acr,
        amr=amr,
        user_agent=request.header(b"user-agent") or "",
        address=request.address,
    )
    answer = json_response(200, {"session": session.id, "sub": user.id, "acr": acr, "amr": amr})
    set_cookie = browser.set_cookie(runtime.settings, SESSION_COOKIE, cookie, None)
    return Response(answer.status, answer.body, (*answer.headers, set_cookie))


def _check_same_site(request: Request) -> None:
    # A page of another site must not sign its visitor in as somebody else.
    site, origin = request.header(b"sec-fetch-site"), request.header(b"origin")
    if site not in (None, "same-origin", "none") or origin not in (
        None,
        browser.own_origin(request.runtime.settings),
    ):
        raise OAuthError("access_denied", "This call is not for pages of other sites.")


async def _throttle(request: Request) -> None:
    wait = await request.runtime.database.write(
        limits.take,
        f"zero address {request.address}",
        capacity=CAPACITY,
        per_second=PER_SECOND,
        now=request.runtime.clock(),
    )
    if wait:
        raise OAuthError(
            "too_many_requests", "Too many attempts from this address.", retry_after=max(1, int(wait))
        )


def _refused(reason: str) -> OAuthError:
    return OAuthError("invalid_grant", "The proof is not valid here.", detail=reason)


async def renew(request: Request) -> Response:
    """Accept the renewal of a registered identity."""
    await _throttle(request)
    try:
        renewed = from_json(request.json(), Identity)
        registered = await identities.renew(request.runtime, renewed)
    except ZeroError as error:
        raise OAuthError(
            "invalid_request", "This is no renewal of an identity here.", detail=error.reason
        ) from None
    return json_response(200, {"id": registered.id, "expires": renewed.expires})


async def revoke(request: Request) -> Response:
    """Accept the revocation of a registered identity by its holder."""
    await _throttle(request)
    try:
        await identities.revoke(request.runtime, from_json(request.json(), Revocation))
    except ZeroError as error:
        raise OAuthError("invalid_request", "This revokes no identity here.", detail=error.reason) from None
    return Response(204)
