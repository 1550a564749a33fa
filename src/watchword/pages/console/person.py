"""The console's page of one person: the account and its ways to sign in; changing it, helping back in, disabling, deleting.

One's own account is changed only under `/account`, so that nobody removes their own rights, or locks themselves out, by mistake.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

from watchword.flows.upstream import upstream_links
from watchword.flows.users import account_changes, enrolment, people
from watchword.flows.users.people import Changes
from watchword.http import Request, Response, redirect
from watchword.http.forms import Form
from watchword.oauth.errors import OAuthError
from watchword.pages import account, once
from watchword.pages.account import Person
from watchword.pages.console import frame, sessions
from watchword.pages.console import people as people_page
from watchword.pages.render import Problem
from watchword.store import identities, user_changes, users
from watchword.store.factors import Enrolled
from watchword.store.users import User

# The names of the forms' fields, by the flow's, where they differ.
FIELDS = {"email_verified": "email"}


async def show(request: Request) -> Response:
    """Show a person."""
    return await _one(request, await frame.require(request))


async def _one(
    request: Request, person: Person, errors: dict[str, object] | None = None, form: Form | None = None
) -> Response:
    """Answer a person's page, with the errors of a change and what was typed for it."""
    runtime = request.runtime
    user = await _find(request)
    have = await people.factors_of(runtime, user)
    live = await people.live_sessions(runtime, user.id, limit=frame.PAGE + 1)
    kept = {
        name: form.get(name) or "" for name in ("display_name", "email", "groups") if form and form.has(name)
    }
    names = {user.id: user.username}
    context = {
        "action": frame.address(request, "people", user.id),
        "user": {**people_page.view(request, user), **await _more(request, user, have)},
        "visits": [sessions.view(request, session, person, names) for session in live[: frame.PAGE]],
        "all_visits": f"{frame.address(request, 'sessions')}?{urlencode({'user': user.id})}"
        if len(live) > frame.PAGE
        else None,
        "may": [] if user.id == person[1].id else _offered(request, user, have),
        "values": {
            "display_name": user.display_name or "",
            "email": user.email or "",
            "groups": " ".join(user.groups),
            **kept,
        },
        "errors": errors or {},
        "hidden": once.field(),
    }
    return frame.page(request, person, "people", context, template="person", status=400 if errors else 200)


async def _find(request: Request) -> User:
    return await people.find(request.runtime, request.path_params["id"])


async def _more(request: Request, user: User, have: Enrolled) -> dict[str, object]:
    runtime = request.runtime
    ends = await runtime.database.read(user_changes.count_ends, user.id, runtime.now())
    there = [(one.title, linked) for one, linked in await upstream_links.linked(runtime, user) if linked]
    there += [
        (upstream_links.host_of(linked), linked) for linked in await upstream_links.left_over(runtime, user)
    ]
    keys = await runtime.lists.read(identities.list_identities, user.id)
    return {
        "groups": list(user.groups),
        "has_password": await runtime.database.read(users.find_password, user.id) is not None,
        "password_changed_at": user.password_changed_at,
        "passkeys": have.passkeys,
        "totp": have.totp,
        "email_code": have.email_code,
        "recovery_codes": have.recovery_codes,
        "identities": len([one for one in keys if identities.is_live(one, runtime.now())]),
        "elsewhere": [{"name": name, "account": linked.name} for name, linked in there],
        "applications": ends[1],
        "tokens": ends[2],
        "tokens_url": f"{frame.address(request, 'tokens')}?{urlencode({'owner': user.username})}",
        "about_url": f"{frame.address(request, 'events')}?{urlencode({'target': user.id})}",
        "by_url": f"{frame.address(request, 'events')}?{urlencode({'actor': user.id})}",
    }


def _offered(request: Request, user: User, have: Enrolled) -> list[str]:
    """Return the actions that are possible on somebody else's account."""
    holds = have.passkeys or have.totp or have.recovery_codes or have.email_code
    on = user.disabled_at is None
    possible = {
        "edit": True,
        "reset": on and bool(enrolment.choices(request.runtime)),
        "remove_factors": bool(holds),
        "give": on and not user.is_admin,
        "take": user.is_admin,
        "switch_off": on,
        "switch_on": not on,
        "delete": True,
    }
    return [name for name, applies in possible.items() if applies]


async def change(request: Request) -> Response:
    """Change a person's account, or end one of their sessions."""
    found = await frame.require_fresh(request)
    form = account.form_of(request, found)
    user, do = await _find(request), form.get("do") or ""
    if do == "end":
        leaving = await sessions.end(request, found, form)
        return leaving or frame.done(request, "session_ended", "people", user.id)
    if do not in CHANGES:
        raise OAuthError("invalid_request", "There is no such change.", field="do")
    if user.id == found[1].id:
        return await _one(request, found, {"form": "own_account"})
    try:
        return await CHANGES[do](request, found, user, form)
    except OAuthError as error:
        return await _one(request, found, frame.problems(error, form, FIELDS), form)


async def _rename(request: Request, person: Person, user: User, form: Form) -> Response:
    wished = Changes(display_name=(form.get("display_name") or "").strip())
    await people.change(frame.acting(request, person), user, wished, actor=person[1].id)
    return frame.done(request, "profile_saved", "people", user.id)


