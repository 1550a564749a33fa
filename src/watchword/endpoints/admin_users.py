"""The JSON API of people and their sessions.

The right to manage people must not be a way to become an administrator. So changes to an administrator's account, and making
somebody an administrator, need `watchword:admin`. A limited token can do neither, and opens no administrator's account: the person
who signs in to that would be free of the token's limits (AP-05).
"""

from typing import Annotated

import msgspec

from watchword.flows import acting, paging
from watchword.flows.identifiers import LONGEST
from watchword.flows.runtime import Runtime
from watchword.flows.users import account_changes, accounts, people, sign_up
from watchword.flows.users.people import Changes
from watchword.http.operation import Call, Operation
from watchword.oauth.errors import OAuthError
from watchword.store import users
from watchword.store.factors import Enrolled
from watchword.store.sessions import Session
from watchword.store.users import User

READ, WRITE, ADMIN = "watchword:users:read", "watchword:users:write", "watchword:admin"
SESSIONS_READ, SESSIONS_WRITE = "watchword:sessions:read", "watchword:sessions:write"

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=320)]
Groups = Annotated[tuple[str, ...], msgspec.Meta(max_length=100)]
Password = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]


class UserView(msgspec.Struct, frozen=True):
    """An account; times are Unix seconds. The last four members, what its person has set up, are left out of lists, and of a new account."""

    id: str
    username: str
    created_at: int
    email: str | None
    email_verified_at: int | None
    display_name: str | None
    attributes: dict[str, object]
    groups: tuple[str, ...]
    is_admin: bool
    disabled_at: int | None
    password_changed_at: int | None
    passkeys: int | msgspec.UnsetType = msgspec.UNSET
    totp: bool | msgspec.UnsetType = msgspec.UNSET
    recovery_codes: int | msgspec.UnsetType = msgspec.UNSET
    email_code: bool | msgspec.UnsetType = msgspec.UNSET


class UserPage(msgspec.Struct, frozen=True):
    """A page of accounts ordered by identifier, or by name where one is searched for; `next` is the cursor of the page after it."""

    users: list[UserView]
    next: str | None


class UserQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to search and page through accounts; `search` is a prefix of a user name or an address, or an identifier;
    with `group` only people who are in it."""

    search: Annotated[str, msgspec.Meta(max_length=LONGEST)] = ""
    group: Annotated[str, msgspec.Meta(max_length=200)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    cursor: paging.Cursor = ""


class UserInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new account; without a password, its person needs a reset link or a passkey to sign in."""

    username: Name
    email: Name | None = None
    email_verified: bool = False
    password: Password | None = None
    is_admin: bool = False
    groups: Groups = ()


class UserChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes to an account; what is left out stays as it is. A user name that is an address follows a verified `email`."""

    display_name: Annotated[str, msgspec.Meta(max_length=500)] | None = None
    email: Name | None = None
    email_verified: bool | None = None
    attributes: dict[str, object] | None = None
    is_admin: bool | None = None
    groups: Groups | None = None


class InviteInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to invite."""

    email: Name
    is_admin: bool = False


class OneTimeLink(msgspec.Struct, frozen=True, omit_defaults=True):
    """An address that works once; `expires_in` is in seconds. `disabled` where the account is: until it is enabled the link leads nowhere."""

    link: str
    expires_in: int
    disabled: bool = False


class SessionView(msgspec.Struct, frozen=True):
    """A live session; times are Unix seconds. `authenticated_at` is null where a provider did not say when the person proved who they are."""

    id: str
    user_id: str
    created_at: int
    authenticated_at: int | None
    last_seen_at: int
    expires_at: int
    acr: str
    amr: tuple[str, ...]
    user_agent: str
    address: str


class SessionPage(msgspec.Struct, frozen=True):
    """A page of live sessions, newest first; `next` is the cursor of the page after it."""

    sessions: list[SessionView]
    next: str | None


class SessionQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose sessions to list; `user` is an identifier, a name or a verified address."""

    user: Annotated[str, msgspec.Meta(max_length=320)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    cursor: paging.Cursor = ""


class EndQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether lasting access (`offline_access`) that applications were given ends as well."""

    lasting_access: bool = False


class EndedSessions(msgspec.Struct, frozen=True):
    """Which sessions were ended."""

    ended: list[str]


