"""The audit trail of the console: by whom a change was made, and in which session."""

import asyncio
from collections.abc import Mapping

import pytest
from tests.fixtures.accounts import another, make, newest, session_of, user_of
from tests.fixtures.console import admin, server
from tests.fixtures.console_forms import form_of
from tests.fixtures.people import Person
from tests.fixtures.servers import Server

from watchword.flows import acting, sessions
from watchword.flows.trust import trust_rules
from watchword.flows.trust.trust_rules import TrustInput
from watchword.flows.users import accounts, people
from watchword.flows.users.people import Changes
from watchword.oauth.errors import OAuthError
from watchword.store import users

__all__ = ["admin", "server"]
RULE = {"name": "deploy", "issuer": "https://ci.example.com", "claims": "repository=acme/shop", "subject": "ci:{repository}",
        "scope": "deploy", "max_lifetime": "3600", "token_lifetime": "600"}  # fmt: skip
TOKEN = {"name": "nightly", "owner": "ci", "scope": "read", "days": "30"}
CLIENT = {"name": "Shop", "redirect_uris": "https://shop.example.com/back", "scope": "openid"}
# By the event that says it, so that all can be made on one server in this order: the page, what its form does or carries, and what is typed
CHANGES: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "token.created": ("tokens/new", "owner", TOKEN),
    "token.rotated": ("tokens/{token}", "do=rotate", {}),
    "token.revoked": ("tokens/{token}", "do=revoke", {"reason": "revoked"}),
    "client.created": ("clients/new/web", "name", CLIENT),
    "client.updated": ("clients/{client}/edit", "version", {"name": "Shops"}),
    "client.secret_added": ("clients/{client}", "do=add_secret", {"overlap": "0"}),
    "client.secret_removed": ("clients/{client}", "do=end_secret", {}),
    "client.deleted": ("clients/{old}/delete", "name", {"name": "Old"}),
    "user.created": ("people/new", "do=create", {"username": "lee"}),
    "link.made": ("people/new", "do=invite", {"email": "lee@example.com"}),
    "user.updated": ("people/{kim}", "do=rename", {"display_name": "Kim L"}),
    "user.email_changed": ("people/{kim}", "do=address", {"email": "new@example.com"}),
    "session.ended": ("sessions", "session", {}),
    "trust.created": ("trust/new", "issuer", RULE),
    "trust.deleted": ("trust/{trust}", "csrf", {}),
    "key.rotated": ("keys", "algorithm", {}),
    "key.revoked": ("keys/{key}", "beginning", {"beginning": "{key}"}),
    "user.disabled": ("people/{kim}", "do=switch_off", {}),
    "user.deleted": ("people/{kim}/delete", "identifier", {"identifier": "kim"}),
}


async def prepare(server: Server) -> dict[str, str]:
    await make(server, "kim", "kim@example.com")
    client, old = (await server.client(name="Before")).client, (await server.client(name="Old")).client
    given = TrustInput(name="other", issuer="https://ci.example.com", scope="deploy",
                       claims={"repository": "acme/shop"}, subject="ci:{repository}")  # fmt: skip
    rule = await trust_rules.create(server.runtime, given, actor="test")
    (key, _), *_ = await server.runtime.keyring.states()
    return {
        "kim": (await user_of(server, "kim")).id,
        "client": client.client_id,
        "old": old.client_id,
        "trust": rule.id,
        "key": key.kid,
        "token": (await server.token()).token.id,
    }


async def test_every_change_names_who_made_it_and_in_which_session(admin: Person) -> None:
    server = admin.server
    own, made = await session_of(server), await prepare(server)
    ada = await user_of(server)
    await Person(server, another(server)).sign_in("kim")
    for name, (page, form, typed) in CHANGES.items():
        await admin.open(f"/console/{page.format(**made)}")
        field, _, does = form.partition("=")
        sent = form_of(admin, does) if does else admin.form(having=field)
        assert sent is not None, name
        address = sent.pop("")
        filled = {key: value.format(**made) if value == "{key}" else value for key, value in typed.items()}
        answer = await admin.http.post(address, data={**sent, **filled})
        assert answer.status_code in (200, 303), answer.text
        told = await newest(server, name)
        assert (told.actor, told.data["session"]) == (ada.id, own.id), name


async def test_nothing_is_changed_in_a_session_that_has_ended_meanwhile(admin: Person) -> None:
    server, ada = admin.server, await user_of(admin.server)
    own = await session_of(server)
    inside = acting.runtime_in(server.runtime, own)
    assert (await accounts.create(inside, username="kim", actor=ada.id)).username == "kim"
    await sessions.end(server.runtime, own)
    with pytest.raises(OAuthError) as refused:
        await accounts.create(inside, username="lee", actor=ada.id)
    assert (refused.value.code, refused.value.field) == ("access_denied", "session")
    assert await server.runtime.database.read(users.find_user, "lee") is None


async def test_ap_05_nothing_is_changed_by_who_lost_the_right_meanwhile(admin: Person) -> None:
    """Between the look at who asks and the change lies whatever a change waits for, such as the keys of an application."""
    server, ada = admin.server, await user_of(admin.server)
    await make(server, "zoe", "zoe@example.com", is_admin=True)
    inside = acting.runtime_in(server.runtime, await session_of(server))
    assert (await accounts.create(inside, username="kim", actor=ada.id)).username == "kim"
    await people.change(server.runtime, ada, Changes(is_admin=False), actor="test")
    with pytest.raises(OAuthError) as refused:
        await accounts.create(inside, username="lee", actor=ada.id)
    assert (refused.value.code, refused.value.rule.status) == ("access_denied", 403)
    assert await server.runtime.database.read(users.find_user, "lee") is None


async def test_of_two_administrators_who_take_the_right_from_each_other_at_once_one_keeps_it(
    admin: Person,
) -> None:
    server, ada = admin.server, await user_of(admin.server)
    await make(server, "zoe", "zoe@example.com", is_admin=True)
    zoe = await user_of(server, "zoe")
    await Person(server, another(server)).sign_in("zoe")
    theirs = await session_of(server, "zoe")
    outcomes = await asyncio.gather(
        *(
            people.change(acting.runtime_in(server.runtime, own), other, Changes(is_admin=False), actor=by)
            for own, other, by in ((await session_of(server), zoe, ada.id), (theirs, ada, zoe.id))
        ),
        return_exceptions=True,
    )
    assert [isinstance(one, OAuthError) for one in outcomes].count(True) == 1
    assert await server.runtime.database.read(users.count_admins) == 1
