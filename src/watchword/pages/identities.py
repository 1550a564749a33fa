"""Zero-knowledge identities on the pages: sign in by answering a challenge, register and revoke one's own."""

import json

from watchword.credentials.methods import PROOF_OF_POSSESSION
from watchword.credentials.zkproof import ZeroError
from watchword.flows import identities as flow
from watchword.flows import sessions
from watchword.flows.client_registry import check_text
from watchword.http import Form, Request, Response, redirect
from watchword.oauth.errors import OAuthError
from watchword.pages import account, browser
from watchword.pages.sign_in import SESSION_COOKIE
from watchword.store import identities as store
from watchword.store import limits, users
from watchword.store.identities import RegisteredIdentity
from watchword.store.sessions import Session
from watchword.store.users import User
from watchword.zero.records import to_json

SECTION = "identities"
CAPACITY, PER_SECOND = 60.0, 1.0
MAX_NAME = 80


async def show_sign_in(request: Request) -> Response:
    """Show a fresh challenge and the form for its answer."""
    return _sign_in_page(request)


def _sign_in_page(request: Request, problem: str | None = None, status: int = 200) -> Response:
    issuer = request.runtime.settings.issuer
    context = {
        "action": f"{issuer}/sign-in/identity",
        "challenge": _challenge(request, flow.SIGN_IN),
        "command": _command(issuer),
        "links": {"sign_in": f"{issuer}/sign-in"},
        "errors": {"proof": problem} if problem else {},
    }
    return browser.page(request, "identity_sign_in", context, status=status)


def _challenge(request: Request, purpose: str) -> str:
    return json.dumps(to_json(flow.make_challenge(request.runtime, purpose)))


def _command(issuer: str) -> str:
    return f"watchword zero prove --challenge challenge.json --verifier {issuer} --secret FILE"


async def sign_in(request: Request) -> Response:
    """Check the answer and begin a session."""
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    runtime = request.runtime
    name = f"zero address {request.address}"
    if await runtime.database.write(
        limits.take, name, capacity=CAPACITY, per_second=PER_SECOND, now=runtime.clock()
    ):
        return _sign_in_page(request, "proof_refused", 429)
    try:
        proven = await flow.check_proof(runtime, flow.read_proof(form.get("proof") or ""), flow.SIGN_IN, None)
    except ZeroError:
        return _sign_in_page(request, "proof_refused", 401)
    user = await runtime.database.read(users.get_user, proven.identity.owner_id)
    if proven.identity.owner_kind != "user" or user is None or user.disabled_at is not None:
        return _sign_in_page(request, "proof_refused", 401)
    acr, amr = PROOF_OF_POSSESSION
    _session, cookie = await sessions.begin(
        runtime,
        user.id,
        acr=acr,
        amr=amr,
        user_agent=request.header(b"user-agent") or "",
        address=request.address,
    )
    headers = (browser.set_cookie(runtime.settings, SESSION_COOKIE, cookie, None),)
    return redirect(f"{runtime.settings.issuer}/account", headers)


async def show(request: Request) -> Response:
    """List one's own identities, with the form for another."""
    found = await account.require(request)
    if isinstance(found, Response):
        return found
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
    return account.page(request, session, user, SECTION, context, status=400 if errors else 200)


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
    found = await account.require(request)
    if isinstance(found, Response):
        return found
    session, user = found
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    if form.get("do") == "revoke":
        await _revoke(request, user, form.get("identity_id") or "")
    elif errors := await _register(request, user, form):
        return await _page(request, session, user, form, errors)
    return redirect(f"{request.runtime.settings.issuer}/account/identities")


async def _revoke(request: Request, user: User, identity_id: str) -> None:
    for identity in await request.runtime.database.read(store.list_identities, user.id):
        if identity.id == identity_id:
            point = flow.read_identity(identity.document).public
            await request.runtime.database.write(
                store.revoke_identity, point, owner_id=user.id, actor=user.id, now=request.runtime.now()
            )


async def _register(request: Request, user: User, form: Form) -> dict[str, str]:
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
            request.runtime, document, owner=("user", user.id), name=name, actor=user.id, given=given
        )
    except ZeroError:
        return {"proof": "proof_refused"}
    except OAuthError:
        return {"identity": "identity_taken"}
    return {}