def view(user: User, have: Enrolled | None = None) -> UserView:
    """Return an account as operators and programs see it."""
    return UserView(
        id=user.id,
        username=user.username,
        created_at=user.created_at,
        email=user.email,
        email_verified_at=user.email_verified_at,
        display_name=user.display_name,
        attributes=user.attributes,
        groups=user.groups,
        is_admin=user.is_admin,
        disabled_at=user.disabled_at,
        password_changed_at=user.password_changed_at,
        passkeys=have.passkeys if have else msgspec.UNSET,
        totp=have.totp if have else msgspec.UNSET,
        recovery_codes=have.recovery_codes if have else msgspec.UNSET,
        email_code=have.email_code if have else msgspec.UNSET,
    )


def session_view(session: Session) -> SessionView:
    """Return a session as operators and programs see it."""
    shown = {name: getattr(session, name) for name in SessionView.__struct_fields__}
    return SessionView(**shown | {"authenticated_at": session.auth_time})


def _lacks_power(call: Call) -> OAuthError:
    needs = f"Changes that concern an administrator need the scope {ADMIN}."
    return call.caller.refusal("insufficient_scope", needs, scope=ADMIN)


def _is_limited(call: Call) -> OAuthError:
    return call.caller.refusal(
        "insufficient_scope",
        "A limited token makes nobody an administrator and opens no administrator's account.",
    )


def _check_power(call: Call, concerns_admin: bool, *, opens: bool = True) -> None:
    """Raise `insufficient_scope` for what concerns an administrator and this caller may not do; with `opens`, somebody gets the power of
    one by it."""
    if concerns_admin and not call.caller.may(ADMIN):
        raise _lacks_power(call)
    if concerns_admin and opens and call.caller.is_limited:
        raise _is_limited(call)


async def _subject(call: Call, *, opens: bool = False) -> tuple[User, Runtime]:
    """Return an account, and the runtime by which this caller may change it; raise `insufficient_scope` for an administrator's.

    With `opens`, the change may let somebody into the account.
    """
    runtime, who = call.request.runtime, call.caller
    user = await people.find(runtime, call.path("id"))
    _check_power(call, user.is_admin, opens=opens)
    if who.may(ADMIN) and not (opens and who.is_limited):
        return user, runtime
    refusal = _is_limited(call) if who.may(ADMIN) else _lacks_power(call)
    return user, acting.runtime_on_ordinary(runtime, user.id, refusal)


async def list_users(call: Call) -> UserPage:
    """List accounts."""
    runtime, query = call.request.runtime, call.query
    found = await runtime.lists.read(
        users.search_users,
        search=query.search,
        group=query.group,
        after=paging.open_cursor(runtime, "users", query.cursor),
        limit=query.limit + 1,
    )
    page, following = paging.page(runtime, "users", found, query.limit, lambda row: row[1])
    return UserPage([view(user) for user, _ in page], following)


async def create_user(call: Call) -> UserView:
    """Create an account."""
    body, runtime = call.body, call.request.runtime
    _check_power(call, body.is_admin)
    user = await accounts.create(
        runtime,
        username=body.username,
        email=body.email,
        email_verified=body.email_verified,
        password=body.password,
        is_admin=body.is_admin,
        groups=body.groups,
        actor=call.caller.actor,
    )
    return view(user)


async def show_user(call: Call) -> UserView:
    """Show one account with what its person has set up."""
    return await _whole(call.request.runtime, call.path("id"))


async def _whole(runtime: Runtime, who: str) -> UserView:
    user = await people.find(runtime, who)
    return view(user, await people.factors_of(runtime, user))


async def change_user(call: Call) -> UserView:
    """Change an account."""
    body = call.body
    _check_power(call, bool(body.is_admin))
    user, runtime = await _subject(call, opens=body.email is not None or body.email_verified is not None)
    changes = Changes(**msgspec.structs.asdict(body))
    await people.change(runtime, user, changes, actor=call.caller.actor)
    return await _whole(runtime, user.id)


async def delete_user(call: Call) -> None:
    """Delete an account and revoke everything that was issued for it."""
    user, runtime = await _subject(call)
    await account_changes.delete(runtime, user, actor=call.caller.actor)


