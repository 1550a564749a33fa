"""My account: where I am signed in, and which applications may act for me; each can be ended here."""

from watchword.flows import places, sessions
from watchword.flows.users import account_access
from watchword.http import Request, Response, redirect
from watchword.oauth.errors import OAuthError
from watchword.pages import account, browser, consent, details, scopes
from watchword.store import sessions as store
from watchword.store.grants import sessions_with_lasting_access
from watchword.store.sessions import Session


async def show_sessions(request: Request) -> Response:
    """List one's own sessions, this one first."""
    found = await account.require(request)
    current, user = found
    runtime = request.runtime
    listed = await runtime.database.read(store.list_sessions, user_id=user.id, now=runtime.now())
    lasting = await runtime.database.read(sessions_with_lasting_access, user.id)
    ordered = sorted(listed, key=lambda one: (one.id != current.id, -one.last_seen_at))
    context = {
        "action": f"{runtime.settings.issuer}/account/sessions",
        "visits": [{**_visit(request, one, current), "lasting": one.id in lasting} for one in ordered],
    }
    return account.page(request, found, "sessions", context)


def _visit(request: Request, session: Session, current: Session) -> dict[str, object]:
    device = browser.device_of(request, session.user_agent)
    return {
        "id": session.id,
        "device": device.name,
        "kind": device.kind,
        "place": places.place_of(request.runtime, session.address, browser.locale_of(request)),
        "address": session.address,
        "started_at": session.created_at,
        "last_used_at": session.last_seen_at,
        "current": session.id == current.id,
        "remembered": session.remembered,
    }


async def end_sessions(request: Request) -> Response:
    """End one of one's own sessions, or all others."""
    found = await account.require(request)
    form = account.form_of(request, found)
    current, user = found
    runtime = request.runtime
    do = form.get("do")
    if do not in ("end", "end_others"):
        raise OAuthError("invalid_request", "There is no such change.", field="do")
    if do == "end_others":
        if form.get("end_access") == "yes":
            await account.end_elsewhere(request, found)
        else:
            given = {"but": current.id, "actor": user.id, "now": runtime.now()}
            await sessions.act(runtime, current, store.end_sessions_of, user.id, **given)
        return account.done(request, "sessions", "others_ended")
    target = form.get("session") or ""
    if target == current.id:
        return redirect(f"{runtime.settings.issuer}/sign-out")
    await sessions.act(
        runtime,
        current,
        store.end_session_elsewhere,
        target,
        user_id=user.id,
        lasting=form.get("end_access") == "yes",
        actor=user.id,
        now=runtime.now(),
    )
    return account.done(request, "sessions", "session_ended")


async def show_applications(request: Request) -> Response:
    """List the applications that may act for the person."""
    found = await account.require(request)
    runtime = request.runtime
    after = account.after(request, "applications")
    granted = await account_access.applications(runtime, found[1].id, after=after, limit=account.PAGE + 1)
    shown, following = account.listed(request, "applications", granted, lambda row: row[1])
    context = {
        "action": f"{runtime.settings.issuer}/account/applications",
        "granted": [
            {
                "id": one.client.client_id,
                "client": consent.described(one.client),
                "scopes": [scopes.described(request, scope) for scope in one.scopes],
                "resources": [scopes.resource(request, uri) for uri in one.resources],
                "details": details.of(request, one.details),
                "granted_at": one.granted_at,
                "last_used_at": one.last_used_at,
                "offline": "offline_access" in one.scopes,
            }
            for one, _ in shown
        ],
        "next_url": following,
    }
    return account.page(request, found, "applications", context)


async def revoke_application(request: Request) -> Response:
    """Withdraw what was granted to an application: its grants end, and the consent is asked for again."""
    found = await account.require(request)
    form = account.form_of(request, found)
    (session, user), which = found, form.get("application") or ""
    await account_access.withdraw(request.runtime, user.id, which, session=session)
    return account.done(request, "applications", "application_revoked")
