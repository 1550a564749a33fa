"""Zero-knowledge identities on the pages: sign in by answering a challenge, register and revoke one's own."""

import json
from urllib.parse import quote

from watchword.credentials import methods
from watchword.credentials.methods import Method
from watchword.credentials.zkproof import ZeroError
from watchword.flows import identities as flow
from watchword.flows import proofs, sessions, ways_in
from watchword.flows.inputs import check_text
from watchword.flows.runtime import Runtime
from watchword.http import NO_STORE, Request, Response, json_response, redirect
from watchword.http.forms import Form
from watchword.oauth.errors import OAuthError
from watchword.pages import account, browser, visit
from watchword.pages.visit import Proved
from watchword.store import identities as store
from watchword.store.identities import RegisteredIdentity
from watchword.store.sessions import Session
from watchword.store.users import User
from watchword.telemetry import count
from watchword.zero.proof import dpop_channel
from watchword.zero.records import Proof, from_json, to_json

SECTION = "identities"
MAX_NAME = 80


async def show_sign_in(request: Request) -> Response:
    """Show a fresh challenge and the form for its answer."""
    _check_allowed(request)
    return _sign_in_page(request, request.query().get("return"))


def _sign_in_page(
    request: Request, sealed: str | None, problem: str | None = None, status: int = 200
) -> Response:
    issuer = request.runtime.settings.issuer
    context = {
        "action": f"{issuer}/sign-in/identity",
        "challenge": _challenge(request, flow.SIGN_IN),
        "command": _command(issuer),
        "links": {"sign_in": f"{issuer}/sign-in" + (f"?return={quote(sealed)}" if sealed else "")},
        "errors": {"proof": problem} if problem else {},
        "hidden": {"return": sealed} if sealed else {},
    }
    return browser.page(request, "identity_sign_in", context, status=status)


def _challenge(request: Request, purpose: str) -> str:
    return json.dumps(to_json(flow.make_challenge(request.runtime, purpose)))


def _command(issuer: str) -> str:
    return f"watchword zero prove --challenge challenge.json --verifier {issuer} --secret FILE"


def _check_allowed(request: Request) -> None:
    if not flow.are_accepted(request.runtime):
        raise OAuthError("access_denied", flow.NOT_ACCEPTED)


async def sign_in(request: Request) -> Response:
    """Check the answer and go on: to a second factor where one is needed, else into the session."""
    _check_allowed(request)
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    sealed = form.get("return")
    try:
        user = await flow.sign_in(request.runtime, flow.read_proof(form.get("proof") or ""))
    except ZeroError:
        count("sign_ins", "identity", "refused")
        return await _refused(request, sealed)
    count("sign_ins", "identity", "accepted")
    return await visit.proceed(request, user, Proved((Method.IDENTITY,), sealed or ""))


async def _refused(request: Request, sealed: str | None) -> Response:
    try:
        await flow.throttle(request.runtime, request.address)
    except OAuthError:
        return _sign_in_page(request, sealed, "proof_refused", 429)
    return _sign_in_page(request, sealed, "proof_refused", 401)


async def sign_in_by_program(request: Request) -> Response:
    """Begin a session by a proof sent as JSON and return it as the answer's cookie. If the request has a DPoP proof, the identity's
    proof has to be bound to its key, as the channel."""
    _check_allowed(request)
    browser.check_same_site(request)
    runtime = request.runtime
    jkt = await proofs.prove_key(runtime, request.credentials(), request.path)
    channel = dpop_channel(jkt) if jkt is not None else None
    try:
        user = await flow.sign_in(runtime, from_json(request.json(), Proof), channel=channel)
    except ZeroError as error:
        count("sign_ins", "identity", "refused")
        await flow.throttle(runtime, request.address)
        raise OAuthError("invalid_grant", "The proof is not valid here.", detail=error.reason) from None
    count("sign_ins", "identity", "accepted")
    if await flow.needs_second_factor(runtime, user):
        raise OAuthError(
            "access_denied", "This account needs a second factor: sign in at /sign-in/identity in a browser."
        )
    acr, amr = methods.assurance((Method.IDENTITY,))
    agent = request.header(b"user-agent") or ""
    session, cookie = await sessions.begin(
        runtime, user.id, acr=acr, amr=amr, user_agent=agent, address=request.address, proved=user
    )
    document = {"session": session.id, "sub": session.user_id, "acr": session.acr, "amr": session.amr}
    headers = (*NO_STORE, browser.set_cookie(runtime.settings, visit.SESSION_COOKIE, cookie, None))
    return json_response(200, document, headers)


async def show(request: Request) -> Response:
    """List one's own identities, with the form for another."""
    _check_allowed(request)
    found = await account.require_fresh(request)
    return await _page(request, *found)


async def _page(
    request: Request,
    session: Session,
    user: User,
    form: Form | None = None,
    errors: dict[str, str] | None = None,
) -> Response:
    runtime = request.runtime
    issuer = runtime.settings.issuer
    listed = await runtime.database.read(store.list_identities, user.id)
    context = {
        "action": f"{issuer}/account/identities",
        "identities": [_view(identity, runtime.now()) for identity in listed],
        "challenge": _challenge(request, flow.register_purpose(user.id)),
        "command": _command(issuer),
        "values": {"name": (form.get("name") or "") if form else ""},
        "errors": errors or {},
    }
    return account.page(request, (session, user), SECTION, context, status=400 if errors else 200)


def _view(identity: RegisteredIdentity, now: int) -> dict[str, object]:
    state = "revoked" if identity.revoked_at else "expired" if now >= identity.expires_at else "active"
    return {
        "id": identity.id,
        "name": identity.name,
        "registered_at": identity.registered_at,
        "last_used_at": identity.last_used_at,
        "expires_at": identity.expires_at,
        "state": state,
    }


async def change(request: Request) -> Response:
    """Register an identity by its holder's proof, or revoke one of one's own."""
    _check_allowed(request)
    found = await account.require_fresh(request)
    session, user = found
    form = account.form_of(request, found)
    here = f"{request.runtime.settings.issuer}{flow.PAGE}"
    if form.get("do") == "revoke":
        within, headers = account.changing(
            request, found, form, page=flow.PAGE, change="identity_revoked", done="removed"
        )
        outcome = await ways_in.revoke_identity(within, session, form.get("identity_id") or "")
        if outcome == "last":
            return await _page(request, session, user, None, {"form": "passkey_last"})
        if outcome == "unknown":
            await account.unchanged(request, found, form)
        return redirect(here, headers if outcome == "removed" else ())
    within, headers = account.changing(request, found, form, page=flow.PAGE, change="identity_added")
    if errors := await _register(request, within, session, form):
        return await _page(request, session, user, form, errors)
    return redirect(here, headers)


async def _register(request: Request, within: Runtime, session: Session, form: Form) -> dict[str, str]:
    try:
        name = check_text("name", (form.get("name") or "")[:MAX_NAME])
    except OAuthError:
        return {"name": "required"}
    try:
        document = flow.read_identity(form.get("identity") or "")
    except ZeroError:
        return {"identity": "identity_invalid"}
    try:
        given = flow.read_proof(form.get("proof") or "")
        await flow.register(
            within,
            document,
            owner=("user", session.user_id),
            name=name,
            actor=session.user_id,
            given=given,
            session=session,
        )
    except ZeroError:
        return {"proof": "proof_refused"}
    except OAuthError as error:
        if error.code != "conflict":
            raise
        many = await request.runtime.database.read(store.has_many, session.user_id, request.runtime.now())
        return {"identity": "identity_many" if many else "identity_taken"}
    return {}
