"""The console's people: all accounts, searched and filtered; inviting somebody, or creating an account for them."""

from collections.abc import Mapping

from watchword.flows.runtime import Runtime
from watchword.flows.users import accounts, enrolment, sign_up
from watchword.http import Request, Response
from watchword.http.forms import Form
from watchword.oauth.errors import OAuthError
from watchword.pages import account, browser, once
from watchword.pages.account import Person
from watchword.pages.console import frame
from watchword.store import users
from watchword.store.users import User

# The names of the form's fields, by the flow's, where they differ.
FIELDS = {"email": "address"}


async def show(request: Request) -> Response:
    """List people."""
    return await answer_list(request, await frame.require(request))


async def answer_list(
    request: Request, person: Person, problem: str | None = None, status: int = 200
) -> Response:
    """Answer the list, with a `problem` where it is shown in place of something else."""
    filters = {name: frame.filter_of(request, name) for name in ("search", "group", "state")}
    rows = await request.runtime.lists.read(
        users.list_by_name,
        after=frame.after(request, "people"),
        limit=frame.PAGE + 1,
        search=filters["search"],
        group=filters["group"],
        state=filters["state"] if filters["state"] in users.STATES else users.STATES[0],
    )
    shown, following = frame.listed(request, "people", rows, lambda row: row[1], filters)
    context = {
        "action": frame.address(request, "people"),
        "new_url": frame.address(request, "people", "new"),
        "people": [view(request, user) for user, _place in shown],
        "states": list(users.STATES),
        "next_url": following,
        "values": filters,
        "errors": {"form": problem} if problem else {},
    }
    return frame.page(request, person, "people", context, status=status)


def view(request: Request, user: User) -> dict[str, object]:
    """Return an account as the console's pages show it."""
    return {
        "id": user.id,
        "url": frame.address(request, "people", user.id),
        "name": user.display_name,
        "username": user.username,
        "email": user.email,
        "email_verified": user.email_verified_at is not None,
        "is_admin": user.is_admin,
        "disabled_at": user.disabled_at,
        "created_at": user.created_at,
    }


async def show_new(request: Request) -> Response:
    """Show the forms that invite somebody and that create an account."""
    return _new(request, await frame.require_fresh(request))


def _new(
    request: Request, person: Person, form: Form | None = None, errors: dict[str, object] | None = None
) -> Response:
    runtime = request.runtime
    context = {
        "action": frame.address(request, "people", "new"),
        "may": [
            *(["invite"] if enrolment.is_possible(runtime) else []),
            *(["mail"] if runtime.settings.mails else []),
        ],
        "hours": sign_up.INVITE_LIFETIME // 3600,
        "values": {name: form.get(name) or "" for name in ("email", "admin", "username", "address")}
        if form
        else {},
        "errors": errors or {},
        "hidden": once.field(),
    }
    return frame.page(
        request, person, "people", context, template="person_new", status=400 if errors else 200
    )


async def create(request: Request) -> Response:
    """Invite somebody, and show the link this once; or create an account."""
    found = await frame.require_fresh(request)
    form = account.form_of(request, found)
    making = form.get("do") == "create"
    wanted = "username" if making else "email"
    if not (form.get(wanted) or "").strip():
        return _new(request, found, form, {wanted: "required"})
    about = "create" if making else "invite"
    runtime = once.runtime_for(frame.acting(request, found), found[0], form, about)
    try:
        return await (_create if making else _invite)(request, runtime, found, form)
    except once.SentBefore:
        return frame.done(request, "person_once", "people")
    except OAuthError as error:
        return _new(request, found, form, frame.problems(error, form, FIELDS if making else {}))


async def _create(request: Request, runtime: Runtime, person: Person, form: Form) -> Response:
    user = await accounts.create(
        runtime,
        username=(form.get("username") or "").strip(),
        email=(form.get("address") or "").strip() or None,
        actor=person[1].id,
    )
    return frame.done(request, "person_created", "people", user.id)


async def _invite(request: Request, runtime: Runtime, person: Person, form: Form) -> Response:
    own = person[1]
    email = (form.get("email") or "").strip()
    link = await sign_up.invite(
        runtime,
        email,
        is_admin=form.get("admin") == "yes",
        inviter=own.display_name or own.username,
        actor=own.id,
        by=own.id,
        locale=browser.locale_of(request),
    )
    hours = sign_up.INVITE_LIFETIME // 3600
    context = {"kind": "invite", "whom": email, "hours": hours, "mailed": runtime.settings.mails}
    return show_link(request, person, link, context)


def show_link(
    request: Request, person: Person, link: str, context: Mapping[str, object], *below: str
) -> Response:
    """Show a one-time link this once; `below` is the page of the person whom it is for, where there is one."""
    shared = {
        "link": link,
        "here": browser.here(request, f"{frame.path('people', *below)}?notice=link_once"),
        "done_url": frame.address(request, "people", *below),
    }
    return frame.page(request, person, "people", {**shared, **context}, template="person_link")