async def _set_groups(request: Request, person: Person, user: User, form: Form) -> Response:
    # Somebody else put the person in a group meanwhile, or took them out of one.
    if (form.get("shown") or "") != " ".join(user.groups):
        return await _one(request, person, {"groups": "changed_meanwhile"})
    wished = Changes(groups=tuple((form.get("groups") or "").split()))
    await people.change(frame.acting(request, person), user, wished, actor=person[1].id)
    return frame.done(request, "profile_saved", "people", user.id)


async def _set_address(request: Request, person: Person, user: User, form: Form) -> Response:
    email, verified = (form.get("email") or "").strip(), form.get("email_verified") == "yes"
    if not email:
        return await _one(request, person, {"email": "required"}, form)
    # Its owner, or another administrator, changed it meanwhile.
    if (form.get("shown") or "") != (user.email or ""):
        return await _one(request, person, {"email": "changed_meanwhile"})
    if email != user.email:
        wished = Changes(email=email, email_verified=verified)
    elif verified != (user.email_verified_at is not None):
        wished = Changes(email_verified=verified)
    else:
        return frame.done(request, "profile_saved", "people", user.id)
    await people.change(frame.acting(request, person), user, wished, actor=person[1].id)
    return frame.done(request, "profile_saved", "people", user.id)


async def _give(request: Request, person: Person, user: User, form: Form) -> Response:
    await people.change(frame.acting(request, person), user, Changes(is_admin=True), actor=person[1].id)
    return frame.done(request, "admin_given", "people", user.id)


async def _take(request: Request, person: Person, user: User, form: Form) -> Response:
    await people.change(frame.acting(request, person), user, Changes(is_admin=False), actor=person[1].id)
    return frame.done(request, "admin_taken", "people", user.id)


async def _switch_off(request: Request, person: Person, user: User, form: Form) -> Response:
    await account_changes.set_disabled(frame.acting(request, person), user, True, actor=person[1].id)
    return frame.done(request, "switched_off", "people", user.id)


async def _switch_on(request: Request, person: Person, user: User, form: Form) -> Response:
    await account_changes.set_disabled(frame.acting(request, person), user, False, actor=person[1].id)
    return frame.done(request, "switched_on", "people", user.id)


async def _remove_factors(request: Request, person: Person, user: User, form: Form) -> Response:
    await people.remove_factors(frame.acting(request, person), user, actor=person[1].id)
    return frame.done(request, "factors_removed", "people", user.id)


async def _end_all(request: Request, person: Person, user: User, form: Form) -> Response:
    lasting = form.get("end_access") == "yes"
    await people.end_sessions(frame.acting(request, person), user, lasting=lasting, actor=person[1].id)
    return frame.done(request, "sessions_ended", "people", user.id)


async def _reset(request: Request, person: Person, user: User, form: Form) -> Response:
    if user.disabled_at is not None:  # meanwhile: the link would lead nowhere
        return await _one(request, person, {"form": "changed_meanwhile"})
    runtime = once.runtime_for(frame.acting(request, person), person[0], form, user.id)
    try:
        link = await people.reset_link(runtime, user, actor=person[1].id)
    except once.SentBefore:
        return frame.done(request, "link_once", "people", user.id)
    hours = people.RESET_LIFETIME // 3600
    context = {"kind": "reset", "whom": user.username, "hours": hours, "mailed": False}
    return people_page.show_link(request, person, link, context, user.id)


CHANGES: dict[str, Callable[[Request, Person, User, Form], Awaitable[Response]]] = {
    "rename": _rename,
    "groups": _set_groups,
    "address": _set_address,
    "give": _give,
    "take": _take,
    "switch_off": _switch_off,
    "switch_on": _switch_on,
    "remove_factors": _remove_factors,
    "end_all": _end_all,
    "reset": _reset,
}


async def show_delete(request: Request) -> Response:
    """Say what ends with an account and ask for its name; one's own is deleted under `/account`."""
    found = await frame.require_fresh(request)
    user = await _find(request)
    if user.id == found[1].id:
        return redirect(f"{request.runtime.settings.issuer}/account/delete")
    return await _delete(request, found, user)


async def _delete(
    request: Request, person: Person, user: User, problem: Problem | str | None = None
) -> Response:
    runtime = request.runtime
    ends = await runtime.database.read(user_changes.count_ends, user.id, runtime.now())
    context = {
        "action": frame.address(request, "people", user.id, "delete"),
        "user": people_page.view(request, user),
        "ends": dict(zip(("sessions", "applications", "tokens"), ends, strict=True)),
        "back_url": frame.address(request, "people", user.id),
        "errors": {"identifier": problem} if problem else {},
    }
    return frame.page(
        request, person, "people", context, template="person_delete", status=400 if problem else 200
    )


async def delete(request: Request) -> Response:
    """Delete an account when its name was typed."""
    found = await frame.require_fresh(request)
    form = account.form_of(request, found)
    user, own = await _find(request), found[1]
    if user.id == own.id:
        return await _one(request, found, {"form": "own_account"})
    if (form.get("identifier") or "").strip() != user.username:
        return await _delete(request, found, user, "name_wrong")
    try:
        await account_changes.delete(frame.acting(request, found), user, actor=own.id)
    except OAuthError as error:
        if error.code != "conflict":
            raise
        return await _delete(request, found, user, frame.refused(error))
    return frame.done(request, "person_deleted", "people")