async def disable_user(call: Call) -> UserView:
    """Disable an account: its sessions and grants end, its tokens are refused."""
    return await _switch(call, True)


async def enable_user(call: Call) -> UserView:
    """Enable an account again."""
    return await _switch(call, False)


async def _switch(call: Call, disabled: bool) -> UserView:
    user, runtime = await _subject(call, opens=not disabled)  # whoever has its password gets in again
    await account_changes.set_disabled(runtime, user, disabled, actor=call.caller.actor)
    return await _whole(runtime, user.id)


async def invite_user(call: Call) -> OneTimeLink:
    """Invite somebody by mail; the link may also be handed over."""
    _check_power(call, call.body.is_admin)
    link = await sign_up.invite(
        call.request.runtime,
        call.body.email,
        is_admin=call.body.is_admin,
        inviter=None,
        actor=call.caller.actor,
        by=call.caller.subject,
    )
    return OneTimeLink(link, sign_up.INVITE_LIFETIME)


async def make_reset_link(call: Call) -> OneTimeLink:
    """Make a one-time link for the person to set a password, or a passkey where passwords are not in use."""
    user, runtime = await _subject(call, opens=True)
    link = await people.reset_link(runtime, user, actor=call.caller.actor)
    return OneTimeLink(link, people.RESET_LIFETIME, user.disabled_at is not None)


async def remove_factors(call: Call) -> UserView:
    """Remove every second factor of a person who lost them."""
    user, runtime = await _subject(call, opens=True)
    await people.remove_factors(runtime, user, actor=call.caller.actor)
    return await _whole(runtime, user.id)


async def list_sessions(call: Call) -> SessionPage:
    """List live sessions, newest first."""
    runtime, query = call.request.runtime, call.query
    whose = (await people.find(runtime, query.user)).id if query.user else ""
    after = paging.open_cursor(runtime, "sessions", query.cursor)
    found = await people.live_sessions(runtime, whose, after=after, limit=query.limit + 1)
    page, following = paging.page(runtime, "sessions", found, query.limit, lambda session: session.id)
    return SessionPage([session_view(session) for session in page], following)


async def end_session(call: Call) -> None:
    """End one session."""
    await people.end_session(
        call.request.runtime, call.path("id"), lasting=call.query.lasting_access, actor=call.caller.actor
    )


async def end_sessions(call: Call) -> EndedSessions:
    """End every session of a person."""
    runtime = call.request.runtime
    user = await people.find(runtime, call.path("id"))
    lasting = call.query.lasting_access
    return EndedSessions(await people.end_sessions(runtime, user, lasting=lasting, actor=call.caller.actor))


OPERATIONS = (
    Operation("GET", "/users", list_users, "List accounts", READ, query=UserQuery, answer=UserPage),
    Operation("POST", "/users", create_user, "Create an account", WRITE, body=UserInput, answer=UserView, status=201),
    Operation("POST", "/users/invite", invite_user, "Invite somebody", WRITE, body=InviteInput, answer=OneTimeLink, status=201),
    Operation("GET", "/users/{id}", show_user, "Show an account", READ, answer=UserView),
    Operation("PATCH", "/users/{id}", change_user, "Change an account", WRITE, body=UserChanges, answer=UserView),
    Operation("DELETE", "/users/{id}", delete_user, "Delete an account", WRITE),
    Operation("POST", "/users/{id}/disable", disable_user, "Disable an account", WRITE, answer=UserView),
    Operation("POST", "/users/{id}/enable", enable_user, "Enable an account", WRITE, answer=UserView),
    Operation("POST", "/users/{id}/reset-link", make_reset_link, "Make a reset link", WRITE, answer=OneTimeLink, status=201),
    Operation("DELETE", "/users/{id}/factors", remove_factors, "Remove second factors", WRITE, answer=UserView),
    Operation("GET", "/sessions", list_sessions, "List sessions", SESSIONS_READ, query=SessionQuery, answer=SessionPage),
    Operation("DELETE", "/sessions/{id}", end_session, "End a session", SESSIONS_WRITE, query=EndQuery),
    Operation("POST", "/users/{id}/sessions/end", end_sessions, "End a person's sessions", SESSIONS_WRITE, query=EndQuery, answer=EndedSessions),
)  # fmt: skip
